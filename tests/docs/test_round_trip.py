"""What docs/how-to/build-on-another-machine.md promises, with this machine in both parts: once without a runtime,
so that its cells wait, and once with it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from builder import cli, digest
from builder.platforms import machines
from tests.docs import doc_pages

PAGE = doc_pages.page(doc_pages.DOCS / "how-to" / "use-an-onnx-file.md")


@pytest.fixture
def planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's project and no store, on a machine that has everything but onnxruntime."""
    for name in PAGE.needs:
        pytest.importorskip(name, reason=f"the builder runs where {name} is installed")
    folder = tmp_path / "planner"
    folder.mkdir()
    files = [block for block in PAGE.blocks if block.file is not None]
    page = doc_pages.Page(PAGE.path, "".join(f"```{b.language}\n{b.text}```\n" for b in files))
    doc_pages.run(page, folder)
    subprocess.run([sys.executable, "make_model.py"], cwd=str(folder), check=True)
    matrix = (folder / "matrix.yaml").read_text(encoding="utf-8")
    wanted = digest.hex_part(digest.of_file(folder / "edges.onnx"))
    (folder / "matrix.yaml").write_text(matrix.replace("DIGEST", wanted), encoding="utf-8")
    whole = machines.here()
    lacking = dataclasses.replace(whole, packages=tuple(p for p in whole.packages if p.name != "onnxruntime"))
    monkeypatch.setattr(machines, "here", lambda: lacking)
    monkeypatch.chdir(folder)
    return folder


def _build(words: List[str], capsys: pytest.CaptureFixture[str]) -> "tuple[int, Dict[str, Any]]":
    capsys.readouterr()
    code = cli.main(words)
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.e2e
def test_waiting_cells_are_performed_on_a_copy_and_recalled(
    planner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = ["matrix", "--quiet", "--format", "json"]
    code, first = _build(matrix, capsys)
    assert code == 0
    assert first["cells"][0]["verdict"]["status"] == "waiting"

    shutil.copytree(str(planner / "artifacts"), str(tmp_path / "artifacts"))
    other = subprocess.run(
        [sys.executable, "-m", "builder.cli", "perform", "edges-*", "--store", "artifacts"],
        cwd=str(tmp_path),
        env={**os.environ, "PYTHONPATH": str(doc_pages.ROOT)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert other.returncode == 0
    assert "edges-main-fp32-cpu: built and measured" in other.stdout

    for path in (tmp_path / "artifacts").rglob("*"):
        place = planner / "artifacts" / path.relative_to(tmp_path / "artifacts")
        if path.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(path), str(place))
    code, second = _build(matrix, capsys)
    assert code == 0
    assert second["performed"] == []
    assert second["cells"][0]["verdict"]["status"] == "passed"
    assert second["version"] == first["version"] + 1
