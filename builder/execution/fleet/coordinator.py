"""The side of the run: orders actions, answers workers, and knows which result of each action counts.

The rules are in `builder/execution/fleet/book.py`; this gives them a broker, a clock, and the threads that wait for results.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import AbstractSet, Callable, Dict, List, Optional, Tuple

from builder import terminal
from builder.config.remote_machines import FleetSettings
from builder.errors import DeployError, StepFailed, Unreachable, Untrusted
from builder.execution.fleet import book, presence, queues, words
from builder.execution.fleet.broker import TASK, Broker
from builder.execution.fleet.mail import Mail
from builder.execution.fleet.sealing import Seal
from builder.execution.fleet.words import Answer, Order, Report, Who
from builder.execution.messages import File

_BROKER_AWAY = 60.0  # seconds after which a broker that does not answer is waited for no longer
_LOST = 5.0  # seconds after which an order that nobody has claimed is looked for


@dataclass
class _Wanted:
    """An action that a thread waits for. `kind`: the queue of all machines that it is for; `own`: that of the one that it is
    best done on, "" when any will do. `vain_since`: for how long it could not be ordered. `machine` made the result."""

    kind: str
    own: str
    order: Callable[[str], Order]
    say: Callable[[str], None]
    done: threading.Event = field(default_factory=threading.Event)
    result: Optional[File] = None
    machine: str = ""
    problem: Optional[DeployError] = None
    vain_since: Optional[float] = None

    @property
    def queue(self) -> str:
        return self.own or self.kind


class Coordinator:
    """A context. `wait_for` may be called from many threads."""

    def __init__(self, broker: Broker, run: str, settings: FleetSettings, seal: Seal) -> None:
        self._broker, self._settings, self._seal, self._run = broker, settings, seal, run
        self._app = broker.app()
        self._lock = threading.Lock()
        self._wanted: Dict[str, _Wanted] = {}
        self._stopped = False
        self._book = book.Book(settings.tries, time.time_ns(), self._ended, self._told)
        self._mail = Mail(broker, f"deploymatrix.run.{run}", self._letter, self._tick)
        self._watch = presence.Watch(broker, self._app, self._needs_presence)
        self._away_since: Optional[float] = None
        self._back = 0.0  # when the broker came back; workers need a while longer

    def __enter__(self) -> "Coordinator":
        self._mail.open()
        self._watch.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()
        self._watch.close()
        self._mail.close()
        self._app.close()

    @property
    def mailbox(self) -> str:
        return self._mail.name

    def wait_for(
        self, key: str, queue: str, order: Callable[[str], Order], say: Callable[[str], None], prefers: str = ""
    ) -> Tuple[File, str]:
        """The record of the result of `key`, as a file of the store, and the machine that made it. `order` makes an order of
        a ticket. `prefers` names a machine: another one gets it when that one is gone, or has begun in vain. Raises
        StepFailed, and Unreachable when no worker serves `queue`, or the broker is away."""
        wanted = _Wanted(queue, queues.own(prefers) if prefers else "", order, say)
        with self._lock:
            if self._stopped:
                raise StepFailed("the run was stopped")
            self._wanted[key] = wanted
            self._book.wants(key, time.monotonic())
        with contextlib.suppress(Unreachable):  # it is ordered when the broker is back, within a minute
            self._order(key)
        wanted.done.wait()
        if wanted.problem is not None:
            raise wanted.problem
        assert wanted.result is not None
        return wanted.result, wanted.machine

    def stop(self) -> None:
        """Whoever works stops, orders that nobody has taken are taken back, and nobody waits any more."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            holders, tickets = self._book.holders(), self._book.tickets()
            for key in list(self._wanted):
                self._book.gives_up(key, StepFailed("the run was stopped"))
        with contextlib.suppress(Unreachable):  # workers hear no answer then, and end by themselves
            for key, lease in holders:
                self._answer(lease.who, Answer(self._run, key, False, why="the run was stopped"))
            if tickets:
                with self._broker.reached():
                    self._app.control.revoke(list(tickets))

    # ------------------------------------------------------------------ the thread of the mailbox

    def _letter(self, body: object) -> None:
        try:
            report = self._seal.open(Report, body)
        except Untrusted:
            return  # whoever sent it is not of the fleet; what it speaks of goes on without
        said, now = report.said, time.monotonic()
        with self._lock:
            if isinstance(said, words.Claim):
                verdict = self._book.claim(said.key, report.who, now)
            elif isinstance(said, words.Beat):
                verdict = self._book.beat(said.key, report.who, said.token, now)
                wanted = self._wanted.get(said.key)
                for line in said.lines if verdict.go and wanted else ():
                    wanted.say(terminal.harmless(line))  # type: ignore[union-attr]
            elif isinstance(said, words.Done):
                wanted = self._wanted.get(said.key)
                if wanted is not None:
                    wanted.result, wanted.machine = said.result, report.who.machine
                verdict = self._book.done(said.key, report.who, said.token)
            else:
                kind = Unreachable if said.away else StepFailed
                what, where, hint = (terminal.harmless(part or "") for part in (said.what, said.where, said.hint))
                problem = kind(what, where=where or None, hint=hint or None)
                verdict = self._book.failed(said.key, report.who, said.token, problem, now)
        with contextlib.suppress(Unreachable):  # it asks again
            self._answer(report.who, Answer(self._run, said.key, verdict.go, verdict.token, verdict.why, said.it))

    def _answer(self, who: Who, answer: Answer) -> None:
        self._mail.send(who.mailbox, self._seal.close(answer))

    def _tick(self) -> None:
        now = time.monotonic()
        if self._mail.away:
            self._away_since = self._away_since or now
        elif self._away_since is not None:
            self._away_since, self._back = None, now
        with self._lock:
            if self._away_since is not None and now - self._away_since > _BROKER_AWAY and self._mail.away:
                for key in list(self._wanted):
                    self._book.gives_up(key, self._mail.away)
            self._book.without_machines(self._others)
            self._look(now)
            due: List[str] = self._book.due(now)
        for key in due if self._mail.away is None else ():  # in vain, it would hold up this thread
            try:
                self._order(key)
            except Unreachable:
                return  # the same again at the next tick

    def _order(self, key: str) -> None:
        """Put an order for `key` into its queue. One that was taken back meanwhile does no harm: nobody gets a lease for it."""
        with self._lock:
            wanted = self._wanted.get(key)
            if wanted is None or key not in self._book.due(time.monotonic()):
                return
            ticket = self._book.order(key, time.monotonic())
            if self._book.begun(key):
                wanted.own = ""
            queue = wanted.queue
        order = self._seal.close(wanted.order(ticket))
        try:
            with self._broker.reached():
                self._app.send_task(
                    TASK,
                    args=[order],
                    queue=self._broker.jobs(queue),
                    task_id=ticket,
                )
            wanted.vain_since = None
        except Unreachable as problem:
            with self._lock:
                now = time.monotonic()
                wanted.vain_since = wanted.vain_since or now
                if now - wanted.vain_since > _BROKER_AWAY:
                    self._book.gives_up(key, problem)
                else:
                    self._book.postponed(key, now + 1)
            raise

    # ------------------------------------------------------------------ who is there

    def _needs_presence(self) -> Dict[str, str]:
        """The actions about which it matters who is there, and their queues."""
        with self._lock:
            now = time.monotonic()
            keys = {*self._book.unclaimed(now, 2.0), *self._book.failing()}
            return {key: self._wanted[key].queue for key in keys if key in self._wanted}

    def _others(self, key: str, machines: AbstractSet[str], since: float) -> Optional[bool]:
        seen = self._watch.seen
        if seen is None or seen.at < since:
            return None
        return bool(seen.machines(self._wanted[key].kind) - set(machines))

    def _look(self, now: float) -> None:
        """End what no worker will ever take, and order again what was lost."""
        seen = self._watch.seen
        for key in self._book.unclaimed(now, 2.0) if seen is not None else ():
            wanted = self._wanted[key]
            queue = wanted.queue
            since = max(self._book.ordered(key), self._back)
            waited = now - since
            if seen is None or seen.at < since:
                continue
            if not seen.machines(queue):
                if wanted.own:
                    wanted.own = ""
                    self._book.postponed(key, now)
                elif waited > self._settings.patience:
                    self._book.gives_up(
                        key, book.no_worker(queues.short(queue), self._settings.patience, self._broker.name)
                    )
            elif waited > _LOST and seen.ready.get(queue) == 0 and seen.at - since > _LOST:
                self._book.lost(key, now)

    # ------------------------------------------------------------------ what the book says

    def _ended(self, key: str, problem: Optional[DeployError]) -> None:
        wanted = self._wanted.pop(key, None)
        if wanted is not None:
            wanted.problem = problem
            wanted.done.set()

    def _told(self, tale: book.Tale) -> None:
        wanted = self._wanted.get(tale.key)
        if wanted is not None:
            wanted.say(tale.line)
