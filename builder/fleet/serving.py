"""A Celery worker that takes orders for this machine, one at a time, each in one child process with a station in it.

The parent speaks to the broker, also while a job runs; a child that dies takes its job back to the queue.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from typing import Any, Callable, List, Sequence, Tuple

from celery.exceptions import SecurityWarning
from celery.worker import state as worker_state
from celery.worker.control import inspect_command

from builder import portrait
from builder.fleet.broker import ROLL, TASK, Broker
from builder.fleet.queues import PREFIX
from builder.fleet.sealing import Seal
from builder.fleet.station import Post, Station
from builder.seams import Repository


def serve(
    broker: Broker, place: Repository, seal: Seal, post: Post, served: Sequence[str], tell: Callable[[str], None]
) -> int:
    """Until it is ended: the first interrupt waits for the job, the second one does not. Raises Unreachable."""
    with broker.reached(), broker.connection() as connection:
        for name in served:
            broker.jobs(name)(connection.default_channel).declare()
    app = broker.app(served)
    stations: List[Tuple[int, Station]] = []

    def station() -> Station:
        """That of this process: children are made by forking, and connections do not survive that."""
        if not stations or stations[-1][0] != os.getpid():
            stations[:] = [(os.getpid(), Station(post, broker, place, seal, tell))]
        return stations[-1][1]

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def perform(text: str) -> None:
        tell(station().take(text))

    _answer_the_roll(post)
    tell(f"{post.name} serves {broker.name}: {', '.join(name[len(PREFIX) :] for name in served)}")
    logging.getLogger("celery").setLevel(logging.ERROR)
    # It warns root of tasks that come pickled, which are not accepted here: orders are JSON, and steps have names.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = app.Worker(
        hostname=post.name,
        pool="prefork",
        concurrency=1,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
        loglevel="ERROR",
        optimization="fair",
    )
    worker.start()
    return int(worker.exitcode or 0)


def _answer_the_roll(post: Post) -> None:
    """What builder/fleet/roll.py asks every worker."""

    @inspect_command(name=ROLL)  # type: ignore[untyped-decorator]
    def present(state: Any) -> "dict[str, object]":
        return {
            "machine": portrait.in_short(post.machine),
            "queues": [queue.name for queue in state.consumer.task_consumer.queues],
            "orders": [request.args[0] for request in worker_state.active_requests],
            "since": [request.time_start for request in worker_state.active_requests],
            "now": time.time(),
            "done": sum(worker_state.total_count.values()) - len(worker_state.active_requests),
        }
