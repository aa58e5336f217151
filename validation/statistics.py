"""The numbers of `validation/parity.py` without Polygraphy, for hosts: the same formulas in the same precision.

tests/validation/test_statistics.py holds every one of them to Polygraphy's, digit by digit. Differences are candidate
minus reference, in the tensor's own unit; relative ones are relative to the reference, where zeros stand for 2.2e-16.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np

from builder.actions.measurements import OutputParity

_QUANTILE = 0.99
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
        return OutputParity(
            output=output,
            sample=sample,
            problem=None,
            max_abs=_finite(absolute.max()),
            mean_abs=_finite(np.mean(absolute, dtype=np.float32)),
            median_abs=_finite(np.median(absolute)),
            p99_abs=_finite(np.quantile(absolute, _QUANTILE)),
            max_rel=_finite(relative.max()),
            mean_rel=_finite(np.mean(relative, dtype=np.float32)),
            median_rel=_finite(np.median(relative)),
            p99_rel=_finite(np.quantile(relative, _QUANTILE)),
            cosine=_finite(_cosine(wanted.ravel(), found.ravel())),
            snr_db=_decibels(_ratio(np.mean(_squared(wanted)), square)),
            psnr_db=_decibels(_peak(wanted.max(), square)),
        )


def _wide(array: Any) -> Any:
    return array.astype(_WIDER[array.dtype.name]) if array.dtype.name in _WIDER else array


def _squared(array: Any) -> Any:
    """In 64 bits, which is what Polygraphy's squares have with NumPy 2."""
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


def _finite(value: Any) -> Optional[float]:
    """Seven digits; None for what is not a number."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _decibels(value: float) -> Optional[float]:
    """Equal tensors have an infinite ratio, which JSON cannot hold: it is written as 999."""
    return 999.0 if value == math.inf else _finite(value)
