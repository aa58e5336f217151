"""The search over a plan, with an executor whose artifacts are accurate when the right layers are kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

import pytest

from builder.actions.action import Action
from builder.actions.measurements import Cost, LayerError, LayerErrors, OutputParity, Parity, Percentiles
from builder.actions.recipes import Engine, Facts, LowerFp16, LowerInt8, MeasureCost, MeasureLayers, MeasureParity
from builder.errors import StepFailed
from builder.execution import publish, search_trials
from builder.execution.precision_search import Healed, heal, recalled
from builder.execution.scheduler import Outcome, run
from builder.planning.planner import Plan, plan
from builder.planning.resolver import Pinner
from builder.store.manifest import Manifest, Searched
from tests.fakes import LAPTOP, RTX3090, FakeExecutor, Project, Recorder, without

LAYERS = ("worst", "second", "third", "fourth")
INT8, FP16, TRT = "tiny-dense-int8-ort", "tiny-dense-fp16-ort", "tiny-dense-int8-trt"


class Harmed(FakeExecutor):
    """An artifact is off by 1 unless the layers in `needed` are kept. `unlowerable` ones must be, or lowering fails."""

    def __init__(
        self,
        needed: FrozenSet[str] = frozenset(),
        unlowerable: FrozenSet[str] = frozenset(),
        broken: str = "",
        dies_after: Optional[int] = None,
    ) -> None:
        super().__init__()
        self._needed, self._unlowerable, self._broken, self._dies_after = needed, unlowerable, broken, dies_after
        self._files: Dict[str, bytes] = {}

    def perform(self, action: Action, files: Mapping[str, Path], *rest: Any) -> Any:
        if self._dies_after is not None and len(self.performed) >= self._dies_after:
            raise KeyboardInterrupt
        recipe = action.recipe
        if recipe.step == self._broken:
            raise StepFailed("made to fail", where=recipe.step)
        if isinstance(recipe, (LowerInt8, LowerFp16)) and not self._unlowerable <= set(recipe.keep):
            raise StepFailed("a weight is beyond float16", where=recipe.step)
        self._files = {name: path.read_bytes() for name, path in files.items()}
        return super().perform(action, files, *rest)

    def _outputs(self, action: Action, files: Mapping[str, Path]) -> Dict[str, bytes]:
        made, recipe = super()._outputs(action, files), action.recipe
        if isinstance(recipe, (MeasureLayers, MeasureCost)):
            return {}
        if isinstance(recipe, (LowerInt8, LowerFp16)):
            made["model.onnx"] = f"{made['model.onnx'].decode()} keep={','.join(recipe.keep)}".encode()
        elif recipe.step == "emulate-fp16" or isinstance(recipe, Engine):
            (name,) = (name for name in made if name.startswith("model"))
            kept = files["model.onnx"].read_bytes().partition(b" keep=")[2]
            made[name] += b" keep=" + kept if kept or b" keep=" in files["model.onnx"].read_bytes() else b""
        return made

    def _facts(self, action: Action) -> Facts:
        recipe = action.recipe
        if isinstance(recipe, MeasureLayers):
            rows = [LayerError((name,), "Conv", 10.0 + n, "scores", 10.0, 1.0) for n, name in enumerate(LAYERS)]
            return LayerErrors(
                tuple(
                    dataclasses.replace(row, alone_db=None, problem="cannot") if row.name in self._unlowerable else row
                    for row in rows
                    if row.name not in recipe.lowering.keep
                )
            )
        if isinstance(recipe, MeasureCost):
            return Cost(Percentiles(3.0, 3, 3, 7), Percentiles(2.0, 2, 2, 7), recipe.shape, 0, recipe.machine, "fake")
        if isinstance(recipe, MeasureParity):
            kept = set(self._files["artifact/model.bin"].partition(b" keep=")[2].decode().split(","))
            lowered = b" keep=" in self._files["artifact/model.bin"]
            off = 1.0 if lowered and not self._needed <= kept else 0.001
            rows_ = [
                OutputParity(o, s, None, max_abs=off, cosine=0.999) for o in recipe.outputs for s in recipe.samples
            ]
            return Parity(tuple(rows_))
        return super()._facts(action)


def searching(folder: Path, search: str = "{trials: 12}", build: str = INT8) -> Project:
    project = Project(folder)
    text = project.matrix.read_text(encoding="utf-8")
    project.matrix.write_text(f'{text}build: ["{build}"]\ndefaults: {{search: {search}}}\n', encoding="utf-8")
    return project


def healed(project: Project, executor: FakeExecutor, *, machine: Any = LAPTOP) -> Tuple[Healed, List[str]]:
    """As `build matrix` does it: (what it came to, what it told)."""
    loaded, told = project.load(), []
    planned = plan(loaded.matrix, machine)
    pinner = Pinner(loaded.root, machine, project.store)

    def attempt(some: Plan, said: str) -> Outcome:
        return run(some, pinner, project.store, executor, Recorder())

    with project.store.locked():
        return heal(loaded.matrix, machine, planned, attempt(planned, ""), attempt, told.append), told


def manifest(project: Project, found: Healed, machine: Any = LAPTOP) -> Manifest:
    return publish.manifest(
        project.load(), found.plan, found.outcome, project.store, machine, version=1, created="", release="0", searched=found.searched
    )  # fmt: skip


def looked_up(project: Project, machine: Any = LAPTOP) -> Healed:
    loaded = project.load()
    pinner = Pinner(loaded.root, machine, project.store)
    return recalled(loaded.matrix, machine, plan(loaded.matrix, machine), pinner, project.store)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return searching(tmp_path / "p")


def only(found: Healed) -> Searched:
    (searched,) = found.searched.values()
    return searched


def test_the_one_layer_that_must_stay_is_found_and_the_cell_passes(project: Project) -> None:
    found, told = healed(project, Harmed(frozenset({"worst"})))
    entry = manifest(project, found).entry(INT8)
    assert entry is not None
    assert entry.verdict.status == "passed"
    assert entry.search == only(found)
    assert entry.search.ended == "found"
    assert entry.search.kept == ("worst",)
    assert [trial.passed for trial in entry.search.trials] == [True, True]
    assert entry.search.layers == 4
    assert "scores max_abs 1 > 0.01" in entry.search.was
    assert {(r.subject, r.before, r.after) for r in entry.search.recovered} == {("scores", 1.0, 0.001), ("descriptors", 1.0, 0.001)}  # fmt: skip
    assert entry.search.cost is not None
    assert (entry.search.cost.ms, entry.search.cost.ratio) == (1.0, 1.5)
    assert found.plan.cells[0].keep == ("worst",)
    assert f"search/{INT8}" in found.outcome.performed
    assert told == ["  it passes", "  it passes"]
    assert "+1.00 ms (1.50x)" in search_trials.search_line(entry.search)


def test_a_second_run_performs_nothing_and_says_the_same(project: Project) -> None:
    before, _ = healed(project, Harmed(frozenset({"worst", "third"})))
    executor = Harmed(frozenset({"worst", "third"}))
    after, told = healed(project, executor)
    assert only(after).kept == ("worst", "third")
    assert executor.performed == []
    assert told == []
    assert after.outcome.performed == set()
    assert manifest(project, before).says_the_same_as(manifest(project, after))
    assert manifest(project, looked_up(project)).says_the_same_as(manifest(project, before))


def test_looking_up_what_was_not_searched_leaves_the_cell(project: Project) -> None:
    project.edit("matrix.yaml", "{trials: 12}", "{trials: 0}")
    healed(project, Harmed(frozenset({"worst"})))
    project.edit("matrix.yaml", "{trials: 0}", "{trials: 12}")
    found = looked_up(project)
    assert found.searched == {}
    assert found.unfinished == {INT8}


@pytest.mark.parametrize("moment", range(12, 30))
def test_a_search_that_was_ended_goes_on_where_it_stood(moment: int, tmp_path: Path) -> None:
    """Ended after so many steps; the second run performs the rest, and no step twice."""
    needed = frozenset({"worst", "fourth"})
    whole = Harmed(needed)
    expected, _ = healed(searching(tmp_path / "whole"), whole)
    project = searching(tmp_path / "p")
    first = Harmed(needed, dies_after=moment)
    try:
        healed(project, first)
    except KeyboardInterrupt:
        pass
    else:
        assert moment >= len(whole.performed)
    second = Harmed(needed)
    found, _ = healed(project, second)
    assert only(found) == only(expected)
    assert len(first.performed) + len(second.performed) == len(whole.performed)


def test_the_budget_of_one_trial_ends_with_a_clear_message(tmp_path: Path) -> None:
    project = searching(tmp_path / "p", "{trials: 1}")
    found, _ = healed(project, Harmed(frozenset({"worst"})))
    entry = manifest(project, found).entry(INT8)
    assert entry is not None
    assert entry.verdict.status == "failed"
    assert "scores max_abs 1 > 0.01" in entry.verdict.reason
    assert "search ended after 1 trial; best: all 4 layers in float32; allow more" in entry.verdict.reason
    assert only(found).ended == "budget"
    assert only(found).kept == ()


def test_minutes_are_those_of_the_work_and_not_of_the_clock(tmp_path: Path) -> None:
    """Each step of the fake takes 0.25 s: what is recalled counts as much as what is performed."""
    project = searching(tmp_path / "p", "{trials: 12, minutes: 0.02}")
    for _ in range(2):
        found, _ = healed(project, Harmed(frozenset({"worst", "third"})))
        assert only(found).ended == "budget"
        assert 0 < len(only(found).trials) < 4


def test_what_had_passed_when_the_budget_ended_is_taken(tmp_path: Path) -> None:
    project = searching(tmp_path / "p", "{trials: 4}")
    found, _ = healed(project, Harmed(frozenset({"worst", "third"})))
    assert [trial.passed for trial in only(found).trials] == [True, False, True, False]
    assert only(found).ended == "budget"
    assert only(found).kept == LAYERS[:3]
    assert "fewer may do" in only(found).said
    assert manifest(project, found).entries[0].verdict.status == "passed"


def test_an_impossible_gate_stops_after_one_trial(project: Project) -> None:
    found, _ = healed(project, Harmed(frozenset({"no such layer"})))
    assert only(found).ended == "impossible"
    assert len(only(found).trials) == 1
    assert "even with every layer in float32 it misses" in manifest(project, found).entries[0].verdict.reason


def test_a_cell_that_needs_them_all_stays_failed(project: Project) -> None:
    found, _ = healed(project, Harmed(frozenset(LAYERS)))
    assert only(found).ended == "everything"
    assert manifest(project, found).entries[0].verdict.status == "failed"


def test_a_layer_that_cannot_be_lowered_heals_a_step_that_failed(tmp_path: Path) -> None:
    project = searching(tmp_path / "p", build=FP16)
    found, _ = healed(project, Harmed(unlowerable=frozenset({"worst"})))
    assert only(found).kept == ("worst",)
    assert only(found).was == "worst: cannot"
    assert only(found).cost is None, "there is no artifact without it to compare with"
    assert found.outcome.failures == {}, "the failure is healed"
    assert manifest(project, found).entries[0].verdict.status == "passed"
    again = looked_up(project)
    assert manifest(project, again).says_the_same_as(manifest(project, found))


def test_what_no_precision_heals_is_not_searched(project: Project) -> None:
    for step in ("export", "engine"):
        executor = Harmed(broken=step)
        found, _ = healed(project, executor)
        assert found.searched == {}
        assert "layer-errors" not in executor.steps


def test_a_step_of_the_search_that_fails_is_told(project: Project) -> None:
    found, _ = healed(project, Harmed(frozenset({"worst"}), broken="layer-errors"))
    assert only(found).ended == "failed"
    assert "the search failed: made to fail" in manifest(project, found).entries[0].verdict.reason


def test_a_cell_that_passes_and_one_without_search_are_left_alone(tmp_path: Path) -> None:
    executor = Harmed()
    found, _ = healed(searching(tmp_path / "p"), executor)
    assert found.searched == {}
    assert "layer-errors" not in executor.steps
    executor = Harmed(frozenset({"worst"}))
    found, _ = healed(searching(tmp_path / "q", "{trials: 0}"), executor)
    assert found.searched == {}
    assert "layer-errors" not in executor.steps


def test_what_the_runtime_stores_by_itself_is_not_searched_and_says_so(tmp_path: Path) -> None:
    project = searching(tmp_path / "p", build="tiny-dense-fp16-ov")
    project.edit("matrix.yaml", "max_abs: 0.01", "max_abs: 1e-9")
    found, _ = healed(project, Harmed())
    assert only(found).ended == "not applicable"
    assert "no step lowers the graph" in manifest(project, found).entries[0].verdict.reason


def test_what_is_kept_by_hand_stays_kept(project: Project) -> None:
    project.edit("matrix.yaml", "defaults: {", "defaults: {keep: [third], ")
    found, _ = healed(project, Harmed(frozenset({"worst", "third"})))
    assert only(found).kept == ("worst",)
    assert only(found).layers == 3
    assert found.plan.cells[0].keep == ("third", "worst")


def test_a_gate_on_speed_is_no_reason_to_search(project: Project) -> None:
    project.edit("matrix.yaml", "gates:", 'gates:\n  - {select: "*", speed: {p50_ms: {threshold: 0.001}}}')
    executor = Harmed()
    found, _ = healed(project, executor)
    assert found.searched == {}
    assert manifest(project, found).entries[0].verdict.status == "failed"
    found, _ = healed(project, Harmed(frozenset({"worst"})))


# ------------------------------------------------------------------------------------------- targets elsewhere


def test_a_graph_for_another_machine_is_searched_on_this_one_and_labelled(tmp_path: Path) -> None:
    project = searching(tmp_path / "p", build=TRT)
    executor = Harmed(frozenset({"worst"}))
    found, _ = healed(project, executor)
    entry = manifest(project, found).entries[0]
    assert entry.verdict.status == "waiting"
    assert entry.search is not None
    assert entry.search.kept == ("worst",)
    assert entry.search.estimated == "onnxruntime on this machine's CPU"
    assert entry.search.cost is None
    assert found.plan.cells[0].keep == ("worst",)
    engine = next(job for job in found.plan.jobs if job.id == f"engine/{TRT}")
    assert engine.platform is not None
    assert engine.platform.runtime == "tensorrt", "what waits is the target's own engine"
    assert "keep-" in engine.needs[0]
    runtimes = {a.platform.runtime for a in executor.performed if isinstance(a.recipe, Engine) and a.platform}
    assert runtimes == {"onnxruntime"}
    assert only(looked_up(project)) == entry.search


def test_its_own_machine_has_the_last_word(tmp_path: Path) -> None:
    """The store went there and came back: the engine with the kept layers was measured, and passed."""
    project = searching(tmp_path / "p", build=TRT)
    healed(project, Harmed(frozenset({"worst"})))
    there, _ = healed(project, Harmed(frozenset({"worst"})), machine=RTX3090)
    entry = manifest(project, there, RTX3090).entries[0]
    assert entry.verdict.status == "passed"
    assert entry.search is not None
    assert entry.search.estimated == "", "there every trial ran on the target"


def test_without_onnxruntime_nothing_stands_in(tmp_path: Path) -> None:
    project = searching(tmp_path / "p", build=TRT)
    found, _ = healed(project, Harmed(frozenset({"worst"})), machine=without(LAPTOP, "polygraphy"))
    assert only(found).ended == "not applicable"
    assert "polygraphy is not installed here" in only(found).said


def test_a_graph_that_meets_the_gates_here_is_not_searched(tmp_path: Path) -> None:
    project = searching(tmp_path / "p", build=TRT)
    executor = Harmed()
    found, _ = healed(project, executor)
    assert found.searched == {}
    assert "layer-errors" not in executor.steps
    assert manifest(project, found).entries[0].verdict.status == "waiting"


def test_float16_is_emulated_where_it_stands_in(tmp_path: Path) -> None:
    project = searching(tmp_path / "p", build="tiny-dense-fp16-trt")
    executor = Harmed(frozenset({"worst"}))
    found, _ = healed(project, executor)
    assert only(found).kept == ("worst",)
    assert "emulate-fp16" in executor.steps
    assert not any("emulate" in job.id for job in found.plan.jobs), "its own engine is made of the real graph"


# ------------------------------------------------------------------------------------------- words


def test_the_record_survives_json_and_reads_well(project: Project) -> None:
    from builder.records import from_json, to_json

    found, _ = healed(project, Harmed(frozenset({"worst", "third"})))
    searched = only(found)
    assert from_json(Searched, json.loads(json.dumps(to_json(searched)))) == searched
    lines = dict(search_trials.search_lines(searched))
    assert lines["keep"] == "[worst, third]"
    assert lines["cost"].startswith("+1.00 ms (1.50x) beside everything lowered, 1x1x32x32")
    assert lines["trial 1"].startswith("all layers in float32: it passes")
    assert "worst in float32: scores max_abs 1 > 0.01" in lines["trial 2"]
    assert lines["budget"] == "12 trials, 60 minutes"
