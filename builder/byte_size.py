"""Sizes in bytes as people write them: '4GiB'."""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]{1,12})\s*(KiB|MiB|GiB)")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def bytes_of(text: str) -> int:
    """'4GiB' -> 4294967296. ValueError when it has no unit or an unknown one."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text[:80]!r} is not a size; write a whole number with KiB, MiB or GiB, such as '4GiB'")
    return int(match.group(1)) * _UNITS[match.group(2)]
