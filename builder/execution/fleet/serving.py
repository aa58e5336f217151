"""A Celery worker that takes orders for this machine, one at a time, each in one child process with a station in it.

The parent speaks to the broker, also while a job runs; a child that dies takes its job back to the queue.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

from celery.exceptions import SecurityWarning
from celery.signals import setup_logging
from celery.worker import state as worker_state
from celery.worker.control import Panel, control_command, inspect_command

from builder import terminal
from builder.execution.fleet.broker import ROLL, TASK, Broker
from builder.execution.fleet.presence import machine_of
from builder.execution.fleet.queues import own, short
from builder.execution.fleet.sealing import Seal
from builder.execution.fleet.station import Perform, Post, Station
from builder.platforms import machines
from builder.plugins import Repository

_LONGEST = 500  # letters of a line of Celery's log, which may have a stranger's message in it


@dataclass(frozen=True)
class Simulated:
    """Many workers in one process, that only seem to work: for measuring the fleet itself."""

    workers: int
    perform: Perform


def serve(
    broker: Broker,
    place: Repository,
    seal: Seal,
    post: Post,
    served: Sequence[str],
    tell: Callable[[str], None],
    simulated: Optional[Simulated] = None,
) -> int:
    """Until it is ended: the first interrupt waits for the job, the second one does not. `served`: queues of kinds of machines;
    that of this very one is served, too. Raises Unreachable."""
    taken = (*served, own(machine_of(post.name)))
    with broker.reached(), broker.connection() as connection:
        for name in taken:
            broker.jobs(name)(connection.default_channel).declare()
    app = broker.app(taken)
    stations = _Stations(
        lambda own: Station(own, broker, place, seal, tell, simulated.perform if simulated else None), post
    )

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def perform(message: str) -> None:
        tell(stations.here().take(message))

    _obey_nobody()
    _answer_the_roll(post)
    tell(f"{post.name} serves {broker.name}: {', '.join(short(name) for name in served)}")
    _log_in_lines(tell)
    # It warns root of tasks that come pickled, which are not accepted here: orders are JSON, and steps have names.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = app.Worker(
        hostname=post.name,
        pool="threads" if simulated else "prefork",
        concurrency=simulated.workers if simulated else 1,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
        loglevel="ERROR",
        optimization="fair",
    )
    worker.start()
    return int(worker.exitcode or 0)


class _Stations:
    """One for each process and thread: connections survive no fork, and a station does one thing at a time."""

    def __init__(self, make: Callable[[Post], Station], post: Post) -> None:
        self._make, self._post = make, post
        self._known: Dict[Tuple[int, int], Station] = {}

    def here(self) -> Station:
        at = os.getpid(), threading.get_ident()
        if at not in self._known:
            others = sum(pid == at[0] for pid, _ in self._known)
            number = f"-{others}" if others else ""
            name, _, machine = self._post.name.partition("@")
            self._known[at] = self._make(dataclasses.replace(self._post, name=f"{name}{number}@{machine}{number}"))
        return self._known[at]


def _log_in_lines(tell: Callable[[str], None]) -> None:
    """What Celery complains of, a line each: a broker that goes away is an everyday thing, and no bug to be traced."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said = record.getMessage().strip()
            tell(terminal.in_one_line(said.splitlines()[0])[:_LONGEST] if said else record.levelname)

    @setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
    def ours(**_: object) -> None:
        for name in ("celery", "kombu", "amqp"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [Lines(logging.ERROR)], False


def _obey_nobody() -> None:
    """Whoever reaches the broker could have workers of Celery end, take other queues, or signal their processes. Ours say
    what they serve, and leave orders that were taken back."""
    for name in set(Panel.data) - {"active_queues"}:
        del Panel.data[name]

    @control_command(name="revoke")  # type: ignore[untyped-decorator]
    def revoke(state: Any, task_id: object, **_: object) -> "dict[str, str]":
        tickets = [ticket for ticket in task_id if isinstance(ticket, str)] if isinstance(task_id, list) else []
        worker_state.revoked.update(tickets)
        return {"ok": f"{len(tickets)} left"}


def _answer_the_roll(post: Post) -> None:
    """What builder/execution/fleet/roll.py asks every worker."""

    @inspect_command(name=ROLL)  # type: ignore[untyped-decorator]
    def present(state: Any) -> "dict[str, object]":
        return {
            "machine": machines.in_short(post.machine),
            "queues": [queue.name for queue in state.consumer.task_consumer.queues],
            "orders": [(*request.args, None)[0] for request in worker_state.active_requests],
            "since": [request.time_start for request in worker_state.active_requests],
            "now": time.time(),
            "done": sum(worker_state.total_count.values()) - len(worker_state.active_requests),
        }
