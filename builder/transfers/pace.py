"""What the transfers of one command share: the time they have, whether to go on, and several at once.

The first that fails stops the others, and so does an interrupt. What is transferred is not known here.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, Generic, Iterable, Iterator, List, Optional, TypeVar

from builder.errors import Unreachable
from builder.terminal import Meter

JOBS, SECONDS, TRIES = 4, 3600.0, 5
_T = TypeVar("_T")
_PATIENCE = 2.0  # seconds; for threads that are stopped to notice it


class Stopped(Exception):
    """Another transfer failed, or the person interrupted: this one ends without a word."""


class Pace:
    def __init__(self, meter: Optional[Meter] = None, *, jobs: int = JOBS, seconds: float = SECONDS) -> None:
        """`jobs` transfers at once; all of them have `seconds` from now."""
        self.meter, self.jobs, self.seconds = meter or Meter(), jobs, seconds
        self._until = time.monotonic() + seconds
        self._stop = threading.Event()

    def go_on(self) -> None:
        """Raises Unreachable when the time is over, Stopped when another transfer failed."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > self._until:
            raise Unreachable(
                f"the transfer took longer than {self.seconds:g} seconds in all",
                hint="the same command goes on from here; give it more time with --timeout SECONDS",
            )

    def rest(self, seconds: float) -> None:
        """Wait, but not for a transfer that is stopped. Raises as `go_on`."""
        self._stop.wait(max(0.0, min(seconds, self._until - time.monotonic())))
        self.go_on()

    def each(self, items: Iterable[_T], do: Callable[[_T], None]) -> None:
        """`do` with every item, `jobs` at once. Raises the first failure, after the others have stopped."""
        waiting = list(items)
        if self.jobs == 1 or len(waiting) < 2:
            for item in waiting:
                self.go_on()
                do(item)
            return
        crew = _Crew(iter(waiting), self)
        threads = [
            threading.Thread(target=crew.work, args=(do,), daemon=True) for _ in range(min(self.jobs, len(waiting)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive() and not crew.failures:
                    thread.join(0.1)
        finally:
            if crew.failures or any(thread.is_alive() for thread in threads):
                self._stop.set()
            until = time.monotonic() + _PATIENCE
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, until - time.monotonic()))
        if crew.failures:
            raise crew.failures[0]


class _Crew(Generic[_T]):
    """The threads of one `Pace.each`. One that hangs in the system beyond patience ends when its call returns, or with the
    process: it is a daemon and finds itself stopped."""

    def __init__(self, items: Iterator[_T], pace: Pace) -> None:
        self._items, self._pace = items, pace
        self._lock = threading.Lock()
        self.failures: List[BaseException] = []

    def work(self, do: Callable[[_T], None]) -> None:
        try:
            for item in self._own():
                do(item)
        except Stopped:
            pass
        except BaseException as problem:  # handed to who waits, and raised there
            self.failures.append(problem)

    def _own(self) -> Iterator[_T]:
        while True:
            self._pace.go_on()
            with self._lock:
                try:
                    item = next(self._items)
                except StopIteration:
                    return
            yield item
