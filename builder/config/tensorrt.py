"""The `tensorrt:` settings of a cell: how TensorRT builds an engine.

`builder/platforms/dialects.py` translates them for each version of TensorRT.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Literal, Optional, Tuple

from builder.records import described


@dataclass(frozen=True)
class LayerPrecision:
    pattern: str = field(metadata=described("Names of layers, with *."))
    precision: Literal["fp32", "fp16", "int8"] = field(metadata=described("In which they compute."))


@dataclass(frozen=True)
class TimingCache:
    """Kernel timings of an earlier build, so that the same kernels are chosen again."""

    file: str = field(metadata=described("Path beside matrix.yaml."))
    sha256: str = field(metadata=described("The file's SHA-256, 64 hex digits."))
    strict: bool = field(
        default=False, metadata=described("A kernel without a timing is an error. Needs TensorRT 10 or newer.")
    )


@dataclass(frozen=True)
class TensorRtOptions:
    """How engines are built. What a version does not have is refused when it is planned, never ignored."""

    typing: Optional[Literal["strong", "weak"]] = field(
        default=None, metadata=described("Typed graph, or builder flags. Strong where the version has it.")
    )
    constraints: Optional[Literal["obey", "prefer", "none"]] = field(
        default=None, metadata=described("Weak typing: what precisions of layers mean (obey).")
    )
    layers: Tuple[LayerPrecision, ...] = field(
        default=(), metadata=described("Weak typing: precisions by layer name, with *; later ones win.")
    )
    int8: Optional[Literal["qdq", "calibrator"]] = field(
        default=None, metadata=described("Q/DQ in the graph (default), or TensorRT's calibrator on the target.")
    )
    optimization_level: Optional[int] = field(default=None, metadata=described("0 (fast build) to 5 (fast engine)."))
    version_compatible: Optional[bool] = field(
        default=None, metadata=described("The engine also loads in newer versions of TensorRT.")
    )
    hardware_compatible: Optional[Literal["ampere_plus", "same_compute_capability"]] = field(
        default=None,
        metadata=described("The engine also loads on other GPUs: of 8.0 and newer, or of the same number."),
    )
    refit: Optional[bool] = field(default=None, metadata=described("Weights can be replaced in the built engine."))
    strip: Optional[bool] = field(default=None, metadata=described("The engine holds no weights; a host refits them."))
    dla_core: Optional[int] = field(default=None, metadata=described("Build for this DLA core of a Jetson."))
    gpu_fallback: Optional[bool] = field(
        default=None, metadata=described("With dla_core: layers that DLA cannot run go to the GPU (true).")
    )
    sparsity: Optional[bool] = field(default=None, metadata=described("Use 2:4 sparsity of weights that have it."))
    tf32: Optional[bool] = field(default=None, metadata=described("fp32 products may round to TF32 (false)."))
    tactic_sources: Optional[
        Tuple[Literal["cublas", "cublas_lt", "cudnn", "edge_mask_convolutions", "jit_convolutions"], ...]
    ] = field(default=None, metadata=described("Libraries that kernels may come from (TensorRT's default)."))
    profiling: Optional[Literal["detailed", "layer_names_only", "none"]] = field(
        default=None, metadata=described("What the engine can tell of its layers (detailed).")
    )
    timing_cache: Optional[TimingCache] = field(default=None, metadata=described("Reuse the timings of a build."))


def contradictions(options: TensorRtOptions) -> Tuple[str, ...]:
    """What no version can do: options that exclude each other. Sentences for the person."""
    said: List[str] = []
    if options.typing == "strong":
        for name in ("constraints", "layers"):
            if getattr(options, name):
                said.append(f"{name} needs `typing: weak`; a typed graph says its own precisions")
        if options.int8 == "calibrator":
            said.append("int8: calibrator needs `typing: weak`; with a typed graph int8 is Q/DQ")
        if options.dla_core is not None:
            said.append("dla_core needs `typing: weak`; DLA takes its precision from builder flags")
    if options.strip and options.refit is False:
        said.append("strip needs refit: a stripped engine gets its weights on the host")
    if options.gpu_fallback is not None and options.dla_core is None:
        said.append("gpu_fallback means something only with dla_core")
    return tuple(said)
