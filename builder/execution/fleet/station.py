"""The side of the worker: takes an order, asks whether it may begin, fetches, performs, brings the outputs to the store.

While it works it says so, and stops when the run answers that somebody else does it by now, or answers no more. It performs
the steps that builder/execution/workbench.py names, on files by digest; an order is data, never a command.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from builder import digest, terminal
from builder.actions.action import Action, Result
from builder.config.contract import PACKAGE
from builder.errors import DeployError, StepFailed, Unreachable, Untrusted, first_line
from builder.execution import workbench
from builder.execution.cache import FULL, Cache
from builder.execution.fleet.book import BEAT
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.mail import Mail
from builder.execution.fleet.sealing import Seal
from builder.execution.fleet.words import Answer, Beat, Claim, Done, Failed, Order, Report, Who
from builder.execution.messages import Dropped, File
from builder.execution.workbench import Limits
from builder.platforms.machines import Machine
from builder.platforms.platform import cannot_build, cannot_run
from builder.plugins import Repository
from builder.records import to_json
from builder.store import transfers
from builder.store.oci import OCTETS, Descriptor

SILENCE = 60.0  # seconds without an answer after which nobody waits any more
_ASKED = (2.0, 3.0, 5.0)  # seconds that an answer to a question is waited for, before it is asked again
_MOST_LINES = 200
_SOON = 0.5  # seconds after which a line of the step is passed on
Perform = Callable[[Action, Cache, Callable[[str], None]], Result]


@dataclass(frozen=True)
class Post:
    """Where a worker stands. `memory` and `free`: bytes that a job may take, and that stay free on the disk."""

    name: str
    machine: Machine
    folder: Path
    memory: int = 0
    free: int = 0


class Station:
    """One process of a worker; an order at a time. `tell` gets a line for the log."""

    def __init__(
        self,
        post: Post,
        broker: Broker,
        place: Repository,
        seal: Seal,
        tell: Callable[[str], None],
        perform: Optional[Perform] = None,
    ) -> None:
        """`perform`: in place of the real steps, for measuring the fleet itself."""
        self._post, self._broker, self._place, self._seal, self._tell = post, broker, place, seal, tell
        self._perform = perform
        mailbox = f"deploymatrix.worker.{os.getpid()}.{os.urandom(4).hex()}"
        self._who = Who(post.name, post.name.rpartition("@")[2], mailbox)
        self._answers: "queue.Queue[Answer]" = queue.Queue()
        self._talk: Optional[_Talk] = None
        self._silent: Dict[str, float] = {}  # runs that did not answer, and when
        self._mail = Mail(broker, mailbox, self._letter, lambda: None)
        self._mail.open()
        self._parent = os.getppid()

    def take(self, message: object) -> str:
        """Do what an order says, if it is one, and if it is wanted. Returns what became of it, a line for the log."""
        return terminal.in_one_line(self._taken(message))

    def _taken(self, message: object) -> str:
        try:
            order = self._seal.open(Order, message)
        except Untrusted as problem:
            return f"refused: {problem.what}"
        named = f"{order.action.recipe.step} {order.action.key[7:19]}"
        try:
            token = self._claimed(order)
        except Unreachable as problem:
            return f"{named}: left: {problem.what}"
        if isinstance(token, str):
            return f"{named}: left: {token}"
        self._tell(f"{named}: begun for run {order.run[:8]}")
        talk = self._talk = _Talk(self._mail, self._seal, self._who, order, token)
        try:
            with talk:
                return f"{named}: {self._done(order, talk)}"
        finally:
            self._talk = None

    def close(self) -> None:
        self._mail.close()

    def _letter(self, body: object) -> None:
        try:
            answer = self._seal.open(Answer, body)
        except Untrusted:
            return
        talk = self._talk
        if talk is not None and answer.key == talk.key:
            talk.heard(answer)
        else:
            self._answers.put(answer)

    def _claimed(self, order: Order) -> "int | str":
        """The token of the lease, or why there is none."""
        while not self._answers.empty():
            self._answers.get()
        if not self._mail.reaches(order.mailbox):
            return "its run has ended"
        claim = self._seal.close(Report(self._who, Claim(order.action.key, order.ticket)))
        now = time.monotonic()
        self._silent = {run: at for run, at in self._silent.items() if now - at < SILENCE}
        # A run that was killed may have left orders by the hundred, and a line that flaps brings one again and again.
        for seconds in _ASKED[:1] if order.run in self._silent else _ASKED:
            self._mail.send(order.mailbox, claim)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                try:
                    answer = self._answers.get(timeout=max(until - time.monotonic(), 0.01))
                except queue.Empty:
                    break
                if (answer.run, answer.key, answer.to) == (order.run, order.action.key, "claim"):
                    self._silent.pop(order.run, None)
                    return answer.token if answer.go else answer.why
        self._silent[order.run] = time.monotonic()
        return "its run does not answer"

    def _done(self, order: Order, talk: "_Talk") -> str:
        try:
            result = self._result(order, talk)
            talk.say("bringing the outputs to the store")
            record = self._upload(order, result)
            told = talk.finish(Done(order.action.key, talk.token, record))
            return "done" if told == "told" else f"done, but {told}"
        except Dropped:
            return f"stopped: {talk.over}"
        except DeployError as problem:
            away = isinstance(problem, Unreachable)
            where = problem.where or (self._who.name if away else None)
            failed = Failed(order.action.key, talk.token, problem.what, where, problem.hint, away)
            return f"failed: {problem.what}; {talk.finish(failed)}"
        except OSError as problem:  # a full disk above all: of this machine, not of the step
            what = f"{problem.filename or self._post.folder}: {problem.strerror or first_line(problem)}"
            failed = Failed(order.action.key, talk.token, what, self._who.name, away=problem.errno in FULL)
            return f"failed: {what}; {talk.finish(failed)}"
        except Exception as problem:  # a bug of ours, or an order that no step foresees: told, and the next is taken
            what = f"{type(problem).__name__}: {first_line(problem)}"
            return f"failed: {what}; {talk.finish(Failed(order.action.key, talk.token, what, self._who.name))}"

    def _result(self, order: Order, talk: "_Talk") -> Result:
        action, machine = order.action, self._post.machine
        workbench.check(action)
        if action.platform is None or action.platform.runtime not in PACKAGE:
            named = repr(action.platform.runtime) if action.platform else "nothing"
            raise StepFailed(f"it is for {named}, which is no runtime here", hint="is this worker older than the run?")
        wrong = cannot_build(action.platform, machine) or cannot_run(action.platform, machine)
        if wrong:
            raise StepFailed(f"this machine is not what the job is for: {wrong}", where=self._who.name)
        cache = Cache(self._post.folder, digest.hex_part(digest.of_bytes(order.run.encode())), self._post.free)
        self._fetch(order, cache, talk)
        if self._perform is not None:
            return self._perform(action, cache, talk.say)
        limits = Limits(order.seconds, self._post.memory)
        hint = "the limits are `fleet: {minutes: ...}` in matrix.yaml and `build worker --memory`"
        return workbench.Workbench(cache, machine, limits, self._is_wanted, talk.say, hint).perform(action)

    def _is_wanted(self, woken: int, seconds: float) -> bool:
        if seconds:
            select.select([woken], [], [], seconds)
        talk = self._talk
        return talk is not None and not talk.over and os.getppid() == self._parent

    def _fetch(self, order: Order, cache: Cache, talk: "_Talk") -> None:
        lacking = cache.needed(order.files)
        if lacking:
            talk.say(f"fetching {terminal.size(sum(file.size for file in lacking))} from {self._place.name}")
        for file in lacking:
            if talk.over:
                raise Dropped("ended")
            named = Descriptor(OCTETS, file.digest, file.size)
            if not self._place.has(named):
                raise Unreachable(
                    f"an input of the job is not in {self._place.name}, its store: is that the store of the run?",
                    where=self._who.name,
                    hint="build worker --store PLACE, as in `fleet: {store: PLACE}` of matrix.yaml",
                )
            transfers.fetch(self._place, named, cache.store)

    def _upload(self, order: Order, result: Result) -> File:
        cache = Cache(self._post.folder, digest.hex_part(digest.of_bytes(order.run.encode())), self._post.free)
        record = cache.store.put_bytes("result.json", json.dumps(to_json(result)).encode())
        for blob in (*result.outputs, record):
            named = Descriptor(OCTETS, blob.digest, blob.size)
            if not self._place.has(named):
                self._place.put(named, cache.store.fetch(blob.digest))
        return File(record.digest, record.size)


class _Talk:
    """What is said about one action while it is done. `over` is why it is to stop; "" while it may go on."""

    def __init__(self, mail: Mail, seal: Seal, who: Who, order: Order, token: int) -> None:
        self._mail, self._seal, self._who, self._order, self.token = mail, seal, who, order, token
        self.key, self.over = order.action.key, ""
        self._lines: List[str] = []
        self._lock = threading.Lock()
        self._last_heard = time.monotonic()
        self._ended, self._answered = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "_Talk":
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._ended.set()
        self._thread.join()

    def say(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
            del self._lines[:-_MOST_LINES]

    def heard(self, answer: Answer) -> None:
        self._last_heard = time.monotonic()
        if answer.run != self._order.run:
            return
        if not answer.go and answer.token in (0, self.token):
            self.over = self.over or answer.why or "it is not wanted any more"
        if answer.to in ("done", "failed"):
            self._answered.set()

    def finish(self, last: "Done | Failed") -> str:
        """Say the last word until it is heard. Returns how it was taken."""
        self._ended.set()
        self._thread.join()
        if self._waiting():
            with contextlib.suppress(Unreachable):
                self._send(Beat(self.key, self.token, self._taken()))
        for seconds in _ASKED:
            self._answered.clear()
            try:
                self._send(last)
            except Unreachable:
                time.sleep(seconds)
                continue
            if self._answered.wait(seconds):
                return f"left: {self.over}" if self.over else "told"
        return "nobody answered"

    def _send(self, said: "Beat | Done | Failed") -> None:
        self._mail.send(self._order.mailbox, self._seal.close(Report(self._who, said)))

    def _beat(self) -> None:
        said = time.monotonic()
        while not self._ended.wait(_SOON):
            if self._waiting() or time.monotonic() - said > BEAT:
                said = time.monotonic()
                with contextlib.suppress(Unreachable):
                    self._send(Beat(self.key, self.token, self._taken()))
            if time.monotonic() - self._last_heard > SILENCE:
                self.over = self.over or "its run does not answer"
                return

    def _waiting(self) -> bool:
        with self._lock:
            return bool(self._lines)

    def _taken(self) -> Tuple[str, ...]:
        with self._lock:
            lines, self._lines = tuple(self._lines), []
        return lines
