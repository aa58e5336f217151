"""`build explain`: golden texts of a cell of each fate, selection, JSON, and cells that were asked for although slow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, List

import pytest

from builder import cli
from builder.config.loader import load
from builder.planning.planner import plan
from builder.platforms import machines
from builder.platforms.machines import Machine
from tests.fakes import GTX1060, LAPTOP, RTX3090, FakeExecutor, Project, run_project

CELLS = {
    "build": "tiny-dense-int8-ort",
    "waiting": "tiny-dense-int8-trt",
    "skipped": "tiny-dense-int8-rtx",
    "unverified": "tiny-dense-fp16-rtx",
}
OLD_GPU = '  old: {runtime: tensorrt, version: "8.6", sm: "6.1", cuda: "12.1", machine: GTX 1060}\nparity:'

Build = Callable[..., str]


@pytest.fixture
def build(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Build:
    """build("explain", ...) -> what it printed, on the laptop."""
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)
    monkeypatch.setattr("builder.terminal.coloured", lambda out: False)

    def run(*words: str, code: int = 0) -> str:
        assert cli.main(list(words)) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return run


@pytest.mark.parametrize("fate", CELLS)
def test_a_cell_of_each_fate(fate: str, build: Build, golden: Any) -> None:
    golden(f"explain_{fate}.txt", build("explain", CELLS[fate]))


def test_steps_that_are_done_say_so(project: Project, build: Build) -> None:
    run_project(project, FakeExecutor())
    said = build("explain", CELLS["build"])
    assert said.startswith("tiny-dense-int8-ort: recalled\n")
    steps = said[said.index("Steps\n") :].splitlines()[1:]
    assert steps and all(line.endswith("  done") for line in steps)


def test_several_cells_and_json(build: Build) -> None:
    assert build("explain", "tiny-dense-fp32-*").count("What it is") == 4
    found = json.loads(build("explain", "tiny-dense-{fp32,int8}-rtx", "--format", "json"))["cells"]
    assert [one["cell"] for one in found] == ["tiny-dense-fp32-rtx", "tiny-dense-int8-rtx"]
    skipped = found[1]
    assert skipped["fate"] == "skipped"
    assert skipped["broken"]["name"] == "rtx-int8"
    assert 1 <= len(skipped["instead"]) <= 3
    assert {line["name"] for line in skipped["rules"]} >= {"rtx-sm", "int8-sm"}
    assert "gates" not in skipped


def test_an_unknown_cell_names_the_nearest(build: Build) -> None:
    said = build("explain", "tiny-dens-int8-rtx", code=2)
    assert said.startswith("error: 'tiny-dens-int8-rtx' is no cell of this matrix\n  the nearest: tiny-dense-int8-rtx,")
    assert "list the cells with: build plan" in build("explain", "*-nothing", code=2)


def test_a_cell_that_the_matrix_leaves_out(project: Project, build: Build) -> None:
    project.edit("matrix.yaml", "gates:", 'skip: ["*-int8-*"]\ngates:')
    assert "is left out by `build:` or `skip:`" in build("explain", CELLS["build"], code=2)


def test_a_disabled_cell_says_only_that(project: Project, build: Build) -> None:
    project.edit("matrix.yaml", "machine: RTX 3090}\n  trt", "machine: RTX 3090, disabled: {reason: on loan}}\n  trt")
    said = build("explain", "tiny-dense-fp32-rtx")
    assert said.startswith("tiny-dense-fp32-rtx: skipped: disabled: on loan\n")
    assert "What works instead" not in said and "To build it" not in said


def test_as_on_another_machine(tmp_path: Path, build: Build) -> None:
    (tmp_path / "facts.json").write_text(machines.text(RTX3090), encoding="utf-8")
    said = build("explain", CELLS["waiting"], "--facts", str(tmp_path / "facts.json"))
    assert said.startswith("tiny-dense-int8-trt: build\n")


# ------------------------------------------------------------------------------------------- wanted all the same


def _allow(project: Project, body: str) -> None:
    project.edit("matrix.yaml", "parity:", OLD_GPU)
    project.edit("matrix.yaml", "gates:", f'overrides:\n  - {{select: "*-old", set: {{allow: {body}}}}}\ngates:')


def _notes(project: Project, machine: Machine) -> "dict[str, str]":
    return {c.precision: c.note for c in plan(load(project.matrix).matrix, machine).cells if c.target == "old"}


def test_fp16_on_a_pascal_is_planned_when_asked_for_with_a_reason(project: Project, build: Build) -> None:
    _allow(project, "{fp16-rate: the engine has to fit}")
    note = "compute capability 6.1 runs fp16 at 1/64 of its fp32 rate, wanted all the same: the engine has to fit"
    assert _notes(project, GTX1060) == {"fp32": "", "fp16": note, "int8": ""}
    assert note in build("plan", "--only", "*-fp16-old")
    said = " ".join(build("explain", "tiny-dense-fp16-old").split())
    assert "runs fp16 at 1/64 of its fp32 rate; allowed: the engine has to fit" in said
    assert 'allow fp16-rate: the engine has to fit [override "*-old"]' in said


def test_without_a_reason_it_is_skipped(project: Project) -> None:
    project.edit("matrix.yaml", "parity:", OLD_GPU)
    fates = {c.id[11:]: (c.fate, c.rule) for c in plan(load(project.matrix).matrix, GTX1060).cells}
    assert fates["fp16-old"] == ("skipped", "fp16-rate")
    assert fates["int8-old"] == ("build", "")


def test_reasons_are_merged_rule_by_rule(project: Project) -> None:
    _allow(project, "{fp16-rate: the later one}")
    project.edit("matrix.yaml", "gates:", "defaults: {allow: {fp16-rate: the first, rtx-int8: to compare}}\ngates:")
    cells = plan(load(project.matrix).matrix, LAPTOP).cells
    said = {c.id[11:]: [(a.rule, a.reason) for a in c.allow] for c in cells}
    assert said["fp16-old"] == [("fp16-rate", "the later one"), ("rtx-int8", "to compare")]
    assert said["fp16-ort"] == [("fp16-rate", "the first"), ("rtx-int8", "to compare")]
    (rtx,) = [c for c in cells if c.id == "tiny-dense-int8-rtx"]
    assert rtx.fate == "build" and "wanted all the same: to compare" in rtx.note


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{tensorrt-sm: please}", ["only rules about speed can be waived", "tensorrt-sm"]),
        ("{fp16-rat: typo}", ["did you mean 'fp16-rate'"]),
        ("{fp16-rate: '  '}", ["say why it is wanted all the same"]),
    ],
)
def test_what_cannot_be_waived_is_an_error_at_its_place(
    project: Project, build: Build, body: str, said: List[str]
) -> None:
    _allow(project, body)
    found = build("plan", code=2)
    assert "matrix.yaml:" in found
    for part in said:
        assert part in found
