"""Publish, pull and gc killed at any moment, and streams cut at any byte: what is there afterwards is whole, and the same
command goes through.

A child process is forked and counts its own calls into the operating system (opening, writing, renaming, locking, sending);
before one of them, drawn by chance, it kills itself with SIGKILL. So every state in which a process can leave files is
reached, and a kill costs some milliseconds. More kills: DEPLOYMATRIX_KILLS=1000. Another draw: DEPLOYMATRIX_SEED=7.
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

import pytest

from builder import cli, digest, plugins
from builder.errors import DeployError
from builder.host import install
from builder.platforms import machines
from builder.plugins import Repository
from builder.store import copying, oci, transfers, versions
from builder.store.layout import Layout
from builder.store.oci import INDEX, MANIFEST, Descriptor
from builder.store.remotes.folder import Folder
from builder.store.transfers import Pace
from tests import fakes
from tests.fakes import entry, manifest, stored
from tests.registries import registry
from tests.servers import Handler, serving

KILLS = int(os.environ.get("DEPLOYMATRIX_KILLS", "40"))  # of each command
SEED = int(os.environ.get("DEPLOYMATRIX_SEED", "20"))
SIZE = 600_000  # bytes of a model: some pieces each
CALLS = frozenset(
    [
        "open",
        "write",
        "replace",
        "rename",
        "link",
        "symlink",
        "unlink",
        "rmdir",
        "mkdir",
        "truncate",
        "fsync",
        "flock",
        "chmod",
        "utime",
        "ioctl",
        "close",
        "__exit__",
        "readinto",
        "send",
        "sendall",
        "connect",
    ]
)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "here", lambda: fakes.LAPTOP)


def made(root: Path, *numbers: int) -> Layout:
    """A store whose versions share a file and have one of their own."""
    store, common = Layout(root), os.urandom(SIZE)
    for number in numbers:
        files = (stored(store, "model.xml", os.urandom(SIZE)), stored(store, "model.bin", common))
        one = entry("tiny-dense-fp32-ort", files=files)
        assert one.artifact is not None
        artifact = dataclasses.replace(one.artifact, digest=versions.put_artifact(store, one.cell, files).digest)
        versions.publish(store, manifest(dataclasses.replace(one, artifact=artifact), version=number))
    return store


# ------------------------------------------------------------------------------------------- killing


def forked(words: Sequence[str], kill_at: Optional[int]) -> Tuple[int, int]:
    """(wait status, calls counted) of `build WORDS` in a process that kills itself before its `kill_at`th call."""
    heard, say = os.pipe()
    child = os.fork()
    if not child:
        count = [0]

        def watch(frame: object, event: str, what: object) -> None:
            if event == "c_call" and getattr(what, "__name__", "") in CALLS:
                count[0] += 1
                if count[0] == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        code = 99
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            threading.setprofile(watch)
            sys.setprofile(watch)
            code = cli.main(list(words))
            sys.setprofile(None)
            os.write(say, str(count[0]).encode())
        finally:
            os._exit(code)
    os.close(say)
    _, status = os.waitpid(child, 0)
    told = os.read(heard, 20)
    os.close(heard)
    return status, int(told or b"0")


def kill_everywhere(
    folder: Path, before: Path, words: Callable[[Path], List[str]], check: Callable[[Path], None], kills: int = KILLS
) -> None:
    """Kill the command at points drawn by chance, each time on a fresh copy of `before`; `check` the copy, let the command
    end, check again."""

    def fresh(number: int) -> Path:
        there = folder / f"at-{number}"
        shutil.copytree(str(before), str(there), symlinks=True)
        return there

    whole = fresh(0)
    status, total = forked(words(whole), None)
    assert status == 0
    check(whole)
    assert total > 20, "the counting works"
    points = random.Random(SEED)
    killed = 0
    for number in range(1, kills + 1):
        at, there = points.randint(1, total), fresh(number)
        status, _ = forked(words(there), at)
        killed += os.WIFSIGNALED(status)
        try:
            check(there)
            assert cli.main(words(there)) == 0
            check(there)
        except (AssertionError, DeployError, OSError) as problem:
            raise AssertionError(f"killed before call {at} of {total} (seed {SEED}): {problem}") from problem
        shutil.rmtree(str(there))
    assert killed > kills * 0.8, "threads and pauses shift calls a little, no more"


def sound(store: Layout) -> None:
    """Every file under its name has that content, and everything that a tag leads to is there."""
    for path in (store.root / "blobs" / "sha256").glob("*"):
        assert digest.of_file(path) == f"sha256:{path.name}", f"{path} is half-written"
    whole(Folder(str(store.root), {}))


def whole(place: Repository, read: bool = False) -> None:
    for tag in place.tags():
        top = place.resolve(tag)
        assert top is not None
        for it in copying.closure(place, top):
            assert place.has(it), f"{tag} leads to {it.digest}, which is not there"
            if read:
                transfers.read(place, it)


def placed(dest: Path, *numbers: int) -> None:
    """`current` is a whole version, one of `numbers`; what was fetched is under its name or not believed."""
    folder = (dest / "dense" / "current").resolve()
    described = install.described(folder)
    assert described.version in numbers
    for name, blob in install.contents(described.entries):
        assert digest.of_file(folder / name) == blob.digest, f"{name} of v{described.version} is damaged"
    for path in (dest / ".store" / "blobs" / "sha256").glob("*"):
        assert digest.of_file(path) == f"sha256:{path.name}", f"{path} is half-written"


# ------------------------------------------------------------------------------------------- publish, pull, gc


def test_publish_to_a_folder(tmp_path: Path) -> None:
    store = made(tmp_path / "store", 1, 2)
    assert cli.main(["publish", str(tmp_path / "before" / "there"), "--store", str(store.root), "--version", "1"]) == 0

    def check(there: Path) -> None:
        sound(Layout(there / "there"))
        assert set(versions.numbers(Layout(there / "there"))) in ({1}, {1, 2})

    def words(there: Path) -> List[str]:
        return ["publish", str(there / "there"), "--store", str(store.root), "--quiet"]

    kill_everywhere(tmp_path, tmp_path / "before", words, check)
    sound(store)


@pytest.mark.parametrize("source", ["store", "folder", "http"])
def test_pull(tmp_path: Path, source: str) -> None:
    store = made(tmp_path / "store", 1, 2)
    with serving(registry_of(store)) as url:
        address = {
            "store": str(store.root),
            "folder": f"file://{store.root}",
            "http": url.replace("http://", "oci+http://") + "/models/tiny",
        }[source]
        before = tmp_path / "before"
        assert cli.main(["pull", address, "--to", str(before / "host"), "--version", "1", "--quiet"]) == 0

        def words(there: Path) -> List[str]:
            return ["pull", address, "--to", str(there / "host"), "--quiet"]

        kill_everywhere(tmp_path, before, words, lambda there: placed(there / "host", 1, 2))
        last = tmp_path / "at-0" / "host"
        placed(last, 2)
        assert not [name for name in os.listdir(str(last / "dense")) if name.startswith((".partial", ".gone"))]


def test_a_pull_that_mends_what_was_damaged(tmp_path: Path) -> None:
    store = made(tmp_path / "store", 1)
    before = tmp_path / "before"
    assert cli.main(["pull", str(store.root), "--to", str(before / "host")]) == 0
    victim = next((before / "host").glob("dense/v1-*/tiny-dense-fp32-ort/model.xml"))
    victim.write_bytes(b"damaged")

    def check(there: Path) -> None:
        folder = (there / "host" / "dense" / "current").resolve()
        described = install.described(folder)
        for name, blob in install.contents(described.entries):
            right = digest.of_file(folder / name) == blob.digest
            assert right or (folder / name).read_bytes() == b"damaged", "as it was, or mended"

    kill_everywhere(tmp_path, before, lambda there: ["pull", str(store.root), "--to", str(there / "host")], check)


def test_gc(tmp_path: Path) -> None:
    made(tmp_path / "before" / "store", 1, 2, 3)

    def check(there: Path) -> None:
        sound(Layout(there / "store"))
        assert 3 in versions.numbers(Layout(there / "store"))

    def words(there: Path) -> List[str]:
        return ["gc", "--store", str(there / "store"), "--keep", "1"]

    kill_everywhere(tmp_path, tmp_path / "before", words, check)


def test_publish_to_a_registry(tmp_path: Path) -> None:
    """The registry keeps what was sent; each try is a repository of its own, with v1 in it."""
    store = made(tmp_path / "store", 1, 2)
    (tmp_path / "before").mkdir()
    with registry(tmp_path) as host:

        def place(there: Path) -> Repository:
            return plugins.repository(f"oci+http://{host}/models/{there.name}", {"HOME": str(tmp_path)})

        def words(there: Path) -> List[str]:
            return ["publish", place(there).name, "--store", str(store.root), "--quiet"]

        def check(there: Path) -> None:
            whole(place(there), read=True)
            assert set(versions.numbered(place(there).tags())) in (set(), {2})

        kill_everywhere(tmp_path, tmp_path / "before", words, check, max(KILLS // 3, 5))


def test_pulls_at_once_killed_in_turns(tmp_path: Path) -> None:
    """Real processes into one folder at once, some killed after a random time: what is left is whole."""
    store = made(tmp_path / "store", 1, 2, 3)
    host, moments = tmp_path / "host", random.Random(SEED)

    def words(version: int) -> List[str]:
        return ["pull", f"file://{store.root}", "--to", str(host), "--version", str(version), "--allow-rollback"]

    assert cli.main(words(1)) == 0
    for _ in range(8):
        running = [start(words(version)) for version in (2, 3, 3)]
        for process in running[:2]:
            threading.Event().wait(moments.uniform(0.0, 0.06))
            os.kill(process, signal.SIGKILL)
        for process in running:
            os.waitpid(process, 0)
        placed(host, 1, 2, 3)
    assert cli.main(words(2)) == 0
    placed(host, 2)


def start(words: List[str]) -> int:
    child = os.fork()
    if not child:
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            os._exit(cli.main(words))
        finally:
            os._exit(98)
    return child


# ------------------------------------------------------------------------------------------- cuts


class Cut:
    """After `most` bytes of a body the connection is closed, `times` times; then all goes well."""

    def __init__(self, most: int = 0, times: int = 0) -> None:
        self.most, self.times = most, times

    def take(self, data: bytes) -> Optional[bytes]:
        if self.times and self.most < len(data):
            self.times -= 1
            return data[: self.most]
        return None


def registry_of(store: Layout, cut: Optional[Cut] = None) -> Callable[[Handler], None]:
    """The reading half of a registry, as small as it can be: tags, manifests, files from any byte on."""

    def answer(asked: Handler) -> None:
        kind, _, name = asked.path.partition("/models/tiny/")[2].partition("?")[0].partition("/")
        known = oci.all_of(store)
        named = str(known[name]["digest"]) if name in known else name
        if asked.path == "/v2/":
            asked.say(200)
        elif kind == "tags":
            asked.say(200, digest.canonical({"name": "models/tiny", "tags": list(known)}))
        elif not digest.is_one(named) or not store.holds(named):
            asked.say(404)
        elif kind == "manifests":
            data = store.fetch(named).read_bytes()
            asked.say(200, data, Content_Type=INDEX if b'"manifests"' in data else MANIFEST)
        else:
            _part(asked, store.fetch(named).read_bytes(), cut)

    return answer


def _part(asked: Handler, data: bytes, cut: Optional[Cut]) -> None:
    said = asked.headers.get("Range", "")
    first = int(said[len("bytes=") :].rstrip("-")) if said else 0
    part = cut.take(data[first:]) if cut else None
    headers = {"Content_Length": str(len(data) - first)}
    if first:
        headers["Content_Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
    asked.say(206 if first else 200, data[first:] if part is None else part, **headers)
    asked.close_connection |= part is not None


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two tries."""
    monkeypatch.setattr(Pace, "rest", lambda self, seconds: self.go_on())


@pytest.mark.usefixtures("haste")
def test_a_file_cut_at_any_byte_is_whole_in_the_end(tmp_path: Path) -> None:
    """Over a real connection: at both ends, around each piece's border, and at places drawn by chance."""
    store = made(tmp_path / "store", 1)
    (it,) = [it for it in closure_of(store) if it.title == "model.xml"]
    borders = [n + d for n in (0, 64 << 10, 256 << 10, 512 << 10, it.size) for d in (-1, 0, 1)]
    chance = random.Random(SEED)
    points = [n for n in borders if 0 <= n < it.size] + [chance.randrange(it.size) for _ in range(KILLS)]
    cut = Cut()
    with serving(registry_of(store, cut)) as url:
        place = plugins.repository(url.replace("http://", "oci+http://") + "/models/tiny", {"HOME": str(tmp_path)})
        for at in points:
            cut.most, cut.times = at, 1
            host = Layout(tmp_path / f"host-{at}")
            assert digest.of_file(transfers.fetch(place, it, host)) == it.digest, f"cut after {at} bytes"
            assert cut.times == 0, f"it was cut after {at} bytes"
            shutil.rmtree(str(host.root))


@pytest.mark.usefixtures("haste")
def test_a_server_that_cuts_every_few_bytes(tmp_path: Path) -> None:
    store = made(tmp_path / "store", 1)
    (it,) = [it for it in closure_of(store) if it.title == "model.xml"]
    with serving(registry_of(store, Cut(20_011, 10_000))) as url:
        place = plugins.repository(url.replace("http://", "oci+http://") + "/models/tiny", {"HOME": str(tmp_path)})
        assert digest.of_file(transfers.fetch(place, it, Layout(tmp_path / "host"))) == it.digest


def closure_of(store: Layout) -> List[Descriptor]:
    here = Folder(str(store.root), {})
    top = here.resolve("v1")
    assert top is not None
    return copying.closure(here, top)
