"""The digest of a model's code: what it follows, and what it does not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import code_digest
from builder.errors import UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "zoo/__init__.py": "",
        "zoo/model.py": "from . import layers\nfrom .deep.block import Block\nimport json\nimport helper\n",
        "zoo/layers.py": "WIDTH = 1\n",
        "zoo/deep/__init__.py": "",
        "zoo/deep/block.py": "from .. import shared\nclass Block: pass\n",
        "zoo/shared.py": "X = 1\n",
        "helper.py": "def lazy():\n    import late\n",
        "late.py": "Y = 1\n",
        "unrelated.py": "Z = 1\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def changes(root: Path, file: str, text: str) -> bool:
    before = code_digest.of_factory("zoo.model:make", root)
    path = root / file
    path.write_text(path.read_text() + text)
    return code_digest.of_factory("zoo.model:make", root) != before


@pytest.mark.parametrize(
    "file",
    [
        "zoo/model.py",
        "zoo/layers.py",
        "zoo/deep/block.py",
        "zoo/shared.py",
        "helper.py",
        "late.py",
        "zoo/__init__.py",
        "zoo/deep/__init__.py",
    ],
)
def test_whatever_the_model_reaches_counts(root: Path, file: str) -> None:
    assert changes(root, file, "\nNEW = 2\n")


@pytest.mark.parametrize("file", ["zoo/model.py", "late.py"])
def test_comments_and_layout_do_not(root: Path, file: str) -> None:
    assert not changes(root, file, "\n\n# a comment\n   \n")


def test_the_rest_of_the_project_does_not(root: Path) -> None:
    assert not changes(root, "unrelated.py", "NEW = 2\n")


def test_nothing_is_run(root: Path) -> None:
    assert changes(root, "zoo/model.py", "\nraise SystemExit('ran')\n")


def test_circular_imports_end(root: Path) -> None:
    assert changes(root, "zoo/shared.py", "\nimport zoo.model\n")


def test_errors_have_a_place(root: Path) -> None:
    with pytest.raises(UsageError, match=r"no module 'zoo.modle' below"):
        code_digest.of_factory("zoo.modle:make", root)
    (root / "late.py").write_text("def (\n")
    with pytest.raises(UsageError, match=r"late.py:1:\d+: does not parse"):
        code_digest.of_factory("zoo.model:make", root)
