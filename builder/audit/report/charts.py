"""Axes and layout of charts.

Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Sequence, Tuple

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A range of numbers on the pixels from `start` to `end`; `start` may be the larger (y grows downwards)."""

    low: float
    high: float
    start: float
    end: float
    ticks: Tuple[Tick, ...]

    def place(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def linear(values: Sequence[float], start: float, end: float, *, zero: bool = False, count: int = 5) -> Axis:
    """An axis from the round number below the least of `values` (from 0 with `zero`) to the one above the largest."""
    least, most = min(values), max(values)
    if zero:
        least, most = min(least, 0.0), max(most, 0.0)
    if most - least < 1e-12 * max(abs(least), abs(most), 1e-300):
        room = abs(most) * 0.1 or 1.0
        least, most = (0.0 if zero and least >= 0 else least - room), most + room
    step = _step(most - least, count)
    first, last = math.floor(round(least / step, 9)), math.ceil(round(most / step, 9))
    ticks = tuple((n * step) for n in range(first, last + 1))
    power = math.floor(math.log10(step) + 1e-9)
    places = -power + (round(step / 10**power, 6) == 2.5)
    return _axis(ticks, tuple(_fixed(t, places) for t in ticks), start, end)


def short(value: float) -> str:
    """Three digits, as short as they go: 0.0123, 12.3, 1.2e-07, 1,230."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}" if abs(value) < 1e6 else f"{value:.2e}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def _axis(ticks: Tuple[float, ...], labels: Tuple[str, ...], start: float, end: float) -> Axis:
    bare = Axis(ticks[0], ticks[-1], start, end, ())
    marks = tuple(Tick(bare.place(tick), label) for tick, label in zip(ticks, labels))
    return Axis(bare.low, bare.high, start, end, marks)


def _step(span: float, count: int) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten of which at most `count` cover the span."""
    power = 10.0 ** math.floor(math.log10(span / count))
    return next((power * s for s in _STEPS if power * s * count >= span * 0.999), power * 10)


def _fixed(value: float, places: int) -> str:
    """`places` after the point, negative ones before it; powers of ten for very small and large numbers."""
    if value and (abs(value) < 1e-4 or abs(value) >= 1e6):
        return f"{value:.{max(math.floor(math.log10(abs(value))) + places, 1)}e}"
    return f"{value:,.{min(max(places, 0), 7)}f}"


# ------------------------------------------------------------------------------------------- layout


WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 18, 42
_LETTER, _TALL = 6.6, 13.0  # pixels that a letter of a label takes, about
_LEAST_SPAN = 0.05  # of the largest value: the least span of a chart's height

Box = Tuple[float, float, float, float]


def roomy(heights: Sequence[float]) -> List[float]:
    """The heights, and two more where they are close together, so that a difference of 1 % looks small."""
    middle, room = (min(heights) + max(heights)) / 2, _LEAST_SPAN * max(map(abs, heights)) / 2
    return [*heights, middle - room, middle + room]


def free(x: float, y: float, letters: int, taken: Sequence[Box]) -> Box:
    """The box of a point's label.

    The first free one around it inside the drawing, else the first.
    """
    width = letters * _LETTER
    corners = [(x + 9, y - _TALL / 2), (x - 9 - width, y - _TALL / 2)]
    corners += [(x - width / 2, y + sign * d - _TALL / 2) for d in (16, 29, 42) for sign in (-1, 1)]
    boxes = [(left, top, left + width, top + _TALL) for left, top in corners]
    inside = [b for b in boxes if b[0] > LEFT and b[2] < WIDTH - 2 and b[1] > 2 and b[3] < HEIGHT - BOTTOM + 2]
    return next((b for b in inside if not any(_overlap(b, other) for other in taken)), (inside or boxes)[0])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
