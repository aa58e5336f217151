"""The ranges that calibration wrote, read back from an int8 graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from builder.config.matrix import Calibration, Photographs
from builder.errors import UsageError
from builder.inspection import onnx as ranges
from builder.models import onnx_files
from builder.steps.quantization import calibration, int8, placement
from tests import onnx_models


@pytest.mark.parametrize(
    ("signed", "zero", "low", "high", "codes"), [(True, 0, -12.8, 12.7, "int8"), (False, 100, -10.0, 15.5, "uint8")]
)
def test_ranges_are_those_of_the_codes(
    signed: bool, zero: int, low: float, high: float, codes: str, tmp_path: Path
) -> None:
    model = onnx_models.convolutional()
    places = placement.places(model, "inputs")
    grids = dict.fromkeys(places.pairs, calibration.Grid(0.1, zero))
    onnx_files.save(int8.quantize(model, places, grids, signed=signed), tmp_path / "m.onnx")
    found = ranges.ranges_of(tmp_path / "m.onnx", "m")
    assert [row.tensor for row in found] == ["image", "r1"]
    for row in found:
        assert (row.low, row.high, row.scale) == pytest.approx((low, high, 0.1))
        assert (row.zero, row.codes) == (zero, codes)
    told = ranges.as_text(Calibration(Photographs(("a.png", "b.png")), method="percentile"), [(("cell",), found)])
    assert "percentile 99.999, from 2 photographs at 240x320: a.png, b.png" in told
    assert "r1" in told


def test_a_graph_without_pairs_has_no_ranges(tmp_path: Path) -> None:
    onnx_files.save(onnx_models.convolutional(), tmp_path / "m.onnx")
    assert ranges.ranges_of(tmp_path / "m.onnx", "m") == ()


def test_a_file_that_is_no_graph_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09")
    with pytest.raises(UsageError):
        ranges.ranges_of(tmp_path / "m.onnx", "m")
