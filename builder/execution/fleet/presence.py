"""Which workers are there, what they serve, and how many jobs lie in a queue: asked only while somebody has to know."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, Iterator, Mapping, Optional, Set

from celery import Celery

from builder.errors import Unreachable
from builder.execution.fleet.broker import Broker, depth

_PERIOD = 3.0
_ANSWERS = 2.0  # seconds that workers have to answer


@dataclass(frozen=True)
class Seen:
    """`at`: when it was asked for. `workers`: by name, NAME@MACHINE, what each serves. `ready`: jobs that nobody has."""

    at: float
    workers: Mapping[str, FrozenSet[str]]
    ready: Mapping[str, int]

    def machines(self, queue: str) -> Set[str]:
        return {machine_of(name) for name, served in self.workers.items() if queue in served}


def machine_of(worker: str) -> str:
    return worker.rpartition("@")[2]


def ask(broker: Broker, app: Celery, queues: Set[str]) -> Seen:
    """Raises Unreachable."""
    at = time.monotonic()
    with broker.reached():
        found: Dict[str, object] = app.control.inspect(timeout=_ANSWERS).active_queues() or {}
        with broker.connection() as connection:
            ready = {name: depth(connection, name) or 0 for name in sorted(queues)}
    return Seen(at, {name: frozenset(_names(served)) for name, served in found.items()}, ready)


def _names(served: object) -> Iterator[str]:
    """Of the queues in an answer, which anybody may have given who reaches the broker."""
    for queue in served if isinstance(served, list) else ():
        if isinstance(queue, dict) and isinstance(queue.get("name"), str):
            yield queue["name"]


class Watch:
    """`needed` names the queues that somebody has to know about; empty while nobody has."""

    def __init__(self, broker: Broker, app: Celery, needed: Callable[[], Dict[str, str]]) -> None:
        self._broker, self._app, self._needed = broker, app, needed
        self.seen: Optional[Seen] = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(2 * _ANSWERS)

    def _run(self) -> None:
        while not self._closed.wait(0.5):
            queues = set(self._needed().values())
            if not queues:
                continue
            with contextlib.suppress(Unreachable):  # the mailbox notices, and says so
                self.seen = ask(self._broker, self._app, queues)
            self._closed.wait(_PERIOD - _ANSWERS)
