"""The wheel that every instruction names: `pip wheel --no-deps .` makes it, under that name, and it runs where it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from builder.release import WHEEL
from tests.fakes import REPOSITORY

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheels")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, checkout / name)
    for name in ("builder", "validation"):
        shutil.copytree(REPOSITORY / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), "."]
    done = subprocess.run(command, cwd=str(checkout), capture_output=True, text=True)
    if done.returncode and ("No module named pip" in done.stderr or "setuptools" in done.stderr):
        pytest.skip(f"no wheel can be made here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return out


def test_the_wheel_has_the_name_that_is_told(wheel: Path) -> None:
    assert [path.name for path in wheel.iterdir()] == [WHEEL]


def test_it_says_that_it_has_types(wheel: Path) -> None:
    with zipfile.ZipFile(str(wheel / WHEEL)) as packed:
        assert {"builder/py.typed", "validation/py.typed"} <= set(packed.namelist())


def test_it_runs_from_where_it_was_installed(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site")]
    subprocess.run([*pip, str(wheel / WHEEL)], check=True, capture_output=True)
    (tmp_path / "host").mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import builder.cli, sys; print(builder.__file__); sys.exit(builder.cli.main(['doctor']))",
        ],
        cwd=str(tmp_path / "host"),
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site")) and "This machine:" in done.stdout
