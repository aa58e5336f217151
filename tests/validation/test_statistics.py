"""The host's numbers are Polygraphy's, digit by digit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
from validation import comparison
from validation.samples import Sample

RANDOM = np.random.default_rng(5)
MAP = RANDOM.normal(size=(2, 3, 17, 19)).astype(np.float32)


def near(wanted: Any, scale: float) -> Any:
    return (wanted + scale * RANDOM.normal(size=wanted.shape)).astype(wanted.dtype)


SPARSE = np.where(MAP > 1, MAP, 0).astype(np.float32)
PAIRS = {
    "equal": (MAP, MAP.copy()),
    "near": (MAP, near(MAP, 1e-6)),
    "far": (MAP, near(MAP, 0.3)),
    "another": (MAP, -MAP),
    "with zeros": (SPARSE, near(SPARSE, 1e-3)),
    "reference of zeros": (np.zeros_like(MAP), near(MAP, 0.1)),
    "candidate of zeros": (MAP, np.zeros_like(MAP)),
    "both zeros": (np.zeros_like(MAP), np.zeros_like(MAP)),
    "negative": (-np.abs(MAP), -np.abs(near(MAP, 0.1))),
    "one number": (np.float32([2.0]), np.float32([2.5])),
    "halves": (MAP.astype(np.float16), near(MAP, 0.01).astype(np.float16)),
    "doubles": (MAP.astype(np.float64), near(MAP.astype(np.float64), 1e-9)),
    "half against float": (MAP, near(MAP, 0.01).astype(np.float16)),
    "bytes": (RANDOM.integers(1, 255, 99).astype(np.uint8), RANDOM.integers(1, 255, 99).astype(np.uint8)),
    "wholes": (RANDOM.integers(1, 9, 99).astype(np.int64), RANDOM.integers(1, 9, 99).astype(np.int64)),
    "huge": (MAP * np.float32(1e30), near(MAP, 0.1) * np.float32(1e30)),
    "large and long": (RANDOM.normal(size=200_001).astype(np.float32), RANDOM.normal(size=200_001).astype(np.float32)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_every_number_is_polygraphys(name: str) -> None:
    pytest.importorskip("polygraphy")
    from validation import parity

    wanted, found = PAIRS[name]
    with np.errstate(all="ignore"):
        (theirs,) = parity.compare(lambda inputs: {"out": found}, Sample("s", {}, {"out": wanted}), ("out",), None)
    ours = comparison.of("out", "s", wanted, found)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)


def test_what_is_not_finite_is_no_number_but_for_decibels_of_equal_tensors() -> None:
    zeros, ones = np.zeros(4, np.int64), np.ones(4, np.int64)
    found = comparison.of("out", "s", zeros, ones)
    assert (found.max_abs, found.max_rel, found.p99_rel, found.snr_db) == (1, None, None, None)
    assert (comparison.of("out", "s", ones, ones).snr_db, comparison.of("out", "s", ones, ones).psnr_db) == (999, 999)
    assert comparison.rounded("out", "s", max_abs=np.float32(1 / 3)).max_abs == 0.3333333
