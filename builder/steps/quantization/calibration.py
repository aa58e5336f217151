"""Calibration: the range of each quantized activation.

It comes from the activation's histogram over the photographs. Two passes hold one image in memory at a time: the first
finds each tensor's extremes, the second its histogram. `minmax` keeps the extremes; `percentile` cuts the tails at a
percentile of the absolute values; `mse` takes the range with the least squared rounding error; `entropy` the range
whose codes keep most of the distribution's information (Migacz, "8-bit inference with TensorRT", GTC 2017).

The calibration-data step stores the input tensors as one array. The Q/DQ writer and TensorRT's calibrator read the same
tensors, and a target needs neither the photographs nor their decoder.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from builder.actions.action import Action
from builder.actions.recipes import CalibrationData, Facts, LowerInt8, Sampled
from builder.errors import StepFailed
from builder.models import preprocessing
from builder.runtimes import onnxruntime
from validation import task

Floats = NDArray[np.float32]
_BINS = 2048


@dataclass(frozen=True)
class Grid:
    """real = (code - zero) * scale."""

    scale: float
    zero: int


@dataclass(frozen=True)
class Histogram:
    """counts [2048] over edges [2049]; the range always includes 0."""

    counts: NDArray[np.float64]
    edges: NDArray[np.float64]

    @property
    def centres(self) -> NDArray[np.float64]:
        return (self.edges[1:] + self.edges[:-1]) / 2


def grids(model: onnx.ModelProto, names: Sequence[str], images: Sequence[Floats], recipe: LowerInt8) -> Dict[str, Grid]:
    """The grid of each named tensor. `images` are input tensors [1, C, H, W]."""
    signed = recipe.activations == "symmetric"
    return {name: _choose(h, recipe, signed) for name, h in histograms(model, names, images).items()}


def histograms(model: onnx.ModelProto, names: Sequence[str], images: Sequence[Floats]) -> Dict[str, Histogram]:
    probe = _Probe(model, names)
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for image in images:
        for name, value in probe.values(image):
            low[name], high[name] = min(low[name], float(value.min())), max(high[name], float(value.max()))
    edges = {n: np.linspace(low[n], max(high[n], low[n] + 1e-12), _BINS + 1) for n in names}
    counts = {n: np.zeros(_BINS) for n in names}
    for number, image in enumerate(images, 1):
        for name, value in probe.values(image):
            width = (edges[name][-1] - edges[name][0]) / _BINS
            index = ((value.ravel() - np.float32(edges[name][0])) / np.float32(width)).astype(np.int32)
            counts[name] += np.bincount(np.clip(index, 0, _BINS - 1), minlength=_BINS)
        print(f"calibrated on {number} of {len(images)}", flush=True)
    return {n: Histogram(counts[n], edges[n]) for n in names}


class _Probe:
    """The model with the named tensors as further outputs."""

    def __init__(self, model: onnx.ModelProto, names: Sequence[str]) -> None:
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        self._input = model.graph.input[0].name
        self._names = [name for name in names if name != self._input]
        self._wants_input = self._input in names
        known = {value.name for value in probe.graph.output}
        probe.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self._names if name not in known
        )
        self._session = onnxruntime.session_of(probe.SerializeToString())

    def values(self, image: Floats) -> Iterator[Tuple[str, Floats]]:
        if self._wants_input:
            yield self._input, image
        outputs = self._session({self._input: image})
        for name in self._names:
            yield name, outputs[name]


def _choose(histogram: Histogram, recipe: LowerInt8, signed: bool) -> Grid:
    low, high = float(histogram.edges[0]), float(histogram.edges[-1])
    if recipe.method == "percentile":
        low, high = _percentile(histogram, recipe.percentile)
    if recipe.method not in ("mse", "entropy"):
        return _grid(low, high, signed)
    shrink = np.linspace(0.3, 1.0, 71)
    lows = [1.0] if signed else np.linspace(0.6, 1.0, 9)
    candidates: List[Grid] = [_grid(low * a, high * b, signed) for b in shrink for a in lows]
    if signed:
        top = max(-low, high)
        candidates = [_grid(-top * b, top * b, True) for b in shrink]
    loss = _error if recipe.method == "mse" else _divergence
    return min(candidates, key=lambda grid: loss(histogram, grid, signed))


def _grid(low: float, high: float, signed: bool) -> Grid:
    if signed:
        return Grid(max(max(-low, high), 1e-12) / 127, 0)
    scale = max(high - low, 1e-12) / 255
    return Grid(scale, round(-low / scale))


def _percentile(histogram: Histogram, percentile: float) -> Tuple[float, float]:
    """The tails beyond the percentile are cut on the side where they are."""
    share = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1)
    tail = (100 - percentile) / 100
    low = float(histogram.edges[np.searchsorted(share, tail, side="right")])
    high = float(histogram.edges[min(int(np.searchsorted(share, 1 - tail)) + 1, _BINS)])
    return min(low, 0.0), max(high, 0.0)


def _error(histogram: Histogram, grid: Grid, signed: bool) -> float:
    bounds = (-128, 127) if signed else (0, 255)
    codes = np.clip(np.round(histogram.centres / grid.scale) + grid.zero, *bounds)
    back = (codes - grid.zero) * grid.scale
    return float((histogram.counts * (back - histogram.centres) ** 2).sum())


def _divergence(histogram: Histogram, grid: Grid, signed: bool) -> float:
    """Kullback-Leibler divergence, in nats, of the clipped distribution from its quantized form."""
    bounds = (-128, 127) if signed else (0, 255)
    exact = np.round(histogram.centres / grid.scale) + grid.zero
    codes = np.clip(exact, *bounds).astype(np.int64) - bounds[0]
    inside = exact == codes + bounds[0]
    used = inside & (histogram.counts > 0)
    per_code = np.bincount(codes[used], histogram.counts[used], minlength=256)
    bins = np.bincount(codes[used], minlength=256)
    told = np.where(used, (per_code / np.maximum(bins, 1))[codes], 0)
    # Clipped values count in the outermost codes, but not in the quantized distribution.
    clipped = np.where(inside, histogram.counts, 0)
    places = np.flatnonzero(inside)
    outside = np.flatnonzero(~inside)
    np.add.at(clipped, places[np.searchsorted(places, outside).clip(0, len(places) - 1)], histogram.counts[outside])
    p, q = clipped / clipped.sum(), told / max(told.sum(), 1e-12)
    real = p > 0
    return float((p[real] * np.log(p[real] / np.maximum(q[real], 1e-12))).sum())


# ------------------------------------------------------------------------------------------- the calibration-data step


_MOST = 10_000  # images that a source may give: beyond it, it never ends


def gather_calibration_data(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, CalibrationData):
        raise StepFailed("a calibration-data action needs a calibration-data recipe")
    names, tensors = [], []
    for name, image in _given(recipe, inputs) if recipe.source else _read(recipe, inputs):
        names.append(name)
        tensors.append(preprocessing.tensor(image, recipe.preprocess, recipe.size))
    if not tensors:
        raise StepFailed(f"{recipe.source or 'calibration'} gave no image", hint="int8 ranges need some images")
    np.savez(out / "images.npz", images=np.concatenate(tensors))
    return Sampled(tuple(names))


def _read(recipe: CalibrationData, inputs: Path) -> "Iterator[tuple[str, Any]]":
    for name in recipe.photographs:
        yield name, preprocessing.read(inputs / name)


def _given(recipe: CalibrationData, inputs: Path) -> "Iterator[tuple[str, Any]]":
    """The images of the project's function, checked."""
    code = inputs / "code"
    images = task.attribute(recipe.source, code)()
    with task.told_of(recipe.source, code):
        for number, image in enumerate(itertools.islice(images, _MOST + 1)):
            if number == _MOST:
                raise StepFailed(f"{recipe.source} gave more than {_MOST} images")
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3):
                raise StepFailed(f"{recipe.source}: image {number} is no uint8 array [H, W, 3] or [H, W]")
            yield f"{recipe.source}#{number}", image
