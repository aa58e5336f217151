"""Watches over an action while it is performed: its time, its memory, and whether anybody still waits for it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Callable, Optional, Tuple, Type

from builder.remote.framing import Channel, Dropped
from builder.remote.messages import Terms

SILENCE = 60.0  # seconds without a word after which the other end counts as gone
_PERIOD = 0.5


class Watch:
    """`over` is why the action was ended; None while it may go on. `pids` names its processes, `stop` ends them."""

    def __init__(
        self, channel: Channel, terms: Terms, pids: Callable[[], Tuple[int, ...]], stop: Callable[[], None]
    ) -> None:
        self._channel, self._terms, self._pids, self._stop = channel, terms, pids, stop
        self.over: Optional[str] = None
        self.dropped = False
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        os.write(self._wake, b".")
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)

    def _run(self) -> None:
        started = heard = time.monotonic()
        while True:
            found = self._channel.ready([self._woken], _PERIOD)
            if self._woken in found:
                return
            now = time.monotonic()
            if found:
                heard = now
                try:
                    self._channel.receive(SILENCE)  # only `alive` comes while an action runs
                except Dropped:
                    self.dropped = True
            self.dropped = self.dropped or now - heard > SILENCE
            self.over = self.over or self._why(now - started)
            if self.over or self.dropped:
                self._stop()
                return

    def _why(self, seconds: float) -> Optional[str]:
        if self._terms.seconds and seconds > self._terms.seconds:
            return f"took longer than its limit of {self._terms.seconds / 60:g} minutes"
        used = sum(map(_resident, self._pids())) if self._terms.memory else 0
        if used > self._terms.memory:
            return f"needed {used >> 20:,} MiB of memory; its limit is {self._terms.memory >> 20:,} MiB"
        return None


def _resident(pid: int) -> int:
    """Bytes of memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
