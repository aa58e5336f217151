"""A full disk, a file that may not grow, a folder that may not be written to, an interrupt: said in one line, nothing
half-placed, and the same command goes through once there is room."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

import pytest

from builder import cli
from builder.platforms import machines
from builder.store import versions
from builder.store.layout import Layout
from tests import fakes
from tests.fakes import REPOSITORY
from tests.faults.test_transfers import made, placed, registry_of, sound
from tests.servers import Handler, serving

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "here", lambda: fakes.LAPTOP)


@contextlib.contextmanager
def small_disk(at: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of this size in memory; what is given mounts it anew with other options."""
    at.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(at)], check=True) and None
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def build(words: List[str], tmp_path: Path, before: Callable[[], None] = lambda: None) -> Tuple[int, str]:
    """(exit code, what it says to standard error) in a process of its own, after `before`."""
    said = tmp_path / "stderr"
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(str(said), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            before()
            code = cli.main(words)
            sys.stderr.flush()
            os._exit(code)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status), said.read_text()


@needs_root
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_pull_to_a_full_disk(tmp_path: Path, scheme: str) -> None:
    store = made(tmp_path / "store", 1, 2)
    with small_disk(tmp_path / "disk", "1500k") as remount:
        host = tmp_path / "disk" / "host"
        words = ["pull", f"{scheme}{store.root}", "--to", str(host), "--quiet"]
        assert build([*words, "--version", "1"], tmp_path) == (0, "")
        code, said = build(words, tmp_path)
        assert (code, said.count("\n")) == (9, 1)
        assert "No space left on device" in said
        assert str(host) in said, "where"
        placed(host, 1)
        assert not list(host.rglob(".partial-*"))
        remount("size=10m")
        assert build(words, tmp_path) == (0, "")
        placed(host, 2)


@needs_root
def test_publish_to_a_full_disk(tmp_path: Path) -> None:
    store = made(tmp_path / "store", 1, 2)
    with small_disk(tmp_path / "disk", "1500k") as remount:
        there = tmp_path / "disk" / "there"
        words = ["publish", str(there), "--store", str(store.root), "--quiet"]
        assert build([*words, "--version", "1"], tmp_path) == (0, "")
        code, said = build(words, tmp_path)
        assert code == 9
        assert "No space left on device" in said
        sound(Layout(there))
        assert versions.numbers(Layout(there)) == (1,)
        assert not list((there / ".deploymatrix" / "work").iterdir())
        remount("size=10m")
        assert build(words, tmp_path) == (0, "")
        sound(Layout(there))
        assert versions.numbers(Layout(there)) == (1, 2)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_file_that_may_not_grow(tmp_path: Path, scheme: str) -> None:
    """The same without root: the system refuses in the middle of a file."""
    store = made(tmp_path / "store", 1)
    host = tmp_path / "host"
    words = ["pull", f"{scheme}{store.root}", "--to", str(host), "--quiet"]
    code, said = build(words, tmp_path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)))
    assert code == 9
    assert "File too large" in said
    assert not list(host.rglob("current"))
    assert not list(host.rglob(".partial-*"))
    assert build(words, tmp_path) == (0, "")
    placed(host, 1)


@needs_root
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_host_that_is_read_only(tmp_path: Path, scheme: str) -> None:
    store = made(tmp_path / "store", 1, 2)
    with small_disk(tmp_path / "disk", "10m") as remount:
        host = tmp_path / "disk" / "host"
        words = ["pull", f"{scheme}{store.root}", "--to", str(host), "--quiet"]
        assert build([*words, "--version", "1"], tmp_path) == (0, "")
        remount("ro")
        assert build([*words, "--version", "1"], tmp_path) == (0, ""), "nothing is to be done"
        code, said = build(words, tmp_path)
        assert code == 9
        assert "Read-only file system" in said
        placed(host, 1)


@needs_root
def test_a_store_that_is_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "10m") as remount:
        store = made(tmp_path / "disk" / "store", 1)
        remount("ro")
        assert build(["pull", str(store.root), "--to", str(tmp_path / "host"), "--quiet"], tmp_path) == (0, "")
        assert build(["publish", str(tmp_path / "there"), "--store", str(store.root), "--quiet"], tmp_path) == (0, "")
    placed(tmp_path / "host", 1)


@needs_root
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    """As another person, who may read the store and not write where it is to be placed."""
    store = made(tmp_path / "store", 1)
    for path in (tmp_path, *tmp_path.parents):
        if "pytest-of-" in str(path):
            path.chmod(0o755)
    (tmp_path / "stderr").write_text("")
    (tmp_path / "stderr").chmod(0o666)
    (tmp_path / "theirs").mkdir()
    assert cli.main(["pull", str(store.root), "--to", str(tmp_path / "first")]) == 0, "and everything is imported"
    host = tmp_path / "theirs" / "host"
    words = ["pull", str(store.root), "--to", str(host), "--quiet"]

    def become_nobody() -> None:
        os.environ["HOME"] = str(tmp_path)
        os.setgid(65534)
        os.setuid(65534)

    code, said = build(words, tmp_path, become_nobody)
    assert (code, said) == (9, f"error: {host}: Permission denied\n")
    host.parent.chmod(0o777)
    assert build(words, tmp_path, become_nobody) == (0, "")
    placed(host, 1)


_PULL = """
import sys
from builder import cli
from builder.platforms import machines as facts
from tests import fakes
facts.here = lambda: fakes.LAPTOP
sys.exit(cli.main(sys.argv[1:]))
"""


def test_an_interrupt_ends_every_thread_at_once(tmp_path: Path) -> None:
    store = made(tmp_path / "store", 1)
    whole = registry_of(store)
    slow = []

    def answer(asked: Handler) -> None:
        if "/blobs/" in asked.path and asked.path.rsplit("/", 1)[1] in artifacts:
            asked.send_response(200)
            asked.send_header("Content-Length", "600000")
            asked.end_headers()
            asked.wfile.write(b"x" * 1000)
            slow.append(asked.path)
            time.sleep(60)
        else:
            whole(asked)

    (entry,) = versions.read(store, 1).entries
    artifacts = {blob.digest for blob in entry.artifact.files} if entry.artifact else set()
    with serving(answer) as url:
        address = url.replace("http://", "oci+http://") + "/models/tiny"
        process = subprocess.Popen(
            [sys.executable, "-c", _PULL, "pull", address, "--to", str(tmp_path / "host")],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )
        until = time.monotonic() + 20
        while len(slow) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(slow) == 2, "both files are on their way at once"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "interrupted" in said
