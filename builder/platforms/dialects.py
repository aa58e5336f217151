"""What one declaration of an engine means to each TensorRT: which options a version knows, and what to ask of its builder.

TensorRT 8, 10, 11 and TensorRT-RTX share a file format for networks and little else. 8 takes precisions as builder
flags; 10 takes typed graphs and still knows the flags; 11 and RTX know typed graphs only. Which version has which option
is the table `tensorrt_options.toml`. `builder/runtimes/tensorrt.py` says the calls to the real API, and
`tests/conformance/` holds each of them against the real bindings of 8.6, 10.16 and 11.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Tuple

from builder.config.tensorrt import TensorRtOptions
from builder.platforms import tables
from builder.platforms.versions import release


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
    number, named = release(declared), "TensorRT-RTX" if runtime == "tensorrt-rtx" else "TensorRT"
    found: List[Refused] = []
    for name in _used(options):
        option, spelled = _option(name), name.replace("=", ": ")
        if option is None:  # a tactic source that every version has
            continue
        if runtime == "tensorrt-rtx":
            why = "" if option.rtx else f"{named} has no {spelled}"
        elif number < release(option.first):
            why = f"{spelled} came with {named} {option.first}, the target declares {declared}"
        elif option.end and number >= release(option.end):
            why = f"{named} {option.end} dropped {spelled}, the target declares {declared}"
        else:
            why = ""
        if why:
            found.append(Refused(name, why, option.source, option.instead))
    return tuple(found)


def _option(name: str) -> Optional[tables.Option]:
    return next((row for row in tables.tensorrt_options().options if row.name == name), None)


def weakly_typed(options: TensorRtOptions, runtime: str, declared: str) -> bool:
    """What `typing` becomes when nobody says: strong wherever it exists, unless another option needs weak."""
    if runtime == "tensorrt-rtx":
        return False
    if options.typing is not None:
        return options.typing == "weak"
    strong = _option("typing=strong")
    if strong is None or release(declared) < release(strong.first):
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
    """The names of the options in use; `name=value` where a version may know the name and not the value."""
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
        used += ["tactic_sources", *(f"tactic_sources={source}" for source in options.tactic_sources)]
    if options.timing_cache is not None:
        used.append("timing_cache")
        used += ["timing_cache=strict"] if options.timing_cache.strict else []
    return used
