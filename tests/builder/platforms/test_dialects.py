"""One declaration, compiled for each TensorRT. That the names exist there is `tests/conformance/`."""

from __future__ import annotations

from typing import Optional, Tuple

import pytest

from builder.config.tensorrt import LayerPrecision, TensorRtOptions, TimingCache, contradictions
from builder.platforms import dialects

NONE = TensorRtOptions()
LAYERS = (LayerPrecision("*softmax*", "fp32"),)


@pytest.mark.parametrize(
    ("options", "version", "refused"),
    [
        (NONE, "8.5.2", ()),
        (TensorRtOptions(typing="strong"), "8.6", ("typing=strong",)),
        (TensorRtOptions(typing="strong"), "10.0", ()),
        (TensorRtOptions(typing="weak"), "10.16.1.11", ()),
        (TensorRtOptions(typing="weak"), "11.0", ("typing=weak",)),
        (TensorRtOptions(int8="calibrator"), "11.4", ("int8=calibrator",)),
        (TensorRtOptions(int8="qdq"), "11.4", ()),
        (TensorRtOptions(optimization_level=3), "8.5.2", ("optimization_level",)),
        (TensorRtOptions(optimization_level=0), "8.5.2", ("optimization_level",)),
        (TensorRtOptions(version_compatible=True), "8.5", ("version_compatible",)),
        (TensorRtOptions(version_compatible=False), "8.5", ()),
        (TensorRtOptions(hardware_compatible="ampere_plus"), "8.6", ()),
        (
            TensorRtOptions(hardware_compatible="same_compute_capability"),
            "10.8",
            ("hardware_compatible=same_compute_capability",),
        ),
        (TensorRtOptions(hardware_compatible="same_compute_capability"), "10.9", ()),
        (TensorRtOptions(strip=True), "8.6", ("strip",)),
        (TensorRtOptions(dla_core=0), "11.0", ("dla_core",)),
        (TensorRtOptions(tactic_sources=("cudnn", "jit_convolutions")), "11.0", ("tactic_sources=cudnn",)),
        (TensorRtOptions(tactic_sources=()), "11.0", ()),
        (TensorRtOptions(timing_cache=TimingCache("t", "")), "8.6", ()),
        (TensorRtOptions(timing_cache=TimingCache("t", "", strict=True)), "8.6", ("timing_cache=strict",)),
        (TensorRtOptions(constraints="obey", layers=LAYERS), "11.4", ("constraints", "layers")),
    ],
)
def test_what_a_version_lacks(options: TensorRtOptions, version: str, refused: Tuple[str, ...]) -> None:
    found = dialects.refused(options, "tensorrt", version)
    assert tuple(r.option for r in found) == refused
    assert all(r.why and r.source and r.instead for r in found)


@pytest.mark.parametrize(
    "options",
    [
        TensorRtOptions(typing="weak"),
        TensorRtOptions(int8="calibrator"),
        TensorRtOptions(dla_core=0),
        TensorRtOptions(refit=True),
        TensorRtOptions(strip=True),
        TensorRtOptions(hardware_compatible="ampere_plus"),
        TensorRtOptions(timing_cache=TimingCache("t", "")),
    ],
)
def test_what_rtx_lacks(options: TensorRtOptions) -> None:
    assert len(dialects.refused(options, "tensorrt-rtx", "1.7")) == 1
    assert "TensorRT-RTX" in dialects.refused(options, "tensorrt-rtx", "1.7")[0].why


@pytest.mark.parametrize(
    ("options", "runtime", "version", "weak"),
    [
        (NONE, "tensorrt", "8.6", True),
        (NONE, "tensorrt", "10.0", False),
        (NONE, "tensorrt", "11.4", False),
        (NONE, "tensorrt-rtx", "1.7", False),
        (TensorRtOptions(typing="weak"), "tensorrt", "10.3", True),
        (TensorRtOptions(int8="calibrator"), "tensorrt", "10.3", True),
        (TensorRtOptions(layers=LAYERS), "tensorrt", "10.3", True),
        (TensorRtOptions(dla_core=0), "tensorrt", "10.3", True),
    ],
)
def test_typing_follows_the_version_and_what_needs_flags(
    options: TensorRtOptions, runtime: str, version: str, weak: bool
) -> None:
    assert dialects.weakly_typed(options, runtime, version) is weak


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (TensorRtOptions(typing="strong", layers=LAYERS), "layers"),
        (TensorRtOptions(typing="strong", constraints="prefer"), "constraints"),
        (TensorRtOptions(typing="strong", int8="calibrator"), "calibrator"),
        (TensorRtOptions(typing="strong", dla_core=0), "dla_core"),
        (TensorRtOptions(strip=True, refit=False), "strip"),
        (TensorRtOptions(gpu_fallback=True), "gpu_fallback"),
        (NONE, None),
        (TensorRtOptions(typing="weak", layers=LAYERS, constraints="obey", int8="calibrator", dla_core=1), None),
    ],
)
def test_options_that_exclude_each_other(options: TensorRtOptions, word: Optional[str]) -> None:
    said = contradictions(options)
    assert len(said) == (word is not None)
    assert word is None or word in said[0]


def test_the_calibrator_is_only_for_int8_and_follows_the_method() -> None:
    options = TensorRtOptions(int8="calibrator")
    assert dialects.compiled(options, "fp16", "mse", "tensorrt", "8.6").calibrator is None
    assert dialects.compiled(options, "int8", "mse", "tensorrt", "8.6").calibrator == "IInt8EntropyCalibrator2"
    assert dialects.compiled(options, "int8", "minmax", "tensorrt", "8.6").calibrator == "IInt8MinMaxCalibrator"
    assert dialects.compiled(NONE, "int8", "minmax", "tensorrt", "8.6").calibrator is None


def test_a_stripped_engine_can_be_refitted() -> None:
    assert dialects.compiled(TensorRtOptions(strip=True), "fp16", "", "tensorrt", "10.0").refit


@pytest.mark.parametrize(
    ("options", "runtime", "tier"),
    [
        (NONE, "tensorrt", "gpu-model"),
        (TensorRtOptions(hardware_compatible="ampere_plus"), "tensorrt", "ampere-plus"),
        (
            TensorRtOptions(hardware_compatible="same_compute_capability", version_compatible=True),
            "tensorrt",
            "compute-capability+version",
        ),
        (NONE, "tensorrt-rtx", "compute-capability"),
    ],
)
def test_the_portability_tier(options: TensorRtOptions, runtime: str, tier: str) -> None:
    assert dialects.portability(options, runtime) == tier
