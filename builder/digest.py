"""Content digests `sha256:<64 hex>`, and strict reading of JSON.

Two values have the same digest exactly when their bytes are the same. The bytes of a record are its canonical
JSON (sorted keys, no spaces, UTF-8, no NaN).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import BinaryIO, List, Tuple, Union

from builder.errors import StoreDamaged

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]

_FORM = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1 << 20


def of_bytes(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def of_stream(stream: BinaryIO) -> str:
    sha = hashlib.sha256()
    for chunk in iter(lambda: stream.read(_CHUNK), b""):
        sha.update(chunk)
    return "sha256:" + sha.hexdigest()


def of_file(path: Path) -> str:
    with path.open("rb") as stream:
        return of_stream(stream)


def of_json(value: Json) -> str:
    return of_bytes(canonical(value))


def canonical(value: Json) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def is_one(text: str) -> bool:
    return _FORM.fullmatch(text) is not None


def hex_part(digest: str) -> str:
    """The 64 hex digits.

    Raises StoreDamaged for anything else, so that no digest names a path.
    """
    if not _FORM.fullmatch(digest):
        raise StoreDamaged(f"{digest!r} is not a digest of the form sha256:<64 hex digits>")
    return digest[len("sha256:") :]


# JSON from untrusted sources must have one meaning: two readers of an ambiguous text could see two values, and one
# signature would cover both. Duplicate names, NaN, overlong numbers and deep nesting are refused.


_DIGITS = 400  # of one number: more than a float has, and too few to be slow


def loads(data: Union[bytes, str]) -> Json:
    """The value in `data`. Raises ValueError for anything but unambiguous JSON."""
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
