"""The book of one run: which action is ordered, who holds its lease, and which results count. Pure: the clock is passed in.

Queues deliver at least once: a job may come to two workers, or come back after its worker was killed or only cut off. So a
worker asks before it begins, and gets a lease with a token that is larger than all before it. A lease lives on while its
worker says that it is at it. When it ends, the action is ordered again, and whatever its holder still says carries an older
token and counts no more: each action has one result.

The idea of the token: Martin Kleppmann, "How to do distributed locking", 2016.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import AbstractSet, Callable, Dict, List, Optional, Set, Tuple

from builder.errors import DeployError, StepFailed, Unreachable
from builder.execution.fleet.words import Who
from builder.release import VERSION

LEASE = 15.0  # seconds without a word after which a worker counts as gone
BEAT = 4.0  # seconds between two words of a worker
MOST_LOST = 3  # times that an order may vanish
PAUSES = (0.0, 2.0, 8.0, 30.0)  # seconds before an action is ordered again; the last one for all later times


@dataclass
class Lease:
    who: Who
    token: int
    heard: float


@dataclass
class Entry:
    """`due`: when it is to be ordered again; None while a ticket or a lease is out."""

    key: str
    ordered: float
    tickets: Set[str] = field(default_factory=set)
    lease: Optional[Lease] = None
    due: Optional[float] = None
    begun: int = 0
    turned_away: int = 0
    failed: Dict[str, DeployError] = field(default_factory=dict)  # by machine
    failed_at: float = 0.0
    lost: int = 0  # times, since somebody last asked for it


@dataclass(frozen=True)
class Verdict:
    """What a worker is answered. `again`: the action is to be offered to others."""

    go: bool
    token: int = 0
    why: str = ""


@dataclass(frozen=True)
class Tale:
    """Something that happened to an action, for the person who waits for it."""

    key: str
    line: str


class Book:
    """`ended` is called once for each action: None for a result that counts, or the problem that it ended with."""

    def __init__(
        self, tries: int, began: int, ended: Callable[[str, Optional[DeployError]], None], tell: Callable[[Tale], None]
    ) -> None:
        """`began`: a number larger than all tokens of earlier runs, such as the nanoseconds of the clock."""
        self._tries, self._token = tries, began
        self._ended, self._tell = ended, tell
        self._entries: Dict[str, Entry] = {}

    # ------------------------------------------------------------------ the run's side

    def wants(self, key: str, now: float) -> None:
        """From here on `key` is wanted; it is due at once."""
        assert key not in self._entries, "an action is ordered once"
        self._entries[key] = Entry(key, now, due=now)

    def due(self, now: float) -> List[str]:
        """The actions that are to be ordered now. Ends the leases of workers that have gone silent."""
        for entry in list(self._entries.values()):
            lease = entry.lease
            if lease is not None and now - lease.heard > LEASE:
                entry.lease = None
                self._told(entry, f"{lease.who.name} has said nothing for {LEASE:.0f} s")
                self._again(entry, now, StepFailed(f"{lease.who.name} went silent while it worked on it"))
        return [entry.key for entry in self._entries.values() if entry.due is not None and entry.due <= now]

    def order(self, key: str, now: float) -> str:
        """The ticket of a new order for `key`, which is due."""
        entry, ticket = self._entries[key], os.urandom(8).hex()
        entry.tickets.add(ticket)
        entry.due, entry.ordered = None, now
        return ticket

    def unclaimed(self, now: float, seconds: float) -> List[str]:
        """What nobody has asked for, for so long."""
        waiting = [entry for entry in self._entries.values() if entry.lease is None and entry.due is None]
        return [entry.key for entry in waiting if now - entry.ordered >= seconds]

    def without_machines(self, others: Callable[[str, AbstractSet[str], float], Optional[bool]]) -> None:
        """End the actions that have failed and that no other machine can take. `others` is asked with the action, the
        machines where it failed and when it last did, and answers None while it does not know."""
        for entry in list(self._entries.values()):
            if entry.failed and entry.lease is None and others(entry.key, set(entry.failed), entry.failed_at) is False:
                self.gives_up(entry.key, _after(list(entry.failed.values())[-1], entry))

    def lost(self, key: str, now: float) -> None:
        """Its order is in no queue, and nobody holds it: order it again, a few times."""
        entry = self._entries[key]
        entry.lost += 1
        if entry.lost > MOST_LOST:
            self.gives_up(
                key, Unreachable("workers took its order, and none asked to begin", where="fleet", hint=_REFUSED)
            )
            return
        self._told(entry, "its order lies in no queue; it is ordered again")
        entry.due = now

    def postponed(self, key: str, until: float) -> None:
        """It could not be ordered."""
        if key in self._entries:
            self._entries[key].due = until

    @property
    def keys(self) -> Tuple[str, ...]:
        """All that are wanted and have not ended."""
        return tuple(self._entries)

    def ordered(self, key: str) -> float:
        """When it was ordered last."""
        return self._entries[key].ordered

    def begun(self, key: str) -> bool:
        """Has anybody begun with it, however that ended?"""
        return self._entries[key].begun > 0

    def failing(self) -> List[str]:
        """What has failed somewhere and is to be tried elsewhere."""
        return [entry.key for entry in self._entries.values() if entry.failed and entry.lease is None]

    def holders(self) -> Tuple[Tuple[str, Lease], ...]:
        return tuple((entry.key, entry.lease) for entry in self._entries.values() if entry.lease is not None)

    def tickets(self) -> Tuple[str, ...]:
        """Of all orders that may still lie in a queue."""
        return tuple(ticket for entry in self._entries.values() for ticket in entry.tickets)

    def gives_up(self, key: str, problem: DeployError) -> None:
        if self._entries.pop(key, None) is not None:
            self._ended(key, problem)

    # ------------------------------------------------------------------ the workers' side

    def claim(self, key: str, who: Who, now: float) -> Verdict:
        entry = self._entries.get(key)
        if entry is None:
            return Verdict(False, why="nobody waits for it")
        lease = entry.lease
        if lease is not None and lease.who.name != who.name:
            return Verdict(False, why=f"{lease.who.name} is at it")
        if who.machine in entry.failed:
            return self._turned_away(entry, who, now)
        if lease is not None:
            if lease.who == who:  # it asks again, since the answer was slow or lost
                lease.heard = now
                return Verdict(True, lease.token)
            # A worker does one thing at a time: another process of the same name means that the holder was killed.
            self._told(entry, f"{who.name} was started again")
        entry.lost = 0
        entry.begun += 1
        if entry.begun > self._tries:
            self.gives_up(key, StepFailed(f"it was begun {self._tries} times and never ended", hint=_LOOK))
            return Verdict(False, why="it was begun too often")
        self._token += 1
        entry.lease, entry.due = Lease(who, self._token, now), None
        self._told(entry, f"{who.name} begins")
        return Verdict(True, self._token)

    def beat(self, key: str, who: Who, token: int, now: float) -> Verdict:
        """Also takes up the lease of a worker that began for this run before it was started again."""
        entry = self._entries.get(key)
        if entry is None:
            return Verdict(False, why="nobody waits for it")
        if entry.lease is None and not entry.begun and who.machine not in entry.failed:
            entry.begun, entry.due = 1, None
            entry.lease = Lease(who, token, now)
            self._token = max(self._token, token)
            self._told(entry, f"{who.name} is at it already")
        if entry.lease is None or entry.lease.token != token or entry.lease.who != who:
            return Verdict(False, why="its lease has ended")
        entry.lease.heard = now
        return Verdict(True, token)

    def done(self, key: str, who: Who, token: int) -> Verdict:
        """Does this result count?"""
        entry = self._entries.get(key)
        if entry is None or entry.lease is None or entry.lease.token != token or entry.lease.who != who:
            if entry is not None:
                self._told(entry, f"a result of {who.name} came after its lease had ended, and is left")
            return Verdict(False, why="its lease has ended")
        del self._entries[key]
        self._ended(key, None)
        return Verdict(True, token)

    def failed(self, key: str, who: Who, token: int, problem: DeployError, now: float) -> Verdict:
        entry = self._entries.get(key)
        if entry is None or entry.lease is None or entry.lease.token != token or entry.lease.who != who:
            return Verdict(False, why="its lease has ended")
        entry.lease = None
        entry.failed[who.machine], entry.failed_at = problem, now
        self._told(entry, f"{who.name}: {problem.what}")
        self._again(entry, now, problem)
        return Verdict(True, token)

    # ------------------------------------------------------------------ both

    def _again(self, entry: Entry, now: float, problem: DeployError) -> None:
        """Order it again after a while, unless it was begun often enough."""
        if entry.begun >= self._tries:
            self.gives_up(entry.key, _after(problem, entry))
            return
        entry.due = now + PAUSES[min(entry.begun - 1, len(PAUSES) - 1)]

    def _turned_away(self, entry: Entry, who: Who, now: float) -> Verdict:
        """It has failed on this machine: another one is to try."""
        entry.turned_away += 1
        if entry.lease is None:
            entry.due = now + PAUSES[min(entry.turned_away, len(PAUSES) - 1)]
        return Verdict(False, why="it has failed on this machine")

    def _told(self, entry: Entry, line: str) -> None:
        self._tell(Tale(entry.key, line))


_REFUSED = "look at their logs: do they trust the key of this run? `fleet: {key: ...}`, build worker --trust"
_LOOK = "look at the machine: is it out of memory? `build fleet` shows the workers"


def _after(problem: DeployError, entry: Entry) -> DeployError:
    """A step that failed says more than machines that could not begin it."""
    steps = [other for other in entry.failed.values() if isinstance(other, StepFailed)]
    problem = steps[-1] if steps and not isinstance(problem, StepFailed) else problem
    if entry.begun == 1:
        return problem
    machines = f", on {len(entry.failed)} machines" if len(entry.failed) > 1 else ""
    kind = Unreachable if isinstance(problem, Unreachable) else StepFailed
    return kind(
        f"{problem.what} (tried {entry.begun} times{machines})", where=problem.where, hint=problem.hint or _LOOK
    )


def no_worker(queue: str, seconds: float, broker: str) -> Unreachable:
    return Unreachable(
        f"no worker of release {VERSION} serves the queue {queue!r}",
        where="fleet",
        hint=f"on such a machine: build worker --broker {broker} --store PLACE   (waited {seconds:g} s: `fleet: {{patience: ...}}`)",
    )
