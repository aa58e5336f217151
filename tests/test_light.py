"""What commands load, and how errors read, on this Python: a host and a planning machine never import what is heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import List, Sequence

import pytest

from builder import errors
from tests.fakes import REPOSITORY, Project

_PROBE = """
import sys
{before}
code = 0
try:
    from builder import cli
    code = cli.main({argv!r})
except SystemExit as done:
    code = done.code or 0
heavy = {heavy!r}
print("LOADED", code, *sorted(set(heavy) & set(sys.modules)))
"""
_NEVER = [
    "nacl",
    "shtab",
    "nats",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxsim",
    "openvino",
    "numpy",
    "cv2",
    "polygraphy",
    "tensorrt_rtx",
    "jinja2",
]


def _loaded(argv: List[str], cwd: Path, before: str = "", heavy: Sequence[str] = _NEVER) -> List[str]:
    """[exit code, heavy modules...] after `build ARGV` in a process of its own."""
    code = _PROBE.format(argv=argv, heavy=heavy, before=before)
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=str(cwd), env=env, capture_output=True, text=True, timeout=60, check=False
    )
    last = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert last, done.stderr
    return last[0].split()[1:]


@pytest.mark.parametrize("argv", [["--version"], ["--help"], ["doctor"], ["doctor", "--json"], ["plan"], ["plan", "--help"], ["explain", "tiny-*"], ["pull", "--help"], ["bench", "--help"], ["worker", "--help"], ["fleet", "--help"], ["diff", "--help"], ["gc", "--help"], ["matrix", "--help"], ["run", "--help"], ["inspect", "--help"], ["schema"], ["perform", "--help"], ["audit", "--help"], ["matrix", "--dry-run"]], ids=" ".join)  # fmt: skip
def test_light_commands_import_nothing_heavy(argv: List[str], tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    assert _loaded(argv, project.root) == ["0"]


@pytest.mark.parametrize("argv", [["--version"], ["--help"], ["pull", "--help"]], ids=" ".join)
def test_what_compares_no_version_reads_no_table(argv: List[str], tmp_path: Path) -> None:
    """`packaging` and a parser of TOML take some milliseconds each."""
    assert _loaded(argv, tmp_path, heavy=["packaging", "tomllib", "tomli", "builder.platforms.tables"]) == ["0"]


# The same fake executor in both processes; `facts.here` says the laptop, so that the fake's tools are the machine's.
_FAKE = """
from builder.platforms import machines as facts
from builder.cli.commands import matrix as verb
from tests import fakes
facts.here = lambda: fakes.LAPTOP
class Refusing(fakes.FakeExecutor):
    def perform(self, *args):
        if {refuse}:
            raise SystemExit("performed something")
        return super().perform(*args)
verb.Local = Refusing
"""


def test_a_run_with_nothing_to_do_imports_nothing_heavy(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    assert _loaded(["matrix", "--quiet"], project.root, _FAKE.format(refuse=False))[0] == "0"
    assert _loaded(["matrix", "--quiet"], project.root, _FAKE.format(refuse=True)) == ["0"]
    assert _loaded(["audit"], project.root) == ["0"], "nor does an audit of what it built"


def test_an_error_says_where_what_and_what_next() -> None:
    problem = errors.UsageError("it is wrong", where="matrix.yaml:3:1", hint="do this")
    assert str(problem) == "matrix.yaml:3:1: it is wrong\n  do this"
    assert str(errors.UsageError("it is wrong")) == "it is wrong"
