"""Who works on a job, and which result counts."""

from __future__ import annotations

from typing import Dict, List, Optional

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

pytest.importorskip("nats")
pytest.importorskip("nacl")

from builder import digest
from builder.errors import StepFailed, Unreachable
from builder.execution.fleet.broker import LEASE
from builder.execution.fleet.job import Job
from builder.execution.fleet.messages import Answer, Begin, Body, Done, Failed, Message, Order, Working
from builder.execution.fleet.worker import BEAT
from builder.execution.messages import File
from tests import fleets

A, B = "a@one", "b@two"
RESULT, OTHER = File(digest.of_bytes(b"a result"), 3), File(digest.of_bytes(b"another"), 3)
ORDER = fleets.order().body
assert isinstance(ORDER, Order)


class Asked:
    """A job, and what was said of it."""

    def __init__(self, tries: int = 3, own: str = "") -> None:
        self.said: List[str] = []
        self.job = Job(ORDER, "kind", own, tries, self.said.append, 0.0)  # type: ignore[arg-type]
        self.job.due = None

    def hears(self, body: Body, now: float, worker: str = A, attempt: str = "", number: int = 1) -> Answer:
        named = attempt or {A: "0a", B: "0b"}[worker]
        return self.job.report(Message("0f", ORDER.action.key, named, worker, body, number), now)  # type: ignore[union-attr]


def test_a_worker_begins_and_its_result_counts_once() -> None:
    asked = Asked()
    assert asked.hears(Begin(), 1.0).go == "yes"
    assert asked.hears(Working(("a line",)), 2.0).go == "yes"
    assert asked.hears(Done(RESULT), 3.0).go == "yes"
    assert (asked.job.ended.is_set(), asked.job.result, asked.job.machine) == (True, RESULT, "one")
    assert asked.hears(Begin(), 4.0, B) == Answer("no", "nobody waits for it"), "a job that is delivered again"
    assert asked.said == ["a@one begins", "a line"]


def test_a_worker_that_asks_twice_has_begun_once() -> None:
    asked = Asked(tries=1)
    assert asked.hears(Begin(), 1.0) == asked.hears(Begin(), 3.0) == Answer("yes")
    assert asked.job.problem is None


def test_of_two_workers_with_the_same_job_one_begins() -> None:
    asked = Asked()
    asked.hears(Begin(), 1.0)
    assert asked.hears(Begin(), 1.0, B) == Answer("later", "a@one is at it")


def test_a_silent_worker_gives_way_and_the_first_result_counts() -> None:
    asked = Asked()
    asked.hears(Begin(), 0.0)
    asked.hears(Working(), BEAT)
    assert asked.hears(Begin(), BEAT + LEASE - 0.1, B).go == "later"
    assert asked.hears(Begin(), BEAT + LEASE, B).go == "yes"
    assert asked.hears(Working(), 25.0).go == "yes", "it was only cut off, and is back"
    assert asked.hears(Done(RESULT), 26.0).go == "yes"
    assert asked.hears(Working(), 27.0, B) == Answer("no", "nobody waits for it"), "the other one stops"
    assert asked.hears(Done(OTHER), 28.0, B).go == "no"
    assert asked.job.result == RESULT


def test_a_report_of_an_attempt_that_was_not_begun_changes_nothing() -> None:
    asked = Asked()
    asked.hears(Begin(), 0.0)
    for body in (Working(("evil",)), Done(OTHER), Failed("evil")):
        assert asked.hears(body, 1.0, attempt="ee").go == "no"
        assert asked.hears(body, 1.0, B, attempt="0a").go == "no", "another sender"
    assert (asked.job.ended.is_set(), asked.job.failed, asked.said) == (False, {}, ["a@one begins"])


def test_a_report_that_is_sent_again_says_its_lines_once() -> None:
    asked = Asked()
    asked.hears(Begin(), 0.0)
    for number in (2, 2, 1, 3):
        asked.hears(Working((f"line {number}",)), 1.0, number=number)
    assert asked.said[1:] == ["line 2", "line 3"]


def test_a_worker_that_was_started_again_need_not_wait() -> None:
    asked = Asked()
    asked.hears(Begin(), 0.0)
    assert asked.hears(Begin(), 0.5, attempt="0c").go == "yes"


def test_what_fails_on_one_machine_goes_to_another_and_not_back() -> None:
    asked = Asked(own="at.one")
    assert asked.job.queue == "at.one"
    asked.hears(Begin(), 0.0)
    assert asked.hears(Failed("does not parse", "engine"), 1.0).go == "yes"
    assert (asked.job.due, asked.job.queue, asked.job.ended.is_set()) == (1.0, "kind", False)
    assert asked.hears(Begin(), 2.0, attempt="0c") == Answer("later", "it has failed on this machine")
    assert asked.hears(Begin(), 2.0, B).go == "yes"
    assert asked.hears(Done(RESULT), 3.0, B).go == "yes"


def test_what_fails_on_the_only_machine_has_failed_with_its_own_problem() -> None:
    asked = Asked()
    asked.hears(Begin(), 0.0)
    asked.hears(Failed("does not parse", "engine", "look"), 1.0)
    asked.job.fails_everywhere()
    assert isinstance(asked.job.problem, StepFailed)
    assert (asked.job.problem.what, asked.job.problem.where) == ("does not parse", "engine")


def test_a_step_that_failed_says_more_than_a_machine_that_is_full() -> None:
    asked = Asked()
    asked.hears(Begin(), 0.0)
    asked.hears(Failed("does not parse", "engine"), 1.0)
    asked.hears(Begin(), 2.0, B)
    asked.hears(Failed("disk full", "two", None, True), 3.0, B)
    asked.job.fails_everywhere()
    assert isinstance(asked.job.problem, StepFailed)
    assert asked.job.problem.what == "does not parse (tried 2 times, on 2 machines)"
    away = Asked()
    away.hears(Begin(), 0.0)
    away.hears(Failed("disk full", "two", None, True), 3.0)
    away.job.fails_everywhere()
    assert isinstance(away.job.problem, Unreachable)


def test_a_job_is_begun_so_many_times_and_no_more() -> None:
    asked = Asked(tries=2)
    assert asked.hears(Begin(), 0.0, attempt="01").go == "yes"
    assert asked.hears(Begin(), LEASE + 1, attempt="02").go == "yes"
    assert asked.hears(Begin(), 2 * LEASE + 2, B).go == "no"
    assert isinstance(asked.job.problem, StepFailed)
    assert "begun 2 times and never ended" in asked.job.problem.what
    assert "out of memory?" in str(asked.job.problem.hint)


def test_a_job_that_fails_on_its_last_try_has_failed() -> None:
    asked = Asked(tries=1)
    asked.hears(Begin(), 0.0)
    asked.hears(Failed("does not parse"), 1.0)
    assert isinstance(asked.job.problem, StepFailed)


def test_an_order_that_vanishes_is_given_again_but_not_for_ever() -> None:
    asked = Asked()
    for _ in range(3):
        asked.job.lose(10.0)
        assert asked.job.due == 10.0
    asked.job.lose(10.0)
    assert "none asked to begin" in str(asked.job.problem)


WORKERS = ("a1@a", "b2@b", "c2@b", "d3@d")


class Fleet(RuleBasedStateMachine):
    """Whatever brokers, workers and the clock do, a job ends once, with the first result of an attempt that began."""

    @initialize(tries=st.integers(1, 4))
    def begin(self, tries: int) -> None:
        self.now, self.tries = 0.0, tries
        self.job = Job(ORDER, "kind", "", tries, lambda line: None, 0.0)  # type: ignore[arg-type]
        self.job.due = None
        self.begun: Dict[str, str] = {}
        self.first: Optional[File] = None
        self.ended_with: Optional[object] = None

    @rule(seconds=st.sampled_from([0.1, 3.0, LEASE + 0.1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=st.sampled_from(WORKERS), attempt=st.sampled_from(["01", "02", "03"]))
    def claim(self, worker: str, attempt: str) -> None:
        named, was_over = attempt + worker[:2].encode().hex(), self.job.ended.is_set()
        answer = self.job.report(Message("0f", "", named, worker, Begin()), self.now)
        assert not (was_over and answer.go == "yes")
        if answer.go == "yes":
            self.begun[named] = worker
        assert len(self.begun) <= self.tries

    @rule(data=st.data(), how=st.sampled_from(["done", "failed", "working"]))
    def speak(self, data: st.DataObject, how: str) -> None:
        """Any attempt, begun or not, old or new."""
        named = data.draw(st.sampled_from([*self.begun, "ee"]))
        worker, was_over = self.begun.get(named, WORKERS[0]), self.job.ended.is_set()
        result = File(digest.of_bytes(named.encode()), 1)
        body = {"done": Done(result), "failed": Failed("broken"), "working": Working()}[how]
        answer = self.job.report(Message("0f", "", named, worker, body), self.now)
        if was_over or named == "ee":
            assert answer.go == "no"
        elif how == "done":
            self.first = result

    @invariant()
    def it_ends_once(self) -> None:
        if not hasattr(self, "job"):
            return
        if self.first is not None:
            assert self.job.ended.is_set() and self.job.result == self.first and self.job.problem is None
        if self.job.ended.is_set():
            end = (self.job.result, self.job.problem)
            assert self.ended_with in (None, end)
            self.ended_with = end


Fleet.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase
