"""How far a transfer is: files, bytes and rate, as a live line on a terminal and as a line now and then elsewhere.

What is transferred, and when that ends, is not known here.
"""

from __future__ import annotations

import threading
import time
from typing import IO, Callable, Optional

_EVERY_LINE, _EVERY_FRAME = 5.0, 0.2  # seconds
_MEGA = 1e6


class Meter:
    """Thread-safe. `out` None: nothing is said."""

    def __init__(
        self, doing: str = "", out: Optional["IO[str]"] = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`doing` begins each line: "fetched" gives "fetched 12.0 of 80.5 MB, 1 of 4 files, 11.2 MB/s"."""
        self._doing, self._out, self._now = doing, out, now
        self._live = out is not None and out.isatty()
        self._lock = threading.Lock()
        self._since = self._said = now()
        self.bytes = self.of_bytes = self.files = self.of_files = self._kept = 0

    def expect(self, files: int, size: int) -> None:
        """More is to come. The first is the beginning: what went before does not count as time."""
        with self._lock:
            if not self.of_files:
                self._since = self._said = self._now()
            self.of_files, self.of_bytes = self.of_files + files, self.of_bytes + size

    def moved(self, size: int, *, kept: bool = False) -> None:
        """`size` bytes more are there (less, when it is negative); `kept`: they had been there, which is no speed."""
        with self._lock:
            self.bytes += size
            self._kept += size if kept else 0
            self._tell()

    def done(self) -> None:
        """One file more is whole."""
        with self._lock:
            self.files += 1
            self._tell()

    def close(self) -> None:
        if self._live and self._out is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def __str__(self) -> str:
        rate = (self.bytes - self._kept) / max(self._now() - self._since, 1e-3)
        return (
            f"{self._doing} {self.bytes / _MEGA:,.1f} of {self.of_bytes / _MEGA:,.1f} MB, "
            f"{self.files} of {self.of_files} files, {max(rate, 0) / _MEGA:,.1f} MB/s"
        )

    def _tell(self) -> None:
        now = self._now()
        if self._out is None or now - self._said < (_EVERY_FRAME if self._live else _EVERY_LINE):
            return
        self._said = now
        self._out.write(f"\r{self}\x1b[K" if self._live else f"{self}\n")
        self._out.flush()
