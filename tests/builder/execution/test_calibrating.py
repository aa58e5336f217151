"""`build calibrate`, with a fake executor: which variants are measured, what is shown, what is recalled."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import pytest

from builder.actions.action import Action, Result
from builder.actions.measurements import OutputParity, Parity
from builder.actions.recipes import CalibrationData, Facts, LowerInt8, MeasureParity
from builder.audit import calibration_study
from builder.audit.calibration_study import CalibrationChoice, Measured, Study, Variant
from builder.cli import calibration_table
from builder.config.matrix import Calibration, Photographs
from builder.execution.scheduler import Lines
from builder.store import versions
from builder.store.manifest import Check
from tests.builder.cli.test_verbs import Shell
from tests.fakes import TASK_MATRIX, FakeExecutor, Project

FIVE = Photographs(("a", "b", "c", "d", "e"))
CELL = "tiny-dense-int8-ov"


class Calibrating(FakeExecutor):
    """Measures a signal-to-noise ratio that the method and the number of photographs decide."""

    def __init__(self, decibels: Mapping[Tuple[str, int], float], **options: Any) -> None:
        super().__init__(**options)
        self._decibels, self._counts, self._now = decibels, {}, ("", 0)  # type: ignore[var-annotated]

    def perform(self, action: Action, *rest: Any) -> Result:
        recipe = action.recipe
        if isinstance(recipe, LowerInt8):
            images = next(pin.digest for pin in action.inputs if pin.name == "images.npz")
            self._now = recipe.method, self._counts[images]
        made = super().perform(action, *rest)
        if isinstance(recipe, CalibrationData):
            self._counts[made.outputs[0].digest] = len(recipe.photographs)
        return made

    def _facts(self, action: Action) -> Facts:
        found = super()._facts(action)
        if isinstance(found, Parity) and isinstance(action.recipe, MeasureParity):
            snr = self._decibels.get(self._now, 20.0)
            low = 0.9 if snr < 10 else 0.999
            rows = [dataclasses.replace(row, snr_db=snr, cosine=low) for row in found.outputs]
            return Parity(tuple(rows))
        return found


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(Project(tmp_path / "calibrated", TASK_MATRIX), monkeypatch, capsys)
    monkeypatch.setattr("builder.cli.commands.calibrate.Local", lambda: shell.executor())
    monkeypatch.setattr("builder.cli.commands.calibrate.Lines", lambda: Lines(sys.stderr))
    return shell


def calibrating(build: Shell, decibels: Mapping[Tuple[str, int], float], **options: Any) -> Calibrating:
    executor = Calibrating(decibels, **options)
    build.executor = lambda: executor
    return executor


def rows(build: Shell, *words: str) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = build.json("calibrate", "--sweep", "--only", CELL, *words)["cells"][0]["measured"]
    return found


# ------------------------------------------------------------------------------------------- the study


def test_every_method_and_count_is_measured_and_the_best_is_marked(build: Shell) -> None:
    calibrating(build, {("minmax", 2): 25.0, ("entropy", 1): 5.0})
    found = rows(build)
    assert build.code == 0
    assert [(r["method"], r["images"]) for r in found] == [
        (method, count) for method in ("minmax", "percentile", "mse", "entropy") for count in (1, 1, 2)
    ]
    assert [(r["method"], r["images"]) for r in found if r["declared"]] == [("mse", 2)]
    assert [(r["method"], r["images"]) for r in found if r["best"]] == [("minmax", 2)]
    assert [r["seed"] for r in found[:2]] == [0, 1], (
        "two photographs can be drawn alone; the third draw was one of them"
    )
    assert {tuple(r["files"]) for r in found[:2]} == {("c.png",), ("d.png",)}
    assert {(r["method"], r["images"]) for r in found if not r["passed"]} == {("entropy", 1)}
    assert found[2]["outputs"][0] == {"output": "scores", "cosine": 0.999, "snr_db": 25.0}
    assert found[2]["tasks"][0]["metric"] == "value"


def test_nothing_is_published_and_nothing_is_measured_twice(build: Shell) -> None:
    first = calibrating(build, {})
    rows(build)
    assert "latency" not in first.steps, "ranges do not change speed"
    assert versions.latest(build.project.store) is None
    second = calibrating(build, {})
    rows(build)
    assert second.performed == []


def test_build_matrix_recalls_what_the_study_measured(build: Shell) -> None:
    calibrating(build, {})
    rows(build)
    build.project.edit(
        "matrix.yaml", "  size: [32, 32]\ngates:", "  size: [32, 32]\n  method: minmax\n  count: 1\ngates:"
    )
    executor = FakeExecutor()
    build.executor = lambda: executor
    assert build("matrix", "--only", CELL) == 0
    assert executor.steps == ["latency"]


def test_a_declared_count_is_a_draw_from_all_photographs(build: Shell) -> None:
    build.project.edit("matrix.yaml", "  size: [32, 32]\ngates:", "  size: [32, 32]\n  count: 1\n  seed: 4\ngates:")
    calibrating(build, {})
    found = rows(build, "--methods", "minmax", "--counts", "all")
    assert [(r["method"], r["images"], r["declared"]) for r in found] == [
        ("minmax", 2, False),
        ("mse", 1, True),
        ("mse", 1, True),
    ]
    assert found[1]["seed"] == 4


def test_more_than_there_are_is_said(build: Shell) -> None:
    calibrating(build, {})
    told = build.json("calibrate", "--sweep", "--only", CELL, "--counts", "2,16,64", "--methods", "mse")
    assert told["notes"] == ["There are only 2 photographs: 16, 64 could not be drawn."]
    assert len(told["cells"][0]["measured"]) == 1


def test_the_table_for_a_person(build: Shell) -> None:
    calibrating(build, {("minmax", 2): 25.0, ("mse", 1): 5.0})
    assert build("calibrate", "--sweep", "--only", CELL, "--methods", "minmax,mse") == 0
    lines = build.out.splitlines()
    assert lines[0].startswith(f"{CELL}: 2 photographs at 32x32")
    assert lines[2].split("  ")[0] == "method"
    assert "good value lost" in lines[2]
    assert any(line.startswith("minmax  2") and line.endswith("best") for line in lines)
    assert any(line.startswith("mse     2") and line.endswith("declared") for line in lines)
    assert any(line.startswith("mse     1") and "failed" in line for line in lines)
    assert "Declared: mse, 2 photographs: passed, 20.0 dB of the worst output." in build.out
    assert "To take it: method: minmax below `calibration:` in matrix.yaml." in build.out
    assert "Failed: mse, 1 photograph, seed 0: scores cosine 0.9" in build.out
    assert "mse, 1 photograph, seed 1 (5 of 6)" in build.err


def test_the_table_for_a_page(build: Shell) -> None:
    calibrating(build, {})
    assert build("calibrate", "--sweep", "--only", CELL, "--methods", "mse", "--format", "markdown", "--quiet") == 0
    lines = build.out.splitlines()
    assert lines[0] == f"### {CELL}"
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert build.err == ""


def test_a_step_that_fails_is_a_row_and_an_exit_code(build: Shell) -> None:
    calibrating(build, {}, fails=lambda a: isinstance(a.recipe, LowerInt8) and a.recipe.method == "entropy")
    assert build("calibrate", "--sweep", "--only", CELL, "--counts", "all") == 5
    assert "Failed: entropy, 2 photographs: lower-int8: made to fail" in build.out
    assert "mse" in build.out


def test_several_cells_are_several_tables(build: Shell) -> None:
    calibrating(build, {})
    assert build("calibrate", "--sweep", "--counts", "all", "--methods", "mse") == 0
    assert [line.split(":")[0] for line in build.out.splitlines() if line.startswith("tiny")] == [
        "tiny-dense-int8-ort",
        "tiny-dense-int8-ov",
    ]
    assert "Not measured here: tiny-dense-int8-rtx, tiny-dense-int8-trt." in build.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--methods", "mse"), 2, "--methods is for a study"),
        (("--seeds", "2"), 2, "build calibrate --sweep --seeds"),
        (("--sweep", "--methods", "median"), 2, "'median' is no method; there are minmax, percentile, mse, entropy"),
        (("--sweep", "--counts", "some"), 2, "'some' is no number of photographs; write 1,2,4 or all"),
        (("--sweep", "--counts", "0"), 2, "'0' is no number of photographs"),
        (("--sweep", "--seeds", "0"), 2, "'0' is no number of draws"),
        (("--sweep", "--only", "*-fp32-*"), 2, "no int8 cell is selected"),
        (("--sweep", "--only", "*-int8-trt"), 6, "tiny-dense-int8-trt cannot be measured here"),
        (("--only", "*-int8-rtx"), 6, "the ranges of tiny-dense-int8-rtx are not found here"),
        (("--format", "markdown"), 2, "--format markdown is for --sweep"),
    ],
)
def test_wrong_words(build: Shell, words: Tuple[str, ...], code: int, said: str) -> None:
    calibrating(build, {})
    assert build("calibrate", *words) == code
    assert said in build.err
    assert build.out == ""


def test_a_matrix_without_calibration_is_told_so(build: Shell) -> None:
    text = build.project.matrix.read_text(encoding="utf-8").replace("[fp32, fp16, int8]", "[fp32, fp16]")
    start, end = text.index("calibration:"), text.index("gates:")
    build.project.matrix.write_text(text[:start] + text[end:], encoding="utf-8")
    assert build("calibrate", "--sweep") == 2
    assert "declares no calibration" in build.err


# ------------------------------------------------------------------------------------------- variants, choices, words


def test_draws_are_those_that_the_matrix_would_make() -> None:
    chosen = Calibration(FIVE, count=None, method="mse")
    found = calibration_study.variants(chosen, FIVE, ("mse",), (2, None), 3)
    assert [(v.count, v.seed) for v in found] == [(2, 0), (2, 1), (2, 2), (5, 0)]
    assert all(len(v.files) == v.count and list(v.files) == sorted(v.files) for v in found)
    assert len({v.files for v in found}) == 4


def test_a_source_is_taken_whole() -> None:
    chosen = Calibration(source="images:all_of_them", method="mse")
    found = calibration_study.variants(chosen, None, ("minmax", "mse"), (None,), 3)
    assert [(v.method, v.count, v.files) for v in found] == [("minmax", 0, ()), ("mse", 0, ())]


def measured(method: Any, count: int, snr: float, *, kept: bool = True, seed: int = 0) -> Measured:
    row = OutputParity("out", "a", None, cosine=0.99, snr_db=snr)
    check = Check("tensor", "out", "cosine", 0.99, 0.9 if kept else 0.999, False, "*")
    return Measured(Variant(method, count, seed), (row,), (), (check,))


def study(*rows: Measured, declared: Tuple[str, int] = ("mse", 8)) -> Study:
    return Study("m-h-int8-t", ("out",), 8, (32, 32), declared, calibration_study.choices(rows))


def test_the_best_is_judged_by_its_unluckiest_draw() -> None:
    lucky = (measured("minmax", 1, 40), measured("minmax", 1, 12, seed=1))
    found = study(*lucky, measured("mse", 8, 20))
    best = found.best()
    assert best is not None
    assert (best.method, best.count) == ("mse", 8)
    assert "It is the best of those that pass." in calibration_table.as_text(found)
    assert "12.0 .. 40.0" in calibration_table.as_text(found)


def test_equal_choices_take_fewer_photographs() -> None:
    best = study(measured("mse", 4, 20), measured("mse", 8, 20)).best()
    assert best is not None
    assert best.count == 4
    assert "count: 4" in calibration_table.as_text(study(measured("mse", 4, 20), measured("mse", 8, 20)))


def test_what_fails_with_one_draw_is_not_best() -> None:
    found = study(measured("minmax", 1, 40), measured("minmax", 1, 41, kept=False, seed=1), measured("mse", 8, 20))
    assert found.best() == found.choices[1]
    assert "1 of 2 pass" in calibration_table.as_text(found)


def test_when_none_passes_there_is_no_best() -> None:
    found = study(measured("mse", 8, 20, kept=False))
    assert found.best() is None
    assert "No choice passes the gates with every draw" in calibration_table.as_text(found)


def test_a_number_that_is_missing_is_worst() -> None:
    broken = Measured(Variant("minmax", 8, 0), (OutputParity("out", "a", None, cosine=None, snr_db=None),))
    found = study(broken, measured("mse", 8, 20))
    assert found.best() == found.choices[1]
    assert "none" in calibration_table.as_text(found)
    assert isinstance(found.choices[0], CalibrationChoice)
