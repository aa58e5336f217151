"""The records of matrix.yaml. Nothing here reads a file.

`builder/config/loader.py` reads the YAML into a `Matrix`; `builder/config/json_schema.py` makes the JSON Schema from
these hints. Sizes are (height, width) in pixels, shapes are NCHW, times are seconds unless the name has another unit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Literal, Optional, Tuple, Union

from builder.config.contract import (
    Agreement,
    Align,
    Compute,
    Input,
    Keypoints,
    Output,
    Precision,
    Preprocess,
    Profile,
    Runtime,
)
from builder.config.gates import DriftLimits, Gate
from builder.config.remote_machines import FleetSettings, Listed, Reached, SshWorker
from builder.config.tensorrt import TensorRtOptions
from builder.records import DERIVED, Setting, described

# ------------------------------------------------------ search: the budget for finding layers that must stay in float32


@dataclass(frozen=True)
class Search:
    """When the cell misses its gates, find the fewest layers which, kept in float32, make it meet them."""

    trials: int = field(default=12, metadata=described("At most so many artifacts are built and judged; 0: no search."))
    minutes: float = field(
        default=60.0,
        metadata=described(
            "No trial begins when the work so far took longer than this. Work that is recalled counts as it took then."
        ),
    )


# ------------------------------------------------------------------- measuring: photographs, calibration, tasks, timing


Method = Literal["minmax", "percentile", "mse", "entropy"]


@dataclass(frozen=True)
class Photographs:
    files: Tuple[str, ...] = field(
        metadata=described("File names inside `folder`, in order; one with * stands for all that match, by name.")
    )
    folder: str = field(default=".", metadata=described("Beside matrix.yaml, or inside `package`."))
    package: Optional[str] = field(
        default=None, metadata=described("An installed Python package that ships the files.")
    )


@dataclass(frozen=True)
class ParitySet:
    photographs: Photographs
    sizes: Tuple[Tuple[int, int], ...] = field(
        metadata=described("(height, width) at which every photograph is compared.")
    )
    agreement: Tuple[Agreement, ...] = field(
        default=(),
        metadata=described(
            "By output, the axis of class scores: how often the largest is at the same index is measured too.",
            keyed=True,
        ),
    )


@dataclass(frozen=True)
class Calibration:
    photographs: Optional[Photographs] = field(
        default=None,
        metadata=described("The photographs whose activations set the ranges. Use others than for parity."),
    )
    source: Optional[str] = field(
        default=None,
        metadata=described(
            "Instead of photographs: module:attr, called without arguments; gives images, uint8 [H, W, 3] or [H, W]."
        ),
    )
    count: Optional[int] = field(
        default=None, metadata=described("Use only so many, drawn at random; all when left out.")
    )
    seed: int = field(default=0, metadata=described("Of that draw."))
    size: Tuple[int, int] = field(default=(240, 320), metadata=described("(height, width) of the calibration images."))
    method: Method = field(
        default="mse",
        metadata=described(
            "Range of an activation: extremes, a percentile, least squared error, or least information lost."
        ),
    )
    percentile: float = field(default=99.999, metadata=described("Used by method: percentile."))


@dataclass(frozen=True)
class TaskSet:
    """What the model is for, as cases with known answers. Metrics of it can be gated."""

    name: str
    metric: str = field(
        metadata=described(
            "module:attr beside matrix.yaml, or one of validation.keypoint_tasks; called as attr(**options)."
        )
    )
    data: Photographs = field(metadata=described("The files that the cases are made of."))
    size: Tuple[int, int] = field(metadata=described("(height, width) of the cases' images."))
    options: Tuple[Setting, ...] = field(
        default=(), metadata=described("Keyword arguments for the metric.", keyed=True)
    )
    heads: Tuple[str, ...] = field(default=(), metadata=described("Heads that are scored; all when left out."))


@dataclass(frozen=True)
class LatencySettings:
    seconds: float = field(default=3.0, metadata=described("Measuring time per artifact, after warm-up."))
    threads: int = field(default=0, metadata=described("Threads for CPU runtimes; 0 takes every core."))


@dataclass(frozen=True)
class Sweep:
    """Parity and latency over a grid of sizes, and what happens just outside of it."""

    select: str = field(metadata=described("Cells to sweep: ids, with * and {a,b}."))
    photograph: Optional[str] = field(
        default=None, metadata=described("One of the parity photographs; the first when left out.")
    )
    points: int = field(
        default=12, metadata=described("Sizes inside each profile: opt, corners, portrait, odd multiples, then drawn.")
    )
    seed: int = field(default=0, metadata=described("Of the sizes that are drawn."))
    seconds: float = field(default=0.5, metadata=described("Measuring time per size inside, after warm-up."))


# ------------------------------------------------------------------------------------------ model, targets and settings


@dataclass(frozen=True)
class WeightsFile:
    file: str = field(metadata=described("Path to .safetensors (preferred) or a .pth state dict, beside matrix.yaml."))
    sha256: str = field(
        metadata=described("The file's SHA-256, 64 hex digits: a changed file is an error, not a surprise.")
    )


@dataclass(frozen=True)
class SeededWeights:
    seed: int = field(
        metadata=described("Initialise with this random seed instead of a file. Labelled so in the manifest.")
    )


@dataclass(frozen=True)
class TorchSource:
    factory: str = field(
        metadata=described(
            "module:attr, called as attr(**options), with head=NAME if it has such a parameter; "
            "returns a torch.nn.Module."
        )
    )
    weights: Union[WeightsFile, SeededWeights] = field(metadata=described("A state dict with its digest, or a seed."))
    options: Tuple[Setting, ...] = field(
        default=(), metadata=described("Keyword arguments for the factory.", keyed=True)
    )


@dataclass(frozen=True)
class OnnxSource:
    onnx: str = field(metadata=described("Path to an ONNX file, beside matrix.yaml."))
    sha256: str = field(metadata=described("The file's SHA-256, 64 hex digits."))


@dataclass(frozen=True)
class Head:
    name: str
    outputs: Tuple[Output, ...] = field(
        metadata=described("Output tensors, in the order the module returns them.", keyed=True)
    )
    options: Tuple[Setting, ...] = field(
        default=(), metadata=described("More keyword arguments for the factory.", keyed=True)
    )
    align: Optional[Align] = field(default=None, metadata=described("How parity pairs the rows of a set of points."))
    postprocess: Optional[Keypoints] = None


@dataclass(frozen=True)
class Model:
    name: str
    source: Union[TorchSource, OnnxSource]
    inputs: Tuple[Input, ...] = field(metadata=described("Input tensors by name.", keyed=True))
    heads: Tuple[Head, ...] = field(metadata=described("Variants of the model that share their weights.", keyed=True))
    profiles: Tuple[Profile, ...] = field(metadata=described("Named optimization profiles.", keyed=True))
    preprocess: Preprocess = Preprocess()
    opset: int = field(default=20, metadata=described("ONNX opset of the export."))


ANY_MACHINE = "any"


@dataclass(frozen=True)
class Disabled:
    reason: str
    issue: Optional[str] = field(default=None, metadata=described("Where the problem is tracked."))


@dataclass(frozen=True)
class Target:
    """A kind of machine with one runtime on it. `where` the work happens is not part of any key."""

    name: str
    runtime: Runtime
    version: Optional[str] = field(
        default=None, metadata=described('Runtime version in quotes, "10.16"; for CPU runtimes, the installed one.')
    )
    machine: str = field(
        default=ANY_MACHINE,
        metadata=described("What people call the machine; for reports. When left out: its GPU, or any."),
    )
    os: Literal["linux", "windows"] = "linux"
    arch: Literal["x86_64", "aarch64"] = "x86_64"
    sm: Optional[str] = field(default=None, metadata=described('GPU compute capability in quotes, "8.6".'))
    gpu: Optional[str] = field(
        default=None,
        metadata=described(
            "GPU model, RTX 3090: a machine with another one of that compute capability is not used. "
            "When left out: any."
        ),
    )
    cuda: Optional[str] = field(default=None, metadata=described('CUDA toolkit in quotes, "12.9".'))
    cudnn: Optional[str] = field(
        default=None, metadata=described('onnxruntime-gpu: cuDNN in quotes, "9.10.2" (the newest that knows the GPU).')
    )
    driver: Optional[str] = field(
        default=None, metadata=described('NVIDIA driver of that machine in quotes, "535.183".')
    )
    jetpack: Optional[str] = field(default=None, metadata=described('JetPack in quotes, "6.2".'))
    python: Optional[str] = field(default=None, metadata=described('Python on that machine in quotes, "3.10".'))
    runner: Tuple[str, ...] = field(
        default=(), metadata=described("Labels of the CI runner that is this machine; for `build ci`.")
    )
    where: Optional[Union[str, Tuple[str, ...]]] = field(
        default=None,
        metadata=described(
            "ssh://HOST, or a list of them: `build matrix` works there, over SSH. "
            "fleet: a worker of the fleet takes it. When left out: here, or it waits."
        ),
    )
    worker: SshWorker = SshWorker()
    disabled: Optional[Disabled] = None
    # The machines that may do its work, in order of preference; none: this one, or one without a connection.
    reached: Tuple[Reached, ...] = field(default=(), metadata=DERIVED)


# Rules that say "slow", not "impossible", and what each means. A person may ask for such a cell, with a reason.
WAIVABLE: Dict[str, str] = {
    "fp16-rate": "fp16 where the GPU runs it far below its fp32 rate",
    "rtx-int8": "int8 under TensorRT-RTX, whose convolutions run in fp32 all the same",
    "cuda-int8": "int8 under onnxruntime-gpu, which has no int8 convolution",
}


@dataclass(frozen=True)
class Allowed:
    """A cell that a rule about speed would skip, wanted all the same."""

    rule: str
    reason: str


@dataclass(frozen=True)
class CellSettings:
    """What may differ from cell to cell. None means: as the defaults or an earlier override say."""

    profiles: Optional[Tuple[str, ...]] = field(
        default=None, metadata=described("Optimization profiles of this artifact.")
    )
    simplify: Optional[bool] = field(default=None, metadata=described("Run onnxsim (default true)."))
    activations: Optional[Literal["symmetric", "asymmetric"]] = field(
        default=None,
        metadata=described(
            "int8 activations: symmetric int8 (TensorRT takes only this) or asymmetric uint8 (when left out: on CPUs)."
        ),
    )
    keep: Optional[Tuple[str, ...]] = field(
        default=None,
        metadata=described("int8 and fp16: names of ONNX nodes, with *, that stay in float32."),
    )
    search: Optional[Search] = field(
        default=None,
        metadata=described("int8 and fp16: when the cell misses its gates, find the layers that must stay in float32."),
    )
    compute: Optional[Compute] = field(
        default=None,
        metadata=described("OpenVINO: arithmetic of everything that is not int8. Never left to the runtime."),
    )
    static: Optional[bool] = field(
        default=None,
        metadata=described("OpenVINO: compile once per image size instead of once for all (faster per image)."),
    )
    workspace: Optional[str] = field(
        default=None, metadata=described("TensorRT builder workspace, '4GiB' or '512MiB'.")
    )
    tensorrt: Optional[TensorRtOptions] = field(
        default=None, metadata=described("How TensorRT builds; key by key over the defaults and earlier overrides.")
    )
    allow: Tuple[Allowed, ...] = field(
        default=(),
        metadata=described(
            "rule: reason. Rules about speed (fp16-rate, rtx-int8, cuda-int8) that you waive here.", keyed=True
        ),
    )
    disabled: Optional[Disabled] = None


@dataclass(frozen=True)
class Override:
    select: str = field(metadata=described("Cell ids, with * and {a,b}; later overrides win."))
    set: CellSettings


@dataclass(frozen=True)
class Matrix:
    schema: Literal[1]
    model: Model
    precisions: Tuple[Precision, ...]
    targets: Tuple[Target, ...] = field(metadata=described("Machines by name.", keyed=True))
    parity: ParitySet
    gates: Tuple[Gate, ...]
    calibration: Optional[Calibration] = field(default=None, metadata=described("Needed for int8."))
    tasks: Tuple[TaskSet, ...] = field(default=(), metadata=described("Task metrics by name.", keyed=True))
    drift: Tuple[DriftLimits, ...] = field(
        default=(), metadata=described("How much worse a number may be than in the last release; see build audit.")
    )
    latency: LatencySettings = LatencySettings()
    sweep: Optional[Sweep] = None
    build: Tuple[str, ...] = field(default=("*",), metadata=described("Cells to build: selectors with * and {a,b}."))
    skip: Tuple[str, ...] = field(default=(), metadata=described("Cells to leave out."))
    defaults: CellSettings = CellSettings()
    overrides: Tuple[Override, ...] = ()
    store: str = field(default="artifacts", metadata=described("Folder of the OCI image layout."))
    fleet: Optional[FleetSettings] = None
    machines: Tuple[Listed, ...] = field(
        default=(),
        metadata=described("Machines by name, and the targets that each may do; also a file of its own.", keyed=True),
    )

    def target(self, name: str) -> Target:
        return next(t for t in self.targets if t.name == name)

    def head(self, name: str) -> Head:
        return next(h for h in self.model.heads if h.name == name)

    def task(self, name: str) -> TaskSet:
        return next(t for t in self.tasks if t.name == name)

    def profile(self, name: str) -> Profile:
        return next(p for p in self.model.profiles if p.name == name)


# Parts of a name that do not identify a model.
_NOISE = re.compile(r"nvidia|geforce|tesla|quadro|jetson|gpu|nvgpu|the|an?|developer|kit")
_WORKSTATION = re.compile(r"\brtx[ -]?(?=a[0-9])")  # RTX A6000 is called A6000, too


def gpu_model(name: str) -> str:
    """`RTX 3090` of `NVIDIA GeForce RTX 3090`. "" for a name without a model."""
    parts = re.split(r"[^a-z0-9.]+", _WORKSTATION.sub("", name.lower()))
    return " ".join(part.upper() for part in parts if part and not _NOISE.fullmatch(part))
