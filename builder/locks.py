"""Locks between processes: flock on an open file. The kernel releases them when their process ends, however it ends.

They hold between processes of one machine, and between machines where the file system carries flock (NFS of Linux does).
What a lock stands for is said where it is taken: builder/stores/layout.py, builder/transfers/transfer.py, builder/hosting/pull.py.
"""

from __future__ import annotations

import fcntl
import time
from typing import IO, Union

_LOOK_AGAIN = 0.05  # seconds


def take(file: Union[int, "IO[bytes]", "IO[str]"], *, shared: bool = False, wait: float = 0) -> bool:
    """Lock an open file until it is closed; waits at most `wait` seconds. Is it ours?

    Raises OSError where the file system knows no locks.
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
