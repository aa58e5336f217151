"""The local store: what it believes, what it refuses, and who may hold it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builder import digest
from builder.actions.action import Result
from builder.actions.recipes import Made
from builder.errors import StoreBusy, StoreDamaged, UsageError
from builder.platforms.platform import Blob
from builder.store.layout import Layout
from tests.unprivileged import unprivileged

KEY = digest.of_bytes(b"key")


def recorded(store: Layout, data: bytes = b"data") -> Result:
    result = Result(KEY, (store.put_bytes("model.onnx", data),), Made(1, ("a remark",)), 1.5, 10)
    store.record(result)
    return result


def test_put_moves_the_file_in_and_fetch_finds_it(store: Layout, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"data")
    blob = store.put(file)
    assert blob == Blob("model.onnx", digest.of_bytes(b"data"), 4)
    assert not file.exists()
    assert store.fetch(blob.digest).read_bytes() == b"data"
    assert store.read(blob.digest) == b"data"
    with unprivileged(), pytest.raises(PermissionError):
        store.fetch(blob.digest).open("ab")


def test_the_same_bytes_are_kept_once(store: Layout) -> None:
    one, two = store.put_bytes("a", b"data"), store.put_bytes("b", b"data")
    assert one.digest == two.digest
    assert (one.name, two.name) == ("a", "b")
    assert len(list((store.root / "blobs" / "sha256").iterdir())) == 1


@pytest.mark.parametrize("name", [".nfs0123", 63 * "0", 65 * "0", 64 * "F", f"{64 * '0'}.part", "tmp"])
def test_a_file_that_is_no_blob_is_not_listed_as_one(store: Layout, name: str) -> None:
    blob = store.put_bytes("a", b"data")
    (store.root / "blobs" / "sha256" / name).write_bytes(b"foreign")
    assert list(store.blobs()) == [(blob.digest, 4)]


def test_a_result_is_recalled_as_it_was_recorded(store: Layout) -> None:
    assert store.recall(KEY) is None
    result = recorded(store)
    assert store.recall(KEY) == result
    assert Layout(store.root).recall(KEY) == result


def test_a_result_whose_file_is_missing_is_not_recalled(store: Layout) -> None:
    result = recorded(store)
    store.fetch(result.outputs[0].digest).unlink()
    assert store.recall(KEY) is None


def test_a_result_whose_file_is_truncated_is_not_recalled(store: Layout) -> None:
    result = recorded(store)
    path = store.fetch(result.outputs[0].digest)
    path.chmod(0o644)
    path.write_bytes(b"dat")
    assert store.recall(KEY) is None
    assert store.put_bytes("model.onnx", b"data") == result.outputs[0], "putting it again repairs it"
    assert store.recall(KEY) == result


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": 1}', "\udcff"])
def test_a_record_that_does_not_read_is_not_recalled(store: Layout, text: str) -> None:
    recorded(store)
    (record,) = (store.root / ".deploymatrix" / "results").iterdir()
    record.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert store.recall(KEY) is None


def test_a_record_under_another_key_is_not_recalled(store: Layout) -> None:
    recorded(store)
    other = digest.of_bytes(b"other")
    results = store.root / ".deploymatrix" / "results"
    (results / f"{KEY[7:]}.json").rename(results / f"{other[7:]}.json")
    assert store.recall(other) is None


def test_a_missing_blob_and_a_wrong_one_are_told_apart(store: Layout) -> None:
    with pytest.raises(StoreDamaged, match="is missing"):
        store.fetch(KEY)
    blob = store.put_bytes("x", b"data")
    path = store.fetch(blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"date")
    with pytest.raises(StoreDamaged, match="other content than its name"):
        store.read(blob.digest)


@pytest.mark.parametrize("name", ["../../etc/passwd", "sha256:../x", "", "sha256:" + "g" * 64])
def test_no_digest_leads_out_of_the_store(store: Layout, name: str) -> None:
    with pytest.raises((UsageError, StoreDamaged)):
        store.fetch(name)
    with pytest.raises((UsageError, StoreDamaged)):
        store.recall(name)


def test_reading_writes_nothing(store: Layout) -> None:
    assert store.recall(KEY) is None
    assert store.pending() == ()
    assert store.index()["manifests"] == []  # type: ignore[index,call-overload]
    assert not store.root.exists()


def test_a_workspace_is_gone_afterwards_even_after_an_error(store: Layout) -> None:
    def fails() -> None:
        with store.workspace() as work:
            (work / "file").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not list((store.root / ".deploymatrix" / "work").iterdir())


_HOLD = """
import sys
from pathlib import Path
from builder.store.layout import Layout
with Layout(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_store(store: Layout) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusy, match=f"process {holder.pid}"), store.locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with store.locked():  # the lock died with its process
        pass


def test_the_lock_is_given_back(store: Layout) -> None:
    for _ in range(2):
        with store.locked(), pytest.raises(StoreBusy), Layout(store.root).locked():
            pass


def test_leftovers_of_a_killed_run_are_swept(store: Layout) -> None:
    leftover = store.root / ".deploymatrix" / "work" / "tmpabc"
    leftover.mkdir(parents=True)
    (leftover / "model.onnx").write_bytes(b"half")
    with store.locked():
        assert not leftover.exists()


def test_the_index_is_replaced_whole(store: Layout) -> None:
    store.replace_index({"schemaVersion": 2, "manifests": []})
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    seen = []

    def read() -> None:
        for _ in range(200):
            seen.append(Layout(store.root).index())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        store.replace_index({"schemaVersion": 2, "manifests": [], "annotations": {"n": str(number)}})
    reader.join()
    assert len(seen) == 200


def test_a_damaged_index_is_an_error_and_not_an_empty_store(store: Layout) -> None:
    store.root.mkdir()
    (store.root / "index.json").write_text("{")
    with pytest.raises(StoreDamaged, match="not JSON"):
        store.index()


def in_another_process(store: Layout, code: str) -> "subprocess.Popen[str]":
    """A process that runs `code` with `store`, and says "ready" when it has come to `ready()`; it waits there."""
    before = "import sys\nfrom pathlib import Path\nfrom builder.store.layout import Layout\n"
    before += "def ready():\n    print('ready', flush=True)\n    sys.stdin.read()\nstore = Layout(Path(sys.argv[1]))\n"
    process = subprocess.Popen(
        [sys.executable, "-c", before + code, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_workspace_of_a_living_process_is_not_swept(store: Layout) -> None:
    working = in_another_process(
        store, "with store.workspace() as work:\n    (work / 'x').write_text('x')\n    ready()"
    )
    with store.locked():
        assert len(list((store.root / ".deploymatrix" / "work").glob("*/x"))) == 1
    working.kill()
    working.communicate()
    with store.locked():
        assert not list((store.root / ".deploymatrix" / "work").iterdir())


def test_workspaces_and_sweeps_at_once(store: Layout) -> None:
    """A folder that is swept between its making and its locking is made again."""
    problems, stop = [], threading.Event()

    def works() -> None:
        try:
            for number in range(150):
                with store.workspace() as work:
                    (work / "x").write_text(str(number))
                    assert (work / "x").read_text() == str(number)
        except BaseException as problem:
            problems.append(problem)
        finally:
            stop.set()

    worker = threading.Thread(target=works)
    worker.start()
    while not stop.is_set():
        with store.locked():
            pass
    worker.join()
    assert problems == []


def test_nobody_collects_what_is_read_and_many_may_read(store: Layout) -> None:
    store.put_bytes("x", b"data")
    store.begin()
    reader = in_another_process(store, "with store.reading():\n    ready()")
    with store.reading(), store.locked():
        pass
    with pytest.raises(StoreBusy, match="is being read"), store.collecting():
        pass
    reader.kill()
    reader.communicate()
    with store.collecting(), pytest.raises(StoreBusy, match="another run"), store.locked():
        pass


def test_a_reader_waits_for_a_collector(store: Layout) -> None:
    with store.collecting():
        started = time.monotonic()
        waited: "list[float]" = []
        held = threading.Thread(target=read_it, args=(store, waited))
        held.start()
        time.sleep(0.3)
        assert waited == []
    held.join()
    assert waited[0] - started >= 0.3


def read_it(store: Layout, waited: "list[float]") -> None:
    with store.reading():
        waited.append(time.monotonic())


def test_reading_takes_no_place_and_leaves_no_trace(store: Layout, tmp_path: Path) -> None:
    with store.reading():
        assert not store.root.exists()
    store.begin()
    before = sorted(store.root.rglob("*"))
    for path in (store.root, store.root / "oci-layout"):
        path.chmod(0o555)
    with unprivileged(), store.reading():
        assert sorted(store.root.rglob("*")) == before
    store.root.chmod(0o755)


def test_a_short_hold_is_waited_for(store: Layout) -> None:
    def holds() -> None:
        with Layout(store.root).locked():
            held.set()
            time.sleep(0.2)

    held = threading.Event()
    other = threading.Thread(target=holds)
    other.start()
    held.wait()
    with store.locked(wait=10):
        pass
    other.join()
