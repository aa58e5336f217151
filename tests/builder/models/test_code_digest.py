"""The digest of a model's code, and the files of a metric's: what is followed, and what does not count."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

import pytest

from builder.actions.recipes import LowerFp16
from builder.errors import UsageError
from builder.models import code_digest
from builder.planning.jobs import CodeFilesPin, CodePin, Job
from builder.planning.resolver import Pinner
from tests.fakes import LAPTOP, REPOSITORY, Project


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


# ------------------------------------------------------------------------------------------- files that travel

REACHED = (
    "helper.py",
    "late.py",
    "zoo/__init__.py",
    "zoo/deep/__init__.py",
    "zoo/deep/block.py",
    "zoo/layers.py",
    "zoo/model.py",
    "zoo/shared.py",
)


def files(root: Path, factory: str = "zoo.model:make") -> List[str]:
    return [path.as_posix() for path in code_digest.files_of(factory, root)]


def test_the_files_of_a_metric_are_all_that_it_may_import(root: Path) -> None:
    """Siblings, packages on the way and what a function imports late; in one order, relative to the project."""
    assert files(root) == list(REACHED)
    assert files(root, "late:attr") == ["late.py"]
    assert files(root, "zoo:attr") == ["zoo/__init__.py"]


def test_the_files_are_those_that_the_digest_is_of(root: Path) -> None:
    for name in (*REACHED, "unrelated.py"):
        assert changes(root, name, "\nNEW = 2\n") == (name in files(root))


def test_a_relative_project_folder_gives_the_same_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert files(Path()) == list(REACHED)


def test_circular_imports_of_files_end(root: Path) -> None:
    (root / "late.py").write_text("import zoo.model, helper\n")
    assert files(root) == list(REACHED)


@pytest.mark.parametrize(
    "line", ["import validation.task", "from validation.task import mean", "import builder.records"]
)
def test_modules_of_this_program_do_not_travel(root: Path, line: str) -> None:
    """Nor do a person's modules that hide behind their names: the program's own are imported first."""
    for name in ("validation/__init__.py", "validation/task.py", "builder/__init__.py", "builder/records.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("import unrelated\n")
    (root / "late.py").write_text(line + "\n")
    assert [name for name in files(root) if name.startswith(("validation", "builder"))] == []
    assert set(REACHED) <= set(files(root))


@pytest.mark.parametrize("package", ["builder", "validation"])
def test_code_of_a_project_under_a_name_of_this_program_is_refused(root: Path, package: str) -> None:
    """Python would look for it among the modules of this program."""
    (root / package).mkdir()
    for name in ("__init__", "network"):
        (root / package / f"{name}.py").write_text("def make(): pass\n")
    said = f"{package}.network cannot be imported: the name {package} belongs to this program"
    for line in (f"import {package}.network", f"from {package} import network", f"from {package}.network import make"):
        (root / "late.py").write_text(line + "\n")
        for look in (code_digest.of_factory, code_digest.files_of):
            with pytest.raises(UsageError) as caught:
                look("zoo.model:make", root)
            assert caught.value.what == said
            assert caught.value.where == str(root / package / "network.py")
            assert caught.value.hint == (
                f"rename {package} beside matrix.yaml, and in every import of it, for example to my_{package}"
            )
    for look in (code_digest.of_factory, code_digest.files_of):
        with pytest.raises(UsageError) as caught:
            look(f"{package}.network:make", root)
        assert caught.value.what == said


def test_code_of_a_project_is_never_taken_for_that_of_this_program(root: Path) -> None:
    (root / "validation").mkdir()
    (root / "validation" / "task.py").write_text("X = 1\n")
    (root / "late.py").write_text("from validation.task import mean\n")
    assert not changes(root, "validation/task.py", "\nNEW = 2\n"), "Python imports this program's"
    with pytest.raises(UsageError, match="the name validation belongs to this program"):
        code_digest.of_factory("validation.task:make", root)


def test_a_folder_of_that_name_that_nothing_imports_is_left_alone(root: Path) -> None:
    (root / "validation").mkdir()
    (root / "validation" / "network.py").write_text("X = 1\n")
    assert not changes(root, "validation/network.py", "\nNEW = 2\n")
    assert set(files(root)) == set(REACHED)


def test_a_metric_of_this_program_has_no_files(root: Path) -> None:
    assert files(root, "validation.keypoint_tasks:Stereo") == []
    assert files(REPOSITORY, "validation.keypoint_tasks:Stereo") == [], "even where the program is the project"


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("validation.keypoint_task:Stereo", "no module 'validation.keypoint_task'"),
        ("builder.metrics:Mine", "no module 'builder.metrics'"),
        ("zoo.modle:make", "no module 'zoo.modle' below"),
        ("numpy:mean", "no module 'numpy' below"),
    ],
)
def test_a_metric_that_is_nowhere_is_named(root: Path, factory: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        code_digest.files_of(factory, root)
    assert says in str(caught.value)
    assert factory in str(caught.value)


def test_a_file_that_does_not_parse_has_a_place_there_too(root: Path) -> None:
    (root / "late.py").write_text("x = 1\ndef (\n")
    with pytest.raises(UsageError, match=r"late.py:2:\d+: does not parse"):
        code_digest.files_of("zoo.model:make", root)


def test_comments_count_for_files_that_travel_and_not_for_a_model(project: Project) -> None:
    """What travels is hashed as it is; a model's code never leaves, so its syntax trees will do."""
    job = Job("job", LowerFp16(), (CodeFilesPin("code", "model:make"), CodePin("model", "model:make")), ())

    def pinned() -> Dict[str, str]:
        action = Pinner(project.root, LAPTOP, project.store).pin(job, {})
        return {pin.name: pin.digest for pin in action.inputs}

    before = pinned()
    project.edit("layers.py", "def width", "# how wide it is\ndef width")
    after = pinned()
    assert list(before) == list(after) == ["code/layers.py", "code/model.py", "model"]
    assert [name for name in before if before[name] != after[name]] == ["code/layers.py"]
