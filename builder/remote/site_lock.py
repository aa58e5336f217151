"""One job at a time on a machine: a lock that dies with the process that holds it, shared by all users of the machine.

It lies in the system's temporary folder. It is advisory: it orders workers of this program, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import Callable, Iterator

_NAME = "deploymatrix.lock"
_PAUSE = 0.2  # seconds between tries


@contextlib.contextmanager
def alone(told: Callable[[], None], gone: Callable[[], None]) -> Iterator[None]:
    """Hold the machine. `told` is called once when another job has it, `gone` at every try: it raises to give up."""
    file, waited = _opened(Path(tempfile.gettempdir()) / _NAME), False
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    told()
                waited = True
                gone()
                time.sleep(_PAUSE)
        yield
    finally:
        os.close(file)


def _opened(path: Path) -> int:
    """Open for reading: that is enough to lock, and possible when another user made the file. Follows no link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another worker was faster
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    return os.open(path, flags)
