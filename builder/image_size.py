"""How many pixels a photograph says it has, before anything is decoded. PNG and JPEG; nothing is known of other kinds.

A PNG of a hundred kilobytes can decode to gigabytes. https://www.w3.org/TR/png-3/#11IHDR, ITU-T T.81, B.2.2
"""

from __future__ import annotations

from typing import Optional, Tuple

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # markers of a frame's header
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


def of(data: bytes) -> Optional[Tuple[int, int]]:
    """(height, width), or None where the file does not say in a way that is known here."""
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    return _of_jpeg(data) if data.startswith(_JPEG) else None


def _of_jpeg(data: bytes) -> Optional[Tuple[int, int]]:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
        elif marker in _BARE:
            place += 2
        elif marker in _FRAMES:
            return int.from_bytes(data[place + 5 : place + 7], "big"), int.from_bytes(
                data[place + 7 : place + 9], "big"
            )
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
