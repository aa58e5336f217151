"""Which layers to keep next: a coroutine that asks and is told whether it passed. Pure; it knows no model and no store.

Layers are numbers, 0 for the one that hurts most. First everything is kept: when that fails, nothing will pass. Then
prefixes of the ranking, each twice as much longer as the last, until one passes (few layers are the usual case), and
between the longest that failed and the shortest that passed by halves. Last, each layer of that prefix is left out
once: the ranking may have blamed one that does no harm in company. The same answers give the same questions.
"""

from __future__ import annotations

from typing import Generator, Optional, Tuple

Kept = Tuple[int, ...]


def smallest(layers: int, forced: int) -> Generator[Kept, bool, Optional[Kept]]:
    """Yields what to keep, is sent whether that passed, returns the fewest that did; None when not even all do.

    The first `forced` layers cannot be lowered and are always kept. That none but these is kept is known to fail, unless
    there are some: then it was never tried.
    """
    if not (yield tuple(range(layers))):
        return None
    shortest = yield from _prefix(layers, forced)
    kept = tuple(range(shortest))
    for layer in reversed(range(forced, shortest - 1)):  # without the last one it is a prefix that failed
        fewer = tuple(other for other in kept if other != layer)
        if (yield fewer):
            kept = fewer
    return kept


def _prefix(layers: int, forced: int) -> Generator[Kept, bool, int]:
    """The length of the shortest prefix that passes."""
    failed, passed, step = (forced - 1 if forced else 0), layers, 1
    while failed + step < passed:
        if (yield tuple(range(failed + step))):
            passed = failed + step
        else:
            failed, step = failed + step, 2 * step
    while passed - failed > 1:
        middle = (failed + passed) // 2
        if (yield tuple(range(middle))):
            passed = middle
        else:
            failed = middle
    return passed
