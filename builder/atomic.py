"""Files that are there whole or not at all: written under another name, flushed, and renamed. What a store holds settles in
its own way (builder/stores/layout.py)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Iterator


def write(path: Path, data: bytes) -> None:
    """Let `path` hold `data`, whatever it held before. Raises OSError, and leaves what was there and nothing else."""
    with opened(path) as file:
        file.write(data)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which gets the name `path` when the block ends well. Raises OSError."""
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
