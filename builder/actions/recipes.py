"""The recipe of each step: every parameter that decides its output, and the facts the step reports back.

A recipe's `version` is bumped by hand when the step's code changes what it makes; it is part of the key. No
recipe field has a default, so that whoever plans says it all, but for `keep`: it came later, and empty changes no key. Where order means something (outputs, profiles) it is a list
in JSON too, since a key sorts the names of a mapping.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional, Tuple, Union

from builder.actions.measurements import Cost, Latency, LayerErrors, Parity, SweepPoint, Swept, TaskScores, WorstCase
from builder.config.contract import Agreement, Align, Compute, Input, Keypoints, Output, Preprocess, Profile
from builder.config.matrix import Head, OnnxSource, TorchSource
from builder.config.tensorrt import TensorRtOptions
from builder.records import KEYED, Setting


@dataclass(frozen=True)
class Export:
    """Source -> `model.onnx`."""

    source: Union[TorchSource, OnnxSource]
    head: str
    options: Tuple[Setting, ...] = field(metadata=KEYED)
    inputs: Tuple[Input, ...]
    outputs: Tuple[Output, ...]
    example: Tuple[int, ...]
    opset: int
    step: Literal["export"] = "export"
    version: Literal[1] = 1


@dataclass(frozen=True)
class Simplify:
    """`model.onnx` -> `model.onnx`, smaller, or the same when simplifying would harm it."""

    inputs: Tuple[Input, ...]
    outputs: Tuple[Output, ...]
    checks: Tuple[Tuple[int, ...], ...]
    unordered: bool
    step: Literal["simplify"] = "simplify"
    version: Literal[1] = 1


@dataclass(frozen=True)
class LowerFp16:
    """`model.onnx` -> `model.onnx` with float16 arithmetic and float32 inputs and outputs. `keep`: names of nodes, with *,
    that stay in float32."""

    keep: Tuple[str, ...] = ()
    step: Literal["lower-fp16"] = "lower-fp16"
    version: Literal[1] = 1


@dataclass(frozen=True)
class EmulateFp16:
    """`model.onnx` in float16 -> `model.onnx` in float32 that rounds what was float16."""

    step: Literal["emulate-fp16"] = "emulate-fp16"
    version: Literal[1] = 1


@dataclass(frozen=True)
class LowerInt8:
    """`model.onnx` and `images.npz` -> `model.onnx` with explicit Q/DQ. `keep`: names of nodes, with *, that stay in
    float32."""

    method: str
    percentile: float
    activations: str
    placement: str  # of the pairs: `inputs` of convolutions, the same for `tensorrt`, or `around` convolutions
    keep: Tuple[str, ...] = ()
    step: Literal["lower-int8"] = "lower-int8"
    version: Literal[2] = 2  # 2: placement


@dataclass(frozen=True)
class LowerOpset:
    """`model.onnx` -> `model.onnx` in the words of an older opset."""

    opset: int
    step: Literal["lower-opset"] = "lower-opset"
    version: Literal[1] = 1


@dataclass(frozen=True)
class Parse:
    """`model.onnx` -> nothing, or the words in which TensorRT's parser refuses it."""

    step: Literal["parse"] = "parse"
    version: Literal[1] = 1


@dataclass(frozen=True)
class Engine:
    """`model.onnx` -> the files a target's runtime opens."""

    precision: str
    compute: Compute
    profiles: Tuple[Profile, ...]
    workspace: int
    tensorrt: TensorRtOptions
    calibration: str  # the method, where TensorRT's own calibrator is to find the ranges; else empty
    step: Literal["engine"] = "engine"
    version: Literal[2] = 2  # 2: artifact.json beside the files


@dataclass(frozen=True)
class CalibrationData:
    """Photographs, or what a function of the person's gives -> `images.npz`: `images` float32 [N, C, H, W]."""

    photographs: Tuple[str, ...]
    source: str  # module:attr, or empty for photographs
    size: Tuple[int, int]
    preprocess: Preprocess
    step: Literal["calibration-data"] = "calibration-data"
    version: Literal[1] = 1


@dataclass(frozen=True)
class Reference:
    """Source and photographs -> one `NAME.npz` per sample: inputs and reference outputs."""

    source: Union[TorchSource, OnnxSource]
    head: str
    options: Tuple[Setting, ...] = field(metadata=KEYED)
    input: Input
    outputs: Tuple[str, ...]
    photographs: Tuple[str, ...]
    sizes: Tuple[Tuple[int, int], ...]
    preprocess: Preprocess
    step: Literal["reference"] = "reference"
    version: Literal[1] = 1


@dataclass(frozen=True)
class MeasureParity:
    """Artifact and reference samples -> `Parity`."""

    samples: Tuple[str, ...]
    outputs: Tuple[str, ...]
    align: Optional[Align]
    agreement: Tuple[Agreement, ...] = field(metadata=KEYED)
    compute: Compute
    static: bool
    step: Literal["parity"] = "parity"
    version: Literal[3] = 3  # 2: median, mean relative, PSNR, agreement; 3: arithmetic


@dataclass(frozen=True)
class MeasureLayers:
    """`model.onnx`, reference samples, and for int8 `images.npz` -> `LayerErrors` of a lowering. `unordered`: rows of the
    outputs may swap places (a top-k), so the tensors before them are compared."""

    lowering: Union[LowerFp16, LowerInt8]
    samples: Tuple[str, ...]
    unordered: bool
    step: Literal["layer-errors"] = "layer-errors"
    version: Literal[2] = 2  # 2: work


@dataclass(frozen=True)
class TaskCases:
    """Data files and the metric's code -> one `NAME.npz` per case: input tensors and the right answer."""

    metric: str
    options: Tuple[Setting, ...] = field(metadata=KEYED)
    data: Tuple[str, ...]
    size: Tuple[int, int]
    preprocess: Preprocess
    step: Literal["task-cases"] = "task-cases"
    version: Literal[1] = 1


@dataclass(frozen=True)
class ScoreReference:
    """Source, cases and the metric's code -> `TaskScores` of the model itself."""

    source: Union[TorchSource, OnnxSource]
    head: str
    options: Tuple[Setting, ...] = field(metadata=KEYED)
    input: Input
    outputs: Tuple[str, ...]
    contract: Head
    metric: str
    settings: Tuple[Setting, ...] = field(metadata=KEYED)
    step: Literal["task-reference"] = "task-reference"
    version: Literal[1] = 1


@dataclass(frozen=True)
class MeasureTask:
    """Artifact, cases and the metric's code -> `TaskScores`."""

    contract: Head
    input: str
    metric: str
    settings: Tuple[Setting, ...] = field(metadata=KEYED)
    compute: Compute
    static: bool
    step: Literal["task"] = "task"
    version: Literal[1] = 1


@dataclass(frozen=True)
class MeasureLatency:
    """Artifact, and the naive export beside it in the same minutes -> `Latency`. `machine` is what was timed."""

    input: str
    shape: Tuple[int, ...]
    seconds: float
    threads: int
    compute: Compute
    static: bool
    machine: str
    step: Literal["latency"] = "latency"
    version: Literal[2] = 2  # 2: noise and clock


@dataclass(frozen=True)
class SweepReference:
    """Source and one photograph -> one `NAME.npz` per size: input, and the reference outputs or the refusal."""

    source: Union[TorchSource, OnnxSource]
    head: str
    options: Tuple[Setting, ...] = field(metadata=KEYED)
    input: Input
    outputs: Tuple[str, ...]
    photograph: str
    sizes: Tuple[Tuple[int, int], ...]
    preprocess: Preprocess
    step: Literal["sweep-reference"] = "sweep-reference"
    version: Literal[1] = 1


@dataclass(frozen=True)
class MeasureSweep:
    """Artifact and the samples of its grid -> `Swept`. `machine` is what was timed."""

    photograph: str
    points: Tuple[SweepPoint, ...]
    outputs: Tuple[str, ...]
    align: Optional[Align]
    agreement: Tuple[Agreement, ...] = field(metadata=KEYED)
    seconds: float
    threads: int
    compute: Compute
    static: bool
    machine: str
    step: Literal["sweep"] = "sweep"
    version: Literal[1] = 1


@dataclass(frozen=True)
class DrawWorstCase:
    """Artifact and one reference sample -> `WorstCase`, and its pictures: `photograph.jpg`, and for an output that is a
    map `difference.jpg`; where a place of the map is a class, `reference.png` and `candidate.png`."""

    sample: str
    input: str
    outputs: Tuple[str, ...]
    postprocess: Optional[Keypoints]
    preprocess: Preprocess
    compute: Compute
    static: bool
    step: Literal["worst-case"] = "worst-case"
    version: Literal[1] = 1


@dataclass(frozen=True)
class MeasureCost:
    """An artifact with layers kept in float32, and the one with everything lowered beside it -> `Cost`."""

    input: str
    shape: Tuple[int, ...]
    seconds: float
    threads: int
    compute: Compute
    static: bool
    machine: str
    step: Literal["cost"] = "cost"
    version: Literal[1] = 1


ModelItself = Union[Reference, ScoreReference, SweepReference]  # the recipes that run the source instead of an artifact
Recipe = Union[
    Export,
    Simplify,
    LowerFp16,
    EmulateFp16,
    LowerInt8,
    CalibrationData,
    LowerOpset,
    Parse,
    Engine,
    Reference,
    MeasureParity,
    MeasureLayers,
    TaskCases,
    ScoreReference,
    MeasureTask,
    MeasureLatency,
    SweepReference,
    MeasureSweep,
    DrawWorstCase,
    MeasureCost,
]


@dataclass(frozen=True)
class Made:
    """What a step says of what it made: short remarks for the person (empty when all went as asked)."""

    nodes: int
    remarks: Tuple[str, ...]
    kind: Literal["made"] = "made"


@dataclass(frozen=True)
class Sampled:
    """The inventory of a step that makes samples or cases."""

    samples: Tuple[str, ...]
    kind: Literal["sampled"] = "sampled"


Facts = Union[Made, Sampled, Parity, TaskScores, Latency, LayerErrors, Swept, WorstCase, Cost]
