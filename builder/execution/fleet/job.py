"""A job of a run: who works on it, which result counts, and when it is put into a queue again. Pure: the clock is passed in.

The broker delivers a job at least once, so two workers may have it. Equal keys give interchangeable results: the first result
that is reported counts.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Callable, Dict, Optional

from builder import terminal
from builder.errors import DeployError, StepFailed, Unreachable
from builder.execution.fleet.broker import LEASE
from builder.execution.fleet.messages import Answer, Begin, Done, Failed, Message, Order, Working
from builder.execution.messages import File

MOST_LOST = 3  # times that a job may vanish from its queue
PAUSES = (0.0, 2.0, 8.0, 30.0)  # seconds before a job that failed is put into a queue again
_LOOK = "look at the machine: is it out of memory? `build fleet` shows the workers"
_REFUSED = "look at their logs: do they trust the key of this run? `fleet: {key: ...}`, build worker --trust"


def machine_of(worker: str) -> str:
    """Workers are called NAME@MACHINE."""
    return worker.rpartition("@")[2]


@dataclass
class Attempt:
    """One delivery to one process. `number` is that of its last report."""

    worker: str
    heard: float
    number: int = 0


class Job:
    """`kind`: the queue of all machines that it is for; `own`: the queue of the one machine that is to do it, or "".

    `due`: when it is to be put into a queue; None while it is in one. `number`: its number in the stream."""

    def __init__(self, order: Order, kind: str, own: str, tries: int, say: Callable[[str], None], now: float) -> None:
        self.order, self.kind, self.own, self._tries, self._say = order, kind, own, tries, say
        self.ended = threading.Event()
        self.result: Optional[File] = None
        self.machine = ""
        self.problem: Optional[DeployError] = None
        self.due: Optional[float] = now
        self.put, self.number = now, None  # type: float, Optional[int]
        self.attempts: Dict[str, Attempt] = {}
        self.failed: Dict[str, DeployError] = {}  # by machine
        self.failed_at = 0.0
        self.vain: Optional[float] = None  # since when it could not be put into a queue
        self.unserved = self._lost = 0  # times

    @property
    def queue(self) -> str:
        return self.own or self.kind

    def end(self, problem: Optional[DeployError]) -> None:
        if not self.ended.is_set():
            self.problem = problem
            self.ended.set()

    def holder(self, now: float) -> Optional[Attempt]:
        """The attempt that was heard of last, unless it is silent."""
        last = max(self.attempts.values(), key=lambda attempt: attempt.heard, default=None)
        return last if last is not None and now - last.heard < LEASE else None

    def report(self, message: Message, now: float) -> Answer:
        """Take what a worker reports."""
        body = message.body
        if self.ended.is_set():
            return Answer("no", "nobody waits for it")
        if isinstance(body, Begin):
            return self._begin(message, now)
        attempt = self.attempts.get(message.attempt)
        if attempt is None or attempt.worker != message.sender:
            return Answer("no", "it was not begun")
        if isinstance(body, Working):
            attempt.heard = now
            for line in body.lines if message.number > attempt.number else ():
                self._say(terminal.harmless(line))
            attempt.number = max(attempt.number, message.number)
        elif isinstance(body, Done):
            self.result, self.machine = body.result, machine_of(message.sender)
            self.end(None)
        elif isinstance(body, Failed):
            self._fail(message, body, now)
        return Answer("yes")

    def lose(self, now: float) -> None:
        """No queue has it any more."""
        self._lost += 1
        if self._lost > MOST_LOST:
            self.end(Unreachable("workers took its order, and none asked to begin", where="fleet", hint=_REFUSED))
        else:
            self._say("its order is in no queue; it is given again")
            self.due, self.number = now, None

    def fails_everywhere(self) -> None:
        """No other machine is there for it."""
        self.end(self._all_problems())

    def _begin(self, message: Message, now: float) -> Answer:
        worker, known, holder = message.sender, self.attempts.get(message.attempt), self.holder(now)
        if machine_of(worker) in self.failed:
            return Answer("later", "it has failed on this machine")
        if known is not None:  # it asks again, since the answer was lost
            known.heard = now
            return Answer("yes")
        if holder is not None and holder.worker != worker:
            return Answer("later", f"{holder.worker} is at it")
        if len(self.attempts) >= self._tries:
            self.end(StepFailed(f"it was begun {self._tries} times and never ended", hint=_LOOK))
            return Answer("no", "it was begun too often")
        self.attempts[message.attempt] = Attempt(worker, now)
        self._lost = 0
        self._say(f"{worker} begins")
        return Answer("yes")

    def _fail(self, message: Message, failed: Failed, now: float) -> None:
        what, where, hint = (terminal.harmless(part or "") for part in (failed.what, failed.where, failed.hint))
        kind = Unreachable if failed.away else StepFailed
        self.failed[machine_of(message.sender)] = kind(what, where=where or None, hint=hint or None)
        self.failed_at, self.attempts[message.attempt].heard = now, now - LEASE
        self._say(f"{message.sender}: {what}")
        if self.holder(now) is not None:
            return
        self.own = ""
        if len(self.attempts) >= self._tries:
            self.fails_everywhere()
        self.due, self.number = now + PAUSES[min(len(self.attempts) - 1, len(PAUSES) - 1)], None

    def _all_problems(self) -> DeployError:
        """A step that failed says more than machines that could not begin it."""
        problems = list(self.failed.values())
        problem = next((other for other in reversed(problems) if isinstance(other, StepFailed)), problems[-1])
        if len(self.attempts) == 1:
            return problem
        machines = f", on {len(self.failed)} machines" if len(self.failed) > 1 else ""
        what = f"{problem.what} (tried {len(self.attempts)} times{machines})"
        return type(problem)(what, where=problem.where, hint=problem.hint or _LOOK)
