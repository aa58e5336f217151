"""What the charts of the page share: their size, room for flat lines, and places for labels. Pure."""

from __future__ import annotations

from typing import List, Sequence, Tuple

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 18, 42
_LETTER, _TALL = 6.6, 13.0  # pixels that a letter of a label takes, about
_LEAST_SPAN = 0.05  # of the largest value: what the height of a chart shows at least

Box = Tuple[float, float, float, float]


def roomy(heights: Sequence[float]) -> List[float]:
    """The heights, and two more where they are close together: a difference of a hundredth part shall look small."""
    middle, room = (min(heights) + max(heights)) / 2, _LEAST_SPAN * max(map(abs, heights)) / 2
    return [*heights, middle - room, middle + room]


def free(x: float, y: float, letters: int, taken: Sequence[Box]) -> Box:
    """Where the label of a point fits: the first place around it that is inside the drawing and free, else the first."""
    width = letters * _LETTER
    corners = [(x + 9, y - _TALL / 2), (x - 9 - width, y - _TALL / 2)]
    corners += [(x - width / 2, y + sign * d - _TALL / 2) for d in (16, 29, 42) for sign in (-1, 1)]
    boxes = [(left, top, left + width, top + _TALL) for left, top in corners]
    inside = [b for b in boxes if b[0] > LEFT and b[2] < WIDTH - 2 and b[1] > 2 and b[3] < HEIGHT - BOTTOM + 2]
    return next((b for b in inside if not any(_overlap(b, other) for other in taken)), (inside or boxes)[0])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
