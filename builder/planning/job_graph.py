"""The jobs that make one cell: export, simplify, lower, engine, and what measures it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Optional, Tuple, Union

from builder import digest
from builder.actions.recipes import (
    CalibrationData,
    EmulateFp16,
    Engine,
    Export,
    LowerFp16,
    LowerInt8,
    LowerOpset,
    MeasureLayers,
    Parse,
    Simplify,
)
from builder.config.cells import Cell
from builder.config.matrix import Head, Matrix, TorchSource
from builder.files import bytes_of
from builder.planning import measurement_jobs as measure
from builder.planning.jobs import (
    CodeFilesPin,
    FilePin,
    Job,
    OutputPin,
    PhotographPin,
    Pin,
    options,
    sample_name,
    source_pins,
)
from builder.platforms import tables
from builder.platforms.machines import Machine
from builder.platforms.platform import BUILDER, PARSER

CALIBRATION = "calibration-data"  # the job
# Where Q/DQ pairs go: builder/steps/quantization/placement.py says why.
_PLACEMENT = {"onnxruntime": "around", "tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt"}


def draw(matrix: Matrix, machine: Machine, cell: Cell) -> Tuple[Cell, Tuple[Job, ...]]:
    """The cell with the ids of its jobs, and the jobs in order of need."""
    head = matrix.head(cell.head)
    export = _export(matrix, head)
    graphs = [export]
    if cell.simplify:
        graphs.append(_simplify(matrix, head, export.id))
    data = _calibration_data(matrix, cell)
    lowered = _lower(matrix, cell, graphs[-1].id)
    if lowered is not None:
        graphs.append(lowered)
    respelled = _lower_opset(matrix, cell, graphs[-1].id)
    if respelled is not None:
        graphs.append(respelled)
    if cell.emulated and lowered is not None and isinstance(lowered.recipe, LowerFp16):
        graph = OutputPin("model.onnx", graphs[-1].id, "model.onnx")
        graphs.append(Job(f"emulate-fp16/{graphs[-1].id}", EmulateFp16(), (graph,), ("onnx",)))
    parse = _parse(matrix, machine, cell, graphs[-1].id)
    engine = _engine(matrix, cell, graphs[-1].id)
    reference = measure.reference(matrix, head)
    parity = measure.parity(matrix, cell, engine.id, reference.id)
    tasks = [measure.task(matrix, cell, task, engine.id) for task in measure.fitting_tasks(matrix, cell)]
    latency = measure.latency(matrix, machine, cell, engine.id, export.id)
    sweep = measure.sweep(matrix, machine, cell, engine.id)
    drawn = replace(
        cell,
        onnx=graphs[-1].id,
        parse=parse.id if parse else "",
        engine=engine.id,
        parity=parity.id,
        tasks=tuple(ids for _, ids in tasks),
        latency=latency.id,
        sweep=sweep[-1].id if sweep else "",
    )
    scored = [job for made, _ in tasks for job in made]
    jobs = (data, *graphs, parse, engine, reference, parity, *scored, latency, *sweep)
    return drawn, tuple(job for job in jobs if job is not None)


def _export(matrix: Matrix, head: Head) -> Job:
    model = matrix.model
    example = next(r for r in model.profiles[0].inputs if r.name == model.inputs[0].name).min
    recipe = Export(
        source=model.source,
        head=head.name,
        options=options(matrix, head),
        inputs=model.inputs,
        outputs=head.outputs,
        example=example,
        opset=model.opset,
    )
    tools = ("torch", "onnx", "onnxscript") if isinstance(model.source, TorchSource) else ("onnx",)
    return Job(f"export/{head.name}", recipe, source_pins(matrix), tools)


def _simplify(matrix: Matrix, head: Head, export: str) -> Job:
    shape = next(r for r in matrix.model.profiles[0].inputs if r.name == matrix.model.inputs[0].name)
    recipe = Simplify(matrix.model.inputs, head.outputs, (shape.min, shape.opt), head.align is not None)
    return Job(
        f"simplify/{head.name}",
        recipe,
        (OutputPin("model.onnx", export, "model.onnx"),),
        ("onnx", "onnxsim", "onnxruntime"),
    )


def _lower(matrix: Matrix, cell: Cell, onnx: str) -> Optional[Job]:
    """The lowering this cell needs: none for fp32, and none where the runtime itself stores fp16 or computes bf16."""
    precision, runtime = cell.precision, matrix.target(cell.target).runtime
    variant = cell.head if cell.simplify else f"{cell.head}/unsimplified"
    keep = cell.keep
    if keep:
        variant += f"/keep-{digest.of_json(list(keep))[7:15]}"
    model_pin = OutputPin("model.onnx", onnx, "model.onnx")
    if precision == "fp16" and runtime != "openvino":
        return Job(f"lower-fp16/{variant}", LowerFp16(keep), (model_pin,), ("onnx", "onnxruntime"))
    if precision != "int8" or matrix.calibration is None or _calibrated(cell):
        return None
    placement, activations = _PLACEMENT.get(runtime, "inputs"), cell.activations
    recipe = LowerInt8(matrix.calibration.method, matrix.calibration.percentile, activations, placement, keep)
    job = f"lower-int8/{variant}/{activations}/{placement}"
    images = OutputPin("images.npz", CALIBRATION, "images.npz")
    return Job(job, recipe, (model_pin, images), ("onnx", "onnxruntime", "numpy"))


def _lower_opset(matrix: Matrix, cell: Cell, onnx: str) -> Optional[Job]:
    """A TensorRT whose parser reads only an older opset gets the graph in that one."""
    target = matrix.target(cell.target)
    series = tables.tensorrt_series(target.version) if target.runtime == "tensorrt" and target.version else None
    declared = isinstance(matrix.model.source, TorchSource)  # an ONNX file may have any
    if series is None or series.opset >= (matrix.model.opset if declared else tables.tensorrt().series[-1].opset):
        return None
    pins = (OutputPin("model.onnx", onnx, "model.onnx"),)
    return Job(f"lower-opset/{onnx}/{series.opset}", LowerOpset(series.opset), pins, ("onnx",))


def _calibrated(cell: Cell) -> bool:
    """Does TensorRT's own calibrator find the ranges, on the target, instead of Q/DQ in the graph?"""
    return cell.precision == "int8" and cell.tensorrt.int8 == "calibrator"


def _calibration_data(matrix: Matrix, cell: Cell) -> Optional[Job]:
    """The images that set the ranges: for Q/DQ in the graph and for TensorRT's calibrator alike."""
    chosen = matrix.calibration
    if chosen is None or cell.precision != "int8":
        return None
    pins: List[Pin] = []
    names: Tuple[str, ...] = ()
    if chosen.photographs is not None:
        names = tuple(f"photographs/{name}" for name in chosen.photographs.files)
        pins += [PhotographPin(name, chosen.photographs, file) for name, file in zip(names, chosen.photographs.files)]
    if chosen.source is not None:
        pins.append(CodeFilesPin("code", chosen.source))
    recipe = CalibrationData(names, chosen.source or "", chosen.size, matrix.model.preprocess)
    return Job(CALIBRATION, recipe, tuple(pins), ("numpy", "opencv-python-headless"))


def _parse(matrix: Matrix, machine: Machine, cell: Cell, onnx: str) -> Optional[Job]:
    """Parse a graph for native TensorRT elsewhere here first, where a parser of it is installed."""
    runtime = matrix.target(cell.target).runtime
    if runtime != "tensorrt" or not cell.elsewhere or machine.version(PARSER) is None:
        return None
    return Job(f"parse/{onnx}", Parse(), (OutputPin("model.onnx", onnx, "model.onnx"),), (PARSER, "polygraphy"))


def _engine(matrix: Matrix, cell: Cell, onnx: str) -> Job:
    assert cell.platform is not None
    calibrated, timing = _calibrated(cell), cell.tensorrt.timing_cache
    recipe = Engine(
        precision=cell.precision,
        compute=cell.compute,
        profiles=tuple(matrix.profile(name) for name in cell.profiles),
        workspace=bytes_of(cell.workspace),
        tensorrt=cell.tensorrt,
        calibration=matrix.calibration.method if calibrated and matrix.calibration else "",
    )
    tools = () if cell.elsewhere else (BUILDER[cell.platform.runtime],)
    pins: List[Pin] = [OutputPin("model.onnx", onnx, "model.onnx")]
    if calibrated:
        pins.append(OutputPin("calibration.npz", CALIBRATION, "images.npz"))
    if timing is not None:
        pins.append(FilePin("timing.cache", timing.file, timing.sha256))
    return Job(
        f"engine/{cell.id}",
        recipe,
        tuple(pins),
        tools,
        cell.platform,
        elsewhere=cell.elsewhere,
        reached=cell.reached,
    )


# The job that finds how much each layer of a cell suffers from being lowered, and what it needs. Pure.
#
# It belongs to the lowering, not to the target: cells that share a lowered graph share it. `build matrix` draws it for the
# search of a cell that failed, a report for any cell of int8 or fp16.


_PHOTOGRAPHS = 2  # each layer runs once on each of them


def layer_errors(matrix: Matrix, machine: Machine, cell: Cell) -> Tuple[Job, ...]:
    """Jobs in order of need, the one that gives `LayerErrors` last. None where no step lowers the graph: fp32, bf16, fp16
    that OpenVINO stores by itself, int8 that TensorRT's own calibrator makes."""
    jobs = {job.id: job for job in draw(matrix, machine, cell)[1]}
    for job in jobs.values():
        if isinstance(job.recipe, (LowerFp16, LowerInt8)):
            reference = jobs[f"reference/{cell.head}"]
            return (*_needed(job, jobs), reference, _layer_errors(matrix, cell, job, job.recipe, reference.id))
    return ()


def _layer_errors(
    matrix: Matrix, cell: Cell, lowering: Job, lowered: Union[LowerFp16, LowerInt8], reference: str
) -> Job:
    size = min(matrix.parity.sizes, key=lambda size: size[0] * size[1])
    samples = tuple(sample_name(file, size) for file in matrix.parity.photographs.files[:_PHOTOGRAPHS])
    recipe = MeasureLayers(lowered, samples, matrix.head(cell.head).align is not None)
    pins: Tuple[Pin, ...] = tuple(OutputPin(f"reference/{name}.npz", reference, f"{name}.npz") for name in samples)
    return Job(f"layer-errors/{lowering.id}", recipe, (*lowering.pins, *pins), ("onnx", "onnxruntime", "numpy"))


def _needed(job: Job, drawn: Dict[str, Job]) -> Tuple[Job, ...]:
    """The jobs that make the inputs of `job`, in order of need."""
    found: Dict[str, Job] = {}
    for need in job.needs:
        found.update({one.id: one for one in _needed(drawn[need], drawn)})
        found[need] = drawn[need]
    return tuple(found.values())
