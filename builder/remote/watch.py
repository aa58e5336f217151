"""Watches over an action while it is performed: its time, its memory, and whether anybody still waits for it."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Callable, Optional, Tuple, Type

_PERIOD = 0.5


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes of memory that an action may take; 0: no limit."""

    seconds: float = 0.0
    memory: int = 0


class Watch:
    """`over` is why the action was ended; None while it may go on. `pids` names its processes, `stop` ends them.

    `wanted(descriptor, seconds)` waits at most that long, or until the descriptor has something, and says whether anybody
    still waits for the action.
    """

    def __init__(
        self,
        limits: Limits,
        wanted: Callable[[int, float], bool],
        pids: Callable[[], Tuple[int, ...]],
        stop: Callable[[], None],
    ) -> None:
        self._limits, self._wanted, self._pids, self._stop = limits, wanted, pids, stop
        self.over: Optional[str] = None
        self.dropped = False
        self._done = threading.Event()
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._done.set()
        os.write(self._wake, b".")
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)

    def _run(self) -> None:
        started = time.monotonic()
        while True:
            wanted = self._wanted(self._woken, _PERIOD)
            if self._done.is_set():
                return
            self.dropped = self.dropped or not wanted
            self.over = self.over or self._why(time.monotonic() - started)
            if self.over or self.dropped:
                self._stop()
                return

    def _why(self, seconds: float) -> Optional[str]:
        if self._limits.seconds and seconds > self._limits.seconds:
            return f"took longer than its limit of {self._limits.seconds / 60:g} minutes"
        used = sum(map(_resident, self._pids())) if self._limits.memory else 0
        if used > self._limits.memory:
            return f"needed {used >> 20:,} MiB of memory; its limit is {self._limits.memory >> 20:,} MiB"
        return None


def _resident(pid: int) -> int:
    """Bytes of memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
