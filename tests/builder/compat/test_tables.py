"""The tables are well formed: sources, ranges that do not overlap, numbers that only grow."""

from __future__ import annotations

import re
from typing import Any, Tuple

import pytest

from builder.compat import cuda, jetpack, onnxruntime_gpu, precision, rtx, tensorrt
from builder.compat.tables import Span, listed, only, version
from tests.fakes import REPOSITORY

TABLES = {
    "toolkits": cuda.TOOLKITS,
    "gpus": cuda.GPUS,
    "tensorrt": tensorrt.SERIES,
    "jetpack": jetpack.JETPACKS,
    "rtx": rtx.RTX,
    "onnxruntime-gpu": onnxruntime_gpu.ORT,
    "cudnn": onnxruntime_gpu.CUDNN,
    "arithmetic": precision.ARITHMETIC,
    "rates": precision.RATES,
}
VERSIONED: "dict[str, Tuple[Any, ...]]" = {
    "tensorrt": tensorrt.SERIES,
    "jetpack": jetpack.JETPACKS,
    "rtx": rtx.RTX,
    "onnxruntime-gpu": onnxruntime_gpu.ORT,
    "cudnn": onnxruntime_gpu.CUDNN,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_names_a_document_and_its_version(name: str) -> None:
    rows: Any = TABLES[name]
    for row in rows:
        assert len(row.source) > 10, row
        assert re.search(r"\d|Guide|index|matrix", row.source), row


@pytest.mark.parametrize("name", VERSIONED)
def test_rows_follow_each_other_and_do_not_overlap(name: str) -> None:
    rows = VERSIONED[name]
    for before, after in zip(rows, rows[1:]):
        assert before.versions.last, f"{before}: only the last row may have an open end"
        end = version(before.versions.last)
        assert version(before.versions.first)[: len(end)] <= end
        assert (end < version(after.versions.first)) or before.versions.last == "4.6.0", (before, after)


@pytest.mark.parametrize("name", VERSIONED)
def test_the_release_to_install_is_one_of_its_series(name: str) -> None:
    for row in VERSIONED[name]:
        assert not row.newest or row.versions.covers(row.newest), row


def test_newer_series_never_take_older_gpus_back() -> None:
    """The lowest compute capability and the newest opset only grow; so does the CUDA that is listed last."""
    for rows in (tensorrt.SERIES, rtx.RTX):
        lowest = [version(row.sm[0]) for row in rows]
        assert lowest == sorted(lowest)
        newest = [version(row.sm[-1]) for row in rows]
        assert newest == sorted(newest)
    assert [version(r.code[0]) for r in onnxruntime_gpu.ORT] == sorted(version(r.code[0]) for r in onnxruntime_gpu.ORT)
    kernels = [version(row.sm_from) for row in onnxruntime_gpu.CUDNN]
    assert kernels == sorted(kernels)
    opsets = [row.opset for row in tensorrt.SERIES]
    assert opsets == sorted(opsets)
    lasts = [version(row.cuda[-1].last) for row in tensorrt.SERIES]
    assert lasts == sorted(lasts)
    assert [version(row.cuda.last) for row in onnxruntime_gpu.ORT] == sorted(
        version(row.cuda.last) for row in onnxruntime_gpu.ORT
    )


def test_compute_capabilities_are_sorted_and_known() -> None:
    known = [gpu.sm for gpu in cuda.GPUS]
    assert known == sorted(set(known), key=version)
    for rows in (tensorrt.SERIES, jetpack.JETPACKS, rtx.RTX):
        for row in rows:
            assert list(row.sm) == sorted(set(row.sm), key=version)
            assert set(row.sm) <= set(known)


def test_a_jetson_is_in_jetpacks_and_nowhere_else() -> None:
    """Thor is the exception: its TensorRT is also that of Arm servers."""
    boards = {gpu.sm for gpu in cuda.GPUS if gpu.jetson}
    assert {sm for row in jetpack.JETPACKS for sm in row.sm} == boards
    assert {sm for row in tensorrt.SERIES for sm in row.sm} & boards == {"11.0"}


def test_every_jetpack_has_a_tensorrt_and_a_cuda_of_the_tables() -> None:
    for row in jetpack.JETPACKS:
        assert tensorrt.series(row.tensorrt) is not None, row
        assert cuda.toolkit(row.cuda) is not None, row


def test_every_cuda_that_is_named_is_in_the_table_of_toolkits() -> None:
    spans = [span for row in tensorrt.SERIES for span in row.cuda] + [span for row in rtx.RTX for span in row.cuda]
    for span in (*spans, *(row.cuda for row in onnxruntime_gpu.ORT)):
        for end in (span.first, span.last):
            assert cuda.toolkit(end) is not None, end
    for gpu in cuda.GPUS:
        if version(gpu.cuda_from) >= (10,):
            assert cuda.toolkit(gpu.cuda_from) is not None, gpu


def test_gpus_of_a_series_are_gpus_of_one_of_its_cudas() -> None:
    for row in tensorrt.SERIES:
        families = [cuda.toolkit(span.last) for span in row.cuda]
        for sm in row.sm:
            assert any(f is not None and version(sm) >= version(f.sm_from) for f in families), (row, sm)


def test_drivers_and_gpus_of_toolkits_only_grow() -> None:
    for before, after in zip(cuda.TOOLKITS, cuda.TOOLKITS[1:]):
        assert version(before.driver) < version(after.driver)
        assert version(before.sm_from) <= version(after.sm_from)
        assert version(before.last) < version(after.last)


@pytest.mark.parametrize(
    ("declared", "row"),
    [
        ("7.1.3", "7.1"),
        ("8.4.1", "8.4"),
        ("8.5.2", "8.5"),
        ("8.6", "8.6"),
        ("8.6.1.6", "8.6"),
        ("10.0", "10.0"),
        ("10.4.0.26", "10.4"),
        ("10.9", "10.9"),
        ("10.13", "10.10"),
        ("10.13.0", "10.10"),
        ("10.13.3", "10.13.2"),
        ("10.16.1.11", "10.16"),
        ("11.4", "11.1"),
    ],
)
def test_versions_of_tensorrt_find_their_row(declared: str, row: str) -> None:
    found = tensorrt.series(declared)
    assert found is not None
    assert found.versions.first == row


@pytest.mark.parametrize("declared", ["8", "8.3", "8.7", "9.0", "10", "10.17", "12.0"])
def test_versions_of_tensorrt_without_a_row(declared: str) -> None:
    assert tensorrt.series(declared) is None


def test_jetpack_4_6_says_too_little() -> None:
    assert [row.tensorrt for row in jetpack.named("4.6")] == ["8.0.1", "8.2.1"]
    assert [row.tensorrt for row in jetpack.named("4.6.1")] == ["8.2.1"]
    assert [row.tensorrt for row in jetpack.named("6.2.1")] == ["10.3"]
    assert jetpack.named("5.2") == ()


@pytest.mark.parametrize(
    ("span", "asked", "covered"),
    [
        (Span("11.0", "11.8"), "11.8", True),
        (Span("11.0", "11.8"), "11.8.89", True),
        (Span("11.0", "11.8"), "12.0", False),
        (Span("11.0", "11.8"), "10.2", False),
        (Span("11.0", "11.8"), "11", True),
        (Span("3.6.9"), "3.6", True),
        (Span("3.6.9"), "3.6.8", False),
        (Span("3.6.9"), "3.14", True),
        (Span("3.8", "3.12"), "3.13", False),
        (Span("3.8", "3.12"), "3.12.4", True),
        (only("10.2"), "10.2.89", True),
        (only("10.2"), "10.20", False),
    ],
)
def test_spans(span: Span, asked: str, covered: bool) -> None:
    assert span.covers(asked) is covered


def test_spans_in_words() -> None:
    assert listed((only("11.8"), Span("12.0", "12.6"))) == "11.8 or 12.0 to 12.6"
    assert str(Span("3.6.9")) == "3.6.9 and newer"


def test_a_newer_cuda_of_a_listed_family_will_do() -> None:
    series = tensorrt.series("8.6")
    assert series is not None
    assert [cuda for cuda in ("10.2", "11.0", "11.8", "12.1", "12.4", "13.0") if series.has_cuda(cuda)] == [
        "11.0",
        "11.8",
        "12.1",
        "12.4",
    ]


def test_measured_speeds_are_those_of_the_results_page() -> None:
    text = (REPOSITORY / "docs" / "results" / "cpu.md").read_text(encoding="utf-8")
    assert "AVX-512 VNNI" in text
    for row in precision.CPU_SPEEDS:
        found = re.search(rf"\| superpoint-dense-{row.precision}-cpu_{row.runtime} \|.*\| ([\d.]+) \|$", text, re.M)
        assert found, row
        assert float(found.group(1)) == row.times, row


def test_only_rules_about_speed_can_be_waived() -> None:
    assert set(precision.WAIVABLE) == {"fp16-rate", "rtx-int8", "cuda-int8"}
