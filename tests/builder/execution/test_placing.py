"""Which machine takes a job, and what a run does when machines are away, fail, or are several."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.actions.action import Action, Result
from builder.actions.recipes import LowerOpset
from builder.config.loader import with_inventory
from builder.config.remote_machines import FLEET, Listed, Reached
from builder.errors import StepFailed, Unreachable, UsageError
from builder.execution.scheduler import MOST_OF_A_FLEET, Outcome, Placing, run, shared
from builder.planning.jobs import Job, OutputPin
from builder.planning.planner import plan
from builder.planning.resolver import Pinner
from builder.plugins import Store
from tests.fakes import LAPTOP, FakeExecutor, Project, Recorder

A, B, ALL = Reached("ssh://a"), Reached("ssh://b"), Reached(FLEET)
OFF = Unreachable("is off", where="ssh://a")
BROKEN = StepFailed("does not parse", where="engine")


def _job(id: str, *reached: Reached, needs: str = "") -> Job:
    pins = (OutputPin("artifact", needs, "*"),) if needs else ()
    return Job(id, LowerOpset(17), pins, (), elsewhere="it is", reached=reached)


def test_the_first_machine_that_is_free_takes_a_job() -> None:
    placing = Placing()
    for place in (A, B):
        assert placing.seat(_job("one", A, B)) == place
        placing.begins(_job(f"on {place.where}", A, B), place)
    assert placing.seat(_job("one", A, B)) is None, "both are at work"
    assert placing.ends(_job("on ssh://b", A, B), B)
    assert placing.seat(_job("one", A, B)) == B


def test_the_fleet_takes_as_many_as_there_are_threads_that_wait() -> None:
    placing = Placing()
    for number in range(MOST_OF_A_FLEET):
        assert placing.seat(_job(str(number), ALL)) == ALL
        placing.begins(_job(str(number), ALL), ALL)
    assert placing.seat(_job("one more", ALL)) is None, "or it would wait where local jobs wait"
    placing.ends(_job("0", ALL), ALL)
    assert placing.seat(_job("one more", ALL)) == ALL


def test_what_is_measured_goes_to_the_machine_that_built_it() -> None:
    placing, engine, parity = Placing(), _job("engine", A, B), _job("parity", A, B, needs="engine")
    placing.begins(engine, B)
    placing.ends(engine, B)
    assert placing.seat(parity) == B, "although A comes first"
    placing.begins(_job("other", A, B), B)
    assert placing.seat(parity) is None, "it waits for B"
    placing.ends(_job("other", A, B), B)
    placing.begins(parity, B)
    assert not placing.ends(parity, B, replace_away(B))
    assert placing.seat(parity) == A, "B is gone"


def replace_away(place: Reached) -> Unreachable:
    return Unreachable("is off", where=place.where)


def test_what_is_told_of_a_job_that_no_machine_has_done() -> None:
    job = _job("engine", A, B)
    placing = Placing()
    assert not placing.ends(job, A, OFF)
    assert placing.ends(job, B, BROKEN)
    assert placing.problem(job) is BROKEN, "a step that fails says more than a machine that is off"

    placing = Placing()
    assert not placing.ends(job, A, OFF) and placing.ends(job, B, replace_away(B))
    away = placing.problem(job)
    assert isinstance(away, Unreachable)
    assert "ssh://a: is off; ssh://b: is off" in away.what

    placing = Placing()
    assert not placing.ends(job, A, BROKEN) and placing.ends(job, B, StepFailed("does not parse", where="engine"))
    assert placing.problem(job).what == "does not parse (as on ssh://a)"


def test_a_machine_is_shared_when_each_of_its_jobs_could_go_elsewhere() -> None:
    assert shared([_job("1", A, B), _job("2", A, B)]) == {A, B}
    assert shared([_job("1", A, B), _job("2", A)]) == {B}


# ------------------------------------------------------------------------------------------- whole runs


class Machine(FakeExecutor):
    """One machine of several: `off` says when it is away."""

    def __init__(self, place: Reached, off: bool = False, fails: str = "") -> None:
        super().__init__(fails=lambda action: action.recipe.step == fails)
        self.place, self.off = place, off
        self.begun = threading.Event()
        self.waits_for: Optional[Machine] = None

    def perform(self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: object) -> Result:
        if self.off:
            raise Unreachable("is off", where=self.place.where)
        self.begun.set()
        if self.waits_for is not None:
            self.waits_for.begun.wait(10)
        return super().perform(action, files, root, store, say)  # type: ignore[arg-type]


class Told(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.lines: List[str] = []

    def told(self, line: str) -> None:
        self.lines.append(line)


def _run(project: Project, machines: Mapping[Reached, Machine], reporter: Optional[Recorder] = None) -> Outcome:
    matrix = project.load().matrix
    listed = tuple(Listed(place.where[6:], ("trt",)) for place in machines)
    matrix = with_inventory(matrix, listed)
    wanted = plan(matrix, LAPTOP, only=("*-trt",))
    pinner = Pinner(project.root, LAPTOP, project.store)
    with project.store.locked():
        return run(wanted, pinner, project.store, FakeExecutor(), reporter or Recorder(), at=machines.__getitem__)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "p")


def _built(machines: Mapping[Reached, Machine]) -> Dict[str, Set[str]]:
    """place -> the precisions that it built an engine of."""
    return {
        place.where: {a.recipe.precision for a in machine.performed if a.recipe.step == "engine"}  # type: ignore[union-attr]
        for place, machine in machines.items()
    }


def test_what_is_wrong_with_a_place_ends_the_run_before_anything_is_performed(project: Project) -> None:
    here = FakeExecutor()

    def at(place: Reached) -> Machine:
        raise UsageError("there is no such key")

    matrix = with_inventory(project.load().matrix, (Listed("a", ("trt",)),))
    pinner = Pinner(project.root, LAPTOP, project.store)
    with project.store.locked(), pytest.raises(UsageError):
        run(plan(matrix, LAPTOP), pinner, project.store, here, Recorder(), at=at)
    assert here.performed == []


def test_two_machines_of_a_class_share_the_work_and_each_measures_what_it_built(project: Project) -> None:
    machines = {A: Machine(A), B: Machine(B)}
    machines[A].waits_for = machines[B]  # or it might do all before the other is asked
    outcome = _run(project, machines)
    assert not outcome.failures and not outcome.waiting
    built = _built(machines)
    assert built["ssh://a"] and built["ssh://b"]
    for machine in machines.values():
        steps = machine.steps
        assert steps.count("parity") == steps.count("latency") == steps.count("engine")


def test_a_machine_that_is_off_leaves_its_work_to_the_other(project: Project) -> None:
    machines, told = {A: Machine(A, off=True), B: Machine(B)}, Told()
    outcome = _run(project, machines, told)
    assert not outcome.failures and not outcome.waiting and not outcome.away
    assert any("ssh://a: is off; it goes to another machine" in line for line in told.lines)


def test_a_step_that_fails_on_one_machine_is_tried_on_the_other(project: Project) -> None:
    machines = {A: Machine(A, fails="engine"), B: Machine(B)}
    outcome = _run(project, machines)
    assert not outcome.failures
    assert _built(machines)["ssh://b"] == {"fp32", "fp16", "int8"}


def test_a_step_that_fails_on_all_fails_once(project: Project) -> None:
    machines = {A: Machine(A, fails="engine"), B: Machine(B, fails="engine")}
    outcome = _run(project, machines)
    assert {job.split("/")[0] for job in outcome.failures} == {"engine"}
    assert all("made to fail (as on" in problem.what for problem in outcome.failures.values())
    assert machines[A].steps.count("engine") == machines[B].steps.count("engine") == len(outcome.failures)


def test_when_all_are_off_the_cells_wait_and_every_machine_is_named(project: Project) -> None:
    outcome = _run(project, {A: Machine(A, off=True), B: Machine(B, off=True)})
    assert not outcome.failures
    assert outcome.away and all(job in outcome.waiting for job in outcome.away)
    assert all("ssh://a: is off" in p.what and "ssh://b: is off" in p.what for p in outcome.away.values())


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=40), st.data())
def test_a_machine_never_has_two_jobs_and_no_job_goes_twice_to_one(ends: List[object], data: st.DataObject) -> None:
    places = [Reached(f"ssh://{name}") for name in "abc"]
    placing, open_jobs = Placing(), [_job(str(n), *places[n % 3 :], *places[: n % 3]) for n in range(6)]
    running: Dict[Reached, Job] = {}
    tried: Set[object] = set()
    while open_jobs or running:
        for job in list(open_jobs):
            place = placing.seat(job)
            if place is not None:
                assert place not in running and (job.id, place) not in tried
                tried.add((job.id, place))
                placing.begins(job, place)
                running[place] = job
                open_jobs.remove(job)
        place = data.draw(st.sampled_from(sorted(running, key=lambda p: p.where)))
        job = running.pop(place)
        problem = data.draw(st.sampled_from([None, OFF, BROKEN]))
        if not placing.ends(job, place, problem):
            open_jobs.append(job)
