"""What one declaration of an engine means to each TensorRT: which options a version knows, and what to ask of its builder.

TensorRT 8, 10, 11 and TensorRT-RTX share a file format for networks and little else. 8 takes precisions as builder
flags; 10 takes typed graphs and still knows the flags; 11 and RTX know typed graphs only. Everything here is names and
numbers, and imports nothing: `builder/runtimes/tensorrt.py` says them to the real API, and
`tests/conformance/` holds each of them against the real bindings of 8.6, 10.16 and 11.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from builder.compat.tables import Version, version
from builder.config.tensorrt import TensorRtOptions

BINDINGS = "Python bindings of TensorRT, looked at version by version"
NOTES = "NVIDIA TensorRT release notes"
RTX_REFIT = f"{BINDINGS}; TensorRT-RTX 1.7 wants a GPU to build a refittable engine, which is then not ahead of time"


@dataclass(frozen=True)
class Option:
    """From which version to which (not included) an option exists. `rtx`: whether TensorRT-RTX has it."""

    first: Version
    end: Optional[Version]
    rtx: bool
    source: str
    instead: str


# By the name in matrix.yaml, `name=value` where only one value is special.
OPTIONS: Dict[str, Option] = {
    "typing=strong": Option((10, 0), None, True, BINDINGS, "typing: weak"),
    "typing=weak": Option((8, 0), (11, 0), False, BINDINGS, "typing: strong, which is the default there"),
    "constraints": Option((8, 2), (11, 0), False, BINDINGS, "a typed graph: leave constraints out"),
    "layers": Option((8, 2), (11, 0), False, BINDINGS, "a typed graph: leave layers out"),
    "int8=calibrator": Option((8, 0), (11, 0), False, BINDINGS, "int8: qdq"),
    "optimization_level": Option((8, 6), None, True, BINDINGS, "leave optimization_level out"),
    "version_compatible": Option((8, 6), None, False, NOTES + ", 8.6", "one target per version"),
    "hardware_compatible=ampere_plus": Option((8, 6), None, False, NOTES + ", 8.6", "one target per GPU"),
    "hardware_compatible=same_compute_capability": Option((10, 9), None, False, BINDINGS, "one target per GPU"),
    "refit": Option((8, 0), None, False, RTX_REFIT, "leave refit out"),
    "strip": Option((10, 0), None, False, RTX_REFIT, "leave strip out"),
    "dla_core": Option((8, 0), (11, 0), False, NOTES + ", 10.7: the last with DLA", "leave dla_core out: the GPU"),
    "sparsity": Option((8, 0), None, True, BINDINGS, "leave sparsity out"),
    "tf32": Option((8, 0), None, True, BINDINGS, "leave tf32 out"),
    "tactic_sources": Option((8, 0), None, True, BINDINGS, "leave tactic_sources out"),
    "tactic_sources=cublas": Option((8, 0), (11, 0), False, BINDINGS, "leave it out"),
    "tactic_sources=cublas_lt": Option((8, 0), (11, 0), False, BINDINGS, "leave it out"),
    "tactic_sources=cudnn": Option((8, 0), (11, 0), False, BINDINGS, "leave it out"),
    "profiling": Option((8, 2), None, True, BINDINGS, "leave profiling out"),
    "timing_cache": Option((8, 0), None, False, "TensorRT-RTX times nothing ahead of time", "leave timing_cache out"),
    "timing_cache=strict": Option((10, 0), None, False, BINDINGS, "strict: false"),
}


@dataclass(frozen=True)
class Refused:
    """An option that the version does not have."""

    option: str
    why: str
    source: str
    instead: str


@dataclass(frozen=True)
class Calls:
    """What to ask of a builder, in the names of TensorRT's Python API.

    `flags` are members of BuilderFlag to set, beyond those that Polygraphy's CreateConfig sets for the other fields.
    """

    strongly_typed: bool
    fp16: bool
    int8: bool
    tf32: bool
    constraints: Optional[str]
    layers: Tuple[Tuple[str, str], ...]  # (pattern of layer names, member of DataType)
    calibrator: Optional[str]  # class of trt to inherit from
    optimization_level: Optional[int]
    version_compatible: bool
    hardware_compatibility: Optional[str]  # member of HardwareCompatibilityLevel
    refit: bool
    strip: bool
    dla_core: Optional[int]
    gpu_fallback: bool
    sparsity: bool
    tactic_sources: Optional[Tuple[str, ...]]  # members of TacticSource
    profiling_verbosity: str  # member of ProfilingVerbosity
    strict_timing_cache: bool
    keep_timings: bool  # RTX times nothing ahead of time; its cache is empty but for a header


_DATA_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8"}
_CALIBRATORS = {"minmax": "IInt8MinMaxCalibrator"}  # every other method: TensorRT's own entropy calibration
_ENTROPY = "IInt8EntropyCalibrator2"


def refused(options: TensorRtOptions, runtime: str, declared: str) -> Tuple[Refused, ...]:
    """The options that TensorRT (or TensorRT-RTX, by `runtime`) of the declared version does not have."""
    asked = version(declared)
    name = "TensorRT-RTX" if runtime == "tensorrt-rtx" else "TensorRT"
    found: List[Refused] = []
    for key in _used(options):
        option = OPTIONS[key]
        if runtime == "tensorrt-rtx":
            why = "" if option.rtx else f"{name} has no {key.replace('=', ': ')}"
        elif asked < option.first:
            why = f"{key.replace('=', ': ')} came with {name} {_spelled(option.first)}, the target declares {declared}"
        elif option.end is not None and asked >= option.end:
            why = f"{name} {_spelled(option.end)} dropped {key.replace('=', ': ')}, the target declares {declared}"
        else:
            why = ""
        if why:
            found.append(Refused(key, why, option.source, option.instead))
    return tuple(found)


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


def weakly_typed(options: TensorRtOptions, runtime: str, declared: str) -> bool:
    """What `typing` becomes when nobody says: strong wherever it exists, unless another option needs weak."""
    if runtime == "tensorrt-rtx":
        return False
    if options.typing is not None:
        return options.typing == "weak"
    if version(declared) < OPTIONS["typing=strong"].first:
        return True
    wants_flags = options.int8 == "calibrator" or options.constraints or options.layers
    return bool(wants_flags) or options.dla_core is not None


def compiled(options: TensorRtOptions, precision: str, method: str, runtime: str, declared: str) -> Calls:
    """The declaration for one version. `method` is the calibration's; nothing refused is among `options`."""
    weak = weakly_typed(options, runtime, declared)
    calibrated = precision == "int8" and options.int8 == "calibrator"
    hardware = options.hardware_compatible
    # DLA may refuse a layer's precision, and Polygraphy asks for `prefer` with it; `obey` beside it would contradict.
    usual = "prefer" if options.dla_core is not None else "obey"
    return Calls(
        strongly_typed=not weak,
        # A weakly typed builder may only use what a flag permits, whatever types the graph has.
        fp16=weak and precision == "fp16",
        int8=weak and precision == "int8",
        tf32=bool(options.tf32),
        constraints=(options.constraints or usual) if weak and options.constraints != "none" else None,
        layers=tuple((layer.pattern, _DATA_TYPES[layer.precision]) for layer in options.layers),
        calibrator=_CALIBRATORS.get(method, _ENTROPY) if calibrated else None,
        optimization_level=options.optimization_level,
        version_compatible=bool(options.version_compatible),
        hardware_compatibility=hardware.upper() if hardware else None,
        refit=bool(options.refit or options.strip),
        strip=bool(options.strip),
        dla_core=options.dla_core,
        gpu_fallback=options.dla_core is not None and options.gpu_fallback is not False,
        sparsity=bool(options.sparsity),
        tactic_sources=tuple(s.upper() for s in options.tactic_sources) if options.tactic_sources is not None else None,
        profiling_verbosity=(options.profiling or "detailed").upper(),
        strict_timing_cache=bool(options.timing_cache and options.timing_cache.strict),
        keep_timings=runtime != "tensorrt-rtx",
    )


def portability(options: TensorRtOptions, runtime: str) -> str:
    """The tier of an engine: on which other machines it loads, besides one like that which built it."""
    if runtime == "tensorrt-rtx":
        return "compute-capability"
    gpu = {"ampere_plus": "ampere-plus", "same_compute_capability": "compute-capability"}.get(
        options.hardware_compatible or "", "gpu-model"
    )
    return gpu + ("+version" if options.version_compatible else "")


def _used(options: TensorRtOptions) -> List[str]:
    """The keys of OPTIONS that `options` makes use of."""
    used: List[str] = []
    for name in ("constraints", "layers", "optimization_level", "profiling"):
        if getattr(options, name) not in (None, ()):
            used.append(name)
    used += [name for name in ("version_compatible", "refit", "strip", "sparsity", "tf32") if getattr(options, name)]
    if options.typing is not None:
        used.append(f"typing={options.typing}")
    if options.int8 == "calibrator":
        used.append("int8=calibrator")
    if options.hardware_compatible is not None:
        used.append(f"hardware_compatible={options.hardware_compatible}")
    if options.dla_core is not None:
        used.append("dla_core")
    if options.tactic_sources is not None:
        used.append("tactic_sources")
        used += [key for key in (f"tactic_sources={s}" for s in options.tactic_sources) if key in OPTIONS]
    if options.timing_cache is not None:
        used.append("timing_cache")
        used += ["timing_cache=strict"] if options.timing_cache.strict else []
    return used


def _spelled(number: Version) -> str:
    return ".".join(map(str, number))
