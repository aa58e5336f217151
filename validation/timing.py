"""Latency of an artifact and a baseline, run in turns.

In turns, a noisy minute affects both. The noise floor is an A/A comparison: the artifact's own runs are split at random
into two halves, 200 times. The distance of the halves' medians in all but 5 % of the splits is the effect of chance on
a median of half as many runs.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from typing import Callable, List, Optional, Sequence, Tuple

from builder.actions.measurements import Latency, Percentiles

_WARM_UP = 2
_FEWEST = 8
_FEWEST_IN_HALF = 4
_SPLITS = 200
_FEWEST_ALONE = 3
_PAUSE = 0.05  # seconds before each run: a runtime's threads spin for a while after their last work


def interleaved(
    artifact: Callable[[], object],
    naive: Optional[Callable[[], object]],
    *,
    seconds: float,
    shape: Tuple[int, ...],
    threads: int,
    machine: str,
    mhz: Callable[[], Optional[int]] = lambda: None,
) -> Latency:
    """Alternate the two for `seconds`, at least eight runs each after two warm-up runs each."""
    times = in_turns([_clocked(run) for run in (artifact, naive) if run is not None], seconds)
    measured = [percentiles(kept) for kept in times]
    return Latency(
        artifact=measured[0],
        naive=measured[1] if naive is not None else None,
        shape=shape,
        threads=threads,
        machine=machine,
        method=method(f"in turns with the naive export for {seconds:g} s"),
        noise=noise(times[0]),
        mhz=mhz(),
    )


def in_turns(runs: Sequence[Callable[[], float]], seconds: float) -> List[List[float]]:
    """The times (ms) that `runs` return, in turns for `seconds`, at least eight rounds after two to warm up.

    A run that returns NaN is dropped; when all are, measuring ends.
    """
    times: List[List[float]] = [[] for _ in runs]
    for _ in range(_WARM_UP):
        for run in runs:
            run()
    end = time.perf_counter() + seconds
    while len(times[0]) < _FEWEST or time.perf_counter() < end:
        for run, kept in zip(runs, times):
            time.sleep(_PAUSE)
            kept.append(run())
        if all(math.isnan(kept[-1]) for kept in times):
            break
    return times


def method(how: str) -> str:
    """The method of timing, as text."""
    return f"{_WARM_UP} warm-up runs, then {how}, {_PAUSE * 1000:g} ms pause before each, wall clock per run"


def _clocked(run: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        started = time.perf_counter()
        run()
        return (time.perf_counter() - started) * 1000

    return timed


def noise(times: Sequence[float]) -> Optional[float]:
    """The noise floor of `times` as a fraction of their median.

    None for fewer than eight.
    """
    middle = statistics.median(times) if times else 0.0
    if len(times) < 2 * _FEWEST_IN_HALF or middle <= 0:
        return None
    draw, kept = random.Random(0), list(times)
    apart: List[float] = []
    for _ in range(_SPLITS):
        draw.shuffle(kept)
        half = len(kept) // 2
        one, two = statistics.median(kept[:half]), statistics.median(kept[half:])
        apart.append(abs(one - two) / middle)
    return round(sorted(apart)[int(_SPLITS * 0.95)], 4)


def percentiles(times: Sequence[float]) -> Percentiles:
    """Nearest-rank percentiles of times in milliseconds."""
    ordered = sorted(times)
    p50, p90, p99 = (round(ordered[max(math.ceil(q * len(ordered)) - 1, 0)], 3) for q in (0.5, 0.9, 0.99))
    return Percentiles(p50, p90, p99, len(ordered))


def alone(run: Callable[[], object], seconds: float) -> Percentiles:
    """`run` for `seconds`, at least three times after one warm-up run."""
    run()
    times: List[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _FEWEST_ALONE or time.perf_counter() < end:
        time.sleep(_PAUSE)
        started = time.perf_counter()
        run()
        times.append((time.perf_counter() - started) * 1000)
    return percentiles(times)
