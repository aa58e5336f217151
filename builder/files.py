"""Files: atomic writes, locks, sizes such as '4GiB', verified copies.

An atomic write goes to another name, is flushed, and renamed. Blobs of a store have their own way
(builder/store/layout.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
from pathlib import Path
from typing import IO, BinaryIO, Iterator, Union

from builder import digest
from builder.errors import StoreDamaged


def write(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically.

    Raises OSError, and leaves the old content and no other file.
    """
    with opened(path) as file:
        file.write(data)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file for writing that is renamed to `path` when the block succeeds.

    Raises OSError.
    """
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(str(partial), str(path))
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


# ------------------------------------------------------------------------------------------- locks


_LOOK_AGAIN = 0.05  # seconds


def take(file: Union[int, "IO[bytes]", "IO[str]"], *, shared: bool = False, wait: float = 0) -> bool:
    """Lock an open file until it is closed; wait at most `wait` seconds.

    Returns whether it is locked. Uses flock, which the kernel releases when the process ends. It holds between
    processes of one machine, and between machines on a file system that supports it (NFS of Linux does). Raises OSError
    where the file system has no locks.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, how)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
        time.sleep(_LOOK_AGAIN)


# ------------------------------------------------------------------------------------------- sizes


_SIZE = re.compile(r"([0-9]{1,12})\s*(KiB|MiB|GiB)")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def bytes_of(text: str) -> int:
    """'4GiB' -> 4294967296. ValueError when it has no unit or an unknown one."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text[:80]!r} is not a size; write a whole number with KiB, MiB or GiB, such as '4GiB'")
    return int(match.group(1)) * _UNITS[match.group(2)]


# -------------------------------------- copies; hashing in a separate thread gains nothing (docs/results/transfers.md)


_PIECE = 256 << 10  # fits a processor's cache, for hashing and writing after the read
_FICLONE = 0x40049409  # ioctl_ficlone(2); Btrfs, XFS and others share blocks until one side is written to


def verified(source: Path, dest: Path, wanted: str, hint: str) -> None:
    """Copy `source` to the new file `dest`, sharing blocks where possible, and flush it.

    Raises StoreDamaged unless the copy has the digest `wanted`.
    """
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
    """Write all of `data`: an unbuffered file may take less at once.

    Raises OSError with the file's name.
    """
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as problem:  # a full disk: Python's error lacks the name
        problem.filename = problem.filename or file.name
        raise
