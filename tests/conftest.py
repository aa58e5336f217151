"""Fixtures of the whole suite, `--update-golden` and `--update-frozen`."""

from __future__ import annotations

import difflib
import os
import signal
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, settings

from builder.config.loader import Loaded, load
from builder.store.layout import Layout
from tests import fakes

GOLDEN = Path(__file__).parent / "golden"
FROZEN = GOLDEN / "frozen"

settings.register_profile(
    "house", deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# On the other Pythons of tox.ini: one of them draws all examples, and few depend on the interpreter.
settings.register_profile("light", settings.get_profile("house"), max_examples=10)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")
    parser.addoption(
        "--update-frozen",
        action="store_true",
        help="write tests/golden/frozen anew: keys, verdicts, exit codes, import paths and numbers, which a release keeps",
    )


MEMORY, ROOM = "/dev/shm", 4 << 30


def pytest_configure() -> None:
    _temporary_folders_in_memory()
    # A program begun with `nohup` or `&` hands an ignored Ctrl-C on to all that it starts, and those we interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _temporary_folders_in_memory() -> None:
    """Where it is large, and a folder like any other: tests write files by the thousand, and the disk would have half of
    their time. Another place: PYTEST_DEBUG_TEMPROOT."""
    if os.access(MEMORY, os.W_OK):
        found = os.statvfs(MEMORY)
        usual = not found.f_flag & (os.ST_NOEXEC | os.ST_NODEV)
        free = min(found.f_bavail * found.f_frsize, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        if usual and free > ROOM:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto`, one more than there are cores: many tests wait for a socket, a process or each other's builds."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing guards against a power cut, which no unit test has; it is most of their time."""
    if str(request.node.fspath).startswith(str(GOLDEN.parent / "builder")):
        monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): `text` is what tests/golden/NAME holds. `--update-golden` writes it."""
    return lambda name, text: _compare(GOLDEN / name, text, request.config, "--update-golden")


@pytest.fixture
def frozen(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """frozen(name, text): `text` is what tests/golden/frozen/NAME holds. Only `--update-frozen` writes it."""
    return lambda name, text: _compare(FROZEN / name, text, request.config, "--update-frozen")


def _compare(path: Path, text: str, config: pytest.Config, flag: str) -> None:
    if config.getoption(flag):
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"no {path}: run pytest {flag}"
    held = path.read_text(encoding="utf-8")
    if text != held:  # no assert: pytest compares 300 changed lines for 100 seconds
        lines = list(difflib.unified_diff(held.splitlines(True), text.splitlines(True), str(path), "now", n=0))
        said = "".join(lines[:40]) + (f"... {len(lines) - 40} more lines\n" if len(lines) > 40 else "")
        pytest.fail(f"{path} differs: if it is meant, run pytest {flag}\n{said}", pytrace=False)


@pytest.fixture
def shipped() -> Loaded:
    return load(fakes.REPOSITORY / "matrix.yaml")


@pytest.fixture
def project(tmp_path: Path) -> fakes.Project:
    """A small project on disk: matrix.yaml, a model in two modules, photographs (that nobody decodes)."""
    return fakes.Project(tmp_path / "project")


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "store")
