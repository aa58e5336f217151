"""The local store: what it believes, what it refuses, and who may hold it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from builder import digest
from builder.action import Blob, Result
from builder.errors import StoreBusy, StoreDamaged, UsageError
from builder.recipes import Made
from builder.stores.layout import Layout

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
    assert not os.access(str(store.fetch(blob.digest)), os.W_OK) or os.geteuid() == 0


def test_the_same_bytes_are_kept_once(store: Layout) -> None:
    one, two = store.put_bytes("a", b"data"), store.put_bytes("b", b"data")
    assert one.digest == two.digest
    assert (one.name, two.name) == ("a", "b")
    assert len(list((store.root / "blobs" / "sha256").iterdir())) == 1


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
from builder.stores.layout import Layout
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
