"""The side of the run: puts jobs into queues, answers workers, and ends what no worker will do.

The rules for one job are in `builder/execution/fleet/job.py`; this gives them a broker, a clock, and the threads that wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import Callable, Coroutine, Dict, Mapping, Optional, Tuple, TypeVar

from builder.config.remote_machines import FleetSettings
from builder.errors import DeployError, StepFailed, Unreachable, Untrusted
from builder.execution.fleet import queues
from builder.execution.fleet.broker import WORKERS, Broker, Connection, run_subject
from builder.execution.fleet.job import Job, machine_of
from builder.execution.fleet.messages import Answer, AskStatus, Message, Order, Signing, Status
from builder.execution.messages import File
from builder.release import VERSION

_PERIOD = 0.25
_AWAY = 60.0  # seconds after which a broker that does not answer is waited for no longer
_LOST = 2.0  # seconds after which a job that nobody has begun is looked for
_STATUS = 2.0  # seconds that workers have to answer
_T = TypeVar("_T")


class Coordinator:
    """A context. `wait_for` may be called from many threads; all else happens in the thread of the event loop."""

    def __init__(self, broker: Broker, run: str, settings: FleetSettings, signing: Signing) -> None:
        self._broker, self._settings, self._signing = broker, settings, signing
        self.run = run + os.urandom(8).hex()  # reports to an earlier process of the run are of another run
        self._jobs: Dict[str, Job] = {}
        self._stopped = False
        self._loop = asyncio.new_event_loop()
        self._connection = Connection(broker, f"run {run[:8]}")
        self._back = 0.0  # when the broker came back
        self._ticking: Optional["asyncio.Task[None]"] = None
        self._looking: Optional["asyncio.Task[None]"] = None

    def __enter__(self) -> "Coordinator":
        threading.Thread(target=self._loop.run_forever, daemon=True, name="fleet").start()
        self._call(self._open())
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()
        with contextlib.suppress(Exception):  # whatever a broken connection raises while it is put away
            self._call(self._close(), 5)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def wait_for(self, order: Order, queue: str, say: Callable[[str], None], prefers: str = "") -> Tuple[File, str]:
        """The record of the result, as a file of the store, and the machine that made it. `prefers` names a machine; another
        one gets the job when that is gone or has failed. Raises StepFailed, and Unreachable."""
        own = queues.own(prefers) if prefers else ""
        job = Job(order, queue, own, self._settings.tries, say, time.monotonic())
        self._loop.call_soon_threadsafe(self._add, job)
        job.ended.wait()
        if job.problem is not None:
            raise job.problem
        assert job.result is not None
        return job.result, job.machine

    def stop(self) -> None:
        """Workers stop, jobs are taken back, and nobody waits any more."""
        with contextlib.suppress(Exception):  # workers hear no answer then, and end by themselves
            if self._loop.is_running():
                self._call(self._stop(), 10)

    def _call(self, work: "Coroutine[object, object, _T]", seconds: Optional[float] = None) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    # ------------------------------------------------------------------ in the thread of the event loop

    async def _open(self) -> None:
        await self._connection.open()
        await self._connection.listen(run_subject(self.run), self._report)
        self._ticking = self._loop.create_task(self._tick())

    async def _close(self) -> None:
        for task in filter(None, (self._ticking, self._looking)):
            task.cancel()
        await self._connection.close()

    def _add(self, job: Job) -> None:
        if self._stopped:
            job.end(StepFailed("the run was stopped"))
            return
        self._jobs[job.order.action.key] = job
        self._loop.create_task(self._put(job))

    async def _stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            job.end(StepFailed("the run was stopped"))
        if self._connection.lost is None:
            stop = Message(self.run, "", "", "run", Answer("no", "the run was stopped"))
            await self._connection.tell(f"{run_subject(self.run)}.stop", self._signing.close(stop))
            await asyncio.gather(*(self._connection.remove(job.number) for job in jobs if job.number is not None))

    async def _report(self, data: bytes) -> Optional[bytes]:
        """The answer to a message of a worker; None for one that is not believed, or of another run."""
        try:
            message = self._signing.open(data)
        except Untrusted:
            return None
        if message.run != self.run:
            return None
        job = self._jobs.get(message.job)
        answer = job.report(message, time.monotonic()) if job else Answer("no", "nobody waits for it")
        self._forget(message.job)
        return self._signing.close(Message(self.run, message.job, message.attempt, "run", answer, message.number))

    def _forget(self, key: str) -> None:
        if key in self._jobs and self._jobs[key].ended.is_set():
            del self._jobs[key]

    async def _put(self, job: Job) -> None:
        """Put a job that is due into its queue, and out of the one that it was in."""
        now, queue, before = time.monotonic(), job.queue, job.number
        job.due, job.put = None, now
        message = Message(self.run, job.order.action.key, os.urandom(8).hex(), "run", job.order)
        try:
            await self._connection.serve(queue)
            number = await self._connection.add(queue, self._signing.close(message))
            job.number, job.put, job.vain = number, time.monotonic(), None
            for unwanted in (before, number if job.ended.is_set() else None):
                if unwanted is not None:
                    await self._connection.remove(unwanted)
        except Unreachable as problem:
            job.vain = job.vain or now
            if now - job.vain > _AWAY:
                job.end(problem)
            job.due = now + 1

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD)
            now, lost = time.monotonic(), self._connection.lost
            if lost is not None:
                self._back = now
                if now - lost > _AWAY:
                    self._end_all(Unreachable("the broker does not answer", where=self._broker.name))
            else:
                due = [job for job in self._jobs.values() if job.due is not None and job.due <= now]
                await asyncio.gather(*map(self._put, due))
                if self._looking is None or self._looking.done():
                    self._looking = self._loop.create_task(self._look())
            for key in list(self._jobs):
                self._forget(key)

    def _end_all(self, problem: DeployError) -> None:
        for job in self._jobs.values():
            job.end(problem)

    async def _look(self) -> None:
        """End jobs that no worker will do, and put jobs that were lost into a queue again."""
        began = time.monotonic()
        idle = [job for job in self._jobs.values() if job.holder(began) is None]
        idle = [job for job in idle if job.failed or (job.due is None and began - max(job.put, self._back) > 2)]
        if not idle:
            return
        with contextlib.suppress(Unreachable):
            served = await status(self._connection, self._signing)
            for job in idle:
                await self._judge(job, served, began)

    async def _judge(self, job: Job, served: Mapping[str, Status], began: float) -> None:
        now, waited = time.monotonic(), began - max(job.put, self._back)
        there = {machine_of(name) for name, about in served.items() if job.queue in about.queues}
        if job.holder(now) is not None or job.ended.is_set():
            return
        if job.failed and job.failed_at < began and not there - set(job.failed):
            job.fails_everywhere()
        elif job.due is not None or waited < 2:
            return
        elif not there and job.own:  # one answer may be late
            job.unserved += 1
            if job.unserved > 1:
                job.own, job.due = "", now
        elif not there and waited > self._settings.patience:
            job.end(_no_worker(job.queue, self._settings.patience, self._broker.name))
        elif waited > _LOST and (job.number is None or not await self._connection.holds(job.number)):
            job.lose(now)


async def status(connection: Connection, signing: Signing, seconds: float = _STATUS) -> Dict[str, Status]:
    """The status of every worker that answers and is believed, by name. Raises Unreachable."""
    asked = Message("", "", os.urandom(16).hex(), "run", AskStatus())
    found: Dict[str, Status] = {}
    for data in await connection.ask_all(WORKERS, signing.close(asked), seconds):
        with contextlib.suppress(Untrusted):
            message = signing.open(data)
            if isinstance(message.body, Status) and message.attempt == asked.attempt:
                found[message.sender] = message.body
    return found


def _no_worker(queue: str, seconds: float, broker: str) -> Unreachable:
    return Unreachable(
        f"no worker of release {VERSION} serves the queue {queues.short(queue)!r}",
        where="fleet",
        hint=f"on such a machine: build worker --broker {broker} --store PLACE   (waited {seconds:g} s: `fleet: {{patience: ...}}`)",
    )
