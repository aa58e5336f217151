"""plan(matrix, machine) -> Plan: every cell with its fate, and the jobs that would make the cells. Pure.

A job is symbolic: it names files and the outputs of other jobs. `builder/pinning.py` turns it into an action with
digests, `builder/run.py` performs it. Jobs come in an order in which every need is met by an earlier job, and
cells that need the same ONNX name the same job.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Dict, List, Optional, Tuple, Union

from builder import shapes
from builder.action import Platform
from builder.cells import Cell, Settings, all_cells, any_selects, resolve, settings_of
from builder.compat import rules
from builder.consistency import accepts, bytes_of
from builder.facts import Machine
from builder.matrix import Head, Matrix, OnnxSource, Photographs, Setting, TorchSource, WeightsFile
from builder.places import PACKAGE, cannot_build, cannot_run, how_to_build, how_to_verify, platform_of
from builder.recipes import (
    Engine,
    Export,
    LowerFp16,
    LowerInt8,
    MeasureLatency,
    MeasureParity,
    Recipe,
    Reference,
    Simplify,
)


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
class OutputPin:
    """A file made by another job; output `*` is all of them, below the folder `name`."""

    name: str
    job: str
    output: str


Pin = Union[FilePin, PhotographPin, CodePin, OutputPin]


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
class PlannedCell:
    """`fate`: build (here), waiting (for its machine), skipped (a rule or the person said no). `unverified` says why
    parity cannot be measured here. The job ids are empty for a skipped cell."""

    cell: Cell
    fate: str
    settings: Settings
    platform: Optional[Platform] = None
    reason: str = ""
    source: str = ""
    remedies: Tuple[str, ...] = ()
    unverified: str = ""
    onnx: str = ""
    engine: str = ""
    parity: str = ""
    latency: str = ""


@dataclass(frozen=True)
class Plan:
    cells: Tuple[PlannedCell, ...]
    jobs: Tuple[Job, ...]

    def job(self, id: str) -> Job:
        return next(job for job in self.jobs if job.id == id)


def plan(matrix: Matrix, machine: Machine, *, only: Tuple[str, ...] = (), skip: Tuple[str, ...] = ()) -> Plan:
    """Expand, judge and draw the jobs. `only` and `skip` are selectors from the command line."""
    jobs: Dict[str, Job] = {}
    cells: List[PlannedCell] = []
    for cell in all_cells(matrix):
        if not any_selects(matrix.build, cell) or any_selects(matrix.skip, cell):
            continue
        if (only and not any_selects(only, cell)) or any_selects(skip, cell):
            continue
        cells.append(_plan_cell(matrix, machine, cell, jobs))
    return Plan(tuple(cells), tuple(jobs.values()))


def _plan_cell(matrix: Matrix, machine: Machine, cell: Cell, jobs: Dict[str, Job]) -> PlannedCell:
    target, settings = matrix.target(cell.target), resolve(matrix, cell)
    planned = PlannedCell(cell, "build", settings)
    disabled = target.disabled or settings_of(matrix, cell).disabled
    if disabled is not None:
        remedies = (f"see {disabled.issue}",) if disabled.issue else ()
        return replace(
            planned, fate="skipped", reason=f"disabled: {disabled.reason}", source="matrix.yaml", remedies=remedies
        )
    skip = rules.judge(cell, target, machine)
    if skip is not None:
        return replace(planned, fate="skipped", reason=skip.fact, source=skip.source, remedies=skip.remedies)
    platform = platform_of(target, machine)
    elsewhere, unrunnable = cannot_build(platform, machine), cannot_run(platform, machine)
    planned = replace(planned, platform=platform, unverified=unrunnable or "")
    drawn = _draw(matrix, machine, planned, elsewhere, jobs)
    if elsewhere is not None:
        return replace(drawn, fate="waiting", reason=elsewhere, remedies=(how_to_build(target, machine, matrix.store),))
    return replace(drawn, remedies=(how_to_verify(target, matrix.store),)) if unrunnable else drawn


def _draw(
    matrix: Matrix, machine: Machine, planned: PlannedCell, elsewhere: Optional[str], jobs: Dict[str, Job]
) -> PlannedCell:
    head = matrix.head(planned.cell.head)
    export = _add(jobs, _export(matrix, head))
    onnx = _add(jobs, _simplify(matrix, head, export)) if planned.settings.simplify else export
    lowered = _lower(matrix, planned, onnx)
    onnx = _add(jobs, lowered) if lowered else onnx
    engine = _add(jobs, _engine(matrix, planned, onnx, elsewhere))
    reference = _add(jobs, _reference(matrix, head))
    parity = _add(jobs, _parity(matrix, planned, engine, reference))
    latency = _add(jobs, _latency(matrix, planned, machine, engine, export))
    return replace(planned, onnx=onnx, engine=engine, parity=parity, latency=latency)


def _add(jobs: Dict[str, Job], job: Job) -> str:
    jobs.setdefault(job.id, job)
    return job.id


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


def _lower(matrix: Matrix, planned: PlannedCell, onnx: str) -> Optional[Job]:
    """The lowering this cell needs: none for fp32, and none where the runtime itself stores fp16 or computes bf16."""
    cell, runtime = planned.cell, matrix.target(planned.cell.target).runtime
    variant = f"{cell.head}" if planned.settings.simplify else f"{cell.head}/unsimplified"
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
        activations=planned.settings.activations,
    )
    job = f"lower-int8/{variant}/{planned.settings.activations}"
    return Job(job, recipe, (model_pin, *pins), ("onnx", "onnxruntime", "numpy", "opencv-python-headless"))


def _engine(matrix: Matrix, planned: PlannedCell, onnx: str, elsewhere: Optional[str]) -> Job:
    settings = planned.settings
    recipe = Engine(
        precision=planned.cell.precision,
        compute=settings.compute,
        profiles=tuple(matrix.profile(name) for name in settings.profiles),
        workspace=bytes_of(settings.workspace),
    )
    tools = () if elsewhere else (PACKAGE[matrix.target(planned.cell.target).runtime],)
    pins = (OutputPin("model.onnx", onnx, "model.onnx"),)
    return Job(f"engine/{planned.cell.id}", recipe, pins, tools, planned.platform, elsewhere=elsewhere)


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
    runtime = "torch" if isinstance(model.source, TorchSource) else "onnxruntime"
    return Job(
        f"reference/{head.name}", recipe, (*_source_pins(matrix), *pins), (runtime, "numpy", "opencv-python-headless")
    )


def sample_name(photograph: str, size: Tuple[int, int]) -> str:
    """`camera-480x640` for photographs/camera.png at 480x640."""
    stem = photograph.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return f"{stem}-{size[0]}x{size[1]}"


def _samples(matrix: Matrix, planned: PlannedCell) -> Tuple[str, ...]:
    """The reference samples inside this cell's profiles."""
    image = matrix.model.inputs[0]
    profiles = [matrix.profile(name) for name in planned.settings.profiles]
    sizes = [
        s
        for s in matrix.parity.sizes
        if any(accepts(p, image.name, shapes.with_size(image.shape, s)) for p in profiles)
    ]
    return tuple(sample_name(file, size) for file in matrix.parity.photographs.files for size in sizes)


def _parity(matrix: Matrix, planned: PlannedCell, engine: str, reference: str) -> Job:
    head, samples = matrix.head(planned.cell.head), _samples(matrix, planned)
    recipe = MeasureParity(
        samples=samples,
        outputs=tuple(o.name for o in head.outputs),
        align=head.align,
        compute=planned.settings.compute,
        static=planned.settings.static,
    )
    pins: List[Pin] = [OutputPin("artifact", engine, "*")]
    pins += [OutputPin(f"reference/{name}.npz", reference, f"{name}.npz") for name in samples]
    elsewhere = planned.unverified or None
    # Tools of a machine that is not this one are not known here, so they cannot be part of the key.
    tools = () if elsewhere else ("polygraphy", "numpy")
    return Job(f"parity/{planned.cell.id}", recipe, tuple(pins), tools, planned.platform, elsewhere=elsewhere)


def _latency(matrix: Matrix, planned: PlannedCell, machine: Machine, engine: str, export: str) -> Job:
    image = matrix.model.inputs[0].name
    shape = next(r for r in matrix.profile(planned.settings.profiles[0]).inputs if r.name == image).opt
    elsewhere = planned.unverified or None
    recipe = MeasureLatency(
        input=image,
        shape=shape,
        seconds=matrix.latency.seconds,
        threads=matrix.latency.threads,
        compute=planned.settings.compute,
        static=planned.settings.static,
        machine=matrix.target(planned.cell.target).machine if elsewhere else machine.kind,
    )
    pins = (OutputPin("artifact", engine, "*"), OutputPin("naive.onnx", export, "model.onnx"))
    id, tools = f"latency/{planned.cell.id}", () if elsewhere else ("onnxruntime",)
    return Job(id, recipe, pins, tools, planned.platform, exclusive=True, elsewhere=elsewhere)
