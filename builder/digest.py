"""Content digests: `sha256:<64 hex>`, the same spelling as in an OCI descriptor.

The law: two values have the same digest exactly when their bytes are the same. For a record,
the bytes are its canonical JSON (sorted keys, no spaces, UTF-8, no NaN).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import BinaryIO, Union

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
    """The 64 hex digits; StoreDamaged for anything else, so that no digest can name a path outside a store."""
    if not _FORM.fullmatch(digest):
        raise StoreDamaged(f"{digest!r} is not a digest of the form sha256:<64 hex digits>")
    return digest[len("sha256:") :]
