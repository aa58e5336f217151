"""A sweep from matrix.yaml to the manifest, and `build sweep`, with a fake executor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict, List

import pytest

from builder.actions.recipes import MeasureSweep, SweepReference
from builder.execution.scheduler import Lines
from builder.planning.jobs import Job
from builder.planning.planner import plan
from builder.store.manifest import Entry
from tests.builder.cli.test_verbs import Shell
from tests.fakes import LAPTOP, MATRIX, RTX3090, FakeExecutor, Project, run_project

SWEEP = 'sweep: {select: "*-int8-{ort,ov}", points: 11, seconds: 0.1}\n'
LARGE = 'overrides:\n  - {select: "*-ort", set: {profiles: [large]}}\n'
BASE = MATRIX + LARGE + "defaults: {profiles: [small]}\n"


@pytest.fixture
def swept(tmp_path: Path) -> Project:
    return Project(tmp_path / "swept", BASE + SWEEP)


@pytest.fixture
def build(swept: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(swept, monkeypatch, capsys)
    monkeypatch.setattr("builder.cli.commands.sweep.Local", lambda: shell.executor())
    monkeypatch.setattr("builder.cli.commands.sweep.Lines", lambda: Lines(sys.stderr))
    return shell


def entry(build: Shell, cell: str) -> Entry:
    found = build.manifest.entry(f"tiny-dense-{cell}")
    assert found is not None
    return found


def sweep_jobs(project: Project) -> Dict[str, Job]:
    planned = plan(project.load().matrix, LAPTOP)
    return {job.id: job for job in planned.jobs if job.id.startswith("sweep")}


# ------------------------------------------------------------------------------------------- the plan


def test_only_the_selected_cells_are_swept_and_the_model_answers_once_a_profile(swept: Project) -> None:
    jobs = sweep_jobs(swept)
    assert sorted(jobs) == [
        "sweep-reference/dense/large",
        "sweep-reference/dense/small",
        "sweep/tiny-dense-int8-ort",
        "sweep/tiny-dense-int8-ov",
    ]
    assert jobs["sweep/tiny-dense-int8-ov"].exclusive, "it times"
    assert not jobs["sweep-reference/dense/small"].exclusive
    swept.edit("matrix.yaml", '"*-int8-{ort,ov}"', '"*-ov"')
    assert sorted(sweep_jobs(swept)) == [
        "sweep-reference/dense/small",
        *(f"sweep/tiny-dense-{precision}-ov" for precision in ("fp16", "fp32", "int8")),
    ]


def test_the_grid_of_a_cell_is_that_of_its_profile(swept: Project) -> None:
    small, large = (sweep_jobs(swept)[f"sweep/tiny-dense-int8-{target}"].recipe for target in ("ov", "ort"))
    assert isinstance(small, MeasureSweep)
    assert isinstance(large, MeasureSweep)
    assert [p.size for p in small.points[:3]] == [(32, 32), (16, 16), (64, 64)]
    assert [p.size for p in large.points[:3]] == [(32, 32), (8, 8), (128, 128)]
    assert sum(p.inside for p in small.points) == 11
    assert (small.photograph, small.seconds) == ("a.png", 0.1)


def test_two_profiles_of_one_cell_share_their_sizes(swept: Project) -> None:
    swept.edit("matrix.yaml", "{profiles: [large]}", "{profiles: [small, large]}")
    job = sweep_jobs(swept)["sweep/tiny-dense-int8-ort"]
    assert isinstance(job.recipe, MeasureSweep)
    sizes = [point.size for point in job.recipe.points]
    assert len(sizes) == len(set(sizes))
    assert set(job.needs) == {
        "engine/tiny-dense-int8-ort",
        "sweep-reference/dense/large",
        "sweep-reference/dense/small",
    }


def test_a_change_of_the_sweep_performs_only_sweeps(swept: Project) -> None:
    first = run_project(swept)
    assert {"sweep", "sweep-reference"} <= set(first.executor.steps)
    assert run_project(swept).performed == []
    swept.edit("matrix.yaml", "seconds: 0.1", "seconds: 0.2")
    assert {job.split("/")[0] for job in run_project(swept).performed} == {"sweep"}
    swept.edit("matrix.yaml", "points: 11", "points: 12, photograph: b.png")
    assert {job.split("/")[0] for job in run_project(swept).performed} == {"sweep", "sweep-reference"}


# ------------------------------------------------------------------------------------------- the verdict


def test_a_sweep_is_in_the_manifest_and_in_the_summary(build: Shell) -> None:
    assert build("matrix", "--quiet") == 0
    assert build.verdicts()["int8-ov"] == "passed"
    found = entry(build, "int8-ov")
    assert found.sweep is not None
    assert [row.point.size for row in found.sweep.rows][:2] == [(32, 32), (16, 16)]
    assert [c.worst for c in found.verdict.checks if c.level == "sweep"] == ["32x32"] * 4
    assert entry(build, "int8-trt").sweep is None
    assert "11 sizes; outside 6 answer" in build.out
    assert entry(build, "fp32-ov").sweep is None


def test_a_size_inside_that_is_beyond_a_gate_fails_its_cell_and_names_the_size(build: Shell) -> None:
    build.executor = lambda: FakeExecutor(at={(16, 64): 0.02})
    assert build("matrix", "--quiet") == 3
    found = entry(build, "int8-ov")
    assert found.verdict.status == "failed"
    assert "scores max_abs 0.02 > 0.01 on 16x64" in found.verdict.reason
    assert [(m.level, m.subject, m.worst) for m in found.verdict.misses] == [
        ("sweep", "scores", "16x64"),
        ("sweep", "descriptors", "16x64"),
    ]
    assert build.verdicts()["int8-ort"] == "passed", "16x64 is not in its grid"


def test_a_size_inside_that_is_refused_fails_its_cell_with_the_words(build: Shell) -> None:
    build.executor = lambda: FakeExecutor(refused=frozenset({(64, 64)}))
    assert build("matrix", "--quiet") == 3
    assert entry(build, "int8-ov").verdict.reason == "64x64: refused: it is too much for me"


def test_a_wrong_answer_outside_is_told_and_fails_nothing(build: Shell) -> None:
    build.executor = lambda: FakeExecutor(at={(72, 32): 9.0})
    assert build("matrix", "--quiet") == 0
    assert entry(build, "int8-ov").verdict.status == "passed"
    assert "outside 5 answer, 1 differs" in build.out
    assert build("explain", "tiny-dense-int8-ov") == 0
    assert "72x32 (higher than max): scores max_abs 9 > 0.01, gate *" in " ".join(build.out.split())


def test_a_looser_gate_judges_again_and_sweeps_nothing(build: Shell) -> None:
    build.executor = lambda: FakeExecutor(at={(16, 64): 0.02})
    build("matrix", "--quiet")
    build.project.edit("matrix.yaml", "max_abs: 0.01", "max_abs: 0.03")
    summary = build.json("matrix", "--quiet")
    assert (build.code, summary["performed"]) == (0, [])
    row = next(cell for cell in summary["cells"] if cell["cell"] == "tiny-dense-int8-ov")
    assert row["sweep"]["rows"][0]["point"]["size"] == [32, 32]


def test_a_model_that_cannot_be_asked_fails_the_swept_cells_alone(build: Shell) -> None:
    build.executor = lambda: FakeExecutor(fails=lambda action: isinstance(action.recipe, SweepReference))
    assert build("matrix", "--quiet") == 5
    assert {cell for cell, word in build.verdicts().items() if word == "failed"} == {"int8-ov", "int8-ort"}


def test_a_sweep_travels_to_the_other_machine_and_back(build: Shell) -> None:
    build("matrix", "--quiet")
    build.machine = RTX3090
    assert build("perform", "*") == 0
    build.machine = LAPTOP
    build("matrix", "--quiet")
    assert entry(build, "fp16-rtx").verdict.status == "passed"
    build.project.edit("matrix.yaml", '"*-int8-{ort,ov}"', '"*-rtx"')
    build("matrix", "--quiet")
    assert entry(build, "fp16-rtx").verdict.status == "unverified"
    assert entry(build, "fp16-rtx").verdict.reason.startswith("not swept over its sizes: ")
    build.machine = RTX3090
    assert build("perform", "*") == 0
    build.machine = LAPTOP
    build("matrix", "--quiet")
    assert entry(build, "fp16-rtx").verdict.status == "passed"
    assert entry(build, "fp16-rtx").sweep is not None


# ------------------------------------------------------------------------------------------- build sweep


def test_the_verb_performs_only_what_a_sweep_needs_and_matrix_recalls_it(build: Shell) -> None:
    made: List[FakeExecutor] = []

    def executor() -> FakeExecutor:
        made.append(FakeExecutor())
        return made[-1]

    build.executor = executor
    assert build("sweep", "tiny-dense-int8-ov", "--quiet") == 0
    assert not {"parity", "latency", "reference"} & set(made[0].steps)
    assert sorted(set(made[0].steps)) == [
        "calibration-data",
        "engine",
        "export",
        "lower-int8",
        "simplify",
        "sweep",
        "sweep-reference",
    ]
    build("matrix", "--quiet")
    assert made[1].steps.count("sweep") == 1, "the other cell's"


def test_the_table(build: Shell) -> None:
    assert build("sweep", "tiny-dense-int8-ov", "--quiet") == 0
    lines = build.out.splitlines()
    assert lines[0] == "tiny-dense-int8-ov: a.png, timed for 0.1 s a size on Laptop CPU x2, every core"
    assert lines[2].split()[:6] == ["size", "why", "verdict", "p50", "ms", "ms/MP"]
    assert lines[3].split()[:5] == ["32x32", "opt", "passed", "2.0", "1953"]
    assert any(line.startswith("72x32") and "answers" in line for line in lines)
    assert lines[-1].startswith("11 sizes; outside 6 answer; ")


def test_failures_and_findings_are_below_the_table_with_exit_code_3(build: Shell) -> None:
    build.executor = lambda: FakeExecutor(at={(16, 64): 0.02, (72, 32): 9.0})
    assert build("sweep", "tiny-dense-int8-ov", "--quiet") == 3
    assert "  16x64: scores max_abs 0.02 > 0.01, gate *" in build.out
    assert "  72x32 (higher than max): scores max_abs 9 > 0.01, gate *" in build.out


def test_markdown_and_json(build: Shell) -> None:
    assert build("sweep", "tiny-dense-int8-ov", "--quiet", "--format", "markdown") == 0
    rows = [line for line in build.out.splitlines() if line.startswith("|")]
    assert rows[0].startswith("| size | why | verdict |")
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 2 + 11 + 6
    found = build.json("sweep", "tiny-dense-int8-{ov,ort}", "--quiet")
    assert [cell["cell"] for cell in found["cells"]] == ["tiny-dense-int8-ort", "tiny-dense-int8-ov"]
    first = found["cells"][1]["sizes"][0]
    assert (first["size"], first["verdict"], first["p50_ms"]) == ([32, 32], "passed", 2.0)


def test_a_cell_that_the_matrix_does_not_sweep_is_swept_when_asked(build: Shell) -> None:
    build.project.edit("matrix.yaml", SWEEP, "")
    assert build("sweep", "tiny-dense-fp32-ov", "--quiet", "--points", "3", "--photograph", "b.png") == 0
    assert build.out.startswith("tiny-dense-fp32-ov: b.png, timed for 0.5 s a size")
    assert "3 sizes; outside" in build.out


def test_it_publishes_nothing(build: Shell) -> None:
    from builder.store import versions

    assert build("sweep", "tiny-dense-int8-ov", "--quiet") == 0
    assert versions.latest(build.project.store) is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tiny-dense-int8-ow"], 2, "tiny-dense-int8-ov"),
        (["tiny-dense-int8-ov", "--points", "0"], 2, "--points: must be from 1 to 200"),
        (["tiny-dense-int8-ov", "--seconds", "0"], 2, "--seconds: must be above 0"),
        (["tiny-dense-int8-ov", "--seconds", "nan"], 2, "--seconds: must be above 0"),
        (["tiny-dense-int8-ov", "--photograph", "c.png"], 2, "--photograph: parity photograph 'c.png' is not declared"),
        (["tiny-dense-int8-rtx"], 6, "build explain tiny-dense-int8-rtx"),
        (["tiny-dense-fp16-rtx"], 6, "cannot be swept here: no GPU of compute capability 8.6"),
        (["tiny-dense-fp32-trt"], 6, "cannot be swept here"),
        ([], 2, "CELL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_swept_is_said(words: List[str], code: int, said: str, build: Shell) -> None:
    assert build("sweep", *words, "--quiet") == code
    assert said in build.err
    assert "Traceback" not in build.err


def test_a_step_that_fails_is_the_error(build: Shell) -> None:
    build.executor = lambda: FakeExecutor(fails=lambda action: isinstance(action.recipe, MeasureSweep))
    assert build("sweep", "tiny-dense-int8-ov", "--quiet") == 5
    assert "sweep: made to fail" in build.err
