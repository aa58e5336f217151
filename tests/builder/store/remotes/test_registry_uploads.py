"""Uploads to a real registry over a way that is cut: they go on from where they were, and what arrives is whole."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Iterator, List

import pytest

from builder.errors import DeployError, StoreDamaged, Unreachable
from builder.store import transfers
from builder.store.http.client import Client, Patience
from builder.store.http.wire import FilePart
from builder.store.oci import Descriptor
from builder.store.remotes import registry as registry_upload
from builder.store.remotes.registry import Access, Registry
from tests.builder.store.remotes.contract import a_file
from tests.registries import registry
from tests.servers import Cutting, Handler, patient, serving

MIB = 1 << 20


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as where:
        yield where


def access(host: str) -> Access:
    return Access(f"http://{host}", "models/x", {}, Client({}, Patience(), patient([])))


def there(host: str, it: Descriptor) -> bytes:
    return transfers.read(Registry(f"oci+http://{host}/models/x", {}), it, most=it.size)


def persist(host: str, it: Descriptor, path: Path, chunk: int = registry_upload.CHUNK) -> None:
    """As whoever publishes does: a passing failure is met with another try, five in all."""
    for left in (4, 3, 2, 1, 0):
        try:
            registry_upload.upload(access(host), it, FilePart(path, 0, it.size), chunk)
            break
        except Unreachable as problem:
            if not problem.passing or not left:
                raise


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB, 5 * MIB + 7])
def test_in_chunks(host: str, tmp_path: Path, size: int) -> None:
    it, path = a_file(tmp_path, size)
    registry_upload.upload(access(host), it, FilePart(path, 0, size), MIB)
    assert there(host, it) == path.read_bytes()


CUTS = [
    [3 * MIB],  # in the middle of the first chunk
    [9 * MIB],  # in the middle of the third
    [3 * MIB, 2 * MIB, 3 * MIB, 1 * MIB],
    [500 << 10] * 12,  # again and again
    [100],  # when it is asked for an upload
]


@pytest.mark.parametrize("cuts", [cuts for cuts in CUTS if len(cuts) < 5], ids=str)
def test_a_cut_upload_arrives_whole(host: str, tmp_path: Path, cuts: List[int]) -> None:
    """docker-registry forgets an upload that is cut within a chunk: it starts anew."""
    it, path = a_file(tmp_path, 10 * MIB)
    way = Cutting(host, list(cuts))
    with way.open() as other:
        persist(other, it, path, 4 * MIB)
    assert there(host, it) == path.read_bytes()
    assert way.cuts == [], "every cut happened"


class Keeping:
    """Uploads as the specification has them: what came of a cut chunk is kept. Only the newest request may write.

    `confused` is how often it takes a file that was sent in pieces for another one.
    """

    def __init__(self, confused: int = 0) -> None:
        self.data, self.turn, self.done, self.confused = b"", 0, False, confused
        self.lock = threading.Lock()

    def __call__(self, it: Handler) -> None:
        with self.lock:
            self.turn += 1
            mine = self.turn
        if it.command == "POST":
            self.data = b""
        elif it.command in ("PATCH", "PUT"):
            first = (it.headers["Content-Range"] or f"{len(self.data)}-").partition("-")[0]
            if int(first) != len(self.data):
                return it.say(416)
            if not self.take(it, mine):
                return None
            self.done = it.command == "PUT"
        if self.done and self.confused:
            self.confused, self.done = self.confused - 1, False
            return it.say(400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
        status = {"POST": 202, "PATCH": 202, "PUT": 201, "GET": 204, "HEAD": 404}[it.command]
        return it.say(status, Location=f"/turn/{mine}?state=x", Range=f"0-{max(0, len(self.data) - 1)}")

    def take(self, it: Handler, mine: int) -> bool:
        left = int(it.headers["Content-Length"])
        while left:
            piece = it.rfile.read1(min(left, 65536))  # type: ignore[attr-defined]
            with self.lock:
                if not piece or self.turn != mine:
                    return False
                self.data, left = self.data + piece, left - len(piece)
        return True


@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_a_cut_upload_goes_on(tmp_path: Path, cuts: List[int]) -> None:
    it, path = a_file(tmp_path, 10 * MIB)
    kept = Keeping()
    with serving(kept) as url:
        way = Cutting(url[len("http://") :], list(cuts))
        with way.open() as other:
            registry_upload.upload(access(other), it, FilePart(path, 0, it.size), 4 * MIB)
    assert kept.done and kept.data == path.read_bytes()
    assert way.cuts == [], "every cut happened"
    assert way.sent < 11 * MIB, "what has arrived is not sent again"


def test_what_was_put_together_wrong_is_sent_anew(tmp_path: Path) -> None:
    it, path = a_file(tmp_path, 10 * MIB)
    kept = Keeping(confused=1)
    with serving(kept) as url, Cutting(url[len("http://") :], [3 * MIB]).open() as other:
        persist(other, it, path, 4 * MIB)
    assert kept.done and kept.data == path.read_bytes()


def test_a_cut_small_upload_is_sent_again(host: str, tmp_path: Path) -> None:
    it, path = a_file(tmp_path, 3 * MIB)
    way = Cutting(host, [2 * MIB])
    with way.open() as other:
        persist(other, it, path)
    assert there(host, it) == path.read_bytes()
    assert way.cuts == []


def test_a_way_that_is_always_cut(host: str, tmp_path: Path) -> None:
    it, path = a_file(tmp_path, 2 * MIB)
    way = Cutting(host, [1000] * 1000)
    with way.open() as other, pytest.raises(Unreachable):
        persist(other, it, path, MIB)
    assert not Registry(f"oci+http://{host}/models/x", {}).has(it)


def test_a_file_that_changed_meanwhile(host: str, tmp_path: Path) -> None:
    """The registry checks the digest, and the one that is said is not believed."""
    it, path = a_file(tmp_path, 2 * MIB)
    for chunk, size, said in (
        (MIB, it.size, "other content"),
        (4 * MIB, it.size, "other content"),
        (MIB, 9, "shorter"),
    ):
        path.write_bytes(bytes(size))
        with pytest.raises(StoreDamaged, match=said):
            registry_upload.upload(access(host), it, FilePart(path, 0, it.size), chunk)
    assert not Registry(f"oci+http://{host}/models/x", {}).has(it)


def test_what_a_registry_may_not_say(tmp_path: Path) -> None:
    it, path = a_file(tmp_path, 3000)

    def refused(answer: "dict[str, tuple[int, dict[str, str]]]") -> str:
        def say(it: Handler) -> None:
            it.rfile.read(int(it.headers["Content-Length"] or 0))
            status, headers = answer[it.command]
            it.say(status, b"", **headers)

        with serving(say) as url, pytest.raises(DeployError) as caught:
            registry_upload.upload(access(url[len("http://") :]), it, FilePart(path, 0, it.size), 1000)
        return str(caught.value)

    lost = (404, {})  # type: ignore[var-annotated]
    assert "where to upload" in refused({"POST": (202, {})})
    assert "redirects to" in refused({"POST": (202, {"Location": "ftp://x/"})})
    assert "status 201" in refused({"POST": (201, {"Location": "/up"})})
    started = (202, {"Location": "/up"})
    assert "how much of the upload" in refused(
        {"POST": started, "PATCH": (416, {}), "GET": (204, {"Location": "/up", "Range": "0-99999"})}
    )
    assert "forgotten" in refused({"POST": started, "PATCH": (416, {}), "GET": lost, "HEAD": lost})
    assert "took sha256" in refused(
        {"POST": started, "PATCH": started, "PUT": (201, {"Docker-Content-Digest": "sha256:other"})}
    )
