"""Jobs: the symbolic steps that make one cell, and what each needs. Pure.

A job names files and the outputs of other jobs; `builder/pinning.py` turns it into an action with digests,
`builder/run.py` performs it. Cells that need the same ONNX draw the same job.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import List, Optional, Tuple, Union

from builder import shapes
from builder.action import Platform
from builder.cells import Cell, Settings
from builder.consistency import accepts, bytes_of
from builder.matrix import Head, Matrix, OnnxSource, Photographs, Setting, TaskSet, TorchSource, WeightsFile
from builder.places import PACKAGE
from builder.recipes import (
    Engine,
    Export,
    LowerFp16,
    LowerInt8,
    MeasureLatency,
    MeasureParity,
    MeasureTask,
    Recipe,
    Reference,
    ScoreReference,
    Simplify,
    TaskCases,
)

_METRIC_TOOLS = ("numpy", "opencv-python-headless")  # what a metric may import; their versions enter its key


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
    `elsewhere`: why this machine cannot perform it."""

    id: str
    recipe: Recipe
    pins: Tuple[Pin, ...]
    tools: Tuple[str, ...]
    platform: Optional[Platform] = None
    exclusive: bool = False
    elsewhere: Optional[str] = None

    @property
    def needs(self) -> Tuple[str, ...]:
        return tuple(dict.fromkeys(pin.job for pin in self.pins if isinstance(pin, OutputPin)))


@dataclass(frozen=True)
class Wanted:
    """A cell to draw jobs for. `elsewhere`: why it cannot be built here; `unrunnable`: why it cannot be run here;
    `machine`: the kind of machine that would time it here."""

    cell: Cell
    settings: Settings
    platform: Platform
    machine: str
    elsewhere: Optional[str] = None
    unrunnable: Optional[str] = None


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


def draw(matrix: Matrix, wanted: Wanted) -> Drawn:
    head = matrix.head(wanted.cell.head)
    export = _export(matrix, head)
    graphs = [export]
    if wanted.settings.simplify:
        graphs.append(_simplify(matrix, head, export.id))
    lowered = _lower(matrix, wanted, graphs[-1].id)
    if lowered is not None:
        graphs.append(lowered)
    engine = _engine(matrix, wanted, graphs[-1].id)
    reference = _reference(matrix, head)
    parity = _parity(matrix, wanted, engine.id, reference.id)
    tasks = [_task(matrix, wanted, task, engine.id) for task in _fitting_tasks(matrix, wanted)]
    latency = _latency(matrix, wanted, engine.id, export.id)
    jobs = (*graphs, engine, reference, parity, *(job for made, _ in tasks for job in made), latency)
    return Drawn(jobs, graphs[-1].id, engine.id, parity.id, latency.id, tuple(drawn for _, drawn in tasks))


def _source_pins(matrix: Matrix) -> Tuple[Pin, ...]:
    source = matrix.model.source
    if isinstance(source, OnnxSource):
        return (FilePin("source.onnx", source.onnx, source.sha256),)
    pins: List[Pin] = [CodePin("code", source.factory)]
    if isinstance(source.weights, WeightsFile):
        suffix = PurePosixPath(source.weights.file).suffix or ".pth"
        pins.append(FilePin(f"weights{suffix}", source.weights.file, source.weights.sha256))
    return tuple(pins)


def _export(matrix: Matrix, head: Head) -> Job:
    model = matrix.model
    example = next(r for r in model.profiles[0].inputs if r.name == model.inputs[0].name).min
    options = _options(matrix, head)
    recipe = Export(model.source, head.name, options, model.inputs, head.outputs, example, model.opset)
    tools = ("torch", "onnx", "onnxscript") if isinstance(model.source, TorchSource) else ("onnx",)
    return Job(f"export/{head.name}", recipe, _source_pins(matrix), tools)


def _options(matrix: Matrix, head: Head) -> Tuple[Setting, ...]:
    """The factory's options with the head's laid over them."""
    own = matrix.model.source.options if isinstance(matrix.model.source, TorchSource) else ()
    merged = {s.name: s for s in (*own, *head.options)}
    return tuple(merged.values())


def _simplify(matrix: Matrix, head: Head, export: str) -> Job:
    shape = next(r for r in matrix.model.profiles[0].inputs if r.name == matrix.model.inputs[0].name)
    recipe = Simplify(matrix.model.inputs, head.outputs, (shape.min, shape.opt), head.align is not None)
    return Job(
        f"simplify/{head.name}",
        recipe,
        (OutputPin("model.onnx", export, "model.onnx"),),
        ("onnx", "onnxsim", "onnxruntime"),
    )


def _lower(matrix: Matrix, wanted: Wanted, onnx: str) -> Optional[Job]:
    """The lowering this cell needs: none for fp32, and none where the runtime itself stores fp16 or computes bf16."""
    cell, runtime = wanted.cell, matrix.target(wanted.cell.target).runtime
    variant = f"{cell.head}" if wanted.settings.simplify else f"{cell.head}/unsimplified"
    model_pin = OutputPin("model.onnx", onnx, "model.onnx")
    if cell.precision == "fp16" and runtime != "openvino":
        return Job(f"lower-fp16/{variant}", LowerFp16(), (model_pin,), ("onnx", "onnxruntime"))
    if cell.precision != "int8" or matrix.calibration is None:
        return None
    chosen, photographs = matrix.calibration, matrix.calibration.photographs
    names = tuple(f"photographs/{name}" for name in photographs.files)
    pins = tuple(PhotographPin(name, photographs, file) for name, file in zip(names, photographs.files))
    recipe = LowerInt8(
        photographs=names,
        input=matrix.model.inputs[0],
        size=chosen.size,
        preprocess=matrix.model.preprocess,
        method=chosen.method,
        percentile=chosen.percentile,
        activations=wanted.settings.activations,
    )
    job = f"lower-int8/{variant}/{wanted.settings.activations}"
    return Job(job, recipe, (model_pin, *pins), ("onnx", "onnxruntime", "numpy", "opencv-python-headless"))


def _engine(matrix: Matrix, wanted: Wanted, onnx: str) -> Job:
    settings = wanted.settings
    recipe = Engine(
        precision=wanted.cell.precision,
        compute=settings.compute,
        profiles=tuple(matrix.profile(name) for name in settings.profiles),
        workspace=bytes_of(settings.workspace),
    )
    tools = () if wanted.elsewhere else (PACKAGE[matrix.target(wanted.cell.target).runtime],)
    pins = (OutputPin("model.onnx", onnx, "model.onnx"),)
    return Job(f"engine/{wanted.cell.id}", recipe, pins, tools, wanted.platform, elsewhere=wanted.elsewhere)


def _reference(matrix: Matrix, head: Head) -> Job:
    model, chosen = matrix.model, matrix.parity.photographs
    names = tuple(f"photographs/{file}" for file in chosen.files)
    recipe = Reference(
        source=model.source,
        head=head.name,
        options=_options(matrix, head),
        input=model.inputs[0],
        outputs=tuple(o.name for o in head.outputs),
        photographs=names,
        sizes=matrix.parity.sizes,
        preprocess=model.preprocess,
    )
    pins = tuple(PhotographPin(name, chosen, file) for name, file in zip(names, chosen.files))
    tools = (_source_runtime(matrix), "numpy", "opencv-python-headless")
    return Job(f"reference/{head.name}", recipe, (*_source_pins(matrix), *pins), tools)


def _source_runtime(matrix: Matrix) -> str:
    return "torch" if isinstance(matrix.model.source, TorchSource) else "onnxruntime"


def sample_name(photograph: str, size: Tuple[int, int]) -> str:
    """`camera-480x640` for photographs/camera.png at 480x640."""
    stem = photograph.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"{stem}-{size[0]}x{size[1]}"


def _samples(matrix: Matrix, wanted: Wanted) -> Tuple[str, ...]:
    """The reference samples inside this cell's profiles."""
    image = matrix.model.inputs[0]
    profiles = [matrix.profile(name) for name in wanted.settings.profiles]
    sizes = [
        s
        for s in matrix.parity.sizes
        if any(accepts(p, image.name, shapes.with_size(image.shape, s)) for p in profiles)
    ]
    return tuple(sample_name(file, size) for file in matrix.parity.photographs.files for size in sizes)


def _parity(matrix: Matrix, wanted: Wanted, engine: str, reference: str) -> Job:
    head, samples = matrix.head(wanted.cell.head), _samples(matrix, wanted)
    recipe = MeasureParity(
        samples=samples,
        outputs=tuple(o.name for o in head.outputs),
        align=head.align,
        compute=wanted.settings.compute,
        static=wanted.settings.static,
    )
    pins: List[Pin] = [OutputPin("artifact", engine, "*")]
    pins += [OutputPin(f"reference/{name}.npz", reference, f"{name}.npz") for name in samples]
    # Tools of a machine that is not this one are not known here, so they cannot be part of the key.
    tools = () if wanted.unrunnable else ("polygraphy", "numpy")
    return Job(f"parity/{wanted.cell.id}", recipe, tuple(pins), tools, wanted.platform, elsewhere=wanted.unrunnable)


def _fitting_tasks(matrix: Matrix, wanted: Wanted) -> Tuple[TaskSet, ...]:
    """The tasks that are for this cell's head, at a size inside its profiles."""
    image = matrix.model.inputs[0]
    profiles = [matrix.profile(name) for name in wanted.settings.profiles]
    return tuple(
        task
        for task in matrix.tasks
        if wanted.cell.head in (task.heads or (wanted.cell.head,))
        and any(accepts(p, image.name, shapes.with_size(image.shape, task.size)) for p in profiles)
    )


def _task(matrix: Matrix, wanted: Wanted, task: TaskSet, engine: str) -> Tuple[Tuple[Job, ...], DrawnTask]:
    """The cases, the model's own score and the artifact's."""
    head, image = matrix.head(wanted.cell.head), matrix.model.inputs[0]
    code = CodeFilesPin("code", task.metric)
    names = tuple(f"data/{file}" for file in task.data.files)
    files = tuple(PhotographPin(name, task.data, file) for name, file in zip(names, task.data.files))
    cases = Job(
        f"task-cases/{task.name}",
        TaskCases(task.metric, task.options, names, task.size, matrix.model.preprocess),
        (code, *files),
        _METRIC_TOOLS,
    )
    made = OutputPin("cases", cases.id, "*")
    reference = Job(
        f"task-reference/{task.name}/{head.name}",
        ScoreReference(
            source=matrix.model.source,
            head=head.name,
            options=_options(matrix, head),
            input=image,
            outputs=tuple(o.name for o in head.outputs),
            contract=head,
            metric=task.metric,
            settings=task.options,
        ),
        (*_source_pins(matrix), code, made),
        (_source_runtime(matrix), *_METRIC_TOOLS),
    )
    settings = wanted.settings
    scored = Job(
        f"task/{wanted.cell.id}/{task.name}",
        MeasureTask(head, image.name, task.metric, task.options, settings.compute, settings.static),
        (OutputPin("artifact", engine, "*"), code, made),
        () if wanted.unrunnable else _METRIC_TOOLS,
        wanted.platform,
        elsewhere=wanted.unrunnable,
    )
    return (cases, reference, scored), DrawnTask(task.name, scored.id, reference.id)


def _latency(matrix: Matrix, wanted: Wanted, engine: str, export: str) -> Job:
    image = matrix.model.inputs[0].name
    shape = next(r for r in matrix.profile(wanted.settings.profiles[0]).inputs if r.name == image).opt
    recipe = MeasureLatency(
        input=image,
        shape=shape,
        seconds=matrix.latency.seconds,
        threads=matrix.latency.threads,
        compute=wanted.settings.compute,
        static=wanted.settings.static,
        machine=matrix.target(wanted.cell.target).machine if wanted.unrunnable else wanted.machine,
    )
    pins = (OutputPin("artifact", engine, "*"), OutputPin("naive.onnx", export, "model.onnx"))
    id, tools = f"latency/{wanted.cell.id}", () if wanted.unrunnable else ("onnxruntime",)
    return Job(id, recipe, pins, tools, wanted.platform, exclusive=True, elsewhere=wanted.unrunnable)
