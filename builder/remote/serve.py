"""The side that runs on the other machine: answers messages until its standard input ends, and leaves nothing running.

It performs the steps that are named here and no others, on inputs named by digest. It never runs a line of text as a
command, and writes only below its folder. `boot` starts it; `builder/remote/link.py` talks to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
import signal
from pathlib import Path, PurePosixPath
from typing import Callable, Dict, NoReturn

from builder import facts, site
from builder.action import Action, Result
from builder.digest import Json
from builder.errors import DeployError, StepFailed, Unreachable
from builder.executors.local import Local
from builder.record import RecordError, from_json, to_json
from builder.remote import site_lock
from builder.remote.cache import Cache
from builder.remote.framing import Channel, Dropped, from_file
from builder.remote.messages import (
    Alive,
    Answer,
    AskFacts,
    AskNeed,
    Facts,
    Get,
    Line,
    Made,
    Needed,
    Perform,
    Put,
    Refused,
    Request,
    Sending,
    Taken,
    Terms,
)
from builder.remote.watch import SILENCE, Watch

# The steps that need a target's own machine. They read their inputs and write their outputs, nothing of a project.
STEPS = ("engine", "parity", "task", "latency", "sweep")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def main(sink: int, terms: Json) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    agreed = from_json(Terms, terms)
    session = Session(Channel(0, sink), agreed, Path(agreed.folder))
    with contextlib.suppress(Dropped):
        session.serve()


def _leave(signum: int, frame: object) -> NoReturn:
    raise Dropped("was ended")


class Session:
    def __init__(self, channel: Channel, terms: Terms, folder: Path) -> None:
        self._channel, self._terms = channel, terms
        self._machine = facts.here()
        self._cache = Cache(folder, _plain(terms.run), terms.free)

    def serve(self) -> NoReturn:
        """Until the other end is gone: then raises Dropped."""
        while True:
            message = self._channel.receive(SILENCE)
            try:
                self._answer(from_json(Request, message))
            except RecordError as problem:
                self._say(Refused(f"this is no message: {problem}"))
            except DeployError as problem:
                self._say(Refused(problem.what, problem.where, problem.hint, isinstance(problem, Unreachable)))
            except OSError as problem:
                named = f"{problem.filename}: " if problem.filename else ""
                self._say(Refused(f"{named}{problem.strerror or problem}", away=problem.errno in _FULL))

    def _answer(self, request: Request) -> None:
        it = request.it
        if isinstance(it, Alive):
            return
        if isinstance(it, AskFacts):
            self._say(Facts(self._machine, str(self._cache.folder), self._cache.room()))
        elif isinstance(it, AskNeed):
            self._say(Needed(self._cache.needed(it.files)))
        elif isinstance(it, Put):
            self._cache.take(it.files, lambda length, write: self._channel.take(length, write, SILENCE))
            self._say(Taken())
        elif isinstance(it, Perform):
            self._say(Made(self._perform(it.action)))
        else:
            self._send(it)

    def _say(self, it: "Facts | Needed | Taken | Line | Made | Refused") -> None:
        self._channel.send(to_json(Answer(it)))

    def _send(self, get: Get) -> None:
        paths = [self._cache.store.fetch(file.digest) for file in get.files]
        for path, file in zip(paths, get.files):
            if path.stat().st_size != file.size:
                raise StepFailed(f"{file.digest} has another size here")

        def pieces(write: Callable[[bytes], None]) -> None:
            for path, file in zip(paths, get.files):
                from_file(path, file.start, file.size)(write)

        self._channel.send(to_json(Answer(Sending())), pieces)

    def _perform(self, action: Action) -> Result:
        step = action.recipe.step
        if step not in STEPS:
            raise StepFailed(f"the step {step!r} is not performed for another machine")
        files = self._files(action)
        with site_lock.alone(lambda: self._say(Line("another job holds this machine")), self._must_be_wanted):
            found = self._cache.recall(action.key)
            if found is not None:
                return found
            self._cache.sweep()
            self._cache.check_room()
            made = self._watched(action, files)
            result = dataclasses.replace(made, site=site.here(self._machine))
            self._cache.record(result)
        return result

    def _watched(self, action: Action, files: Dict[str, Path]) -> Result:
        local = Local()
        with Watch(self._channel, self._terms, local.pids, local.stop) as watch:
            try:
                return local.perform(
                    action, files, self._cache.folder, self._cache.store, lambda line: self._say(Line(line))
                )
            except StepFailed:
                if watch.over is None and not watch.dropped:
                    self._cache.check_room()  # a step says much about a full disk, but not that
                    raise
            except Dropped:
                watch.dropped = True
        if watch.dropped:
            raise Dropped("ended")
        raise StepFailed(
            f"{watch.over}, and was ended",
            where=action.recipe.step,
            hint="the limits are `worker: {minutes: ..., memory: ...}` of the target in matrix.yaml",
        )

    def _files(self, action: Action) -> Dict[str, Path]:
        """The inputs that have a file, each under a name that stays in its folder."""
        found: Dict[str, Path] = {}
        for pinned in action.inputs:
            path = PurePosixPath(pinned.name)
            if not path.parts or path.is_absolute() or ".." in path.parts or _CONTROL.search(pinned.name):
                raise StepFailed(f"{pinned.name!r} is not the name of an input")
            found[pinned.name] = self._cache.store.fetch(pinned.digest)
        return found

    def _must_be_wanted(self) -> None:
        """Whoever waits for the machine gives up when nobody waits for it. Raises Dropped."""
        while self._channel.ready([], 0):
            self._channel.receive(SILENCE)


def _plain(run: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{1,64}", run):
        raise StepFailed(f"{run!r} is not the name of a run")
    return run
