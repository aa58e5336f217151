"""Jobs: the symbolic steps that make cells, and what each needs. Data only.

A job names files and the outputs of other jobs; `builder/planning/job_graph.py` draws the jobs of a cell, `builder/planning/resolver.py` turns
each into an action with digests, `builder/execution/scheduler.py` performs it. Cells that need the same ONNX draw the same job.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import List, Optional, Tuple, Union

from builder.actions.recipes import Recipe
from builder.config.matrix import Head, Matrix, OnnxSource, Photographs, TorchSource, WeightsFile
from builder.config.remote_machines import Reached
from builder.platforms.platform import Platform
from builder.records import Setting


@dataclass(frozen=True)
class FilePin:
    """A file beside matrix.yaml. `sha256` is what the matrix says it must be."""

    name: str
    path: str
    sha256: Optional[str] = None


@dataclass(frozen=True)
class PhotographPin:
    name: str
    photographs: Photographs
    file: str


@dataclass(frozen=True)
class CodePin:
    """The Python modules of the project that a factory reaches, without their comments."""

    name: str
    factory: str


@dataclass(frozen=True)
class CodeFilesPin:
    """The same modules as files below the folder `name`, for code that is performed where the project is not."""

    name: str
    factory: str


@dataclass(frozen=True)
class OutputPin:
    """A file made by another job; output `*` is all of them, below the folder `name`."""

    name: str
    job: str
    output: str


Pin = Union[FilePin, PhotographPin, CodePin, CodeFilesPin, OutputPin]


@dataclass(frozen=True)
class Job:
    """`tools` are packages whose installed versions enter the key. `exclusive`: nothing else may run beside it.
    `elsewhere`: why this machine cannot perform it. `reached`: the machines that may perform it instead, if any can be reached."""

    id: str
    recipe: Recipe
    pins: Tuple[Pin, ...]
    tools: Tuple[str, ...]
    platform: Optional[Platform] = None
    exclusive: bool = False
    elsewhere: Optional[str] = None
    reached: Tuple[Reached, ...] = ()

    @property
    def needs(self) -> Tuple[str, ...]:
        return tuple(dict.fromkeys(pin.job for pin in self.pins if isinstance(pin, OutputPin)))


def sample_name(photograph: str, size: Tuple[int, int]) -> str:
    """`camera-480x640` for photographs/camera.png at 480x640."""
    stem = photograph.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"{stem}-{size[0]}x{size[1]}"


# What every job that opens the model itself needs: its files, its options and the package that runs it.


def source_pins(matrix: Matrix) -> Tuple[Pin, ...]:
    source = matrix.model.source
    if isinstance(source, OnnxSource):
        return (FilePin("source.onnx", source.onnx, source.sha256),)
    pins: List[Pin] = [CodePin("code", source.factory)]
    if isinstance(source.weights, WeightsFile):
        suffix = PurePosixPath(source.weights.file).suffix or ".pth"
        pins.append(FilePin(f"weights{suffix}", source.weights.file, source.weights.sha256))
    return tuple(pins)


def options(matrix: Matrix, head: Head) -> Tuple[Setting, ...]:
    """The factory's options with the head's laid over them."""
    own = matrix.model.source.options if isinstance(matrix.model.source, TorchSource) else ()
    merged = {s.name: s for s in (*own, *head.options)}
    return tuple(merged.values())


def source_runtime(matrix: Matrix) -> str:
    return "torch" if isinstance(matrix.model.source, TorchSource) else "onnxruntime"
