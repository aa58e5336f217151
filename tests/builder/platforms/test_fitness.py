"""How the machine of a target is told apart from another one, and what there is to type."""

from __future__ import annotations

import dataclasses

from builder.platforms.gpus import Gpu
from builder.platforms.requirements import fitness
from tests.builder.platforms.test_rules import ORIN_JP6, TRT10
from tests.fakes import LAPTOP, RTX3090, _with, without

NAMED = dataclasses.replace(TRT10, gpu="RTX 3090")


def test_the_machine_that_is_declared_fits() -> None:
    fit = fitness(NAMED, RTX3090, tasks=False)
    assert (fit.wrong, fit.lacking, fit.lines) == ("", (), ())


def test_another_model_of_that_compute_capability_does_not() -> None:
    fit = fitness(NAMED, _with(RTX3090, gpus=(Gpu("NVIDIA GeForce RTX 3080 Laptop GPU", "8.6"),)), tasks=False)
    assert fit.said.startswith("needs a GPU of compute capability 8.6 (RTX 3090) and TensorRT 10.16; ")
    assert "this machine has NVIDIA GeForce RTX 3080 Laptop GPU (8.6)" in fit.said
    assert fit.lines == ("# it is another GPU; if it is the one that you mean, in matrix.yaml: gpu: RTX 3080 LAPTOP",)


def test_what_nothing_that_is_typed_would_mend_has_no_lines() -> None:
    assert fitness(NAMED, LAPTOP, tasks=False).lines == ()
    assert fitness(ORIN_JP6, RTX3090, tasks=False).lines == ()


def test_a_package_that_is_missing_is_installed_by_the_line_that_is_said() -> None:
    fit = fitness(NAMED, without(RTX3090, "polygraphy"), tasks=False)
    assert (fit.wrong, fit.lacking) == ("", ("polygraphy",))
    assert fit.lines == ("python3 -m pip install polygraphy",)
    assert "tensorrt" in " ".join(fitness(NAMED, without(RTX3090, "tensorrt"), tasks=False).lines)
