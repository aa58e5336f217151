"""Runners of one artifact, lent to one call each. A runner answers one call at a time (seams.Runner); a pool opens further
ones, up to a number, when all are lent, and lets calls wait beyond it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Callable, Iterator, List

from builder.plugins import Runner, Shared


class Pool:
    """`open_` opens the artifact; it is called when the first runner is asked for, and for every further one where the
    runtime cannot share what it has loaded. At most `most` are lent at once."""

    def __init__(self, open_: Callable[[], Runner], most: int) -> None:
        self._open, self._room = open_, threading.Semaphore(most)
        self._opening = threading.Lock()
        self._made: List[Runner] = []
        self._idle: List[Runner] = []

    @property
    def opened(self) -> bool:
        return bool(self._made)

    @contextlib.contextmanager
    def runner(self) -> Iterator[Runner]:
        with self._room:
            runner = self._taken()
            try:
                yield runner
            finally:
                self._idle.append(runner)  # lists append and pop in one step

    def _taken(self) -> Runner:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        with self._opening:
            first = self._made[0] if self._made else None
            runner = first.twin() if isinstance(first, Shared) else self._open()
            self._made.append(runner)
            return runner
