"""Comparison of an artifact's outputs with the model's.

Needs NumPy alone. Tensors that cannot be compared (another shape, NaN, Inf) give a `problem` instead of numbers. The
caller chooses the function for the numbers: Polygraphy's where artifacts are built (`validation/parity.py`), or `of`
on hosts.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple

import numpy as np

from builder.actions.measurements import OutputParity
from builder.config.contract import Agreement, Align
from builder.errors import StepFailed
from validation.samples import Arrays, Sample

# ------------------------------------------------------------------------------------------ pairing of unordered points


def paired(reference: Arrays, candidate: Arrays, align: Align) -> Tuple[Arrays, Arrays, float]:
    """(reference rows, candidate rows, matched fraction of the reference's real rows), over the whole batch.

    Near-equal scores may swap places in a top-k: the keypoints are the same, the tensors are not. Rows are paired
    when each is the other's nearest point, at most `within` pixels apart.
    Outputs are [B, K, ...]; the rows come back as [N, ...], N pairs. With no real row in the reference, the fraction
    is 1 when the candidate has none either, else 0.
    """
    wanted, real = [], 0
    for image in range(reference[align.points].shape[0]):
        rows = np.flatnonzero(reference[align.scores][image] > align.at_least)
        real += len(rows)
        found = np.flatnonzero(candidate[align.scores][image] > 0)
        i, j = mutual(reference[align.points][image][rows], candidate[align.points][image][found], align.within)
        wanted.append((image, rows[i], found[j]))
    pairs = sum(len(i) for _, i, _ in wanted)
    if real == 0:
        empty = not any((candidate[align.scores] > align.at_least).ravel())
        return _rows(reference, wanted, 1), _rows(candidate, wanted, 2), 1.0 if empty else 0.0
    return _rows(reference, wanted, 1), _rows(candidate, wanted, 2), pairs / real


def mutual(a: Any, b: Any, within: float) -> Tuple[Any, Any]:
    """Indices of mutually nearest points of a [N, 2] and b [M, 2] at most `within` apart."""
    if not len(a) or not len(b):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    distance = np.linalg.norm(a[:, None, :].astype(np.float64) - b[None, :, :], axis=2)
    nearest_b, nearest_a = distance.argmin(1), distance.argmin(0)
    i = np.arange(len(a))
    keep = (nearest_a[nearest_b] == i) & (distance[i, nearest_b] <= within)
    return i[keep], nearest_b[keep]


def _rows(arrays: Arrays, pairs: Any, which: int) -> Arrays:
    return {name: np.concatenate([value[p[0]][p[which]] for p in pairs]) for name, value in arrays.items()}


# ------------------------------------------------------------------------------------------- comparison


# (output, sample, reference, candidate) -> its numbers
Statistics = Callable[[str, str, Any, Any], OutputParity]


def compared(
    sample: Sample,
    candidate: Arrays,
    outputs: Tuple[str, ...],
    align: Optional[Align],
    agreement: Iterable[Agreement],
    statistics: Statistics,
) -> Iterator[OutputParity]:
    """One OutputParity per name in `outputs`, in that order.

    Raises StepFailed for a missing axis.
    """
    axes: Dict[str, int] = {agreed.output: agreed.axis for agreed in agreement}
    problems = {name: _problem(name, sample.outputs, candidate) for name in outputs}
    reference, matched = sample.outputs, None
    if align is not None and not any(problems.values()):
        reference, candidate, matched = paired(reference, candidate, align)
    for name in outputs:
        if problems[name] is not None:
            yield OutputParity(name, sample.name, problems[name])
        elif reference[name].size == 0:
            yield OutputParity(name, sample.name, None, matched=matched)
        else:
            measured = statistics(name, sample.name, reference[name], candidate[name])
            agreed = _agreement(reference[name], candidate[name], axes[name]) if name in axes else None
            yield dataclasses.replace(measured, matched=matched, agreement=agreed)


def _problem(name: str, reference: Arrays, candidate: Arrays) -> Optional[str]:
    if name not in candidate:
        return f"the artifact has no output {name!r}, only {', '.join(sorted(candidate))}"
    wanted, found = reference[name], candidate[name]
    if wanted.shape != found.shape:
        return f"shape {list(found.shape)} where the reference has {list(wanted.shape)}"
    bad = np.count_nonzero(~np.isfinite(found))
    return f"{bad} of {found.size} values are NaN or Inf" if bad else None


def _agreement(reference: Any, candidate: Any, axis: int) -> float:
    """Fraction of positions with the same index of the largest element along `axis`.

    Raises StepFailed.
    """
    if not -reference.ndim <= axis < reference.ndim:
        raise StepFailed(f"`parity.agreement`: there is no axis {axis} in a tensor of shape {list(reference.shape)}")
    return float(f"{np.mean(reference.argmax(axis) == candidate.argmax(axis)):.7g}")


# The statistics of an output without Polygraphy, for hosts: the only place that computes them here.
#
# `validation/parity.py` takes them from Polygraphy. tests/validation/test_statistics.py compares every digit of both.
# Differences are candidate minus reference, in the tensor's own unit; relative ones are relative to the
# reference, where zeros stand for 2.2e-16.


QUANTILE = 0.99
_EPSILON = 2.220446049250313e-16
_WIDER = {"float16": np.float32, "int8": np.int32, "uint8": np.int32, "int16": np.int32, "uint16": np.int32}


def of(output: str, sample: str, reference: Any, candidate: Any) -> OutputParity:
    """Every metric of one output. Arrays of one shape, finite, not empty."""
    wanted, found = _wide(reference), _wide(candidate)
    if wanted.dtype == found.dtype == np.bool_:
        wanted, found = wanted.astype(np.int32), found.astype(np.int32)
    absolute = np.abs(found - wanted)
    divisor = wanted.copy()
    if divisor.dtype.kind == "f":
        divisor[divisor == 0] += _EPSILON
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = absolute / np.abs(divisor)
        square = np.mean(_squared(wanted - found))
        return rounded(
            output,
            sample,
            max_abs=absolute.max(),
            mean_abs=np.mean(absolute, dtype=np.float32),
            median_abs=np.median(absolute),
            p99_abs=np.quantile(absolute, QUANTILE),
            max_rel=relative.max(),
            mean_rel=np.mean(relative, dtype=np.float32),
            median_rel=np.median(relative),
            p99_rel=np.quantile(relative, QUANTILE),
            cosine=_cosine(wanted.ravel(), found.ravel()),
            snr_db=_ratio(np.mean(_squared(wanted)), square),
            psnr_db=_peak(wanted.max(), square),
        )


def rounded(output: str, sample: str, **statistics: Any) -> OutputParity:
    """Numbers to seven digits, None for what is not finite. The infinite decibels of equal tensors, which JSON cannot
    hold, are 999."""
    return OutputParity(output, sample, None, **{name: _rounded(name, value) for name, value in statistics.items()})


def _rounded(statistic: str, value: Any) -> Optional[float]:
    if value == math.inf and statistic.endswith("_db"):
        return 999.0
    return float(f"{value:.7g}") if value is not None and math.isfinite(value) else None


def _wide(array: Any) -> Any:
    return array.astype(_WIDER[array.dtype.name]) if array.dtype.name in _WIDER else array


def _squared(array: Any) -> Any:
    """Squares in 64 bits, as Polygraphy computes them with NumPy 2."""
    return np.power(array.astype(np.float64 if array.dtype.kind == "f" else np.int64), 2)


def _cosine(wanted: Any, found: Any) -> float:
    """Of two zero vectors it is 1, of one 0."""
    one, two = np.sqrt(np.sum(_squared(wanted))), np.sqrt(np.sum(_squared(found)))
    if one == 0 or two == 0:
        return 1.0 if one == two else 0.0
    cosine = float(np.sum(found * wanted) / (two * one))
    return cosine if math.isnan(cosine) else max(-1.0, min(1.0, cosine))


def _ratio(signal: Any, noise: Any) -> float:
    if noise == 0:
        return math.inf
    return -math.inf if signal == 0 else float(10 * np.log10(float(signal / noise)))


def _peak(largest: Any, square: Any) -> float:
    if square == 0:
        return math.inf
    return float(20 * np.log10(float(largest) if largest > 0 else 1.0) - 10 * np.log10(float(square)))
