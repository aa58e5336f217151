"""One action on this machine for somebody elsewhere: the steps that there are, their inputs, the lock, the limits.

However the order came (over SSH, from a queue), it is performed here: the named steps and no others, on files by digest.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path, PurePosixPath
from typing import Callable, Dict

from builder.actions.action import Action, Result, this_site
from builder.errors import StepFailed
from builder.executors.local import Local
from builder.platforms.machines import Machine
from builder.remote import site_lock
from builder.remote.cache import Cache
from builder.remote.framing import Dropped
from builder.remote.watch import Limits, Watch

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
        with site_lock.alone(site_lock.fitting(action.platform, self._machine), told, self._must_be_wanted) as seat:
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
