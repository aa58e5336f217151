"""Fetching by digest from a place that is not believed: every byte is counted and hashed on its way.

A file grows in the store's `incoming` folder and gets its name only when size and digest are those that were asked for.
A fetch that was cut goes on where it ended.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from builder.descriptor import Descriptor
from builder.errors import StoreDamaged
from builder.seams import Repository
from builder.stores.layout import Layout

MOST_OBJECT = 16 << 20  # bytes of a manifest or an index; ours have some hundred thousand
_PIECE = 1 << 20


def read(place: Repository, it: Descriptor, most: int = MOST_OBJECT) -> bytes:
    """A small file or object, whole and verified. Raises StoreDamaged when it is another, or larger than `most`."""
    if it.size > most:
        raise _wrong(place, it, f"is said to have {it.size:,} bytes; at most {most:,} are taken")
    data = bytearray()
    with place.stream(it) as stream:
        for piece in stream.pieces:
            data += piece
            if len(data) > it.size:
                break
    if len(data) != it.size or "sha256:" + hashlib.sha256(data).hexdigest() != it.digest:
        raise _wrong(place, it, "has other content than its name says")
    return bytes(data)


def fetch(place: Repository, it: Descriptor, store: Layout) -> Path:
    """A file in `store`, fetched unless it is there. Raises StoreDamaged, Unreachable."""
    if store.holds(it.digest):
        return store.fetch(it.digest)
    growing = store.incoming(it.digest)
    found = _grown(growing)
    with growing.open("ab") as file, place.stream(it, file.tell()) as stream:
        if stream.start != file.tell():  # the place cannot begin in the middle
            file.truncate(0)
            file.seek(0)
            found = hashlib.sha256()
        for piece in stream.pieces:
            if file.tell() + len(piece) > it.size:
                raise _refused(place, it, growing, f"sends more than its {it.size:,} bytes")
            found.update(piece)
            file.write(piece)
        length = file.tell()
    if length != it.size:
        raise _wrong(place, it, f"ended after {length:,} of {it.size:,} bytes; the next try goes on from there")
    if "sha256:" + found.hexdigest() != it.digest:
        raise _refused(place, it, growing, "has other content than its name says")
    return store.adopt(growing, it.digest)


def _grown(file: Path) -> "hashlib._Hash":
    found = hashlib.sha256()
    if file.exists():
        with file.open("rb") as stream:
            for piece in iter(lambda: stream.read(_PIECE), b""):
                found.update(piece)
    return found


def _refused(place: Repository, it: Descriptor, growing: Path, why: str) -> StoreDamaged:
    growing.unlink()
    return _wrong(place, it, why)


def _wrong(place: Repository, it: Descriptor, why: str) -> StoreDamaged:
    return StoreDamaged(f"{it.title or it.digest} {why}", where=place.name)
