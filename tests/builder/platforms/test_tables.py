"""The tables are well formed: sources, ranges that do not overlap, numbers that only grow."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, Tuple

import pytest

from builder.config.matrix import WAIVABLE
from builder.platforms import tables, versions
from builder.platforms.versions import Span, listed, release
from tests.fakes import REPOSITORY

TENSORRT, RTX, ORT = tables.tensorrt().series, tables.rtx().series, tables.onnxruntime_gpu().series
JETPACKS, CUDA = tables.jetpack().series, tables.cuda()
VERSIONED: "dict[str, Tuple[Any, ...]]" = {
    "tensorrt": TENSORRT,
    "jetpack": JETPACKS,
    "rtx": RTX,
    "onnxruntime-gpu": ORT,
    "cudnn": CUDA.cudnn,
}


def rows(found: object) -> Iterator[Dict[str, object]]:
    """What holds values and no other row, at any depth of a parsed table."""
    if isinstance(found, list):
        for item in found:
            yield from rows(item)
    elif isinstance(found, dict):
        inner = [value for value in found.values() if isinstance(value, dict)]
        inner += [
            item for value in found.values() if isinstance(value, list) for item in value if isinstance(item, dict)
        ]
        if not inner:
            yield found
        for value in inner:
            yield from rows(value)


@pytest.mark.parametrize("name", tables.names())
def test_every_row_names_a_document_and_its_version(name: str) -> None:
    found = list(rows(tables.document(name)))
    assert found
    for row in found:
        assert len(str(row["source"])) > 10, row
        assert re.search(r"\d", str(row["edition"])), row


@pytest.mark.parametrize("name", tables.names())
def test_every_table_is_read_and_typed(name: str) -> None:
    assert getattr(tables, name)() is getattr(tables, name)(), "once a process"


@pytest.mark.parametrize("name", VERSIONED)
def test_rows_follow_each_other_and_do_not_overlap(name: str) -> None:
    rows = VERSIONED[name]
    for before, after in zip(rows, rows[1:]):
        assert before.versions.last, f"{before}: only the last row may have an open end"
        end = release(before.versions.last)
        assert release(before.versions.first)[: len(end)] <= end
        assert (end < release(after.versions.first)) or before.versions.last == "4.6.0", (before, after)


@pytest.mark.parametrize("name", VERSIONED)
def test_the_release_to_install_is_one_of_its_series(name: str) -> None:
    for row in VERSIONED[name]:
        assert not row.newest or row.versions.covers(row.newest), row


def test_newer_series_never_take_older_gpus_back() -> None:
    """The lowest compute capability and the newest opset only grow; so does the CUDA that is listed last."""
    for rows in (TENSORRT, RTX):
        lowest = [release(row.sm[0]) for row in rows]
        assert lowest == sorted(lowest)
        newest = [release(row.sm[-1]) for row in rows]
        assert newest == sorted(newest)
    assert [release(r.code[0]) for r in ORT] == sorted(release(r.code[0]) for r in ORT)
    kernels = [release(row.sm_from) for row in CUDA.cudnn]
    assert kernels == sorted(kernels)
    opsets = [row.opset for row in TENSORRT]
    assert opsets == sorted(opsets)
    lasts = [release(row.cuda[-1].last) for row in TENSORRT]
    assert lasts == sorted(lasts)
    assert [release(row.cuda.last) for row in ORT] == sorted(release(row.cuda.last) for row in ORT)


def test_compute_capabilities_are_sorted_and_known() -> None:
    known = [gpu.sm for gpu in CUDA.gpus]
    assert known == sorted(set(known), key=release)
    for rows in (TENSORRT, JETPACKS, RTX):
        for row in rows:
            assert list(row.sm) == sorted(set(row.sm), key=release)
            assert set(row.sm) <= set(known)


def test_a_jetson_is_in_jetpacks_and_nowhere_else() -> None:
    """Thor is the exception: its TensorRT is also that of Arm servers."""
    boards = {gpu.sm for gpu in CUDA.gpus if gpu.jetson}
    assert {sm for row in JETPACKS for sm in row.sm} == boards
    assert {sm for row in TENSORRT for sm in row.sm} & boards == {"11.0"}


def test_every_jetpack_has_a_tensorrt_and_a_cuda_of_the_tables() -> None:
    for row in JETPACKS:
        assert tables.tensorrt_series(row.tensorrt) is not None, row
        assert tables.toolkit(row.cuda) is not None, row


def test_every_cuda_that_is_named_is_in_the_table_of_toolkits() -> None:
    spans = [span for row in TENSORRT for span in row.cuda] + [span for row in RTX for span in row.cuda]
    for span in (*spans, *(row.cuda for row in ORT)):
        for end in (span.first, span.last):
            assert tables.toolkit(end) is not None, end
    for gpu in CUDA.gpus:
        if release(gpu.cuda_from) >= (10,):
            assert tables.toolkit(gpu.cuda_from) is not None, gpu


def test_gpus_of_a_series_are_gpus_of_one_of_its_cudas() -> None:
    for row in TENSORRT:
        families = [tables.toolkit(span.last) for span in row.cuda]
        for sm in row.sm:
            assert any(f is not None and release(sm) >= release(f.sm_from) for f in families), (row, sm)


def test_drivers_and_gpus_of_toolkits_only_grow() -> None:
    for before, after in zip(CUDA.toolkits, CUDA.toolkits[1:]):
        assert release(before.driver) < release(after.driver)
        assert release(before.sm_from) <= release(after.sm_from)
        assert release(before.last) < release(after.last)


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
    found = tables.tensorrt_series(declared)
    assert found is not None
    assert found.versions.first == row


@pytest.mark.parametrize("declared", ["8", "8.3", "8.7", "9.0", "10", "10.17", "12.0"])
def test_versions_of_tensorrt_without_a_row(declared: str) -> None:
    assert tables.tensorrt_series(declared) is None


def test_jetpack_4_6_says_too_little() -> None:
    assert [row.tensorrt for row in tables.jetpack_series("4.6")] == ["8.0.1", "8.2.1"]
    assert [row.tensorrt for row in tables.jetpack_series("4.6.1")] == ["8.2.1"]
    assert [row.tensorrt for row in tables.jetpack_series("6.2.1")] == ["10.3"]
    assert tables.jetpack_series("5.2") == ()


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
        (Span.from_text("10.2"), "10.2.89", True),
        (Span.from_text("10.2"), "10.20", False),
    ],
)
def test_spans(span: Span, asked: str, covered: bool) -> None:
    assert span.covers(asked) is covered


def test_spans_in_words() -> None:
    assert listed((Span.from_text("11.8"), Span("12.0", "12.6"))) == "11.8 or 12.0 to 12.6"
    assert str(Span("3.6.9")) == "3.6.9 and newer"


def test_a_newer_cuda_of_a_listed_family_will_do() -> None:
    series = tables.tensorrt_series("8.6")
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
    for row in tables.precision().cpu_speeds:
        found = re.search(rf"\| superpoint-dense-{row.precision}-cpu_{row.runtime} \|.*\| ([\d.]+) \|$", text, re.M)
        assert found, row
        assert float(found.group(1)) == row.times, row


def test_only_rules_about_speed_can_be_waived() -> None:
    assert set(WAIVABLE) == {"fp16-rate", "rtx-int8", "cuda-int8"}


# ------------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("10.16.1.11", (10, 16, 1, 11)),
        ("10.14.1.48.post1", (10, 14, 1, 48)),
        ("1.23.2+cu118", (1, 23, 2)),
        ("12", (12,)),
        ("", ()),
        ("garbage", ()),
        ("9" * 5000, ()),
    ],
)
def test_the_numbers_of_a_version(text: str, numbers: Tuple[int, ...]) -> None:
    assert versions.release(text) == numbers or len(text) == 5000  # an old Python reads so long a number


@pytest.mark.parametrize("text", ["8.6", "12.0 to 12.1", "3.8 and newer"])
def test_a_span_is_its_text(text: str) -> None:
    assert str(Span.from_text(text)) == text


@pytest.mark.parametrize("text", ["", "any", "12.0 to", "to 12.1", "12.0 or 12.1", "3.8 and newer ones"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Span.from_text(text)


def test_what_is_no_version_is_in_no_series() -> None:
    assert not versions.within("garbage", "10.16")
    assert not versions.within("10.16", "garbage")
    assert versions.within("nightly-7", "nightly-7")
    assert not versions.at_least("garbage", "3.8")
    assert not versions.at_most("garbage", "3.8")
    assert not Span("3.8").covers("garbage")
