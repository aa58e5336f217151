"""The compatibility tables: TOML files in `tables/`, read as records when they are first needed.

A row is what a person checks against a vendor's page: `source` names the page, and `edition` its version, or the release
of the package that was examined. An unknown key and a row without a source are errors. A new row counts everywhere: in
the rules, in what works instead, in the lines to install and in the docs.
"""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Optional, Tuple, Type, TypeVar

from builder.digest import Json
from builder.errors import UsageError
from builder.platforms.versions import Span, release, within
from builder.records import KEYED, RecordError, from_json

FOLDER = Path(__file__).parent / "tables"
T = TypeVar("T")


class Cited:
    """A row that says where it comes from."""

    source: str
    edition: str

    def __post_init__(self) -> None:
        if not self.source.strip() or not self.edition.strip():
            raise ValueError("`source` and `edition` must not be empty")


@dataclass(frozen=True, eq=False)
class Document(Cited):
    """Where a column comes from, or a fact that is no number."""

    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class Toolkit(Cited):
    """One family of CUDA; `last` is its newest release, `driver` the oldest driver on Linux. Within a family, from 11 on,
    any newer driver works: minor version compatibility."""

    family: str
    last: str
    driver: str
    sm_from: str
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class ComputeCapability(Cited):
    """`cuda_from` is the first toolkit that knows it. `jetson`: its software comes with JetPack. `dla`: its chip has DLA
    cores, though not each module of it (Orin Nano has none)."""

    sm: str
    architecture: str
    example: str
    cuda_from: str
    source: str
    edition: str
    jetson: bool = False
    dla: bool = False


@dataclass(frozen=True, eq=False)
class LastDriver(Cited):
    """The last branch of drivers for GPUs whose compute capability is `below` this one."""

    branch: str
    below: str
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class CudnnSeries(Cited):
    """`newest` is empty where any newest release will do."""

    versions: Span
    sm_from: str
    source: str
    edition: str
    newest: str = ""


@dataclass(frozen=True, eq=False)
class CudaTables:
    """cuda.toml."""

    toolkits: Tuple[Toolkit, ...] = field(metadata=KEYED)
    gpus: Tuple[ComputeCapability, ...] = field(metadata=KEYED)
    last_driver: LastDriver
    dla: Document
    cudnn: Tuple[CudnnSeries, ...] = field(metadata=KEYED)


@dataclass(frozen=True, eq=False)
class JetPack(Cited):
    """The software of a Jetson, all of one piece."""

    versions: Span
    newest: str
    l4t: str
    tensorrt: str
    cuda: str
    cudnn: str
    python: str
    sm: Tuple[str, ...]
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class JetPackTables:
    """jetpack.toml."""

    series: Tuple[JetPack, ...] = field(metadata=KEYED)


@dataclass(frozen=True, eq=False)
class L4t(Cited):
    """A release of L4T (Jetson Linux) and the JetPack that it belongs to."""

    release: str
    jetpack: str
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class Chip(Cited):
    """`compatible` is its name in the device tree."""

    compatible: str
    name: str
    sm: str
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class JetsonTables:
    """jetson.toml."""

    l4t: Tuple[L4t, ...] = field(metadata=KEYED)
    chips: Tuple[Chip, ...] = field(metadata=KEYED)


@dataclass(frozen=True, eq=False)
class TensorRtSeries(Cited):
    """`newest` is the release to install. `sm` are GPUs; the software of a Jetson comes with its JetPack. `cuda` are the
    releases for x86-64; `sbsa` is the CUDA of the packages for Arm servers, empty where there are none. `opset` is the
    newest ONNX opset that its parser reads. `cudnn`: what its packages need and do not name."""

    versions: Span
    newest: str
    sm: Tuple[str, ...]
    cuda: Tuple[Span, ...]
    python: Span
    opset: int
    source: str
    edition: str
    sbsa: str = ""
    cudnn: str = ""

    def has_cuda(self, text: str) -> bool:
        """Is it listed, or newer within a listed family? The latter is minor version compatibility."""
        number = release(text)
        return any(
            span.covers(text) or (number > release(span.first) and number[0] == release(span.last)[0] >= 11)
            for span in self.cuda
        )


@dataclass(frozen=True, eq=False)
class OldNumPy(Cited):
    """Modules of a TensorRT before this version need this NumPy."""

    before: str
    package: str
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class MostOf(Cited):
    most: int
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class TensorRtTables:
    """tensorrt.toml. `python` and `opset` are the documents of those columns; `topk`, `dimensions` and `elements` limit a graph."""

    series: Tuple[TensorRtSeries, ...] = field(metadata=KEYED)
    python: Document
    opset: Document
    numpy: Tuple[OldNumPy, ...] = field(metadata=KEYED)
    topk: MostOf
    dimensions: MostOf
    elements: MostOf


@dataclass(frozen=True, eq=False)
class Option(Cited):
    """An option of the builder, from version `first` to before `end`. `rtx`: whether TensorRT-RTX has it. The name is that
    of matrix.yaml, or `name=value` where only one value is special."""

    name: str
    first: str
    rtx: bool
    instead: str
    source: str
    edition: str
    end: str = ""


@dataclass(frozen=True, eq=False)
class OptionTables:
    """tensorrt_options.toml."""

    options: Tuple[Option, ...] = field(metadata=KEYED)
    bindings: Document


@dataclass(frozen=True, eq=False)
class RtxSeries(Cited):
    versions: Span
    newest: str
    sm: Tuple[str, ...]
    cuda: Tuple[Span, ...]
    python: Span
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class RtxPlatform(Cited):
    os: str
    arch: str
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class RtxPackages(Cited):
    """The CUDA that its packages on the package index bring."""

    cuda: str
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class RtxTables:
    """rtx.toml."""

    series: Tuple[RtxSeries, ...] = field(metadata=KEYED)
    platforms: Tuple[RtxPlatform, ...]
    packages: RtxPackages


@dataclass(frozen=True, eq=False)
class OrtSeries(Cited):
    """`cudnn` is the first number. `code` is what its kernels are compiled for on x86-64; `ptx` the oldest that the driver
    can compile for any newer GPU, empty where there is none; `arm` the code of the wheel for Arm servers. `extras`:
    whether `onnxruntime-gpu[cuda,cudnn]` can be installed."""

    versions: Span
    newest: str
    cuda: Span
    cudnn: str
    code: Tuple[str, ...]
    python: Span
    source: str
    edition: str
    ptx: str = ""
    arm: Tuple[str, ...] = ()
    extras: bool = False

    @property
    def arches(self) -> Tuple[str, ...]:
        return ("x86_64", "aarch64") if self.arm else ("x86_64",)

    def code_on(self, arch: str) -> Tuple[str, ...]:
        return self.arm if arch == "aarch64" else self.code

    def runs_on(self, sm: str, arch: str = "x86_64") -> bool:
        """Code for 8.0 runs on 8.6 too, but not on 9.0; what PTX there is, the driver compiles for anything newer."""
        wanted = release(sm)
        if self.ptx and arch == "x86_64" and wanted >= release(self.ptx):
            return True
        return any(release(code)[0] == wanted[0] and release(code) <= wanted for code in self.code_on(arch))


@dataclass(frozen=True, eq=False)
class OrtTables:
    """onnxruntime_gpu.toml."""

    series: Tuple[OrtSeries, ...] = field(metadata=KEYED)
    int8: Document


@dataclass(frozen=True, eq=False)
class NativeFrom(Cited):
    """`sm_from` is the lowest compute capability that has it; `without` are newer ones that lack it all the same."""

    precision: str
    sm_from: str
    source: str
    edition: str
    without: Tuple[str, ...] = ()

    def on(self, sm: str) -> bool:
        return release(sm) >= release(self.sm_from) and sm not in self.without


@dataclass(frozen=True, eq=False)
class Rate(Cited):
    """Results per clock beside those of fp32, on one multiprocessor. A rate below 1 has to be asked for."""

    precision: str
    sm: Tuple[str, ...]
    times: float
    words: str
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class CpuFeatures(Cited):
    features: Tuple[str, ...]
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class CpuSpeed(Cited):
    """How many times as fast as the naive export."""

    runtime: str
    precision: str
    times: float
    source: str
    edition: str


@dataclass(frozen=True, eq=False)
class PrecisionTables:
    """precision.toml. `cpu_bf16` makes bf16 arithmetic of a processor native."""

    arithmetic: Tuple[NativeFrom, ...] = field(metadata=KEYED)
    rates: Tuple[Rate, ...]
    tensor_cores: Tuple[NativeFrom, ...] = field(metadata=KEYED)
    cpu_bf16: Tuple[CpuFeatures, ...]
    cpu_speeds: Tuple[CpuSpeed, ...]


# ---------------------------------------------------------------------------------------------- reading


def names() -> Tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def file_of(name: str) -> str:
    """Where a row is missing: builder/platforms/tables/cuda.toml."""
    return f"{__name__.replace('.', '/')}/{name}.toml"


def document(name: str) -> Json:
    """The parsed text of a table. Raise UsageError when it does not parse.

    A machine that is worked on over SSH may have no parser of TOML: its copy is JSON (`builder/execution/ssh/connection.py`).
    """
    copy = FOLDER / f"{name}.json"
    if copy.is_file():
        return json.loads(copy.read_bytes())  # type: ignore[no-any-return]
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    path = FOLDER / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"is not TOML: {problem}", where=str(path)) from None


@functools.lru_cache(maxsize=None)
def _read(name: str, cls: Type[T]) -> T:
    try:
        return from_json(cls, document(name))
    except RecordError as problem:
        hint = f"known there: {', '.join(problem.known)}" if problem.known else None
        raise UsageError(str(problem), where=str(FOLDER / f"{name}.toml"), hint=hint) from None


cuda: Callable[[], CudaTables] = partial(_read, "cuda", CudaTables)
jetpack: Callable[[], JetPackTables] = partial(_read, "jetpack", JetPackTables)
jetson: Callable[[], JetsonTables] = partial(_read, "jetson", JetsonTables)
tensorrt: Callable[[], TensorRtTables] = partial(_read, "tensorrt", TensorRtTables)
tensorrt_options: Callable[[], OptionTables] = partial(_read, "tensorrt_options", OptionTables)
rtx: Callable[[], RtxTables] = partial(_read, "rtx", RtxTables)
onnxruntime_gpu: Callable[[], OrtTables] = partial(_read, "onnxruntime_gpu", OrtTables)
precision: Callable[[], PrecisionTables] = partial(_read, "precision", PrecisionTables)


# ---------------------------------------------------------------------------------------------- finding rows


def gpu(sm: str) -> Optional[ComputeCapability]:
    return next((row for row in cuda().gpus if row.sm == sm), None)


def toolkit(version: str) -> Optional[Toolkit]:
    """The family of CUDA that a release belongs to, if it is known."""
    return next((row for row in cuda().toolkits if within(version, row.family)), None)


def drivers(version: str, sm: str) -> str:
    """The drivers for this CUDA on this GPU: 525.60.13 or newer."""
    row, last = toolkit(version), cuda().last_driver
    if row is None:
        return ""
    return f"{row.driver} to {last.branch}" if release(sm) < release(last.below) else f"{row.driver} or newer"


def cudnn_series(version: str) -> Optional[CudnnSeries]:
    return next((row for row in cuda().cudnn if row.versions.covers(version)), None)


def cudnn_for(row: OrtSeries, sm: str) -> Optional[CudnnSeries]:
    """The newest cuDNN that `row` takes and that has kernels for `sm`."""
    fitting = [c for c in cuda().cudnn if within(c.versions.first, row.cudnn) and release(sm) >= release(c.sm_from)]
    return fitting[-1] if fitting else None


def jetpack_series(version: str) -> Tuple[JetPack, ...]:
    """The rows that a declared version may mean: 4.6 says too little to tell 4.6.0 from 4.6.1."""
    return tuple(row for row in jetpack().series if row.versions.covers(version))


def jetpack_of(l4t: str) -> Optional[str]:
    """6.2.1 for L4T 36.4.4. None for a release that is in no table.

    A row counts up to the next one of its major version, and the last one for its patches only.
    """
    number = release(l4t)
    rows = [row for row in jetson().l4t if release(row.release)[:1] == number[:1]]
    known = [row.jetpack for row in rows if release(row.release) <= number]
    newer = rows and number[:2] > release(rows[-1].release)[:2]
    return known[-1] if known and not newer else None


@functools.lru_cache(maxsize=None)
def tensorrt_series(version: str) -> Optional[TensorRtSeries]:
    """The row of a declared version, which has to say at least two numbers: 10.16."""
    return next((row for row in tensorrt().series if _covers(row.versions, version)), None)


@functools.lru_cache(maxsize=None)
def rtx_series(version: str) -> Optional[RtxSeries]:
    return next((row for row in rtx().series if _covers(row.versions, version)), None)


@functools.lru_cache(maxsize=None)
def ort_series(version: str) -> Optional[OrtSeries]:
    return next((row for row in onnxruntime_gpu().series if _covers(row.versions, version)), None)


def _covers(span: Span, version: str) -> bool:
    return len(release(version)) >= 2 and span.covers(version)


def arithmetic(name: str) -> Optional[NativeFrom]:
    return next((row for row in precision().arithmetic if row.precision == name), None)


def tensor_cores(name: str) -> Optional[NativeFrom]:
    return next((row for row in precision().tensor_cores if row.precision == name), None)


def rate(name: str, sm: str) -> Optional[Rate]:
    return next((row for row in precision().rates if row.precision == name and sm in row.sm), None)


def cpu_bf16() -> Tuple[str, ...]:
    """The features of processors with native bf16 arithmetic."""
    return tuple(feature for row in precision().cpu_bf16 for feature in row.features)
