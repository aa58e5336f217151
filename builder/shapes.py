"""Symbolic tensor shapes: `[batch, 1, 8*h8, 8*w8]`, and what a size in pixels means for them.

A dimension is a whole number, a symbol (`batch`), or a multiple of a symbol (`8*h8`). Every place that asks
"may this tensor have this shape?" asks here.
"""

from __future__ import annotations

import re
from typing import Dict, Optional, Tuple, Union

Dim = Union[int, str]
Shape = Tuple[Dim, ...]

_SYMBOLIC = re.compile(r"(?:(\d+)\s*\*\s*)?([A-Za-z_]\w*)")


def parse(dim: Dim) -> Tuple[int, Optional[str]]:
    """(multiple, symbol): 8*h8 -> (8, 'h8'), batch -> (1, 'batch'), 256 -> (256, None). ValueError otherwise."""
    if isinstance(dim, int):
        if dim < 1:
            raise ValueError(f"dimension {dim} is not positive")
        return dim, None
    match = _SYMBOLIC.fullmatch(dim.strip())
    if not match or match.group(1) == "0":
        raise ValueError(f"{dim!r} is not a dimension; write 256, batch or 8*h8")
    return int(match.group(1) or 1), match.group(2)


def spelled(dim: Dim) -> str:
    """The one spelling that comparisons use: `8 * h8` -> `8*h8`."""
    multiple, symbol = parse(dim)
    if symbol is None:
        return str(multiple)
    return symbol if multiple == 1 else f"{multiple}*{symbol}"


def bind(shape: Shape, actual: Tuple[int, ...]) -> Dict[str, int]:
    """The value of each symbol when a tensor of symbolic `shape` has the `actual` one. ValueError if it cannot."""
    if len(shape) != len(actual):
        raise ValueError(f"{list(actual)} has {len(actual)} dimensions, {list(shape)} has {len(shape)}")
    bound: Dict[str, int] = {}
    for dim, size in zip(shape, actual):
        multiple, symbol = parse(dim)
        if symbol is None:
            if size != multiple:
                raise ValueError(f"{size} where {list(shape)} has the fixed dimension {multiple}")
        elif size < 1 or size % multiple:
            raise ValueError(f"{size} is not a multiple of {multiple}, as {dim!r} in {list(shape)} asks")
        elif bound.setdefault(symbol, size // multiple) != size // multiple:
            raise ValueError(f"{symbol} would be {bound[symbol]} and {size // multiple} at once in {list(actual)}")
    return bound


def with_size(shape: Shape, size: Tuple[int, int], batch: int = 1) -> Tuple[int, ...]:
    """`shape` (its last two dimensions height and width, its first the batch) at `size` = (height, width) pixels."""
    fixed = [dim if isinstance(dim, int) else batch for dim in shape]
    fixed[-2], fixed[-1] = size
    bind(shape, tuple(fixed))
    return tuple(fixed)
