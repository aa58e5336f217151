"""Cells, selectors and overrides."""

from __future__ import annotations

import dataclasses
from typing import Tuple

import pytest

from builder.config.cells import Cell, all_cells, any_selects, expand, resolve, selects
from builder.config.tensorrt import LayerPrecision, TensorRtOptions
from builder.errors import UsageError
from builder.planning.planner import plan
from tests.fakes import LAPTOP, Project

CELL = Cell("tiny", "dense", "int8", "ort")


@pytest.mark.parametrize(
    ("selector", "patterns"),
    [
        ("a", ("a",)),
        ("a-{b,c}-* d", ("a-b-*", "a-c-*", "d")),
        ("{a,b}{c,d}", ("ac", "ad", "bc", "bd")),
        ("{a,{b,c}}", ("a", "b", "c")),
        ("{a,}x", ("ax", "x")),
        ("{a}x", ("ax",)),
        ("{}x", ("x",)),
        ("a,{b{c,d},e}f", ("a,bcf", "a,bdf", "a,ef")),
        ("", ()),
    ],
)
def test_expand(selector: str, patterns: Tuple[str, ...]) -> None:
    assert expand(selector) == patterns


def test_each_word_of_a_selector_may_stand_for_ten_thousand_patterns() -> None:
    assert len(expand(" ".join(["{x,y}"] * 14))) == 28
    assert len(expand("{" + "x," * 9_999 + "x}")) == 10_000
    assert len(expand("{a," * 3_000 + "}" * 3_000)) == 3_001, "a level of braces adds one, not as many again"


@pytest.mark.parametrize(
    "word", ["{" + "x," * 10_000 + "x}", "{x,y}" * 14, "{{x,y}" + "{x,y}" * 13 + ",z}"], ids=range(3)
)
def test_a_word_that_stands_for_more_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="stands for more than 10000 patterns"):
        expand(f"a {word}")


@pytest.mark.parametrize("selector", ["a-{b, c}", "a{b", "a}", "}{", "{" * 50_000], ids=range(5))
def test_an_unbalanced_brace_is_refused(selector: str) -> None:
    with pytest.raises(UsageError, match="an unbalanced brace"):
        expand(selector)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("*", True),
        ("tiny-dense-int8-ort", True),
        ("*-int8-*", True),
        ("*-{fp16,int8}-*", True),
        ("*-fp32-* *-ort", True),
        ("*-fp32-*", False),
        ("int8", False),
        ("TINY-*", False),
        ("tiny-dense-int?-ort", True),
        ("", False),
    ],
)
def test_selects(selector: str, selected: bool) -> None:
    assert selects(selector, CELL) is selected
    assert any_selects(("nothing", selector), CELL) is selected


def test_ids_come_in_the_order_of_the_file(project: Project) -> None:
    ids = [cell.id for cell in all_cells(project.load().matrix)]
    assert ids[:4] == ["tiny-dense-fp32-ort", "tiny-dense-fp16-ort", "tiny-dense-int8-ort", "tiny-dense-fp32-ov"]
    assert len(ids) == len(set(ids)) == 12


OVERRIDES = """\
defaults: {workspace: 1GiB, activations: asymmetric}
overrides:
  - {select: "*-ort", set: {profiles: [large], simplify: false}}
  - {select: "*-int8-*", set: {profiles: [small, large]}}
  - {select: "*-{fp32,int8}-ort", set: {simplify: true, workspace: 512MiB}}
gates:"""


def test_later_overrides_win_field_by_field(project: Project) -> None:
    project.edit("matrix.yaml", "gates:", OVERRIDES)
    matrix = project.load().matrix
    settings = {cell.id[11:]: resolve(matrix, cell) for cell in all_cells(matrix)}
    assert settings["fp16-ort"].profiles == ("large",)
    assert settings["fp16-ort"].simplify is False
    assert settings["int8-ort"].profiles == ("small", "large")
    assert settings["int8-ort"].simplify is True
    assert settings["int8-ort"].workspace == "512MiB"
    assert settings["fp32-ov"].profiles == ("small",), "the first profile, when nothing is said"
    assert {s.activations for s in settings.values()} == {"asymmetric"}


TENSORRT = """\
defaults:
  tensorrt:
    {typing: weak, layers: [{pattern: "a*", precision: fp16}], optimization_level: 3, refit: true, sparsity: true}
overrides:
  - {select: "*-trt", set: {tensorrt: {optimization_level: 0, refit: false}}}
  - {select: "*-int8-trt", set: {tensorrt: {int8: calibrator}}}
  - {select: "*-fp16-trt", set: {tensorrt: {layers: [{pattern: "b*", precision: fp32}]}}}
gates:"""


def test_later_overrides_of_tensorrt_win_key_by_key(project: Project) -> None:
    project.edit("matrix.yaml", "gates:", TENSORRT)
    matrix = project.load().matrix
    options = {cell.id[11:]: resolve(matrix, cell).tensorrt for cell in all_cells(matrix)}
    first, second = (LayerPrecision("a*", "fp16"),), (LayerPrecision("b*", "fp32"),)
    assert options["fp32-rtx"] == TensorRtOptions("weak", layers=first, optimization_level=3, refit=True, sparsity=True)
    changed = TensorRtOptions("weak", layers=first, optimization_level=0, refit=False, sparsity=True)
    assert options["fp32-trt"] == changed, "0 and false are values, what is not given is none"
    assert options["int8-trt"] == dataclasses.replace(changed, int8="calibrator")
    assert options["fp16-trt"] == dataclasses.replace(changed, layers=second)
    assert options["fp32-ort"] == TensorRtOptions()


def test_compute_is_what_the_precision_stands_for(project: Project) -> None:
    matrix = project.load().matrix
    compute = {cell.id[11:]: resolve(matrix, cell).compute for cell in all_cells(matrix)}
    assert compute["fp16-ort"] == compute["fp16-ov"] == "f32", "on a CPU fp16 is how weights are stored"
    assert compute["fp16-trt"] == compute["fp16-rtx"] == "f16"
    assert compute["int8-ov"] == compute["fp32-ov"] == "f32"


def test_disabled_cells_and_targets_are_skipped_with_the_reason(project: Project) -> None:
    project.edit("matrix.yaml", "  ov: {runtime: openvino}", "  ov: {runtime: openvino, disabled: {reason: broken}}")
    project.edit(
        "matrix.yaml",
        "gates:",
        'overrides:\n  - {select: "*-int8-ort", set: {disabled: {reason: slow, issue: "#7"}}}\ngates:',
    )
    fates = {cell.id[11:]: cell for cell in plan(project.load().matrix, LAPTOP).cells}
    assert {fates[f"{p}-ov"].reason for p in ("fp32", "fp16", "int8")} == {"disabled: broken"}
    assert (fates["int8-ort"].fate, fates["int8-ort"].reason) == ("skipped", "disabled: slow")
    assert fates["int8-ort"].remedies == ("see #7",)
    assert fates["fp32-ort"].fate == "build"


def test_build_and_skip_in_the_file_and_on_the_command_line(project: Project) -> None:
    project.edit("matrix.yaml", "gates:", 'build: ["*-{ort,ov}"]\nskip: ["*-fp16-*"]\ngates:')
    matrix = project.load().matrix

    def ids(only: Tuple[str, ...] = (), skip: Tuple[str, ...] = ()) -> "list[str]":
        return [cell.id[11:] for cell in plan(matrix, LAPTOP, only=only, skip=skip).cells]

    assert ids() == ["fp32-ort", "int8-ort", "fp32-ov", "int8-ov"]
    assert ids(only=("*-ov", "*-int8-*")) == ["int8-ort", "fp32-ov", "int8-ov"]
    assert ids(skip=("*-ov",)) == ["fp32-ort", "int8-ort"]
    assert ids(only=("*-ov",), skip=("*-int8-*",)) == ["fp32-ov"]
    assert ids(only=("*-rtx",)) == [], "the file's own selection stands"
