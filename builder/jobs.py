"""Jobs: the symbolic steps that make cells, and what each needs. Data only.

A job names files and the outputs of other jobs; `builder/drawing/draw.py` draws the jobs of a cell, `builder/pinning.py` turns
each into an action with digests, `builder/run.py` performs it. Cells that need the same ONNX draw the same job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple, Union

from builder.actions.recipes import Recipe
from builder.config.cells import Cell, Settings
from builder.config.matrix import Photographs
from builder.config.remote_machines import Reached
from builder.platforms.platform import Platform


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


@dataclass(frozen=True)
class Wanted:
    """A cell to draw jobs for. `elsewhere`: why it cannot be built here; `unrunnable`: why it cannot be run here;
    `machine`: the kind of machine that would time it here; `parser`: the package whose parser of TensorRT is here;
    `emulated`: float16 is to be emulated, since `platform` only stands in for the cell's own; `reached`: see Job."""

    cell: Cell
    settings: Settings
    platform: Platform
    machine: str
    elsewhere: Optional[str] = None
    unrunnable: Optional[str] = None
    parser: Optional[str] = None
    emulated: bool = False
    reached: Tuple[Reached, ...] = ()


@dataclass(frozen=True)
class DrawnTask:
    """The jobs that score a cell, and the model itself, on the task `name`."""

    name: str
    job: str
    reference: str


@dataclass(frozen=True)
class Drawn:
    """The jobs of one cell in order of need, and the ids of those that its manifest entry speaks of."""

    jobs: Tuple[Job, ...]
    onnx: str
    engine: str
    parity: str
    latency: str
    tasks: Tuple[DrawnTask, ...]
    parse: str = ""
    sweep: str = ""


def sample_name(photograph: str, size: Tuple[int, int]) -> str:
    """`camera-480x640` for photographs/camera.png at 480x640."""
    stem = photograph.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"{stem}-{size[0]}x{size[1]}"
