"""Which layers to keep next: a coroutine that asks and is told whether it passed. Pure; it knows no model and no store.

Layers are numbers, 0 for the one that hurts most. First everything is kept: when that fails, nothing will pass. Then
prefixes of the ranking, each twice as much longer as the last, until one passes (few layers are the usual case), and
between the longest that failed and the shortest that passed by halves. Then each layer of that prefix is left out
once: the ranking may have blamed one that does no harm in company. Last, layers that are dear to keep are exchanged for
cheaper ones, as many for as many, by the multiply-accumulates that a layer does: timing each would make the search
depend on noise. The same answers give the same questions.
"""

from __future__ import annotations

from typing import Generator, Optional, Sequence, Tuple

Kept = Tuple[int, ...]
_EXCHANGES = 3  # cheaper layers that are tried in place of one


def smallest(work: Sequence[int], forced: int) -> Generator[Kept, bool, Optional[Kept]]:
    """Yields what to keep, is sent whether that passed, returns the fewest that did; None when not even all do. What passes
    is always better than what passed before it.

    `work`: how much each layer does. The first `forced` layers cannot be lowered and are always kept. That none but these is kept is known to fail, unless
    there are some: then it was never tried.
    """
    layers = len(work)
    if not (yield tuple(range(layers))):
        return None
    shortest = yield from _prefix(layers, forced)
    kept = tuple(range(shortest))
    for layer in reversed(range(forced, shortest - 1)):  # without the last one it is a prefix that failed
        fewer = tuple(other for other in kept if other != layer)
        if (yield fewer):
            kept = fewer
    for layer in sorted(kept[forced:], key=lambda layer: -work[layer]):
        cheaper = [other for other in range(layers) if other not in kept and 2 * work[other] < work[layer]]
        for other in cheaper[:_EXCHANGES]:
            exchanged = tuple(sorted({*kept, other} - {layer}))
            if (yield exchanged):
                kept = exchanged
                break
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
