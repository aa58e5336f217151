"""build bench: times on a host, recorded beside the version, and what a pull makes of them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import digest
from builder.actions.measurements import Latency, Percentiles
from builder.errors import StoreDamaged
from builder.host import bench, bench_records
from builder.host.bench import Found, Order
from builder.host.bench_records import Benched, BenchRecord
from builder.platforms.gpus import Gpu
from builder.platforms.platform import Platform
from builder.records import to_json
from builder.store import copying, oci, referrers, versions
from builder.store.layout import Layout
from builder.trust import minisign
from tests.builder.store.test_trust import KEY, OTHER, Host
from tests.fakes import LAPTOP, RTX3090, with_version, without

ORT, OV = "tiny-dense-fp32-ort", "tiny-dense-fp32-ov"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


def latency(p50: float) -> Latency:
    return Latency(Percentiles(p50, p50, p50, 9), None, (1, 1, 64, 64), 0, LAPTOP.kind, "test", 0.01)


def record(
    store: Layout, times: Dict[str, float], version: int = 1, created: str = "2026-11-21T00:00:00+00:00"
) -> BenchRecord:
    made = versions.read(store, version)
    rows = []
    for cell, p50 in times.items():
        entry = made.entry(cell)
        assert entry is not None and entry.artifact is not None and entry.platform is not None
        runtime = entry.platform.runtime
        rows.append(Benched(cell, entry.artifact.digest, runtime, LAPTOP.version(runtime) or "", latency(p50)))
    about = versions.manifest_digest(store, version)
    return BenchRecord(
        1, bench_records.class_of(LAPTOP), "tiny", "dense", version, about, created, "0", "3.12", "", tuple(rows)
    )


def attach(store: Layout, made: BenchRecord, key: Optional[minisign.SecretKey] = None) -> None:
    data = bench_records.text(made)
    signature = (key.public.name, minisign.sign(key, data, "bench").file) if key else None
    referrers.attach_bench(store, made.version, made.tag, data, signature)


def first(host: Host, *words: str) -> str:
    assert host("pull", "--explain", "--format", "json", *words) == 0, host.err
    return str(json.loads(host.out)["ranked"][0]["cell"])


def ranking(host: Host) -> List[Tuple[str, str]]:
    assert host("pull", "--explain", "--format", "json") == 0, host.err
    return [(one["cell"][-3:], one["timed"]["by"]) for one in json.loads(host.out)["ranked"]]


# ---------------------------------------------------------------------------------------------- what a pull makes of it


@pytest.fixture
def both(host: Host) -> Host:
    """With a second version: two artifacts that run here, and the manifest knows no difference between their times."""
    versions.publish(host.store, dataclasses.replace(versions.read(host.store, 1), version=2))
    return host


def test_the_faster_one_here_comes_first(both: Host) -> None:
    assert first(both) == ORT
    attach(both.store, record(both.store, {ORT: 9.0, OV: 3.0}, 2))
    assert ranking(both) == [("-ov", "build bench"), ("ort", "build bench")]
    assert both("pull", "--to", "here") == 0
    assert "p50 3.0 ms on Laptop CPU x2 by build bench" in both.out


@pytest.mark.parametrize(
    "machine",
    [
        dataclasses.replace(LAPTOP, cores=8),
        dataclasses.replace(LAPTOP, cpu="Another CPU"),
        dataclasses.replace(LAPTOP, features=("avx2",)),
        dataclasses.replace(LAPTOP, gpus=(Gpu("NVIDIA T4", "7.5"),)),
        with_version(LAPTOP, "onnxruntime", "1.24.0"),
    ],
)
def test_times_of_another_class_or_version_say_nothing(
    both: Host, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(both.store, record(both.store, {ORT: 9.0, OV: 3.0}, 2))
    monkeypatch.setattr("builder.platforms.machines.here", lambda: machine)
    assert first(both) == ORT


def test_a_newer_record_takes_the_place_of_an_older_one(both: Host) -> None:
    attach(both.store, record(both.store, {ORT: 9.0, OV: 3.0}, 2))
    attach(both.store, record(both.store, {ORT: 2.0, OV: 3.0}, 2, "2026-11-22T00:00:00+00:00"))
    assert len(referrers.benches_of(both.store, 2)) == 1
    assert first(both) == ORT


def test_where_keys_are_trusted_only_their_records_count(both: Host) -> None:
    both("sign", "--key", "mine", "--version", "2")
    both("keys", "trust", "me", "mine.pub")
    made = record(both.store, {ORT: 9.0, OV: 3.0}, 2)
    for key, chosen in ((None, ORT), (OTHER, ORT), (KEY, OV)):
        attach(both.store, made, key)
        assert first(both) == chosen
        assert ("is left out" in both.err) == (chosen == ORT)
    attach(both.store, made)
    assert first(both, "--allow-unsigned") == OV


def _swapped(made: BenchRecord) -> BenchRecord:
    """Two artifacts' times exchanged; the signature stays."""
    one, two = made.rows
    return dataclasses.replace(
        made, rows=(dataclasses.replace(one, latency=two.latency), dataclasses.replace(two, latency=one.latency))
    )


def test_a_record_that_was_changed_after_it_was_signed_counts_nothing(both: Host) -> None:
    both("sign", "--key", "mine", "--version", "2")
    both("keys", "trust", "me", "mine.pub")
    made = record(both.store, {ORT: 3.0, OV: 9.0}, 2)
    signed = (KEY.public.name, minisign.sign(KEY, bench_records.text(made), "bench").file)
    referrers.attach_bench(both.store, 2, made.tag, bench_records.text(_swapped(made)), signed)
    assert first(both) == ORT
    assert "no valid signature" in both.err


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"schema": 9}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_never_stands_in_the_way(both: Host, data: bytes) -> None:
    referrers.attach_bench(both.store, 2, "v2.bench.00000000", data, None)
    assert first(both) == ORT
    assert "v2.bench.00000000 is left out" in both.err


def test_a_record_whose_file_is_gone_never_stands_in_the_way(both: Host) -> None:
    attach(both.store, record(both.store, {ORT: 9.0, OV: 3.0}, 2))
    (offered,) = referrers.benches_of(both.store, 2)
    both.store.fetch(digest.of_bytes(offered.data)).unlink()
    assert first(both) == ORT
    assert "the measurement records are left out: " in both.err and "is missing" in both.err


def test_a_record_of_another_version_with_the_same_number_counts_nothing(both: Host) -> None:
    made = dataclasses.replace(record(both.store, {ORT: 9.0, OV: 3.0}, 2), manifest="sha256:" + 64 * "1")
    attach(both.store, made)
    assert first(both) == ORT
    assert "another v2" in both.err


# ---------------------------------------------------------------------------------------------- as an object of the store


def test_it_travels_with_its_version_and_is_no_signature(both: Host, tmp_path: Path) -> None:
    both("sign", "--key", "mine", "--version", "2")
    made = record(both.store, {ORT: 9.0, OV: 3.0}, 2)
    attach(both.store, made, KEY)
    assert made.tag in copying.belonging(2, oci.all_of(both.store))
    assert made.tag not in copying.belonging(1, oci.all_of(both.store))
    assert len(referrers.signatures_of(both.store, 2)) == 1
    assert versions.numbers(both.store) == (1, 2)
    assert both("publish", f"file://{tmp_path / 'copy'}") == 0
    assert first(both, "--from", f"file://{tmp_path / 'copy'}", "--to", str(tmp_path / "to")) == OV
    attach(both.store, record(both.store, {ORT: 1.0, OV: 3.0}, 2), KEY)
    assert both("publish", f"file://{tmp_path / 'copy'}") == 0, "measured anew, published anew"
    assert first(both, "--from", f"file://{tmp_path / 'copy'}", "--to", str(tmp_path / "to")) == ORT
    assert both("gc") == 0
    assert both("gc", "--keep", "1") == 0
    assert first(both) == ORT, "a collector keeps it with its version"


@given(st.floats(0.001, 1e6), st.text(max_size=9), st.sampled_from(["", "it ended with code 1"]))
def test_what_is_written_is_read_back(p50: float, cpu: str, problem: str) -> None:
    machine = dataclasses.replace(bench_records.class_of(RTX3090), cpu=cpu)
    row = Benched("c", "sha256:" + 64 * "0", "openvino", "1", None if problem else latency(p50), problem)
    made = BenchRecord(1, machine, "m", "h", 3, "sha256:" + 64 * "1", "now", "0", "3", "", (row,))
    assert bench_records.parsed(bench_records.text(made), "here") == made
    packed = bench_records.unpacked(bench_records.packed(bench_records.text(made), None), "here")
    assert packed.bench.encode() == bench_records.text(made)


@pytest.mark.parametrize(
    "row", [Benched("c", "d", "openvino", "1"), Benched("c", "d", "openvino", "1", latency(1.0), "no")]
)
def test_a_row_has_a_time_or_a_problem(row: Benched) -> None:
    made = BenchRecord(1, bench_records.class_of(LAPTOP), "m", "h", 3, "x", "now", "0", "3", "", (row,))
    with pytest.raises(StoreDamaged, match="no sensible time of c"):
        bench_records.parsed(bench_records.text(made), "here")


# ---------------------------------------------------------------------------------------------- the command


def measures(monkeypatch: pytest.MonkeyPatch, **times: float) -> List[Order]:
    """The runtimes of this test are not those of the laptop that it plays: times by the last part of a cell's name."""
    asked: List[Order] = []

    def timed(orders: Any, *_: object) -> Tuple[Found, ...]:
        asked.extend(orders)
        names = [Path(order.folder).name.rsplit("-", 1)[1] for order in orders]
        return tuple(Found(latency(times[name])) if name in times else Found(None, "it broke") for name in names)

    monkeypatch.setattr(bench, "side_by_side", timed)
    return asked


def test_bench_records_into_the_store_that_it_measured(both: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = measures(monkeypatch, ort=9.0, ov=3.0)
    assert both("bench", "--key", "mine", "--threads", "2") == 0, both.err
    assert "1. tiny-dense-fp32-ov   p50 3 ms" in both.out
    assert f"build pull will place {OV} here; without this it was {ORT}" in both.out
    assert f"signed by {KEY.public.name}" in both.out
    assert {(order.threads, order.shape, order.input) for order in asked} == {(2, (1, 1, 64, 64), "image")}
    assert first(both) == OV


@pytest.mark.parametrize(("slower", "unsure"), [(3.05, True), (3.5, False)])
def test_a_difference_within_the_noise_is_said_to_be_that(
    both: Host, monkeypatch: pytest.MonkeyPatch, slower: float, unsure: bool
) -> None:
    measures(monkeypatch, ort=slower, ov=3.0)
    assert both("bench") == 0
    assert ("differ by less than their noise" in both.out) == unsure


def test_what_did_not_run_is_not_placed_on_this_class(both: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    measures(monkeypatch, ov=3.0)
    assert both("bench") == 0
    assert f"{ORT}  did not run: it broke" in both.out
    assert both("pull", "--explain") == 0
    assert f"{ORT}: `build bench` on this class of machine could not run it: it broke" in both.out


def test_where_nothing_ran_nothing_is_recorded(both: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    measures(monkeypatch)
    assert both("bench") == 5
    assert "tiny-dense-fp32-ort: it broke" in both.err
    assert referrers.benches_of(both.store, 2) == ()


def test_from_a_place_that_is_not_written_the_record_is_carried(
    both: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures(monkeypatch, ort=9.0, ov=3.0)
    assert both("publish", f"file://{tmp_path / 'copy'}") == 0
    assert both("bench", f"file://{tmp_path / 'copy'}", "--key", "mine") == 0, both.err
    (carried,) = Path().glob("v2.bench.*.json")
    assert f"build bench --add {carried.name}" in both.out
    assert first(both) == ORT
    both("keys", "trust", "other", "other.pub")
    assert both("bench", "--add", str(carried)) == 10, "whoever may change what hosts choose is asked who they are"
    both("keys", "trust", "me", "mine.pub")
    assert both("bench", "--add", str(carried)) == 0, both.err
    assert first(both, "--allow-unsigned") == OV


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: b"", 7),
        (lambda data: data.replace(b"bench", b"other", 1), 7),
        (lambda data: data.replace(rb"\"version\": 2", rb"\"version\": 1"), 7),
        (lambda data: data.replace(rb"\"version\": 2", rb"\"version\": 9"), 2),
        (lambda data: data.replace(b"fp32-ov", b"fp32-xx"), 7),
        (lambda data: data.replace(rb"\"p50\": 9.0", rb"\"p50\": -9.0"), 7),
        (lambda data: data.replace(rb"\"p50\": 9.0", rb"\"p50\": NaN"), 7),
    ],
)
def test_what_is_added_must_be_about_this_version(both: Host, change: Callable[[bytes], bytes], code: int) -> None:
    made = record(both.store, {ORT: 9.0, OV: 3.0}, 2)
    packed = bench_records.packed(bench_records.text(made), None)
    assert change(packed) != packed
    Path("carried").write_bytes(change(packed))
    before = tuple(oci.all_of(both.store))
    assert both("bench", "--add", "carried") == code, both.err
    assert tuple(oci.all_of(both.store)) == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--size", "65x64"], 2, "65 is not a multiple of 8"),
        (["--size", "640x640"], 6, "no artifact accepts"),
        (["--size", "0x0"], 2, "HEIGHTxWIDTH"),
        (["--head", "none"], 2, "the model has no head 'none'"),
        (["--seconds", "0"], 2, "--seconds"),
        (["--version", "7"], 2, "there is no version 7"),
        (["--add", "missing"], 2, "missing: cannot be read"),
        (["nowhere"], 2, "nowhere holds no version"),
    ],
)
def test_wrong_words(both: Host, words: List[str], code: int, said: str) -> None:
    assert both("bench", *words) == code
    assert said in both.err


def test_nothing_runs_without_its_runtime(both: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.platforms.machines.here", lambda: without(LAPTOP, "onnxruntime"))
    assert both("bench") == 6


# ---------------------------------------------------------------------------------------------- the processes


def order(folder: Path, runtime: str = "onnxruntime") -> Order:
    return Order(str(folder), Platform(runtime, "any", "linux", "x86_64"), "f32", False, 1, "image", (1, 1, 16, 16))


def silent(line: str) -> None: ...


def test_real_artifacts_are_timed_side_by_side(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests import onnx_models

    for name in ("good", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "good" / "model.onnx").write_bytes(onnx_models.convolutional().SerializeToString())
    (tmp_path / "broken" / "model.onnx").write_bytes(b"no model")
    said: List[str] = []
    good, broken = bench.side_by_side(
        [order(tmp_path / "good"), order(tmp_path / "broken")], "this machine", 0.1, 60.0, said.append
    )
    assert good.latency is not None
    assert 0 < good.latency.artifact.p50 <= good.latency.artifact.p90
    assert good.latency.artifact.runs >= 8
    assert good.latency.noise is not None
    assert broken.latency is None
    assert broken.problem.startswith("it ended with code 5")
    assert said[0] == "good: opened"


def test_a_runtime_that_is_not_there_is_told(tmp_path: Path) -> None:
    (found,) = bench.side_by_side([order(tmp_path, "no-such-runtime")], "this machine", 0.1, 60.0, silent)
    assert found.latency is None
    assert found.problem.startswith("it ended with code 2: ")
    assert found.problem.endswith("built in: onnxruntime, onnxruntime-gpu, openvino, tensorrt-rtx, tensorrt")


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    (found,) = bench.side_by_side([order(tmp_path)], "this machine", 0.1, 0.001, silent)
    assert found.problem == "opening took longer than 0.001 s"


def test_a_worker_that_dies_takes_nothing_from_the_others(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests import onnx_models

    (tmp_path / "model.onnx").write_bytes(onnx_models.convolutional().SerializeToString())
    one = bench._Running(order(tmp_path), tmp_path / "work", 60.0)
    try:
        one.open()
        assert one.run() > 0
        assert one._process is not None
        os.killpg(one._process.pid, signal.SIGKILL)
        assert math.isnan(one.run())
        assert one.problem == "it ended by SIGKILL"
        assert math.isnan(one.run()), "and it stays so"
    finally:
        one.end()


def test_an_order_is_one_file(tmp_path: Path) -> None:
    from builder.records import from_json

    made = order(tmp_path)
    assert from_json(Order, json.loads(json.dumps(to_json(made)))) == made


def test_a_store_that_is_opened_from_python_is_chosen_from_by_the_same_times(both: Host) -> None:
    host = pytest.importorskip("builder.host.deployment", exc_type=ImportError)
    made = versions.read(both.store, 2)
    assert [entry.cell for entry in host.best_chain(made, None, both.store)] == [ORT]
    attach(both.store, record(both.store, {ORT: 9.0, OV: 3.0}, 2))
    assert [entry.cell for entry in host.best_chain(made, None, both.store)] == [OV]
