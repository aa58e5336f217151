"""The side of the worker: takes jobs for this machine, one at a time, asks the run, performs, and reports.

It performs the steps that builder/execution/workbench.py names, on files by digest; an order is data, never a command. While it
works it tells the broker, which would deliver the job to another worker, and the run, which may answer that it is to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple, Union

from nats.aio.msg import Msg
from nats.errors import Error

from builder import digest, terminal
from builder.actions.action import Action, Result
from builder.config.contract import PACKAGE
from builder.errors import DeployError, StepFailed, Unreachable, Untrusted, first_line
from builder.execution import workbench
from builder.execution.cache import FULL, Cache
from builder.execution.fleet import queues
from builder.execution.fleet.broker import WORKERS, Broker, Connection, run_subject
from builder.execution.fleet.job import machine_of
from builder.execution.fleet.messages import (
    Answer,
    AskStatus,
    Begin,
    Body,
    Done,
    Failed,
    Message,
    Order,
    Signing,
    Status,
    Working,
)
from builder.execution.messages import Dropped, File
from builder.execution.workbench import Limits
from builder.platforms import machines
from builder.platforms.machines import Machine
from builder.platforms.platform import cannot_build, cannot_run
from builder.plugins import Repository
from builder.records import to_json
from builder.store import transfers
from builder.store.oci import OCTETS, Descriptor

BEAT = 4.0  # seconds between two reports, and two signs of life to the broker: less than a third of its lease
SILENCE = 60.0  # seconds without an answer after which nobody waits any more
_ASKED = (2.0, 3.0, 5.0)  # seconds that an answer is waited for, before it is asked again
_LATER = 2.0  # seconds before a job that another machine is to do is delivered again
_ABSENT, _MOST_ABSENT = 5.0, 12  # the same for a job whose run does not answer, and times that it is
_MOST_LINES = 200
_SOON = 0.5  # seconds after which a line of the step is passed on
Perform = Callable[[Action, Cache, Callable[[str], None]], Result]


@dataclass(frozen=True)
class WorkerSettings:
    """`name` is NAME@MACHINE. `memory` and `free`: bytes that a job may take, and that stay free on the disk."""

    name: str
    machine: Machine
    folder: Path
    memory: int = 0
    free: int = 0


class Worker:
    """One job at a time. `tell` gets a line for the log, `perform` stands for the real steps in measurements."""

    def __init__(
        self,
        settings: WorkerSettings,
        connection: Connection,
        place: Repository,
        signing: Signing,
        tell: Callable[[str], None],
        perform: Optional[Perform] = None,
    ) -> None:
        self.settings, self._connection, self._place, self._signing = settings, connection, place, signing
        self._tell, self._perform, self._process = tell, perform, os.urandom(4).hex()
        self._ending, self._job, self._done = False, None, 0  # type: bool, Optional[_Reports], int
        self._thread = ThreadPoolExecutor(1)
        self._queues: Tuple[str, ...] = ()

    async def open(self, kinds: Sequence[str]) -> None:
        """`kinds`: queues of kinds of machines; the one of this very machine is served, too. Raises Unreachable."""
        self._queues = (*kinds, queues.own(machine_of(self.settings.name)))
        await self._connection.serve(*self._queues)
        await self._connection.listen(WORKERS, self._status)

    async def serve(self) -> None:
        """Until `end`."""
        while not self._ending:
            try:
                job = await self._connection.next(self._queues)
            except Unreachable:
                await asyncio.sleep(1)
                continue
            if job is not None:
                self._tell(terminal.in_one_line(await self.take(job)))

    def end(self) -> None:
        """Take no other job. The second call stops the job that it has."""
        if self._ending and self._job is not None:
            self._job.over = self._job.over or "the worker was ended"
        self._ending = True

    async def take(self, job: Msg) -> str:
        """Do a job, if it is one, and if it is wanted. Returns a line for the log."""
        try:
            message = self._signing.open(bytes(job.data))
            if not isinstance(message.body, Order) or message.job != message.body.action.key:
                raise Untrusted("this is no order")
        except Untrusted as problem:
            await job.term()
            return f"refused: {problem.what}"
        named = f"{message.body.action.recipe.step} {message.job[7:19]}"
        reports = _Reports(self._connection, self._signing, message, self.settings.name, self._process)
        answer = await reports.send(Begin(), _ASKED[-1:])
        if answer is None:
            dead = job.metadata.num_delivered > _MOST_ABSENT
            await (job.term() if dead else job.nak(_ABSENT))
            return f"{named}: left: its run does not answer"
        if answer.go != "yes":
            await (job.nak(_LATER) if answer.go == "later" else job.ack())
            return f"{named}: left: {answer.why}"
        self._tell(f"{named}: begun for run {message.run[:8]}")
        self._job = reports
        try:
            async with reports.alive(job):
                last = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._ended, message.body, reports
                )
            return f"{named}: {await self._told(last, reports, job)}"
        finally:
            self._job = None
            self._done += 1

    async def _told(self, last: Union[Done, Failed, None], reports: "_Reports", job: Msg) -> str:
        """Report the end of a job until it is heard."""
        if last is None:
            wanted = reports.over in ("its run does not answer", "the worker was ended")
            await (job.nak(0.1) if wanted else job.ack())
            return f"stopped: {reports.over}"
        answer = await reports.send(last, _ASKED)
        await (job.nak(_ABSENT) if answer is None else job.ack())
        heard = "nobody answered" if answer is None else "told" if answer.go == "yes" else f"left: {answer.why}"
        if isinstance(last, Failed):
            return f"failed: {last.what}; {heard}"
        return "done" if heard == "told" else f"done, but {heard}"

    async def _status(self, data: bytes) -> Optional[bytes]:
        try:
            asked = Signing().open(data)  # anybody may ask, and steers nothing
        except Untrusted:
            return None
        if not isinstance(asked.body, AskStatus):
            return None
        job, now = self._job, time.monotonic()
        working = (job.order.action.recipe.step, job.message.job[7:19], job.message.run[:8]) if job else ()
        machine = machines.in_short(self.settings.machine)
        about = Status(machine, self._queues, self._done, working, now - job.began if job else 0.0)
        return self._signing.close(Message(asked.run, "", asked.attempt, self.settings.name, about))

    # ------------------------------------------------------------------ in the thread of the job

    def _ended(self, order: Order, reports: "_Reports") -> Union[Done, Failed, None]:
        """What ends the report of a job; None where nobody waits for it."""
        name = self.settings.name
        try:
            cache = Cache(
                self.settings.folder,
                digest.hex_part(digest.of_bytes(reports.message.run.encode())),
                self.settings.free,
            )
            return Done(self._upload(cache, self._result(order, cache, reports)))
        except Dropped:
            return None
        except DeployError as problem:
            away = isinstance(problem, Unreachable)
            return Failed(problem.what, problem.where or (name if away else None), problem.hint, away)
        except OSError as problem:  # a full disk above all: of this machine, not of the step
            what = f"{problem.filename or self.settings.folder}: {problem.strerror or first_line(problem)}"
            return Failed(what, name, away=problem.errno in FULL)
        except Exception as problem:  # a bug of ours, or an order that no step foresees: told, and the next is taken
            return Failed(f"{type(problem).__name__}: {first_line(problem)}", name)

    def _result(self, order: Order, cache: Cache, reports: "_Reports") -> Result:
        action, machine = order.action, self.settings.machine
        workbench.check(action)
        if action.platform is None or action.platform.runtime not in PACKAGE:
            named = repr(action.platform.runtime) if action.platform else "nothing"
            raise StepFailed(f"it is for {named}, which is no runtime here", hint="is this worker older than the run?")
        wrong = cannot_build(action.platform, machine) or cannot_run(action.platform, machine)
        if wrong:
            raise StepFailed(f"this machine is not what the job is for: {wrong}", where=self.settings.name)
        self._fetch(order, cache, reports)
        if self._perform is not None:
            return self._perform(action, cache, reports.say)
        limits = Limits(order.seconds, self.settings.memory)
        hint = "the limits are `fleet: {minutes: ...}` in matrix.yaml and `build worker --memory`"
        return workbench.Workbench(cache, machine, limits, reports.is_wanted, reports.say, hint).perform(action)

    def _fetch(self, order: Order, cache: Cache, reports: "_Reports") -> None:
        lacking = cache.needed(order.files)
        if lacking:
            reports.say(f"fetching {terminal.size(sum(file.size for file in lacking))} from {self._place.name}")
        for file in lacking:
            if reports.over:
                raise Dropped("ended")
            named = Descriptor(OCTETS, file.digest, file.size)
            if not self._place.has(named):
                what = f"an input of the job is not in {self._place.name}, its store: is that the store of the run?"
                hint = "build worker --store PLACE, as in `fleet: {store: PLACE}` of matrix.yaml"
                raise Unreachable(what, where=self.settings.name, hint=hint)
            transfers.fetch(self._place, named, cache.store)

    def _upload(self, cache: Cache, result: Result) -> File:
        record = cache.store.put_bytes("result.json", json.dumps(to_json(result)).encode())
        for blob in (*result.outputs, record):
            named = Descriptor(OCTETS, blob.digest, blob.size)
            if not self._place.has(named):
                self._place.put(named, cache.store.fetch(blob.digest))
        return File(record.digest, record.size)


class _Reports:
    """Reports of one attempt to its run. `over` is why the job is to stop; "" while it may go on."""

    def __init__(self, connection: Connection, signing: Signing, message: Message, sender: str, process: str) -> None:
        assert isinstance(message.body, Order)
        self._connection, self._signing, self.message, self._sender = connection, signing, message, sender
        self.order, self._attempt = message.body, message.attempt + process
        self.over, self.began, self._number = "", time.monotonic(), 0
        self._heard = self.began
        self._lines: List[str] = []

    async def send(self, body: Body, waits: Sequence[float]) -> Optional[Answer]:
        """The answer of the run; None when it gives none."""
        self._number += 1
        number, subject = self._number, run_subject(self.message.run)
        sent = self._signing.close(
            Message(self.message.run, self.message.job, self._attempt, self._sender, body, number)
        )
        for seconds in waits:
            until = time.monotonic() + seconds
            data = await self._connection.ask(subject, sent, seconds)
            with contextlib.suppress(Untrusted):
                answer = self._signing.open(data or b"")
                same = (answer.run, answer.job, answer.attempt, answer.number)
                if isinstance(answer.body, Answer) and same == (
                    self.message.run,
                    self.message.job,
                    self._attempt,
                    number,
                ):
                    self._heard = time.monotonic()
                    return answer.body
            if seconds != waits[-1]:
                await asyncio.sleep(max(until - time.monotonic(), 0))
        return None

    @contextlib.asynccontextmanager
    async def alive(self, job: Msg):  # type: ignore[no-untyped-def]
        """Tell the broker and the run, while it lasts, that the job is worked on, and hear whether it is to stop."""
        unsubscribe = await self._connection.listen(f"{run_subject(self.message.run)}.stop", self._stop)
        beats = asyncio.get_running_loop().create_task(self._beat(job))
        try:
            yield
        finally:
            beats.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beats
            if self._lines:
                await self.send(self._working(), _ASKED[:1])
            await unsubscribe()  # type: ignore[misc]

    async def _beat(self, job: Msg) -> None:
        told = signed = time.monotonic()
        while not self.over:
            await asyncio.sleep(_SOON)
            now = time.monotonic()
            if now - signed > BEAT:
                signed = now
                with contextlib.suppress(Error):
                    await job.in_progress()
            if self._lines or now - told > BEAT:
                told = now
                answer = await self.send(self._working(), (BEAT,))
                if answer is not None and answer.go == "no":
                    self.over = self.over or answer.why or "it is not wanted any more"
            if now - self._heard > SILENCE:
                self.over = self.over or "its run does not answer"

    async def _stop(self, data: bytes) -> None:
        with contextlib.suppress(Untrusted):
            message = self._signing.open(data)
            if isinstance(message.body, Answer) and message.run == self.message.run and not message.job:
                self.over = self.over or message.body.why

    def _working(self) -> Working:
        lines, self._lines = tuple(self._lines[-_MOST_LINES:]), []
        return Working(lines)

    def say(self, line: str) -> None:
        """From the thread of the job."""
        self._lines.append(line)

    def is_wanted(self, woken: int, seconds: float) -> bool:
        """Wait at most that long; see builder/execution/workbench.py."""
        if seconds:
            select.select([woken], [], [], seconds)
        return not self.over


async def serve(
    broker: Broker,
    make: Callable[[Connection], Sequence[Worker]],
    kinds: Sequence[str],
    tell: Callable[[str], None],
) -> None:
    """Serve with the workers that `make` gives, until a signal: the first one waits for the job, the second one stops it.
    Raises Unreachable."""
    connection = Connection(broker, "worker", tell)
    await connection.open()
    workers, loop = make(connection), asyncio.get_running_loop()

    def end() -> None:
        for worker in workers:
            worker.end()
        loop.create_task(connection.wake())

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    for worker in workers:
        await worker.open(kinds)
    tell(f"{workers[0].settings.name} serves {broker.name}: {', '.join(map(queues.short, kinds))}")
    await asyncio.gather(*(worker.serve() for worker in workers))
    await connection.close()
