"""The SSH executor: each action on a target's own machine, where nothing is installed for it.

What the machine lacks of an action's inputs is sent, by digest and once; outputs come back verified. A connection that is
lost is made again, a few times and ever more slowly; a machine that stays away, or is another than the target declares,
is Unreachable, and its cells wait. How a connection is made is in `builder/execution/ssh/connection.py`.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import AbstractSet, Callable, Dict, Mapping, Optional, Tuple, Type, TypeVar

from builder import plugins
from builder.actions.action import Action, Result
from builder.config.remote_machines import Reached
from builder.errors import DeployError, StepFailed, StoreDamaged, Unreachable
from builder.execution import messages
from builder.execution.executors import Campaign
from builder.execution.messages import Dropped, File, from_file
from builder.execution.ssh.connection import Link
from builder.platforms.platform import Blob, Platform, cannot_build, cannot_run
from builder.plugins import Store

_Made = TypeVar("_Made")
_Answer = TypeVar("_Answer")
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each new try; the first two where another machine is free to go on


def machines(campaign: Campaign) -> "Machines":
    return Machines(campaign.environ, run=campaign.id, shared=campaign.shared)


class Machines:
    """The executors of one run, one for each machine and way to work there. A context: at its end nothing runs there."""

    def __init__(
        self,
        environ: Mapping[str, str],
        pauses: Tuple[float, ...] = PAUSES,
        *,
        run: str = "",
        shared: AbstractSet[Reached] = frozenset(),
    ) -> None:
        self._environ, self._pauses, self._shared = dict(environ), pauses, shared
        self._run = run or os.urandom(16).hex()
        self._known: Dict[Reached, Ssh] = {}
        # Short, since the path of a socket has to be.
        self._control = tempfile.TemporaryDirectory(prefix="dm-", dir="/tmp")

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *problem: object) -> None:
        for ssh in reversed(list(self._known.values())):  # who logged in first carries the others
            ssh.stop()
        self._control.cleanup()

    def at(self, reached: Reached) -> "Ssh":
        if reached not in self._known:
            link = lambda: Link(reached, self._run, Path(self._control.name), self._environ)  # noqa: E731
            self._known[reached] = Ssh(reached, link, self._pauses[:2] if reached in self._shared else self._pauses)
        return self._known[reached]


class Ssh:
    """One machine. Its actions are performed one at a time."""

    def __init__(self, reached: Reached, link: Callable[[], Link], pauses: Tuple[float, ...] = PAUSES) -> None:
        self.reached, self._new_link, self._pauses = reached, link, pauses
        self._link: Optional[Link] = None
        self._facts: Optional[messages.Facts] = None
        self._away: Optional[Unreachable] = None
        self._met = False
        self._stopped = threading.Event()

    def facts(self) -> messages.Facts:
        """What the machine says of itself. Raises Unreachable."""
        return self._trying(self._asked_facts, lambda line: None)

    def perform(
        self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: Callable[[str], None]
    ) -> Result:
        """Raises Unreachable when the machine is away, or is not what the action's platform says; StepFailed."""
        return self._trying(lambda: self._perform(action, files, store, say), say)

    def bring_there(self, paths: Mapping[str, Path], say: Callable[[str], None]) -> None:
        """These files, by digest, so that actions find them there."""
        self._trying(lambda: self._send(paths, say), say)

    def stop(self) -> None:
        self._stopped.set()
        if self._link is not None:
            self._link.close(at_once=True)

    def _trying(self, work: Callable[[], _Made], say: Callable[[str], None]) -> _Made:
        """`work`, again after each lost connection. A machine that was away stays so for the rest of the run."""
        if self._away is not None:
            raise self._away
        lost = ""
        for pause in (*self._pauses, None):
            try:
                self._connect()
                return work()
            except _NotConnected as problem:
                lost = problem.cause.what
                if not self._met or pause is None:
                    self._away = problem.cause
                    raise problem.cause from None
            except Dropped as problem:
                lost = self._lost(problem)
            except (OSError, StoreDamaged):  # in the middle of an answer: the rest of it is not waited for
                self._lost(Dropped("was left"))
                raise
            if self._stopped.is_set():
                raise StepFailed("the run was stopped")
            if pause is not None:
                say(f"{self.reached.where}: {lost}; trying again in {pause:g} s")
                self._stopped.wait(pause)
        self._away = Unreachable(lost, where=self.reached.where, hint="run `build matrix` again: it goes on from here")
        raise self._away

    def _connect(self) -> None:
        if self._stopped.is_set():
            raise StepFailed("the run was stopped")
        if self._link is None:
            self._link = self._new_link()  # here, so that `stop` ends what only begins to connect
            try:
                self._link.open()
            except DeployError as problem:
                self._link = None
                if self._stopped.is_set():
                    raise StepFailed("the run was stopped") from None
                if isinstance(problem, Unreachable):
                    raise _NotConnected(problem) from None
                raise
            self._met = True

    def _lost(self, problem: Dropped) -> str:
        words = ""
        if self._link is not None:
            self._link.close()
            words = self._link.last_words()
        self._link = self._facts = None
        return "the connection was lost" + (f" ({words})" if words else f": it {problem}")

    def _asked_facts(self) -> messages.Facts:
        if self._facts is None:
            self._facts = self._asked(messages.AskFacts(), messages.Facts)
        return self._facts

    def _perform(self, action: Action, files: Mapping[str, Path], store: Store, say: Callable[[str], None]) -> Result:
        self._must_fit(action.platform)
        paths = {pinned.digest: files[pinned.name] for pinned in action.inputs if pinned.name in files}
        self._send(paths, say)
        result = self._asked(messages.Perform(action), messages.Made, say=say).result
        if result.key != action.key:
            raise StoreDamaged("its result is of another action", where=self.reached.where)
        self._bring(result.outputs, store)
        return result

    def _must_fit(self, platform: Optional[Platform]) -> None:
        machine = self._asked_facts().machine
        wrong = platform and (cannot_build(platform, machine) or cannot_run(platform, machine))
        if wrong:
            raise Unreachable(
                f"it is not the machine that the target declares; it says of itself: {wrong}", where=self.reached.where
            )

    def _send(self, paths: Mapping[str, Path], say: Callable[[str], None]) -> None:
        files = tuple(File(digest, path.stat().st_size) for digest, path in paths.items())
        needed = self._asked(messages.AskNeed(files), messages.Needed).files
        known = {file.digest: file.size for file in files}
        if any(known.get(file.digest) != file.size or not 0 <= file.start <= file.size for file in needed):
            raise StoreDamaged("it asks for files that are none of the inputs", where=self.reached.where)
        if not needed:
            return
        say(f"sending {sum(file.size - file.start for file in needed) / 2**20:,.1f} MiB to {self.reached.where}")

        def pieces(write: Callable[[bytes], None]) -> None:
            for file in needed:
                from_file(paths[file.digest], file.start, file.size)(write)

        self._asked(messages.Put(needed), messages.Taken, pieces=pieces)

    def _bring(self, blobs: Tuple[Blob, ...], store: Store) -> None:
        """The outputs into `store`, each under its own name and held against its digest."""
        lacking = plugins.lacking(store, blobs, self.reached.where)
        if not lacking:
            return
        self._asked(messages.Get(tuple(File(blob.digest, blob.size) for blob in lacking)), messages.Sending)
        with store.workspace() as work:
            for blob in lacking:
                self._take(blob, work)
            for blob in lacking:
                if store.put(work / blob.name) != blob:
                    raise StoreDamaged(f"{blob.name} arrived with other content", where=self.reached.where)

    def _take(self, blob: Blob, work: Path) -> None:
        assert self._link is not None
        with (work / blob.name).open("wb") as stream:
            self._link.take(blob.size, stream.write)

    def _asked(
        self,
        it: "messages.AskFacts | messages.AskNeed | messages.Put | messages.Perform | messages.Get",
        kind: Type[_Answer],
        pieces: Callable[[Callable[[bytes], None]], None] = lambda write: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> _Answer:
        assert self._link is not None
        answer = self._link.ask(it, pieces, say)
        if not isinstance(answer, kind):
            raise Dropped("answered something else than was asked")
        return answer


class _NotConnected(Exception):
    """`cause` says why; the machine was not asked anything yet."""

    def __init__(self, cause: Unreachable) -> None:
        super().__init__(cause.what)
        self.cause = cause
