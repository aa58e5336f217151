"""The roll of the fleet: every worker with its machine, queues and job, and every queue with what waits in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

from builder import terminal
from builder.digest import Json
from builder.execution.fleet.broker import ROLL, Broker, depth
from builder.execution.fleet.queues import short
from builder.execution.fleet.words import Order
from builder.records import RecordError, from_json

_ANSWERS = 2.0  # seconds that workers have to answer


@dataclass(frozen=True)
class Job:
    """What a worker is at: the step, the first letters of its key and of its run, and for how many seconds."""

    step: str
    key: str
    run: str
    seconds: float


@dataclass(frozen=True)
class Worker:
    name: str
    machine: str
    queues: Tuple[str, ...]
    job: Optional[Job]
    done: int


@dataclass(frozen=True)
class Line:
    """A queue: the targets of the matrix that it is for, jobs that nobody has, workers that serve it."""

    queue: str
    targets: Tuple[str, ...]
    ready: int
    workers: int


@dataclass(frozen=True)
class Roll:
    workers: Tuple[Worker, ...]
    queues: Tuple[Line, ...]


def call(broker: Broker, wanted: Mapping[str, str]) -> Roll:
    """`wanted`: queues by target, that are listed though nobody serves them. Raises Unreachable."""
    app = broker.app()
    with broker.reached(), broker.connection() as connection:
        assert connection.default_channel  # or else it is not there, and Celery would try for long
        said: Dict[str, object] = app.control.inspect(timeout=_ANSWERS)._request(ROLL) or {}
        workers = tuple(filter(None, (_worker(name, about) for name, about in sorted(said.items()))))
        names = sorted({*wanted.values(), *(queue for worker in workers for queue in worker.queues)})
        lines = tuple(
            Line(
                name,
                tuple(sorted(target for target, queue in wanted.items() if queue == name)),
                depth(connection, name) or 0,
                sum(name in worker.queues for worker in workers),
            )
            for name in names
        )
    return Roll(workers, lines)


@dataclass(frozen=True)
class _About:
    """What a worker answers (builder/execution/fleet/serving.py)."""

    machine: str
    queues: Tuple[str, ...]
    orders: Tuple[Optional[str], ...]
    since: Tuple[Optional[float], ...]
    now: float
    done: int


def _worker(name: str, said: object) -> Optional[Worker]:
    """None for an answer that no worker of ours has given."""
    try:
        about = from_json(_About, said)
    except RecordError:
        return None
    jobs = [_job(order, about.now - (since or about.now)) for order, since in zip(about.orders, about.since)]
    known = tuple(sorted(map(terminal.in_one_line, about.queues)))
    job = next(filter(None, jobs), None)
    return Worker(terminal.in_one_line(name), terminal.in_one_line(about.machine), known, job, about.done)


def _job(order: object, seconds: float) -> Optional[Job]:
    """What is in the order, whose signature is not for us to check: it is only shown."""
    try:
        of = from_json(Order, json.loads(json.loads(str(order))["body"]))
        return Job(of.action.recipe.step, of.action.key[7:19], of.run[:8], max(seconds, 0.0))
    except (ValueError, KeyError, TypeError, RecursionError, RecordError):
        return None


def as_text(roll: Roll, broker: str) -> str:
    if not roll.workers and not roll.queues:
        return f"Nobody serves {broker}. Next, on each machine: build worker --broker {broker} --store PLACE"
    parts: List[str] = []
    if roll.workers:
        rows = [(w.name, _said(w.job), str(w.done), w.machine) for w in roll.workers]
        parts += [terminal.table(("worker", "at work on", "done", "machine"), rows, status=-1), ""]
    shown = [line for line in roll.queues if line.targets or line.ready]
    if shown:
        rows = [(short(q.queue), ", ".join(q.targets), str(q.ready), str(q.workers)) for q in shown]
        parts += [terminal.table(("queue", "targets", "waiting", "workers"), rows, status=-1), ""]
    unserved = [line for line in shown if not line.workers]
    parts.append(
        f"{terminal.counted(len(roll.workers), 'worker')}; {terminal.counted(sum(line.ready for line in roll.queues), 'job')} waiting."
    )
    if unserved:
        parts.append(
            f"Nobody serves {', '.join(short(line.queue) for line in unserved)}. On such a machine: build worker --broker {broker} --store PLACE"
        )
    return "\n".join(parts)


def _said(job: Optional[Job]) -> str:
    return f"{job.step} {job.key} of run {job.run} for {job.seconds:.0f} s" if job else "-"


def as_json(roll: Roll) -> Json:
    workers: List[Json] = [
        {
            "name": w.name,
            "machine": w.machine,
            "queues": [*w.queues],
            "done": w.done,
            "job": {"step": w.job.step, "key": w.job.key, "run": w.job.run, "seconds": round(w.job.seconds, 1)}
            if w.job
            else None,
        }
        for w in roll.workers
    ]
    queues: List[Json] = [
        {"name": q.queue, "targets": [*q.targets], "waiting": q.ready, "workers": q.workers} for q in roll.queues
    ]
    return {"workers": workers, "queues": queues}
