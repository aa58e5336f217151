"""The side that runs on the other machine: answers messages until its standard input ends, and leaves nothing running.

It performs the steps that builder/execution/workbench.py names and no others, on inputs named by digest. It never runs a line of
text as a command, and writes only below its folder. `boot` starts it; `builder/execution/ssh/connection.py` talks to it.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
from pathlib import Path
from typing import Callable, NoReturn

from builder.actions.action import Action, Result
from builder.digest import Json
from builder.errors import DeployError, StepFailed, Unreachable
from builder.execution.cache import FULL, Cache
from builder.execution.messages import (
    Alive,
    Answer,
    AskFacts,
    AskNeed,
    Channel,
    Dropped,
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
    from_file,
)
from builder.execution.workbench import Limits, Workbench
from builder.platforms import machines
from builder.records import RecordError, from_json, to_json

SILENCE = 60.0  # seconds without a word after which the other end counts as gone
_HINT = "the limits are `worker: {minutes: ..., memory: ...}` of the target in matrix.yaml"


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
        self._machine = machines.here()
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
                self._say(Refused(f"{named}{problem.strerror or problem}", away=problem.errno in FULL))

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
        heard = time.monotonic()

        def wanted(woken: int, seconds: float) -> bool:
            """Does the other end still say that it is there?"""
            nonlocal heard
            others = [woken] if woken >= 0 else []
            if set(self._channel.ready(others, seconds)) - set(others):
                heard = time.monotonic()
                try:
                    self._channel.receive(SILENCE)  # only `alive` comes while an action runs
                except Dropped:
                    return False
            return time.monotonic() - heard <= SILENCE

        limits = Limits(self._terms.seconds, self._terms.memory)
        return Workbench(self._cache, self._machine, limits, wanted, lambda line: self._say(Line(line)), _HINT).perform(
            action
        )


def _plain(run: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{1,64}", run):
        raise StepFailed(f"{run!r} is not the name of a run")
    return run
