"""`build report` as a person types it: where it writes, and what it says to wrong input."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder import cli, release
from builder.audit.report import page
from builder.store import versions
from builder.store.layout import Layout
from tests.builder.audit.report.conftest import version
from tests.fakes import REPOSITORY
from tests.unprivileged import unprivileged

pytest.importorskip("jinja2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store of two versions in it, of which the second is named v3."""
    store = Layout(tmp_path / "artifacts")
    for number in (2, 3):
        made = version(number, heads=("dense",) if number == 2 else ("dense", "points"))
        object_ = versions.put_artifact(store, "tiny", (store.put_bytes("model.bin", b"engine"),)).digest
        entries = tuple(
            dataclasses.replace(e, artifact=dataclasses.replace(e.artifact, digest=object_)) if e.artifact else e
            for e in made.entries
        )
        versions.publish(store, dataclasses.replace(made, entries=entries))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_says_where_it_wrote_the_newest_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report"]) == 0
    assert capsys.readouterr().out.startswith("report of tiny v3 -> report.html  (")
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "10 of 18 cells passed, 2 failed." in html
    assert oct((folder / "report.html").stat().st_mode)[-3:] == "644"


def test_an_older_version_to_another_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--version", "2", "--output", "old.html", "--store", "artifacts"]) == 0
    assert "tiny v2 -> old.html" in capsys.readouterr().out
    assert "5 of 9 cells passed" in (folder / "old.html").read_text(encoding="utf-8")
    assert not (folder / "report.html").exists()


def test_it_changes_nothing_in_the_store_and_repeats_itself(folder: Path) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in (folder / "artifacts").rglob("*"))
    assert cli.main(["report"]) == 0
    first = (folder / "report.html").read_bytes()
    assert cli.main(["report"]) == 0
    assert (folder / "report.html").read_bytes() == first
    assert sorted((p, p.stat().st_mtime_ns) for p in (folder / "artifacts").rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--version", "7"], "there is no such version"),
        (["--version", "many"], "there is no such version"),
        (["--pictures", "-1"], "is not a number of pictures"),
        (["--matrix", "no.yaml"], "no.yaml"),
        (["--store", "nowhere"], "nowhere holds no version"),
        (["-o", "no/such/folder/report.html"], "cannot be written: No such file"),
        (["-o", "artifacts"], "cannot be written: Is a directory"),
        (["everything"], "unrecognized arguments"),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], words: "list[str]", said: str
) -> None:
    before = sorted(folder.iterdir())
    assert cli.main(["report", *words]) == 2
    found = capsys.readouterr()
    assert said in found.err and "\n  " in found.err, "and what to type next"
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_may_not_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "closed").mkdir(mode=0o500)
    with unprivileged():
        assert cli.main(["report", "-o", "closed/report.html"]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_without_jinja2_it_says_what_to_install(folder: Path) -> None:
    blocked = "import sys; sys.modules['jinja2'] = None; from builder import cli; sys.exit(cli.main(['report']))"
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", blocked], cwd=str(folder), env=env, capture_output=True, text=True)
    assert done.returncode == 2 and release.pip_install("report") in done.stderr
    assert not (folder / "report.html").exists()


def test_an_installed_wheel_has_the_templates() -> None:
    """What `package-data` in pyproject.toml matches is what the page opens."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert '"builder.audit.report" = ["templates/*"]' in text
    folder = Path(page.__file__).parent / "templates"
    assert {"page.html.j2", "report.css", "report.js"} <= {p.name for p in folder.iterdir()}
    assert all(p.is_file() for p in folder.iterdir())
