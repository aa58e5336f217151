"""Running a plan with a fake executor: what is performed again after which change, and what a failure takes down."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Set, Tuple

import pytest

from builder import digest
from builder.actions.action import Action, Result
from builder.errors import StepFailed, UsageError
from builder.execution import orders
from builder.execution.scheduler import prospect
from builder.planning.jobs import Job
from builder.planning.planner import plan
from builder.planning.resolver import Pinner
from builder.store.layout import Layout
from tests.fakes import (
    GTX1060,
    LAPTOP,
    ORIN,
    RTX3090,
    TASK_MATRIX,
    FakeExecutor,
    Project,
    Ran,
    run_project,
    with_version,
)

HERE = ("*-ort", "*-ov")  # cells that the laptop builds and measures


def steps(ran: Ran) -> Set[str]:
    return {job.partition("/")[0] for job in ran.performed}


def changed(project: Project, change: Callable[[], None], **options: object) -> Ran:
    """The second run, after `change`."""
    run_project(project)
    change()
    return run_project(project, **options)  # type: ignore[arg-type]


def test_the_first_run_performs_everything_that_is_for_this_machine(project: Project) -> None:
    ran = run_project(project)
    assert ran.outcome.failures == ran.outcome.blocked == {}
    assert set(ran.performed) | ran.outcome.waiting == {job.id for job in ran.plan.jobs}
    assert {job for job in ran.outcome.waiting if job.startswith("engine/")} == {
        f"engine/tiny-dense-{p}-trt" for p in ("fp32", "fp16", "int8")
    }


def test_every_job_ends_once_and_in_one_state(project: Project) -> None:
    ran = run_project(project, FakeExecutor(fails=lambda action: action.recipe.step == "lower-fp16"), jobs=3)
    outcome = ran.outcome
    for job in ran.plan.jobs:
        states = [job.id in group for group in (outcome.results, outcome.failures, outcome.waiting, outcome.blocked)]
        assert sum(states) == 1, job.id
        assert job.id in ran.reporter.ends


def test_a_second_run_performs_nothing(project: Project) -> None:
    assert changed(project, lambda: None).performed == []


def test_a_changed_parity_photograph_measures_again_and_builds_nothing(project: Project) -> None:
    ran = changed(project, lambda: project.edit("photos/a.png", "a", "A"))
    assert steps(ran) == {"reference", "parity"}


def test_a_changed_calibration_photograph_lowers_again(project: Project) -> None:
    ran = changed(project, lambda: project.edit("photos/c.png", "c", "C"))
    assert steps(ran) == {"calibration-data", "lower-int8", "parse", "engine", "parity", "latency"}
    assert all("int8" in job for job in ran.performed if job != "calibration-data")


def test_a_calibration_that_gives_the_same_model_stops_there(project: Project) -> None:
    same = frozenset({"lower-int8"})
    run_project(project, FakeExecutor(same=same))
    project.edit("photos/c.png", "c", "C")
    assert steps(run_project(project, FakeExecutor(same=same))) == {"calibration-data", "lower-int8"}


def test_an_equal_simplified_model_stops_the_rebuild(project: Project) -> None:
    same = frozenset({"simplify"})
    run_project(project, FakeExecutor(same=same), only=("*-ov",))
    project.edit("layers.py", "return 64", "return 32")
    ran = run_project(project, FakeExecutor(same=same), only=("*-ov",))
    # the reference is the module's own, and the naive export is what timing compares with
    assert "engine" not in steps(ran)
    assert steps(ran) == {"export", "simplify", "reference", "parity", "latency"}


def test_a_gate_performs_nothing(project: Project) -> None:
    assert changed(project, lambda: project.edit("matrix.yaml", "max_abs: 0.01", "max_abs: 0.5")).performed == []


@pytest.mark.parametrize("file", ["matrix.yaml", "model.py", "layers.py"])
def test_a_comment_performs_nothing(project: Project, file: str) -> None:
    path = project.root / file
    assert changed(project, lambda: path.write_text(path.read_text() + "\n\n# a comment\n") and None).performed == []


@pytest.mark.parametrize(
    ("file", "old", "new"), [("model.py", "return width()", "return width() + 1"), ("layers.py", "64", "65")]
)
def test_a_change_in_the_model_or_a_module_beside_it_exports_again(
    project: Project, file: str, old: str, new: str
) -> None:
    ran = changed(project, lambda: project.edit(file, old, new))
    assert {"export", "reference", "simplify", "engine"} <= steps(ran)


def test_an_unrelated_module_performs_nothing(project: Project) -> None:
    assert changed(project, lambda: (project.root / "other.py").write_text("x = 1") and None).performed == []


def test_a_new_tool_performs_its_steps(project: Project) -> None:
    run_project(project)
    ran = run_project(project, machine=with_version(LAPTOP, "onnxsim", "9.9"), only=HERE)
    assert "simplify" in steps(ran)
    assert "export" not in steps(ran)


def test_a_damaged_store_is_repaired(project: Project) -> None:
    first = run_project(project)
    blob = first.outcome.results["engine/tiny-dense-fp32-ov"].outputs[0]
    path = project.store.fetch(blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"half")
    assert run_project(project).performed == ["engine/tiny-dense-fp32-ov"]
    assert project.store.has(blob)


def test_force_performs_everything_again(project: Project) -> None:
    first = run_project(project)
    assert run_project(project, force=True).performed == first.performed


def test_a_failed_step_blocks_only_what_needs_it(project: Project) -> None:
    ran = run_project(project, FakeExecutor(fails=lambda action: action.recipe.step == "lower-int8"))
    variants = ("asymmetric/around", "asymmetric/inputs", "symmetric/tensorrt")
    assert set(ran.outcome.failures) == {f"lower-int8/dense/{variant}" for variant in variants}
    assert set(ran.outcome.blocked.values()) == set(ran.outcome.failures)
    assert {job for job in ran.outcome.blocked if "int8" not in job} == set()
    assert "latency/tiny-dense-fp16-ort" in ran.outcome.results


def test_a_failed_step_is_tried_again_and_the_rest_is_recalled(project: Project) -> None:
    run_project(project, FakeExecutor(fails=lambda action: action.recipe.step == "lower-int8"))
    assert steps(run_project(project)) == {"lower-int8", "parse", "engine", "parity", "latency"}


def test_a_missing_photograph_fails_its_job_only(project: Project) -> None:
    (project.root / "photos" / "c.png").unlink()
    ran = run_project(project)
    problem = ran.outcome.failures["calibration-data"]
    assert isinstance(problem, UsageError)
    assert "no photograph 'c.png'" in str(problem)
    assert "parity/tiny-dense-fp32-ort" in ran.outcome.results


def test_an_unexpected_error_stops_the_executor(project: Project) -> None:
    class Broken(FakeExecutor):
        def perform(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            raise RuntimeError("a bug")

    broken = Broken()
    with pytest.raises(RuntimeError):
        run_project(project, broken)
    assert broken.stopped
    assert not list(project.store.root.rglob("work/*")), "nothing half-done is left"


def test_an_interrupt_leaves_a_store_that_goes_on(project: Project) -> None:
    class Interrupted(FakeExecutor):
        def perform(self, action: Action, *args: object) -> object:  # type: ignore[override]
            if action.recipe.step == "engine":
                raise KeyboardInterrupt
            return super().perform(action, *args)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        run_project(project, Interrupted())
    ran = run_project(project)
    assert "export" not in steps(ran)
    assert "engine" in steps(ran)


def test_timing_runs_alone(project: Project) -> None:
    executor = FakeExecutor(seconds=0.004)
    ran = run_project(project, executor, jobs=4)
    assert ran.outcome.failures == {}
    assert executor.overlaps, "the other steps do run side by side"
    assert not [pair for pair in executor.overlaps if "latency" in pair]


@pytest.mark.parametrize("jobs", [1, 4])
def test_timing_comes_last(project: Project, jobs: int) -> None:
    """A person sees every artifact and its parity before the slow part begins."""
    steps_done = run_project(project, jobs=jobs).executor.steps
    assert set(steps_done[steps_done.index("latency") :]) == {"latency"}


def test_one_job_at_a_time_is_one_at_a_time(project: Project) -> None:
    executor = FakeExecutor(seconds=0.001)
    run_project(project, executor, jobs=1)
    assert executor.overlaps == set()


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_inputs_of_a_job_are_resolved_once(project: Project, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    resolved, pin = [], Pinner.pin  # type: List[str], Any

    def counted(self: Pinner, job: Job, results: Mapping[str, Result]) -> Action:
        resolved.append(job.id)
        made: Action = pin(self, job, results)
        return made

    monkeypatch.setattr(Pinner, "pin", counted)
    ran = run_project(project, jobs=jobs)
    assert sorted(resolved) == sorted(ran.outcome.actions)


def test_many_jobs_give_the_same_results_as_one(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other")
    one, four = run_project(project, jobs=1), run_project(other, jobs=4)
    assert {id: (r.key, r.outputs) for id, r in one.outcome.results.items()} == {
        id: (r.key, r.outputs) for id, r in four.outcome.results.items()
    }


def test_prospect_performs_and_writes_nothing(project: Project) -> None:
    matrix = project.load().matrix
    found = prospect(plan(matrix, LAPTOP), Pinner(project.root, LAPTOP, project.store), project.store)
    assert found.results == {}
    assert not project.store.root.exists()
    first = run_project(project)
    found = prospect(first.plan, Pinner(project.root, LAPTOP, project.store), project.store)
    assert set(found.results) == set(first.outcome.results)


# ------------------------------------------------------------------------------------------- tasks

SCORING = {"task-cases", "task-reference", "task"}


@pytest.fixture
def scored(tmp_path: Path) -> Project:
    """The small project with a task on data of its own."""
    project = Project(tmp_path / "scored", TASK_MATRIX)
    project.edit("matrix.yaml", "[a.png, b.png]}\n    size", "[e.png, f.png]}\n    size")
    for name in ("e.png", "f.png"):
        (project.root / "photos" / name).write_bytes(b"what the task is about")
    return project


def test_every_artifact_and_the_model_itself_are_scored(scored: Project) -> None:
    ran = run_project(scored)
    assert ran.outcome.failures == ran.outcome.blocked == {}
    assert [job for job in ran.performed if job.startswith("task")] == sorted(
        [
            "task-cases/good",
            "task-reference/good/dense",
            *(f"task/tiny-dense-{p}-{t}/good" for p in ("fp32", "fp16", "int8") for t in ("ort", "ov")),
        ]
    )
    assert {job for job in ran.outcome.waiting if job.startswith("task")} == {
        f"task/{cell.id}/good" for cell in ran.plan.cells if cell.tasks and cell.target in ("rtx", "trt")
    }
    assert run_project(scored).performed == []


def test_a_score_is_of_the_artifact_the_cases_and_the_code(scored: Project) -> None:
    ran = run_project(scored)
    artifact = ran.outcome.results["engine/tiny-dense-fp16-ort"].outputs[0]
    cases = ran.outcome.results["task-cases/good"].outputs
    inputs = {pin.name: pin.digest for pin in ran.outcome.actions["task/tiny-dense-fp16-ort/good"].inputs}
    assert inputs == {
        "artifact/model.bin": artifact.digest,
        "code/score.py": digest.of_file(scored.root / "score.py"),
        "code/answers.py": digest.of_file(scored.root / "answers.py"),
        **{f"cases/{case.name}": case.digest for case in cases},
    }
    model = [pin.name for pin in ran.outcome.actions["task-reference/good/dense"].inputs]
    assert model == ["code", "code/answers.py", "code/score.py", "cases/e.npz", "cases/f.npz"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("score.py", "limit = best()", "limit = best() + 1"), SCORING),
        (("score.py", "# scored on every artifact", "# on each"), SCORING),
        (("answers.py", "return 9", "return 8"), SCORING),
        (("photos/e.png", "about", "ABOUT"), SCORING),
        (("matrix.yaml", "{strict: true}", "{strict: false}"), SCORING),
        (("matrix.yaml", "max_degradation: 0.1", "percent_max_degradation: 3"), set()),
        (("matrix.yaml", "  good:\n    metric", "  # what it is for\n  good:\n    metric"), set()),
        (
            ("matrix.yaml", "        value: {threshold: 0.5, max_degradation: 0.1}", "        other: {threshold: 2}"),
            set(),
        ),
        (("photos/a.png", "a", "A"), {"reference", "parity"}),
        (
            ("photos/c.png", "c", "C"),
            {"calibration-data", "lower-int8", "parse", "engine", "parity", "task", "latency"},
        ),
    ],
    ids=["metric", "comment", "module", "data", "option", "gate", "remark", "metrics", "parity-photo", "calibration"],
)
def test_a_task_is_scored_again_when_and_only_when_something_of_it_changed(
    change: Tuple[str, str, str], expected: Set[str], scored: Project
) -> None:
    ran = changed(scored, lambda: scored.edit(*change))
    assert steps(ran) <= expected
    assert steps(ran) >= expected - {"parse"}


def test_another_postprocess_scores_again_on_the_same_cases(scored: Project) -> None:
    ran = changed(
        scored,
        lambda: scored.edit("matrix.yaml", "  profiles:\n", "      postprocess: {threshold: 0.1}\n  profiles:\n"),
    )
    assert steps(ran) == {"task-reference", "task"}


def test_a_changed_model_is_scored_again_on_the_same_cases(scored: Project) -> None:
    ran = changed(scored, lambda: scored.edit("layers.py", "64", "65"))
    assert {"export", "engine", "task-reference", "task"} <= steps(ran)
    assert "task-cases" not in steps(ran)


def test_a_module_that_the_metric_does_not_reach_scores_nothing(scored: Project) -> None:
    (scored.root / "other.py").write_text("x = 1\n")
    assert changed(scored, lambda: scored.edit("other.py", "1", "2")).performed == []


def test_a_task_more_scores_that_one_only(scored: Project) -> None:
    more = (
        "  more:\n    metric: score:Score\n    data: {folder: photos, files: [c.png]}\n    size: [16, 16]\ncalibration:"
    )
    ran = changed(scored, lambda: scored.edit("matrix.yaml", "calibration:", more))
    assert steps(ran) == SCORING
    assert all("more" in job for job in ran.performed)


def test_cases_that_cannot_be_made_block_the_scores_and_nothing_else(scored: Project) -> None:
    ran = run_project(scored, FakeExecutor(fails=lambda action: action.recipe.step == "task-cases"))
    assert set(ran.outcome.failures) == {"task-cases/good"}
    assert set(ran.outcome.blocked.values()) == {"task-cases/good"}
    assert {job.partition("/")[0] for job in ran.outcome.blocked} == {"task-reference", "task"}
    assert {"parity/tiny-dense-fp32-ort", "latency/tiny-dense-fp32-ort"} <= set(ran.outcome.results)


def test_a_model_that_cannot_be_scored_blocks_its_task_and_nothing_else(scored: Project) -> None:
    """What it remembers of its answers is what artifacts are scored with."""
    ran = run_project(scored, FakeExecutor(fails=lambda action: action.recipe.step == "task-reference"))
    assert set(ran.outcome.failures) == {"task-reference/good/dense"}
    assert set(ran.outcome.blocked.values()) == {"task-reference/good/dense"}
    assert all(job.startswith("task/") for job in ran.outcome.blocked)
    assert "parity/tiny-dense-fp32-ort" in ran.outcome.results


@pytest.mark.parametrize(
    ("file", "says"), [("score.py", "no module 'score' below"), ("photos/e.png", "no photograph 'e.png'")]
)
def test_what_a_task_is_missing_is_named(file: str, says: str, scored: Project) -> None:
    (scored.root / file).unlink()
    problem = run_project(scored).outcome.failures["task-cases/good"]
    assert isinstance(problem, UsageError)
    assert says in str(problem)


# ------------------------------------------------------------------------------------------- pinning


def test_a_weights_file_with_another_digest_is_refused(project: Project) -> None:
    (project.root / "w.pth").write_bytes(b"weights")
    project.edit("matrix.yaml", "{seed: 7}", "{file: w.pth, sha256: " + "f" * 64 + "}")
    problem = run_project(project).outcome.failures["export/dense"]
    assert isinstance(problem, UsageError)
    assert "matrix.yaml says ffffff" in str(problem)
    assert "w.pth" in str(problem)


@pytest.mark.parametrize("file", ["w.pth", "weights/best.safetensors", "weights/best", "../best"])
def test_weights_reach_the_export_as_a_plain_file(project: Project, file: str) -> None:
    import hashlib

    path = project.root / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"weights")
    sha = hashlib.sha256(b"weights").hexdigest()
    project.edit("matrix.yaml", "{seed: 7}", "{file: " + file + ", sha256: " + sha + "}")
    ran = run_project(project)
    names = [p.name for p in ran.outcome.actions["export/dense"].inputs]
    assert len(names) == 2
    assert all("/" not in name for name in names), names


def test_an_init_of_the_models_package_is_part_of_the_model(project: Project) -> None:
    package = project.root / "zoo"
    package.mkdir()
    (package / "__init__.py").write_text("SCALE = 1\n")
    (package / "model.py").write_text("def make(head):\n    return head\n")
    project.edit("matrix.yaml", "model:make", "zoo.model:make")
    ran = changed(project, lambda: (package / "__init__.py").write_text("SCALE = 2\n") and None)
    assert "export" in steps(ran)


def test_a_missing_module_is_named(project: Project) -> None:
    project.edit("matrix.yaml", "model:make", "modle:make")
    problem = run_project(project).outcome.failures["export/dense"]
    assert "no module 'modle' below" in str(problem)


def test_a_module_that_does_not_parse_has_a_place(project: Project) -> None:
    (project.root / "layers.py").write_text("def width(:\n")
    problem = run_project(project).outcome.failures["export/dense"]
    assert "layers.py:1:" in str(problem)


# ------------------------------------------------------------------------------------------- other machines


def kept(project: Project) -> Ran:
    ran = run_project(project)
    orders.keep(ran.plan, ran.outcome, Pinner(project.root, LAPTOP, project.store), project.store)
    return ran


def performed_on(project: Project, machine: object, selector: str = "*") -> orders.Performed:
    return orders.perform(selector, project.store, FakeExecutor(), machine, lambda line: None)  # type: ignore[arg-type]


def test_work_for_another_machine_is_kept_done_there_and_recalled_here(project: Project) -> None:
    ran = kept(project)
    cells = [p.cell for p in project.store.pending()]
    assert cells == sorted(c.id for c in ran.plan.cells if c.fate != "skipped" and c.target in ("rtx", "trt"))

    report = performed_on(project, RTX3090)
    assert (sorted(report.done), report.refused, report.failed) == (cells, {}, {})

    again = run_project(project)
    assert again.performed == []
    assert again.outcome.waiting == set()
    assert again.reporter.ends["parity/tiny-dense-fp32-trt"] == "recalled"


def test_forcing_here_does_not_lose_what_was_done_there(project: Project) -> None:
    kept(project)
    performed_on(project, RTX3090)
    ran = run_project(project, force=True)
    assert "engine/tiny-dense-fp32-trt" not in ran.performed
    assert "engine/tiny-dense-fp32-trt" in ran.outcome.results


@pytest.mark.parametrize("machine", [LAPTOP, GTX1060, ORIN], ids=lambda m: m.cpu)
def test_a_machine_that_does_not_fit_is_refused_with_the_reason(project: Project, machine: object) -> None:
    kept(project)
    report = performed_on(project, machine)
    assert report.done == []
    assert set(report.refused) == {p.cell for p in project.store.pending()}
    assert all(re.search("needs|no GPU|not installed", reason) for reason in report.refused.values())


def test_only_the_selected_cells_are_performed(project: Project) -> None:
    kept(project)
    assert performed_on(project, RTX3090, "*-{fp32,int8}-trt").done == ["tiny-dense-fp32-trt", "tiny-dense-int8-trt"]
    assert performed_on(project, RTX3090, "nothing").done == []


def test_a_failure_there_is_told_and_the_rest_goes_on(project: Project) -> None:
    kept(project)
    executor = FakeExecutor(fails=lambda action: "fp16" in str(action.recipe))
    report = orders.perform("*", project.store, executor, RTX3090, lambda line: None)
    assert set(report.failed) == {"tiny-dense-fp16-trt", "tiny-dense-fp16-rtx"} - set(report.done)
    assert all(isinstance(problem, StepFailed) for problem in report.failed.values())
    assert "tiny-dense-fp32-trt" in report.done


def test_pending_actions_are_read_as_they_were_written(project: Project) -> None:
    ran = kept(project)
    for item in project.store.pending():
        cell = next(c for c in ran.plan.cells if c.id == item.cell)
        assert item.engine == ran.outcome.actions[cell.engine]
        assert item.measure[0].recipe == ran.plan.job(cell.parity).recipe


def test_what_nobody_waits_for_any_more_is_not_performed(project: Project) -> None:
    """An engine from the model of last week must not be built for hours."""
    kept(project)
    project.edit("layers.py", "64", "65")
    ran = kept(project)
    waiting = {item.cell: item.engine.key for item in project.store.pending()}
    for cell in ran.plan.cells:
        if cell.id in waiting:
            assert waiting[cell.id] == ran.outcome.actions[cell.engine].key


def test_a_store_copied_elsewhere_is_enough(project: Project, tmp_path: Path) -> None:
    import shutil

    kept(project)
    shutil.copytree(str(project.store.root), str(tmp_path / "copy"))
    there = Layout(tmp_path / "copy")
    report = orders.perform(
        "*-trt", there, FakeExecutor(), dataclasses.replace(RTX3090, cpu="Other"), lambda line: None
    )
    assert len(report.done) == 3
    keys: List[str] = [item.engine.key for item in there.pending() if item.cell in report.done]
    assert all(there.recall(key) for key in keys)


# ------------------------------------------------------------------------------------------- tasks on other machines


class Reading(FakeExecutor):
    """Remembers what the files of each scored action held."""

    def __init__(self) -> None:
        super().__init__()
        self.read: List[Dict[str, bytes]] = []

    def perform(self, action: Action, files: Mapping[str, Path], *rest: Any) -> Any:  # type: ignore[override]
        if action.recipe.step == "task":
            self.read.append({name: path.read_bytes() for name, path in files.items()})
        return super().perform(action, files, *rest)


def test_the_metric_travels_in_the_store_to_a_machine_without_the_project(scored: Project, tmp_path: Path) -> None:
    kept(scored)
    code = {f"code/{name}": (scored.root / name).read_bytes() for name in ("score.py", "answers.py")}
    scored.store.root.rename(tmp_path / "copied")
    away = tmp_path / "away"
    scored.root.rename(away)
    there, executor = Layout(tmp_path / "copied"), Reading()
    report = orders.perform("*-{rtx,trt}", there, executor, RTX3090, lambda line: None)
    assert (report.refused, report.failed, len(report.done)) == ({}, {}, 5)
    assert len(executor.read) == 5
    for read in executor.read:
        assert {name: data for name, data in read.items() if name.startswith("code/")} == code
        assert {name for name in read if not name.startswith("code/")} == {
            "artifact/model.bin",
            "cases/e.npz",
            "cases/f.npz",
        }

    away.rename(scored.root)
    (tmp_path / "copied").rename(scored.store.root)
    again = run_project(scored)
    assert again.performed == []
    assert again.outcome.waiting == set()
    assert again.reporter.ends["task/tiny-dense-fp32-trt/good"] == "recalled"


def test_what_another_machine_measures_has_the_tasks_between_parity_and_timing(scored: Project) -> None:
    kept(scored)
    for item in scored.store.pending():
        assert [action.recipe.step for action in item.measure] == ["parity", "task", "latency"]


def test_a_metric_of_this_program_travels_without_code(scored: Project) -> None:
    scored.edit("matrix.yaml", "score:Score", "validation.keypoint_tasks:Homographies")
    (scored.root / "score.py").unlink()
    kept(scored)
    report = performed_on(scored, RTX3090)
    assert (len(report.done), report.failed) == (5, {})


def test_a_changed_metric_waits_for_the_other_machine_and_the_engine_does_not(scored: Project) -> None:
    kept(scored)
    performed_on(scored, RTX3090)
    scored.edit("score.py", "limit = best()", "limit = 1")
    ran = kept(scored)
    assert {job.partition("/")[0] for job in ran.outcome.waiting} == {"task"}
    executor = FakeExecutor()
    orders.perform("*", scored.store, executor, RTX3090, lambda line: None)
    assert set(executor.steps) == {"task"}
    assert run_project(scored).outcome.waiting == set()
