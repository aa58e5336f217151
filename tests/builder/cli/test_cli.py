"""The command line as a person meets it. (`tests/builder/cli/test_verbs.py` has what the verbs do.)"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from builder import cli
from builder.release import VERSION
from tests.fakes import REPOSITORY, Project


def said(argv: List[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command line that is refused."""
    assert cli.main(argv) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("error: ")
    return found.err


@pytest.mark.parametrize(
    ("typed", "near"), [("matrx", "matrix"), ("plna", "plan"), ("pul", "pull"), ("shema", "schema"), ("PLAN", "")]
)
def test_an_unknown_verb_suggests_the_nearest(typed: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = said([typed], capsys)
    assert f"there is no command {typed!r}" in error
    assert (f"did you mean: build {near}?" if near else "build --help") in error


@pytest.mark.parametrize(
    "argv",
    [
        ["plan", "--onyl", "x"],
        ["plan", "extra"],
        ["plan", "--format", "xml"],
        ["plan", "-m"],
        ["matrix", "--jobs", "0"],
        ["matrix", "--jobs", "-1"],
        ["matrix", "--jobs", "two"],
        ["matrix", "--jobs", "²"],
        ["matrix", "--jobs", "1.5"],
        ["pull", "--version", "one"],
        ["run"],
        ["run", "photo.png", "--size", "640"],
        ["perform"],
    ],
    ids=" ".join,
)
def test_bad_flags_are_refused(argv: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    error = said(argv, capsys)
    assert f"see: build {argv[0]} --help" in error


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"], ["help"]], ids=str)
def test_the_overview_names_every_verb_and_exit_code(argv: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    printed = capsys.readouterr().out
    for verb, line in cli.VERBS.items():
        assert verb in printed
        assert line in printed
    for code in ("0 ", "2 ", "3 ", "5 ", "6 ", "7 ", "8 "):
        assert code in printed


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main([verb, "--help"])
    assert done.value.code == 0
    assert f"usage: build {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([flag]) == 0
    assert capsys.readouterr().out == f"deploymatrix {VERSION}\n"


@pytest.mark.parametrize("flag", ["--only", "--skip"])
def test_a_selector_that_selects_nothing(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path / "p")
    error = said(["plan", "-m", str(project.matrix), flag, "*-fp46-*"], capsys)
    assert f"{flag} '*-fp46-*' selects no cell" in error


@pytest.mark.parametrize("verb", [["schema"], ["plan"], ["--help"]], ids=" ".join)
@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_leaves_early_is_no_error(verb: List[str], buffered: bool, tmp_path: Path) -> None:
    """`build plan | head -0`: no traceback, and no complaint when the interpreter ends."""
    project = Project(tmp_path / "p")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    env["PYTHONPATH"] = str(REPOSITORY)
    if not buffered:
        env["PYTHONUNBUFFERED"] = "1"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "builder.cli", *verb],
            cwd=str(project.root),
            env=env,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 0


@pytest.mark.parametrize("argv", [["matrix", "--store"], ["pull", "--from"]], ids=" ".join)
def test_a_store_that_is_a_file_is_an_error_and_no_traceback(
    argv: List[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "p")
    monkeypatch.chdir(project.root)
    (tmp_path / "file").write_text("not a folder")
    assert cli.main([*argv, str(tmp_path / "file")]) not in (0, 1)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(tmp_path / "file") in error


def test_an_interrupt_is_told_and_has_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(words: List[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupted)
    assert cli.main(["plan"]) == 130
    assert "the store is whole" in capsys.readouterr().err
