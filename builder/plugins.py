"""Extension points, as protocols, and how to find an implementation.

Protocols, and how to find an implementation. Built-in implementations are named in `BUILT_IN` and imported on use;
other packages add theirs through entry points of the groups `deploymatrix.backend`, `deploymatrix.executors`,
`deploymatrix.repository`, `deploymatrix.source`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Protocol,
    Tuple,
    Type,
    cast,
    runtime_checkable,
)

from builder.errors import StoreDamaged, UsageError

if TYPE_CHECKING:  # a pull does not load modules of builds
    import numpy as np

    from builder.actions.action import Action, Result
    from builder.actions.recipes import Engine, Export, Made, ModelItself
    from builder.config.contract import Compute
    from builder.config.remote_machines import Reached
    from builder.execution.executors import Campaign
    from builder.platforms.platform import Blob, Platform
    from builder.store.oci import Descriptor

    Tensors = Mapping[str, np.ndarray[Any, np.dtype[Any]]]
else:
    Tensors = Mapping


@dataclass(frozen=True)
class OpenOptions:
    """How to open an artifact.

    `threads`: 0 for every core. `static`: see CellSettings. `frugal`: free memory between runs, for images of many
    sizes; slower.
    """

    compute: Compute = "f32"
    static: bool = False
    threads: int = 0
    frugal: bool = False


class Runner(Protocol):
    """An open artifact: maps input tensors by name to output tensors by name.

    Not thread-safe.
    """

    def __call__(self, inputs: Tensors) -> Dict[str, "np.ndarray[Any, np.dtype[Any]]"]: ...


@runtime_checkable
class Telling(Protocol):
    """A runner that reports the precision its layers compute in."""

    def arithmetic(self) -> Dict[str, int]:
        """precision (fp32, bf16, fp16, int8, ...) -> layers of the model as it ran last."""
        ...


@runtime_checkable
class Shared(Protocol):
    """A runner that can serve several calls at once from one loaded model."""

    def twin(self) -> Runner:
        """A runner that may be called while this one is, and gives the same."""
        ...


class Backend(Protocol):
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        """Write the files that `open` reads into `out`. Raises StepFailed.

        `timing.cache` and `calibration.npz` are beside `onnx` where the recipe has them; `.cache` files of these names
        in `out` are by-products.
        """
        ...

    def open(self, folder: Path, options: OpenOptions) -> Runner:
        """Open the files that `build` wrote. Raises StepFailed."""
        ...


class Source(Protocol):
    def export(self, recipe: Export, files: Path, root: Path, out: Path) -> Made:
        """Write `model.onnx` into `out`. Raises StepFailed."""
        ...

    def open(self, recipe: ModelItself, files: Path, root: Path) -> Runner:
        """Open the model itself, the reference for artifacts."""
        ...


class Store(Protocol):
    def fetch(self, digest: str) -> Path:
        """The path of a stored blob, read-only. Raises StoreDamaged when it is missing."""
        ...

    def put(self, file: Path) -> Blob:
        """Take `file` in (it is moved). The blob is whole on disk when this returns."""
        ...

    def recall(self, key: str) -> Optional[Result]:
        """The recorded result, if all its blobs are there."""
        ...

    def record(self, result: Result) -> None: ...

    def workspace(self) -> ContextManager[Path]:
        """A folder from which `put` can move files without copying; gone afterwards."""
        ...


def held(store: Store, blob: Blob) -> bool:
    """Is this file there, in its full size?"""
    try:
        return store.fetch(blob.digest).stat().st_size == blob.size
    except StoreDamaged:
        return False


def lacking(store: Store, outputs: Tuple[Blob, ...], where: str) -> Tuple[Blob, ...]:
    """The outputs of an action that are not in `store`.

    Raises StoreDamaged for a name outside its folder.
    """
    if len({blob.name for blob in outputs}) < len(outputs) or not all(blob.is_plain for blob in outputs):
        raise StoreDamaged("its outputs have names that lead elsewhere", where=where)
    return tuple(blob for blob in outputs if not held(store, blob))


@dataclass(frozen=True)
class Stream:
    """The bytes of a file from `start` on, piece by piece."""

    start: int
    pieces: Iterator[bytes]


class Repository(Protocol):
    """A place to publish versions to and pull them from.

    A folder, a registry, a web server, a bucket. It keeps OCI objects (small JSON) and files, both by digest, and tags
    that name objects. Its answers are not trusted: the caller verifies size and digest (builder/store/transfers.py).
    Methods are called from several threads. They raise Unreachable for no answer or a refusal, StoreDamaged for an
    invalid answer.
    """

    @property
    def name(self) -> str:
        """For messages: where it is, without secrets."""
        ...

    def tags(self) -> Tuple[str, ...]: ...

    def resolve(self, tag: str) -> Optional[Descriptor]:
        """The object of a tag; None when there is no such tag."""
        ...

    def has(self, it: Descriptor) -> bool: ...

    def stream(self, it: Descriptor, start: int = 0) -> ContextManager[Stream]:
        """A file or an object from byte `start` on, or from an earlier one when ranges are not supported."""
        ...

    def put(self, it: Descriptor, source: Path) -> None:
        """Add a file or an object atomically. An existing one is left alone."""
        ...

    def tag(self, tag: str, it: Descriptor) -> None:
        """Let `tag` name the object `it`, which is there, in one step."""
        ...


@runtime_checkable
class Partial(Protocol):
    """A repository that may hold a version without some of its artifacts."""

    def lacks(self, it: Descriptor) -> bool:
        """Was it left out on purpose?"""
        ...


class Executor(Protocol):
    def perform(
        self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: Callable[[str], None]
    ) -> Result:
        """Perform one action and put its outputs into `store`. Raises StepFailed."""
        ...

    def stop(self) -> None:
        """End all running actions at once. May be called from another thread."""


class Executors(Protocol):
    """All executors of one kind in a run.

    A context: at its end nothing that they started is running.
    """

    def at(self, place: Reached) -> Executor:
        """The executor of a place; the same one for the same place."""
        ...

    def __enter__(self) -> "Executors": ...

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None: ...


BUILT_IN: Dict[Tuple[str, str], str] = {
    ("backend", "onnxruntime"): "builder.runtimes.onnxruntime:OnnxRuntime",
    ("backend", "onnxruntime-gpu"): "builder.runtimes.onnxruntime:OnnxRuntimeCuda",
    ("backend", "openvino"): "builder.runtimes.openvino:OpenVino",
    ("backend", "tensorrt-rtx"): "builder.runtimes.tensorrt:TensorRtRtx",
    ("backend", "tensorrt"): "builder.runtimes.tensorrt:TensorRt",
    ("source", "torch"): "builder.models.pytorch:TorchModule",
    ("source", "onnx"): "builder.models.onnx_files:OnnxFile",
    ("executors", "ssh"): "builder.execution.ssh.executor:machines",
    ("executors", "fleet"): "builder.execution.fleet.executor:fleet",
    ("repository", "file"): "builder.store.remotes.folder:Folder",
    ("repository", "https"): "builder.store.remotes.web:Web",
    ("repository", "http"): "builder.store.remotes.web:Web",
    ("repository", "s3"): "builder.store.remotes.bucket:Bucket",
    ("repository", "bundle"): "builder.store.remotes.bundle:Bundle",
    ("repository", "oci"): "builder.store.remotes.registry:Registry",
    ("repository", "oci+http"): "builder.store.remotes.registry:Registry",
}


def backend(name: str) -> Backend:
    return cast(Backend, _find("backend", name)())


def source(name: str) -> Source:
    return cast(Source, _find("source", name)())


def executors(scheme: str) -> Callable[[Campaign], Executors]:
    """The factory of executors for machines that begin with `scheme:`."""
    return cast("Callable[[Campaign], Executors]", _find("executors", scheme))


def repository(address: str, environ: Mapping[str, str]) -> Repository:
    """The repository at `address`, a path or a URL with a known scheme.

    Opens no connection.
    """
    scheme, there, _ = address.partition("://")
    kind = scheme if there else "bundle" if is_bundle(address) else "file"
    return cast(Repository, _find("repository", kind)(address, environ))


def is_bundle(address: str) -> bool:
    """Whether a path is a bundle and not a folder; by its name when nothing is there."""
    path = Path(address)
    return "://" not in address and (path.is_file() or (path.suffix == ".tar" and not path.is_dir()))


def _find(kind: str, name: str) -> Callable[..., object]:
    place = BUILT_IN.get((kind, name))
    if place is not None:
        module, _, attribute = place.partition(":")
        return cast("Callable[..., object]", getattr(import_module(module), attribute))
    for entry in _entry_points(f"deploymatrix.{kind}"):
        if entry.name == name:
            return cast("Callable[..., object]", entry.load())
    known = ", ".join(n for k, n in BUILT_IN if k == kind)
    raise UsageError(f"there is no {kind} {name!r}", hint=f"built in: {known}")


def _entry_points(group: str) -> Iterable[Any]:
    from importlib import metadata  # slow to import, and only needed for third-party plug-ins

    found: Any = metadata.entry_points()
    return cast("Iterable[Any]", found.select(group=group) if hasattr(found, "select") else found.get(group, ()))
