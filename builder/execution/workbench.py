"""One action on this machine for somebody elsewhere: the steps that there are, their inputs, the lock, the limits.

However the order came (over SSH, from a queue), it is performed here: the named steps and no others, on files by digest.
"""

from __future__ import annotations

import dataclasses
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Callable, Dict, Optional, Tuple, Type

from builder.actions.action import Action, Result, this_site
from builder.errors import StepFailed
from builder.execution import local
from builder.execution.cache import Cache
from builder.execution.local import Local
from builder.execution.messages import Dropped
from builder.platforms.machines import Machine

# Watches over an action while it is performed: its time, its memory, and whether anybody still waits for it.


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


# The steps that need a target's own machine. They read their inputs and write their outputs, nothing of a project.
STEPS = ("engine", "parity", "task", "latency", "sweep")
_NO_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]|[^/]{250}")  # what no file is called, here or elsewhere
_LONGEST = 1000  # letters of the name of an input


class Workbench:
    """`wanted`: see Watch; `hint` says where the limits are set."""

    def __init__(
        self,
        cache: Cache,
        machine: Machine,
        limits: Limits,
        wanted: Callable[[int, float], bool],
        say: Callable[[str], None],
        hint: str,
    ) -> None:
        self._cache, self._machine, self._limits = cache, machine, limits
        self._wanted, self._say, self._hint = wanted, say, hint

    def perform(self, action: Action) -> Result:
        """The inputs are in the cache. Raises StepFailed, Unreachable when the disk is full, and Dropped when nobody
        waits for it any more."""
        files = files_of(action, self._cache)
        told = lambda: self._say("another job holds this machine")  # noqa: E731
        with local.alone(local.fitting(action.platform, self._machine), told, self._must_be_wanted) as seat:
            found = self._cache.recall(action.key)
            if found is not None:
                return found
            self._cache.sweep()
            self._cache.check_room()
            try:
                made = self._watched(action, files, seat.environ)
            except StepFailed as problem:
                if not problem.killed:
                    raise
                self._say(f"{problem.what.splitlines()[0]}; it is tried once more")
                made = self._watched(action, files, seat.environ)
            result = dataclasses.replace(made, site=this_site(self._machine))
            self._cache.record(result)
        return result

    def _watched(self, action: Action, files: Dict[str, Path], environ: Dict[str, str]) -> Result:
        local = Local(environ)
        with Watch(self._limits, self._wanted, local.pids, local.stop) as watch:
            try:
                return local.perform(action, files, self._cache.folder, self._cache.store, self._say)
            except StepFailed:
                if watch.over is None and not watch.dropped:
                    self._cache.check_room()  # a step says much about a full disk, but not that
                    raise
            except Dropped:
                watch.dropped = True
        if watch.dropped:
            raise Dropped("ended")
        raise StepFailed(f"{watch.over}, and was ended", where=action.recipe.step, hint=self._hint)

    def _must_be_wanted(self) -> None:
        """Whoever waits for the machine gives up when nobody waits for it. Raises Dropped."""
        if not self._wanted(-1, 0):
            raise Dropped("ended")


def check(action: Action) -> None:
    """Raises StepFailed for what is not performed for others: another step, an input whose name leads elsewhere."""
    step = action.recipe.step
    if step not in STEPS:
        raise StepFailed(f"the step {step!r} is not performed for another machine")
    for pinned in action.inputs:
        path = PurePosixPath(pinned.name)
        odd = _NO_NAME.search(pinned.name) or len(pinned.name) > _LONGEST
        if not path.parts or path.is_absolute() or ".." in path.parts or odd:
            raise StepFailed(f"{pinned.name[:_LONGEST]!r} is not the name of an input")


def files_of(action: Action, cache: Cache) -> Dict[str, Path]:
    """The inputs, each under a name that stays in its folder."""
    check(action)
    return {pinned.name: cache.store.fetch(pinned.digest) for pinned in action.inputs}
