"""Choosing: every reason to reject, the ranking, the fallback chain."""

from __future__ import annotations

import dataclasses
from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.host.choose import Asked, accepts, choose, covering
from builder.platforms.packages import Package
from builder.platforms.platform import cannot_run
from builder.store.manifest import Entry
from tests.fakes import GTX1060, LAPTOP, RASPBERRY, RTX3090, entry, manifest, with_version, without


@pytest.mark.parametrize(
    ("changes", "machine", "reason"),
    [
        ({"status": "failed"}, LAPTOP, "failed: why it is failed"),
        ({"status": "waiting", "artifact": False}, LAPTOP, "waiting: why it is waiting"),
        ({"status": "skipped", "artifact": False}, LAPTOP, "skipped: why it is skipped"),
        ({"status": "unverified"}, LAPTOP, "unverified: why it is unverified"),
        ({"artifact": False}, LAPTOP, "it has no artifact"),
        ({"arch": "aarch64"}, LAPTOP, "it is for linux on aarch64, this host is linux on x86_64"),
        ({}, RASPBERRY, "it is for linux on x86_64, this host is linux on aarch64"),
        (
            {"runtime": "tensorrt-rtx", "sm": "8.6"},
            LAPTOP,
            "it needs compute capability 8.6, this host has no NVIDIA GPU",
        ),
        (
            {"runtime": "tensorrt", "sm": "8.6"},
            dataclasses.replace(LAPTOP, gpu_problem="libcuda.so.1 is not found"),
            "it needs compute capability 8.6, this host has no NVIDIA GPU that it can use: libcuda.so.1 is not found",
        ),
        (
            {"runtime": "tensorrt", "sm": "6.1"},
            RTX3090,
            "it needs compute capability 6.1, this host has NVIDIA GeForce RTX 3090 (8.6)",
        ),
        (
            {"runtime": "openvino", "version": "2026.0.0", "compute": "bf16"},
            LAPTOP,
            "it computes in bf16, which Laptop CPU lacks",
        ),
        ({}, without(LAPTOP, "onnxruntime"), "onnxruntime is not installed on this host"),
        (
            {"runtime": "openvino", "version": "2025.4.0"},
            LAPTOP,
            "it was proven with openvino 2025.4.0, this host has 2026.0.0",
        ),
        (
            {"runtime": "tensorrt", "sm": "8.6", "version": "10.3"},
            RTX3090,
            "it was proven with tensorrt 10.3, this host has 10.16.1.11",
        ),
    ],
)
def test_why_an_entry_is_rejected(changes: Any, machine: Any, reason: str) -> None:
    choice = choose(manifest(entry(**changes)), machine, "dense")
    assert choice.ranked == ()
    assert [(r.cell, r.reason) for r in choice.rejected] == [("tiny-dense-fp32-ort", reason)]


@pytest.mark.parametrize(
    ("changes", "machine"),
    [
        ({}, LAPTOP),
        ({"version": "1.19.0"}, LAPTOP),
        ({"runtime": "openvino", "version": "2026.0.9"}, LAPTOP),
        ({"runtime": "openvino", "version": "any"}, LAPTOP),
        (
            {"runtime": "openvino", "version": "2026.0.0", "compute": "bf16"},
            dataclasses.replace(LAPTOP, features=("amx_bf16",)),
        ),
        ({"runtime": "tensorrt", "sm": "8.6", "version": "10.16"}, RTX3090),
        ({"arch": "aarch64"}, RASPBERRY),
    ],
)
def test_what_a_machine_may_use(changes: Any, machine: Any) -> None:
    assert len(choose(manifest(entry(**changes)), machine, "dense").ranked) == 1


def test_unverified_only_when_asked_and_after_what_passed() -> None:
    one, two = entry("m-h-fp32-a", status="unverified", p50=0.1), entry("m-h-fp32-b", p50=99.0)
    offered = manifest(one, two, entry("m-h-fp32-c", status="unverified", artifact=False))
    assert choose(offered, LAPTOP, "dense").ranked == (two,)
    choice = choose(offered, LAPTOP, "dense", Asked(unverified=True))
    assert choice.ranked == (two, one)
    assert [(r.cell, r.reason) for r in choice.rejected] == [("m-h-fp32-c", "unverified: why it is unverified")]


def test_other_heads_are_not_offered() -> None:
    choice = choose(manifest(entry(head="other")), LAPTOP, "dense")
    assert choice.ranked == choice.rejected == ()


def test_the_ranking() -> None:
    """Timed on this kind of machine, by the ratio to the naive export; then timed elsewhere; then the prior."""
    order = [
        entry("m-h-int8-a", p50=4.0, naive=40.0),
        entry("m-h-int8-b", p50=2.0, naive=8.0),
        entry("m-h-fp32-c", p50=1.0, naive=4.0, measured_on="another"),
        entry("m-h-int8-d", p50=None, runtime="openvino", version="2026.0"),
        entry("m-h-fp16-e", p50=None, runtime="openvino", version="2026.0"),
        entry("m-h-int8-f", p50=None),
        entry("m-h-fp32-g", p50=None),
    ]
    assert list(choose(manifest(*reversed(order)), LAPTOP, "dense").ranked) == order


def test_without_a_time_the_runtime_counts_first_and_then_the_precision() -> None:
    """One artifact for the GPU was timed here, so the others compare by what is usual, whatever they run on."""
    gpus = ("tensorrt-rtx", "1.7", "8.6"), ("tensorrt", "10.16", "8.6")
    order = [entry("m-h-fp32-timed", runtime="tensorrt", version="10.16", sm="8.6", measured_on=RTX3090.kind)]
    for group in (
        gpus,
        [("onnxruntime-gpu", "1.26", "8.6")],
        [("openvino", "2026.0", "")],
        [("onnxruntime", "1.23", "")],
    ):
        for precision in ("int8", "bf16", "fp16", "fp32"):
            for number, (runtime, version, sm) in enumerate(group):
                cell = f"m-h-{precision}-{number}"
                order.append(entry(f"{cell}{runtime}", runtime=runtime, version=version, sm=sm or None, p50=None))
    host = with_version(RTX3090, "onnxruntime-gpu", "1.26.0")
    assert [e.cell for e in choose(manifest(*reversed(order)), host, "dense").ranked] == [e.cell for e in order]


def test_the_time_of_a_yardstick_is_the_median_of_its_machine() -> None:
    """Shares of it compare with the milliseconds of what was timed without a yardstick on that machine."""
    order = [
        entry("m-h-fp32-a", p50=0.9, naive=None),
        entry("m-h-fp32-b", p50=1.0, naive=10.0),
        entry("m-h-fp32-c", p50=1.3, naive=None),
        entry("m-h-fp32-d", p50=4.0, naive=8.0),
        entry("m-h-fp32-e", p50=18.0, naive=30.0),
    ]
    choice = choose(manifest(*reversed(order)), LAPTOP, "dense")
    assert [standing.milliseconds for standing in choice.standings] == [0.9, 1.0, 1.3, 5.0, 6.0]
    assert list(choice.ranked) == order


def test_what_was_proven_with_the_version_that_is_here_comes_before_a_better_number() -> None:
    other, same = entry("m-h-fp32-a", version="1.19.0", p50=1.0), entry("m-h-fp32-b", p50=9.0)
    assert choose(manifest(other, same), LAPTOP, "dense").ranked == (same, other)


def test_of_two_with_the_same_time_the_first_by_name_comes_first() -> None:
    one, two = entry("m-h-fp32-a"), entry("m-h-fp32-b")
    assert choose(manifest(two, one), LAPTOP, "dense").ranked == (one, two)


def test_without_a_yardstick_the_faster_one_comes_first() -> None:
    slow, fast = entry("m-h-fp32-a", p50=9.0, naive=None), entry("m-h-fp32-b", p50=3.0, naive=None)
    assert choose(manifest(slow, fast), LAPTOP, "dense").ranked == (fast, slow)


def test_a_version_series_is_two_numbers() -> None:
    ov = entry(runtime="openvino", version="2026.0.0")
    assert choose(manifest(ov), with_version(LAPTOP, "openvino", "2026.0.7"), "dense").ranked
    assert not choose(manifest(ov), with_version(LAPTOP, "openvino", "2026.1.0"), "dense").ranked


def _accepts(item: Entry, side: int) -> bool:
    return accepts(item, "image", (1, 1, side, side))


def test_accepts() -> None:
    item = entry(sizes=((16, 32), (64, 128)))
    assert [_accepts(item, side) for side in (8, 16, 32, 40, 64, 128, 136)] == [
        False,
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert not accepts(item, "other", (1, 1, 16, 16))


def test_the_chain_keeps_only_what_adds_sizes() -> None:
    fast, inside, wide = entry(sizes=((16, 32),)), entry(sizes=((16, 24),)), entry(sizes=((8, 64),))
    assert covering([fast, inside, wide]) == (fast, wide)
    assert covering([wide, fast]) == (wide,)
    assert covering([]) == ()


def test_what_accepts_another_input_is_covered_by_nothing() -> None:
    image = entry(sizes=((8, 128),))
    ranges = (dataclasses.replace(image.profiles[0].inputs[0], name="mask"),)
    mask = dataclasses.replace(image, profiles=(dataclasses.replace(image.profiles[0], inputs=ranges),))
    assert covering([image, mask]) == (image, mask)


def test_two_profiles_do_not_cover_the_gap_between_them() -> None:
    gap, whole = entry(sizes=((8, 16), (64, 128))), entry(sizes=((8, 128),))
    assert covering([gap, whole]) == (gap, whole)


_SIZES = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda p: (min(p), max(p))), min_size=1, max_size=2
)


@given(st.lists(_SIZES, min_size=1, max_size=4))
def test_the_chain_accepts_every_size_that_any_entry_accepts(all_sizes: List[List[Tuple[int, int]]]) -> None:
    ranked = [entry(f"m-h-fp32-{i}", sizes=tuple(sizes)) for i, sizes in enumerate(all_sizes)]
    chain = covering(ranked)
    for side in range(1, 10):
        assert any(_accepts(e, side) for e in chain) == any(_accepts(e, side) for e in ranked)


@pytest.mark.parametrize(
    ("portability", "sm", "fits"),
    [
        ("", "8.6", True),
        ("", "8.9", False),
        ("gpu-model", "8.9", False),
        ("compute-capability", "8.6", True),
        ("compute-capability", "8.9", False),
        ("ampere-plus", "8.9", True),
        ("ampere-plus+version", "12.0", True),
        ("ampere-plus", "8.0", True),
        ("ampere-plus", "7.5", False),
        ("ampere-plus", "", False),  # the driver does not say
    ],
)
def test_an_engine_loads_on_what_its_tier_says(portability: str, sm: str, fits: bool) -> None:
    made = entry("t-dense-fp16-trt", runtime="tensorrt", version="10.16", sm="8.6")
    assert made.artifact is not None
    made = dataclasses.replace(made, artifact=dataclasses.replace(made.artifact, portability=portability))
    machine = dataclasses.replace(RTX3090, gpus=(dataclasses.replace(RTX3090.gpus[0], sm=sm),))
    assert made.platform is not None and made.artifact is not None
    assert (cannot_run(made.platform, machine, made.artifact) is None) == fits


@pytest.mark.parametrize(
    ("portability", "proven", "installed", "fits"),
    [
        ("gpu-model", "10.16", "10.16.1.11", True),
        ("gpu-model", "10.16", "11.0.0", False),
        ("gpu-model+version", "10.16", "11.0.0", True),
        ("gpu-model+version", "10.16", "10.13.3", False),
        ("gpu-model+version", "any", "10.13.3", True),
    ],
)
def test_a_version_compatible_engine_loads_in_newer_versions(
    portability: str, proven: str, installed: str, fits: bool
) -> None:
    made = entry("t-dense-fp16-trt", runtime="tensorrt", version=proven, sm="8.6")
    assert made.artifact is not None
    made = dataclasses.replace(made, artifact=dataclasses.replace(made.artifact, portability=portability))
    packages = (*(p for p in RTX3090.packages if p.name != "tensorrt"), Package("tensorrt", installed))
    assert made.platform is not None and made.artifact is not None
    host = dataclasses.replace(RTX3090, packages=packages)
    assert (cannot_run(made.platform, host, made.artifact) is None) == fits


def test_an_onnx_file_for_the_gpu_is_offered_where_onnxruntime_gpu_is() -> None:
    """Any version of onnxruntime-gpu reads it; without a measurement the GPU comes before the CPU, when asked for."""
    gpu = entry(
        "tiny-dense-fp32-gpu", status="unverified", runtime="onnxruntime-gpu", version="1.26", sm="6.1", p50=None
    )
    cpu = entry("tiny-dense-fp32-cpu", status="unverified", p50=None)
    host = with_version(GTX1060, "onnxruntime-gpu", "1.23.2")
    chosen = choose(manifest(cpu, gpu), host, "dense", Asked(unverified=True))
    assert [e.cell for e in chosen.ranked][:1] == ["tiny-dense-fp32-gpu"]
    assert choose(manifest(gpu), host, "dense").ranked == ()
    (rejected,) = choose(manifest(gpu), GTX1060, "dense", Asked(unverified=True)).rejected
    assert rejected.reason == "onnxruntime-gpu is not installed on this host"
