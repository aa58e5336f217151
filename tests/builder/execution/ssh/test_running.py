"""How a run shares work between this machine and others: executors are fakes, so only the order is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Mapping

from builder.actions.action import Action, Result
from builder.config.remote_machines import Reached
from builder.errors import Unreachable
from builder.execution.scheduler import Outcome, Silent, run
from builder.planning.planner import plan
from builder.planning.resolver import Pinner
from builder.plugins import Store
from tests.fakes import LAPTOP, FakeExecutor, Project


class Away(FakeExecutor):
    """A machine that is off, or goes off before the step `at`."""

    def __init__(self, at: str = "engine") -> None:
        super().__init__()
        self._at = at

    def perform(
        self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: Callable[[str], None]
    ) -> Result:
        if action.recipe.step == self._at:
            raise Unreachable("Connection refused", where="ssh://a")
        return super().perform(action, files, root, store, say)


def _ran(folder: Path, here: FakeExecutor, there: Dict[str, FakeExecutor]) -> Outcome:
    """On `a` and `b` lie cells of different precisions: equal ones would have equal keys, and one recall the other's."""
    project = Project(folder)
    project.edit("matrix.yaml", "ort: {runtime: onnxruntime}", "ort: {runtime: onnxruntime}\n  a: {runtime: onnxruntime, where: ssh://a}\n  b: {runtime: onnxruntime, where: ssh://b}")  # fmt: skip
    loaded, at = project.load(), lambda reached: there[reached.where]  # type: ignore[no-any-return, var-annotated]
    planned = plan(loaded.matrix, LAPTOP, only=("*-fp32-{ort,ov,b}", "*-{fp16,int8}-a"))
    return run(planned, Pinner(loaded.root, LAPTOP, project.store), project.store, here, Silent(), at=at)


def test_every_machine_works_alone_and_all_at_once(tmp_path: Path) -> None:
    everybody: List[str] = []

    class Seen(FakeExecutor):
        name = ""

        def perform(
            self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: Callable[[str], None]
        ) -> Result:
            everybody.append(self.name)
            busy.append(len({*everybody}))
            try:
                return super().perform(action, files, root, store, say)
            finally:
                everybody.remove(self.name)

    busy: List[int] = []
    here, a, b = Seen(seconds=0.02), Seen(seconds=0.02), Seen(seconds=0.02)
    here.name, a.name, b.name = "here", "a", "b"
    outcome = _ran(tmp_path / "p", here, {"ssh://a": a, "ssh://b": b})
    assert not outcome.failures and not outcome.waiting
    for other in (a, b):
        assert set(other.steps) == {"engine", "parity", "latency"}
        assert other.overlaps == set(), "one action at a time on another machine"
    assert "engine" in here.steps and "export" in here.steps
    assert max(busy) > 1, "they work side by side"


def test_a_machine_that_is_away_makes_its_jobs_wait_and_no_others(tmp_path: Path) -> None:
    outcome = _ran(tmp_path / "p", FakeExecutor(), {"ssh://a": Away(), "ssh://b": FakeExecutor()})
    assert {id.rpartition("-")[2] for id in outcome.waiting} == {"a"}
    assert set(outcome.away) == {"engine/tiny-dense-fp16-a", "engine/tiny-dense-int8-a"}
    assert not outcome.failures and not outcome.blocked
    assert "latency/tiny-dense-fp32-b" in outcome.results and "latency/tiny-dense-fp32-ort" in outcome.results


def test_what_was_done_before_a_machine_went_away_is_kept(tmp_path: Path) -> None:
    outcome = _ran(tmp_path / "p", FakeExecutor(), {"ssh://a": Away("latency"), "ssh://b": FakeExecutor()})
    assert "engine/tiny-dense-fp16-a" in outcome.results and "parity/tiny-dense-fp16-a" in outcome.results
    assert "latency/tiny-dense-fp16-a" in outcome.waiting


def test_a_run_without_executors_for_others_leaves_them_waiting(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    project.edit("matrix.yaml", "ort: {runtime: onnxruntime}", "ort: {runtime: onnxruntime, where: ssh://a}")
    loaded = project.load()
    planned = plan(loaded.matrix, LAPTOP, only=("*-fp32-ort",))
    assert planned.cells[0].reached == (Reached("ssh://a"),)
    outcome = run(planned, Pinner(loaded.root, LAPTOP, project.store), project.store, FakeExecutor(), Silent())
    assert planned.cells[0].engine in outcome.waiting
