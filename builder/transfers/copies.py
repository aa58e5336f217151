"""Copying a file and knowing what was copied: one pass that reads, hashes and writes; blocks are shared where they can be.

Hashing in a thread of its own gains nothing that can be measured: docs/results/transfers.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from builder import digest
from builder.errors import StoreDamaged

_PIECE = 256 << 10  # fits a processor's cache: what was read is hashed and written from there
_FICLONE = 0x40049409  # ioctl_ficlone(2); Btrfs, XFS and others share blocks until one side is written to


def verified(source: Path, dest: Path, wanted: str, hint: str) -> None:
    """Copy `source` to `dest`, which is new, and flush it. Raises StoreDamaged unless the copy has the digest `wanted`."""
    with source.open("rb", buffering=0) as theirs, dest.open("xb+", buffering=0) as ours:
        found = digest.of_stream(ours) if _cloned(theirs, ours) else _copied(theirs, ours)
        if found != wanted:
            raise StoreDamaged(f"has the digest {found}, the manifest says {wanted}", where=str(source), hint=hint)
        os.fsync(ours.fileno())


def flush_folder(folder: Path) -> None:
    """Names in it, new or replaced, are on disk afterwards."""
    opened = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _cloned(source: BinaryIO, dest: BinaryIO) -> bool:
    with contextlib.suppress(OSError):  # another file system, or one without this
        fcntl.ioctl(dest.fileno(), _FICLONE, source.fileno())
        return True
    return False


def _copied(source: BinaryIO, dest: BinaryIO) -> str:
    sha, buffer = hashlib.sha256(), bytearray(_PIECE)
    view = memoryview(buffer)
    while True:
        length = source.readinto(buffer)  # type: ignore[attr-defined]
        if not length:
            return "sha256:" + sha.hexdigest()
        sha.update(view[:length])
        write_all(dest, view[:length])


def write_all(file: BinaryIO, data: "bytes | memoryview") -> None:
    """An unbuffered file may take less than all of it before it refuses. Raises OSError with the file's name."""
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as problem:  # a full disk: Python does not say where
        problem.filename = problem.filename or file.name
        raise
