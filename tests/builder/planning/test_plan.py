"""The plan: the words of the shipped matrix, shared jobs, purity. Its fates and keys: tests/test_frozen.py."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

import pytest

from builder import digest
from builder.actions.recipes import LowerFp16, LowerInt8, MeasureLayers
from builder.config.loader import Loaded
from builder.planning.job_graph import layer_errors
from builder.planning.jobs import sample_name
from builder.planning.planner import Plan, plan
from builder.platforms.platform import Platform
from tests.fact_machines import MACHINES as FACTS
from tests.fact_machines import RECORDED
from tests.fakes import LAPTOP, MACHINES, ORIN, REPOSITORY, RTX3090, TASK_MATRIX, Project

WORDS = ("reason", "source", "note", "unverified", "remedies")


def test_what_the_plan_of_the_shipped_matrix_says(shipped: Loaded, golden: Any) -> None:
    """Each reason, source and remedy once, and below it the cells that have it: `MACHINES: CELLS`."""
    said: Dict[str, Dict[str, List[str]]] = {}
    for machine in RECORDED:
        for planned in plan(shipped.matrix, FACTS[machine]).cells:
            for name in WORDS:
                words = getattr(planned, name)
                lines = "\n".join([words] if isinstance(words, str) else words).splitlines()
                if lines:
                    machines = said.setdefault("\n  ".join([name, *lines]), {})
                    machines.setdefault(planned.id.partition("-")[2], []).append(machine)
    blocks = []
    for words, machines in sorted(said.items(), key=lambda pair: WORDS.index(pair[0].partition("\n")[0])):
        alike = {" ".join(on): [cell for cell in machines if machines[cell] == on] for on in machines.values()}
        blocks.append("".join([words, *(f"\n    {on}: {' '.join(cells)}" for on, cells in alike.items()), "\n"]))
    golden("plan_words.txt", "\n".join(blocks))


_PLAN = """
from builder import digest
from builder.config.loader import load
from builder.planning.planner import plan
from tests.fakes import LAPTOP, REPOSITORY
print(digest.of_bytes(repr(plan(load(REPOSITORY / "matrix.yaml").matrix, LAPTOP)).encode()))
"""


def test_planning_depends_on_nothing_but_the_matrix_and_the_machine(
    shipped: Loaded, project: Project, tmp_path: Path
) -> None:
    """Not on what was planned before, nor on hashes, the folder, the environment or the time."""
    before = pickle.dumps((shipped.matrix, LAPTOP))
    wanted = plan(shipped.matrix, LAPTOP)
    for other in (plan(shipped.matrix, RTX3090), plan(project.load().matrix, LAPTOP)):
        assert other != wanted
    assert plan(shipped.matrix, LAPTOP) == wanted
    assert pickle.dumps((shipped.matrix, LAPTOP)) == before
    for seed in "12":
        environ = {"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": seed, "HOME": "/nowhere", "TZ": "Asia/Tokyo"}
        done = subprocess.run([sys.executable, "-c", _PLAN], cwd=tmp_path, env=environ, capture_output=True, check=True)
        assert done.stdout.decode().strip() == digest.of_bytes(repr(wanted).encode())


def test_planning_reads_no_file(shipped: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compatibility tables apart, which a process reads once."""
    plan(shipped.matrix, ORIN)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("plan opened a file")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    plan(shipped.matrix, ORIN)


@pytest.mark.parametrize("name", MACHINES)
def test_every_need_is_met_by_an_earlier_job(name: str, shipped: Loaded) -> None:
    planned = plan(shipped.matrix, MACHINES[name])
    seen = set()
    for job in planned.jobs:
        assert set(job.needs) <= seen, job.id
        seen.add(job.id)
    assert len(seen) == len(planned.jobs)
    for cell in planned.cells:
        named = {cell.onnx, cell.engine, *cell.measurements, *(task.reference for task in cell.tasks)} - {""}
        assert named <= seen
        assert bool(named) == (cell.fate != "skipped")
        assert cell.fate in ("build", "waiting", "skipped")
        assert cell.fate == "build" or (cell.reason and cell.remedies)
        if named:
            own = ["engine", "parity", "latency"]
            assert [getattr(cell, step) for step in own] == [f"{step}/{cell.id}" for step in own]


def _cells(project: Project) -> "Dict[str, Any]":
    return {cell.id[11:]: cell for cell in plan(project.load().matrix, LAPTOP).cells}


def test_cells_that_need_the_same_onnx_name_one_job(project: Project) -> None:
    cells = _cells(project)
    assert cells["fp32-ort"].onnx == cells["fp32-ov"].onnx == cells["fp32-trt"].onnx == "simplify/dense"
    assert cells["fp16-ort"].onnx == cells["fp16-trt"].onnx == cells["fp16-rtx"].onnx == "lower-fp16/dense"
    assert cells["fp16-ov"].onnx == "simplify/dense", "OpenVINO stores fp16 weights itself"
    assert cells["int8-trt"].onnx == "lower-int8/dense/symmetric/tensorrt"
    assert cells["int8-ort"].onnx == "lower-int8/dense/asymmetric/around", "onnxruntime needs other pairs"
    jobs = [job.id for job in plan(project.load().matrix, LAPTOP).jobs]
    assert len([job for job in jobs if job.startswith(("export", "reference", "simplify", "lower"))]) == 7


def test_cells_with_other_settings_do_not_share(project: Project) -> None:
    project.edit(
        "matrix.yaml",
        "gates:",
        'overrides:\n  - {select: "*-ort", set: {simplify: false, activations: asymmetric}}\ngates:',
    )
    cells = _cells(project)
    assert cells["fp32-ort"].onnx == "export/dense"
    assert cells["fp16-ort"].onnx != cells["fp16-trt"].onnx
    assert cells["int8-ort"].onnx != cells["int8-trt"].onnx


def test_a_kept_node_is_in_the_lowering_of_its_cells_and_in_nothing_else(project: Project) -> None:
    def lowerings() -> Dict[str, Any]:
        planned = plan(project.load().matrix, LAPTOP)
        return {c.id: planned.job(c.onnx) for c in planned.cells if c.onnx}

    before = lowerings()
    keep = 'overrides: [{select: "*-ort", set: {keep: [second, first*, second]}}]\n'
    project.matrix.write_text(project.matrix.read_text(encoding="utf-8") + keep, encoding="utf-8")
    after = lowerings()
    changed = {cell for cell in after if after[cell] != before[cell]}
    assert changed == {"tiny-dense-fp16-ort", "tiny-dense-int8-ort"}
    for cell in changed:
        recipe = after[cell].recipe
        assert isinstance(recipe, (LowerFp16, LowerInt8))
        assert recipe.keep == ("first*", "second"), "in one order, once each"
        assert after[cell].id.startswith(f"{before[cell].id.split('/dense')[0]}/dense/keep-")


def test_one_job_id_means_one_recipe(shipped: Loaded) -> None:
    """Were two cells to name one id for different work, the second would silently get the first one's."""
    alone: Dict[str, Any] = {}
    for cell in plan(shipped.matrix, LAPTOP).cells:
        for job in plan(shipped.matrix, LAPTOP, only=(cell.id,)).jobs:
            assert alone.setdefault(job.id, job) == job, job.id


def test_fates_on_three_machines(project: Project) -> None:
    matrix = project.load().matrix
    fates = {
        name: {c.id[11:]: c.fate for c in plan(matrix, machine).cells}
        for name, machine in (("laptop", LAPTOP), ("rtx", RTX3090), ("orin", ORIN))
    }
    assert fates["laptop"]["fp32-rtx"] == "build"
    assert fates["laptop"]["fp32-trt"] == "waiting"
    assert fates["rtx"]["fp32-trt"] == "build"
    assert fates["orin"]["fp32-ort"] == "waiting"
    assert {fate["int8-rtx"] for fate in fates.values()} == {"skipped"}


def test_what_cannot_run_here_is_unverified_and_says_why(project: Project) -> None:
    cell = _cells(project)["fp32-rtx"]
    assert cell.fate == "build"
    assert "no GPU of compute capability 8.6" in cell.unverified
    planned = plan(project.load().matrix, LAPTOP)
    assert planned.job(cell.engine).elsewhere is None
    assert planned.job(cell.parity).elsewhere
    assert planned.job(cell.latency).elsewhere


def test_tools_of_an_absent_machine_are_in_no_key(project: Project) -> None:
    planned = plan(project.load().matrix, LAPTOP)
    for job in planned.jobs:
        if job.elsewhere:
            assert job.tools == ()


def test_where_a_target_is_and_what_it_is_called_is_in_no_key(project: Project) -> None:
    before = {job.id: (job.recipe, job.pins, job.platform) for job in plan(project.load().matrix, RTX3090).jobs}
    project.edit("matrix.yaml", "machine: RTX 3090", "machine: the box under the desk")
    after = {job.id: (job.recipe, job.pins, job.platform) for job in plan(project.load().matrix, RTX3090).jobs}
    assert before == after


def test_parity_takes_only_samples_inside_the_cells_profiles(project: Project) -> None:
    project.edit("matrix.yaml", "[[16, 16], [32, 32]]", "[[8, 8], [16, 16], [128, 128]]")
    project.edit("matrix.yaml", "gates:", 'overrides:\n  - {select: "*-ort", set: {profiles: [large]}}\ngates:')
    planned = plan(project.load().matrix, LAPTOP)
    small: Any = planned.job("parity/tiny-dense-fp32-ov").recipe
    large: Any = planned.job("parity/tiny-dense-fp32-ort").recipe
    assert small.samples == ("a-16x16", "b-16x16")
    assert len(large.samples) == 6


def test_timing_is_exclusive_and_nothing_else_is(project: Project) -> None:
    for job in plan(project.load().matrix, LAPTOP).jobs:
        assert job.exclusive == job.id.startswith("latency/")


def test_samples_have_names_of_their_own(shipped: Loaded) -> None:
    files, sizes = shipped.matrix.parity.photographs.files, shipped.matrix.parity.sizes
    assert len({sample_name(file, size) for file in files for size in sizes}) == len(files) * len(sizes)
    assert sample_name("photographs/camera.png", (480, 640)) == "camera-480x640"


def test_timings_of_other_machines_have_other_recipes(project: Project) -> None:
    matrix = project.load().matrix
    other = dataclasses.replace(LAPTOP, cores=8)
    job = "latency/tiny-dense-fp32-ort"
    assert plan(matrix, LAPTOP).job(job).recipe != plan(matrix, other).job(job).recipe
    assert plan(matrix, LAPTOP).job("engine/tiny-dense-fp32-ort") == plan(matrix, other).job(
        "engine/tiny-dense-fp32-ort"
    )


def test_what_is_built_or_timed_for_a_gpu_is_of_its_model(project: Project) -> None:
    def platforms(gpu: str) -> List[Optional[Platform]]:
        targets = tuple(dataclasses.replace(t, gpu=gpu if t.sm else None) for t in project.load().matrix.targets)
        drawn = plan(dataclasses.replace(project.load().matrix, targets=targets), RTX3090)
        jobs = ("engine/tiny-dense-fp16-trt", "engine/tiny-dense-fp16-rtx", "latency/tiny-dense-fp16-rtx")
        return [drawn.job(job).platform for job in jobs]

    one, other = platforms("RTX 3090"), platforms("NVIDIA GeForce RTX 3090")
    assert one == other, "two ways to say one model"
    assert {platform.gpu for platform in one if platform} == {"RTX 3090"} and None not in one
    assert platforms("RTX 3080") != one


# ------------------------------------------------------------------------------------------- tasks

SPARSE = """\
    sparse:
      outputs:
        scores: [batch, 8*h8, 8*w8]
        descriptors: [batch, 4, h8, w8]
  profiles:
"""


@pytest.fixture
def scored(tmp_path: Path) -> Project:
    """The small project with a task and a second head."""
    project = Project(tmp_path / "scored", TASK_MATRIX)
    project.edit("matrix.yaml", "  profiles:\n", SPARSE)
    return project


def task_jobs(planned: Plan) -> List[str]:
    return [job.id for job in planned.jobs if job.id.startswith("task")]


@pytest.mark.parametrize("name", ["laptop", "rtx3090"])
def test_a_task_makes_cases_once_and_scores_the_model_once_a_head(name: str, scored: Project) -> None:
    planned = plan(scored.load().matrix, MACHINES[name])
    cells = [cell for cell in planned.cells if cell.fate != "skipped"]
    assert len({cell.head for cell in cells}) == 2
    assert sorted(task_jobs(planned)) == sorted(
        [
            "task-cases/good",
            "task-reference/good/dense",
            "task-reference/good/sparse",
            *(f"task/{cell.id}/good" for cell in cells),
        ]
    )
    for cell in cells:
        (drawn,) = cell.tasks
        assert (drawn.name, drawn.job) == ("good", f"task/{cell.id}/good")
        assert drawn.reference == f"task-reference/good/{cell.head}"
        assert planned.job(drawn.job).needs == (cell.engine, "task-cases/good", drawn.reference)
        assert planned.job(drawn.reference).needs == ("task-cases/good",)
        assert cell.measurements == (cell.parity, drawn.job, cell.latency)
    assert planned.job("task-cases/good").needs == ()
    assert all(not cell.tasks for cell in planned.cells if cell.fate == "skipped")


def test_a_task_is_for_the_heads_that_it_names(scored: Project) -> None:
    scored.edit(
        "matrix.yaml", "    size: [32, 32]\ncalibration", "    size: [32, 32]\n    heads: [sparse]\ncalibration"
    )
    planned = plan(scored.load().matrix, LAPTOP)
    assert [job for job in task_jobs(planned) if "dense" in job] == []
    assert [bool(cell.tasks) for cell in planned.cells if cell.fate != "skipped"] == [
        cell.head == "sparse" for cell in planned.cells if cell.fate != "skipped"
    ]


@pytest.mark.parametrize(
    ("size", "profiles", "fitting"),
    [
        ("[64, 64]", "[small]", {"ort", "ov", "rtx", "trt"}),
        ("[128, 128]", "[small]", set()),
        ("[128, 128]", "[large]", {"ort"}),
        ("[64, 72]", "[small, large]", {"ort"}),
        ("[8, 128]", "[large]", {"ort"}),
    ],
)
def test_a_task_is_scored_on_the_cells_whose_profiles_hold_its_size(
    size: str, profiles: str, fitting: Set[str], scored: Project
) -> None:
    """All targets have the small profile, and ort those that are given here."""
    scored.edit("matrix.yaml", "    size: [32, 32]\ncalibration", f"    size: {size}\ncalibration")
    scored.edit("matrix.yaml", "gates:", f'overrides:\n  - {{select: "*-ort", set: {{profiles: {profiles}}}}}\ngates:')
    planned = plan(scored.load().matrix, LAPTOP)
    assert {cell.target for cell in planned.cells if cell.tasks} == fitting
    assert bool(task_jobs(planned)) == bool(fitting), "no cases for nobody"


def test_the_metrics_tools_are_in_the_key_where_they_are_known(scored: Project) -> None:
    planned = plan(scored.load().matrix, LAPTOP)
    for job in planned.jobs:
        if job.id.startswith("task"):
            assert job.tools == () if job.elsewhere else {"numpy", "opencv-python-headless"} <= set(job.tools)
            assert not job.exclusive
    assert "torch" in planned.job("task-reference/good/dense").tools
    assert planned.job("task/tiny-dense-fp32-rtx/good").elsewhere


def recipes(project: Project, start: str) -> Dict[str, Any]:
    return {job.id: job.recipe for job in plan(project.load().matrix, LAPTOP).jobs if job.id.startswith(start)}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("{strict: true}", "{strict: false}", {"task-cases", "task-reference", "task"}),
        ("    size: [32, 32]\ncalibration", "    size: [16, 16]\ncalibration", {"task-cases"}),
        ("[a.png, b.png]}\n    size", "[b.png, a.png]}\n    size", {"task-cases"}),
        ("preprocess: {multiple: 8}", "preprocess: {multiple: 8, range: [0, 2]}", {"task-cases"}),
        ("  profiles:\n", "      postprocess: {threshold: 0.1}\n  profiles:\n", {"task-reference", "task"}),
        ("max_degradation: 0.1", "max_degradation: 0.2", set()),
        ("machine: RTX 3090}\n  trt", "machine: mine}\n  trt", set()),
    ],
    ids=["option", "size", "data-order", "contract", "postprocess", "gate", "machine"],
)
def test_a_change_is_in_the_recipes_that_it_bears_on(old: str, new: str, changed: Set[str], scored: Project) -> None:
    """What follows from the cases follows by their digests, and need not be said twice."""
    before = recipes(scored, "task")
    scored.edit("matrix.yaml", old, new)
    after = recipes(scored, "task")
    assert list(before) == list(after)
    assert {job.partition("/")[0] for job in before if before[job] != after[job]} == changed


def test_tasks_are_drawn_each_by_itself(scored: Project) -> None:
    more = (
        "  more:\n    metric: score:Score\n    data: {folder: photos, files: [c.png]}\n    size: [16, 16]\ncalibration:"
    )
    scored.edit("matrix.yaml", "calibration:", more)
    planned = plan(scored.load().matrix, LAPTOP)
    assert {job for job in task_jobs(planned) if job.startswith("task-cases")} == {"task-cases/good", "task-cases/more"}
    cell = planned.cells[0]
    assert [drawn.name for drawn in cell.tasks] == ["good", "more"]
    assert planned.job(f"task/{cell.id}/more").needs == (
        cell.engine,
        "task-cases/more",
        "task-reference/more/dense",
    )


def test_what_waits_is_to_be_carried_in_the_store_that_was_chosen(project: Project) -> None:
    """`--store DIR` is where the orders lie, whatever matrix.yaml says."""
    planned = plan(project.load().matrix, LAPTOP, store="elsewhere/store")
    told = [remedy for cell in planned.cells if cell.fate == "waiting" for remedy in cell.remedies]
    assert told
    for remedy in told:
        assert "copy elsewhere/store/ and deploymatrix-" in remedy and "--store elsewhere/store" in remedy
        assert "artifacts" not in remedy


@pytest.mark.parametrize("cell", ["int8-ort", "int8-ov", "int8-trt", "fp16-ort", "fp16-trt"])
def test_the_layers_of_a_lowered_graph_are_measured_by_its_own_lowering(cell: str, project: Project) -> None:
    matrix = project.load().matrix
    found = next(c for c in plan(matrix, LAPTOP).cells if c.id == f"tiny-dense-{cell}")
    assert found.platform is not None
    jobs = layer_errors(matrix, LAPTOP, found)
    *needed, last = jobs
    assert isinstance(last.recipe, MeasureLayers)
    assert isinstance(last.recipe.lowering, LowerInt8 if "int8" in cell else LowerFp16)
    assert last.recipe.samples == ("a-16x16", "b-16x16")
    assert last.elsewhere is None, "it runs here, wherever the cell does"
    assert set(last.needs) <= {job.id for job in needed}
    for number, job in enumerate(needed):
        assert set(job.needs) <= {earlier.id for earlier in needed[:number]}
    assert not any(job.id.startswith(("engine", "parity", "latency", "lower")) for job in needed)


@pytest.mark.parametrize("cell", ["fp32-ort", "fp32-ov", "fp16-ov", "fp32-trt"])
def test_a_graph_that_no_step_lowers_has_no_layers_to_measure(cell: str, project: Project) -> None:
    matrix = project.load().matrix
    found = next(c for c in plan(matrix, LAPTOP).cells if c.id == f"tiny-dense-{cell}")
    assert found.platform is not None
    assert layer_errors(matrix, LAPTOP, found) == ()
