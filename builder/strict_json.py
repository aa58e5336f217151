"""JSON from strangers: one meaning or none. A name twice in one object, NaN, numbers without end and nesting without end are
refused; two readers of such a text could see two things, and one signature would cover both."""

from __future__ import annotations

import json
import math
from typing import List, Tuple, Union

from builder.digest import Json

_DIGITS = 400  # of one number: more than a float has, and too few to be slow


def loads(data: Union[bytes, str]) -> Json:
    """The value in `data`. Raises ValueError for anything that is not JSON, or not plainly so."""
    text = data.decode("utf-8") if isinstance(data, bytes) else data  # json would guess at UTF-16 and UTF-32 too
    try:
        return json.loads(  # type: ignore[no-any-return]
            text, object_pairs_hook=_once, parse_constant=_constant, parse_int=_whole, parse_float=_number
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _once(pairs: List[Tuple[str, Json]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"the name {next(name for name in names if names.count(name) > 1)!r} stands twice in one object"
        )
    return found


def _constant(word: str) -> Json:
    raise ValueError(f"{word} is no number of JSON")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    found = float(digits) if len(digits) <= _DIGITS else math.inf
    if math.isinf(found):
        raise ValueError(f"the number {digits[:20]}... is beyond what a float holds")
    return found
