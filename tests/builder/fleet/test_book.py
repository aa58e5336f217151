"""Who holds which lease, and which results count."""

from __future__ import annotations

from typing import Dict, List, Optional, Set, Tuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from builder.errors import DeployError, StepFailed
from builder.execution.fleet.book import BEAT, LEASE, Book, no_worker
from builder.execution.fleet.words import Who

A, B = Who("a@one", "one", "mail-a"), Who("b@two", "two", "mail-b")
BROKEN = StepFailed("does not parse", where="engine")


class Ends:
    """A book, and what it has told."""

    def __init__(self, tries: int = 3) -> None:
        self.ended: List[Tuple[str, Optional[DeployError]]] = []
        self.told: List[str] = []
        self.book = Book(
            tries,
            1000,
            lambda key, problem: self.ended.append((key, problem)),
            lambda tale: self.told.append(tale.line),
        )

    def ordered(self, key: str = "k", now: float = 0.0) -> str:
        self.book.wants(key, now)
        assert self.book.due(now) == [key]
        return self.book.order(key, now)


def test_a_worker_asks_begins_and_its_result_counts_once() -> None:
    ends = Ends()
    ends.ordered()
    assert ends.book.due(1.0) == [], "it is ordered once"
    granted = ends.book.claim("k", A, 1.0)
    assert granted.go and granted.token > 1000
    assert ends.book.beat("k", A, granted.token, 2.0).go
    assert ends.book.done("k", A, granted.token).go
    assert ends.ended == [("k", None)]
    assert not ends.book.done("k", A, granted.token).go
    assert not ends.book.claim("k", B, 3.0).go, "a job that comes again is not wanted any more"
    assert ends.ended == [("k", None)]


def test_a_worker_that_asks_twice_has_one_lease() -> None:
    ends = Ends()
    ends.ordered()
    assert ends.book.claim("k", A, 1.0) == ends.book.claim("k", A, 3.0)


def test_an_order_that_vanishes_is_given_again_but_not_for_ever() -> None:
    ends = Ends()
    ends.ordered()
    for _ in range(3):
        assert ends.book.unclaimed(10.0, 5.0) == ["k"]
        ends.book.lost("k", 10.0)
        assert ends.book.due(10.0) == ["k"]
        ends.book.order("k", 5.0)
    ends.book.lost("k", 10.0)
    assert "none asked to begin" in str(ends.ended[0][1])


def test_of_two_workers_with_the_same_job_one_gets_the_lease() -> None:
    ends = Ends()
    ends.ordered()
    first = ends.book.claim("k", A, 1.0)
    second = ends.book.claim("k", B, 1.0)
    assert first.go and not second.go
    assert second.why == "a@one is at it"


def test_a_silent_worker_loses_its_lease_and_what_it_says_later_counts_no_more() -> None:
    ends = Ends()
    ends.ordered()
    old = ends.book.claim("k", A, 0.0)
    assert ends.book.beat("k", A, old.token, BEAT).go
    assert ends.book.due(BEAT + LEASE) == []
    assert ends.book.due(BEAT + LEASE + 0.1) == ["k"], "a dead worker's job is ordered again at once"
    ends.book.order("k", 20.0)
    new = ends.book.claim("k", B, 21.0)
    assert new.go and new.token > old.token
    assert not ends.book.beat("k", A, old.token, 22.0).go
    assert not ends.book.done("k", A, old.token).go
    assert not ends.book.failed("k", A, old.token, BROKEN, 22.0).go
    assert ends.ended == []
    assert ends.book.done("k", B, new.token).go
    assert "a result of a@one came after its lease had ended, and is left" in ends.told


def test_a_worker_that_was_started_again_need_not_wait_for_its_own_lease() -> None:
    ends = Ends()
    ends.ordered()
    old = ends.book.claim("k", A, 0.0)
    again = Who(A.name, A.machine, "another mailbox")
    new = ends.book.claim("k", again, 0.5)
    assert new.go and new.token > old.token
    assert not ends.book.done("k", A, old.token).go, "it is another process"


def test_a_run_that_was_started_again_takes_up_the_lease_of_the_one_before() -> None:
    ends = Ends()
    ends.ordered()
    assert ends.book.beat("k", A, 900, 1.0).go
    assert not ends.book.claim("k", B, 2.0).go
    assert ends.book.done("k", A, 900).go
    assert ends.ended == [("k", None)]


def test_what_fails_on_one_machine_goes_to_another_and_not_back() -> None:
    ends = Ends()
    ends.ordered()
    first = ends.book.claim("k", A, 0.0)
    ends.book.failed("k", A, first.token, BROKEN, 1.0)
    assert ends.ended == [] and ends.book.due(1.0) == ["k"]
    ends.book.order("k", 1.0)
    refused = ends.book.claim("k", A, 2.0)
    assert (refused.go, refused.why) == (False, "it has failed on this machine")
    assert ends.book.due(3.0) == [], "a machine that asks in vain is not asked again at once"
    assert ends.book.due(4.1) == ["k"]
    ends.book.order("k", 5.0)
    assert ends.book.done("k", B, ends.book.claim("k", B, 5.0).token).go
    assert ends.ended == [("k", None)]


def test_what_fails_on_the_only_machine_has_failed_when_that_is_known() -> None:
    ends = Ends()
    ends.ordered()
    ends.book.failed("k", A, ends.book.claim("k", A, 0.0).token, BROKEN, 1.0)
    asked: List[Tuple[str, Set[str], float]] = []

    def others(key: str, machines: "Set[str]", since: float) -> Optional[bool]:
        asked.append((key, set(machines), since))
        return None if len(asked) == 1 else False

    ends.book.without_machines(others)  # type: ignore[arg-type]
    assert ends.ended == [], "not known yet"
    ends.book.without_machines(others)  # type: ignore[arg-type]
    assert ends.ended == [("k", BROKEN)], "and the step's own problem is told"
    assert asked[0] == ("k", {"one"}, 1.0)


def test_an_action_is_begun_so_many_times_and_no_more() -> None:
    ends = Ends(tries=2)
    now = 0.0
    ends.ordered()
    for _ in range(2):
        assert ends.book.claim("k", A, now).go
        now += LEASE + 1
        for key in ends.book.due(now):
            ends.book.order(key, now)
        now += 60
        for key in ends.book.due(now):
            ends.book.order(key, now)
    assert [key for key, _ in ends.ended] == ["k"]
    problem = ends.ended[0][1]
    assert isinstance(problem, StepFailed)
    assert "went silent while it worked on it (tried 2 times)" in problem.what
    assert "out of memory?" in str(problem.hint)


def test_whoever_serves_nothing_is_told_how() -> None:
    problem = no_worker("tensorrt-10.16.sm8.6.linux-x86_64", 30.0, "amqps://broker/v")
    assert "'tensorrt-10.16.sm8.6.linux-x86_64'" in problem.what
    assert "build worker --broker amqps://broker/v --store PLACE" in str(problem.hint)


WORKERS = [Who(f"{name}@{machine}", machine, f"mail-{name}") for name, machine in ("a1", "b2", "c2", "d3")]


class Fleet(RuleBasedStateMachine):
    """Whatever brokers, workers and the clock do, an action ends once, and with the newest lease."""

    @initialize(tries=st.integers(1, 4))
    def begin(self, tries: int) -> None:
        self.now, self.ended, self.number = 0.0, {}, 0  # type: float, Dict[str, Optional[DeployError]], int
        self.open: Set[str] = set()
        self.granted: Dict[str, List[Tuple[int, Who]]] = {}
        self.book = Book(tries, 5, self._ended, lambda tale: None)

    def _ended(self, key: str, problem: Optional[DeployError]) -> None:
        assert key not in self.ended, "an action ends once"
        self.ended[key] = problem
        self.open.discard(key)

    @rule()
    def want(self) -> None:
        self.number += 1
        key = str(self.number)
        self.open.add(key)
        self.granted[key] = []
        self.book.wants(key, self.now)

    @rule(seconds=st.sampled_from([0.1, 3.0, LEASE + 0.1, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for key in self.book.due(self.now):
            self.book.order(key, self.now)

    @rule(data=st.data(), who=st.sampled_from(WORKERS))
    def claim(self, data: st.DataObject, who: Who) -> None:
        key = data.draw(st.sampled_from([*self.granted, "unknown"]))
        verdict = self.book.claim(key, who, self.now)
        if verdict.go:
            assert key in self.open
            newest = max((token for tokens in self.granted.values() for token, _ in tokens), default=0)
            again = self.granted[key][-1:] == [(verdict.token, who)]
            assert again or verdict.token > newest, "tokens only grow"
            self.granted[key] += [] if again else [(verdict.token, who)]

    @rule(data=st.data(), how=st.sampled_from(["done", "failed", "beat"]))
    def speak(self, data: st.DataObject, how: str) -> None:
        """Any holder of any lease, old or new."""
        leases = [(key, token, who) for key, tokens in self.granted.items() for token, who in tokens]
        if not leases:
            return
        key, token, who = data.draw(st.sampled_from(leases))
        newest, was_open = self.granted[key][-1], key in self.open
        if how == "done":
            said = self.book.done(key, who, token)
        elif how == "failed":
            said = self.book.failed(key, who, token, BROKEN, self.now)
        else:
            said = self.book.beat(key, who, token, self.now)
        if said.go:
            assert was_open and (token, who) == newest, "only the newest lease counts"
        if how == "done" and said.go:
            assert self.ended[key] is None

    @invariant()
    def what_is_open_can_go_on(self) -> None:
        """Nothing is forgotten: it is due at some time, or lies in a queue, or somebody holds it."""
        assert self.open == set(self.book.keys)
        assert len(self.ended) + len(self.open) == self.number


Fleet.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase
