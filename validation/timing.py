"""Latency of an artifact beside a yardstick, run by run in turns, so that a noisy minute hits both."""

from __future__ import annotations

import math
import time
from typing import Callable, List, Optional, Sequence, Tuple

from builder.measurements import Latency, Percentiles

_WARM_UP = 2
_FEWEST = 7
_PAUSE = 0.05  # seconds before each run: a runtime's threads spin for a while after their last work


def interleaved(
    artifact: Callable[[], object],
    naive: Optional[Callable[[], object]],
    *,
    seconds: float,
    shape: Tuple[int, ...],
    threads: int,
    machine: str,
) -> Latency:
    """Alternate the two for `seconds`, at least seven runs each after two warm-up runs each."""
    runs = [run for run in (artifact, naive) if run is not None]
    times: List[List[float]] = [[] for _ in runs]
    for _ in range(_WARM_UP):
        for run in runs:
            run()
    end = time.perf_counter() + seconds
    while len(times[0]) < _FEWEST or time.perf_counter() < end:
        for run, kept in zip(runs, times):
            time.sleep(_PAUSE)
            started = time.perf_counter()
            run()
            kept.append((time.perf_counter() - started) * 1000)
    measured = [percentiles(kept) for kept in times]
    return Latency(
        artifact=measured[0],
        naive=measured[1] if naive is not None else None,
        shape=shape,
        threads=threads,
        machine=machine,
        method=f"{_WARM_UP} warm-up runs, then in turns with the naive export for {seconds:g} s, "
        f"{_PAUSE * 1000:g} ms pause before each, wall clock per run",
    )


def percentiles(times: Sequence[float]) -> Percentiles:
    """Nearest-rank percentiles of times in milliseconds."""
    ordered = sorted(times)
    p50, p90, p99 = (round(ordered[max(math.ceil(q * len(ordered)) - 1, 0)], 3) for q in (0.5, 0.9, 0.99))
    return Percentiles(p50, p90, p99, len(ordered))
