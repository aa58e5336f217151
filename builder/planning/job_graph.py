"""The jobs that make one cell: export, simplify, lower, engine, and what measures it. Pure."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

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
from builder.config.matrix import Head, Matrix, TorchSource
from builder.files import bytes_of
from builder.planning import measurement_jobs
from builder.planning import measurement_jobs as measure
from builder.planning.jobs import (
    CodeFilesPin,
    Drawn,
    FilePin,
    Job,
    OutputPin,
    PhotographPin,
    Pin,
    Wanted,
    options,
    sample_name,
    source_pins,
)
from builder.platforms import tables
from builder.platforms.platform import BUILDER

CALIBRATION = "calibration-data"  # the job
# Where Q/DQ pairs go: builder/steps/quantization/placement.py says why.
_PLACEMENT = {"onnxruntime": "around", "tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt"}


def draw(matrix: Matrix, wanted: Wanted) -> Drawn:
    head = matrix.head(wanted.cell.head)
    export = _export(matrix, head)
    graphs = [export]
    if wanted.settings.simplify:
        graphs.append(_simplify(matrix, head, export.id))
    data = _calibration_data(matrix, wanted)
    lowered = _lower(matrix, wanted, graphs[-1].id)
    if lowered is not None:
        graphs.append(lowered)
    respelled = _lower_opset(matrix, wanted, graphs[-1].id)
    if respelled is not None:
        graphs.append(respelled)
    if wanted.emulated and lowered is not None and isinstance(lowered.recipe, LowerFp16):
        graph = OutputPin("model.onnx", graphs[-1].id, "model.onnx")
        graphs.append(Job(f"emulate-fp16/{graphs[-1].id}", EmulateFp16(), (graph,), ("onnx",)))
    engine = _engine(matrix, wanted, graphs[-1].id, CALIBRATION if _calibrated(wanted) else None)
    reference = measure.reference(matrix, head)
    parity = measure.parity(matrix, wanted, engine.id, reference.id)
    tasks = [measure.task(matrix, wanted, task, engine.id) for task in measure.fitting_tasks(matrix, wanted)]
    latency = measure.latency(matrix, wanted, engine.id, export.id)
    sweep = measurement_jobs.drawn(matrix, wanted, engine.id)
    parse = _parse(matrix, wanted, graphs[-1].id)
    scored = [job for made, _ in tasks for job in made]
    return Drawn(
        jobs=(
            *((data,) if data else ()),
            *graphs,
            *((parse,) if parse else ()),
            engine,
            reference,
            parity,
            *scored,
            latency,
            *sweep,
        ),
        onnx=graphs[-1].id,
        engine=engine.id,
        parity=parity.id,
        latency=latency.id,
        tasks=tuple(drawn for _, drawn in tasks),
        parse=parse.id if parse else "",
        sweep=sweep[-1].id if sweep else "",
    )


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


def _lower(matrix: Matrix, wanted: Wanted, onnx: str) -> Optional[Job]:
    """The lowering this cell needs: none for fp32, and none where the runtime itself stores fp16 or computes bf16."""
    cell, runtime = wanted.cell, matrix.target(wanted.cell.target).runtime
    variant, keep = f"{cell.head}" if wanted.settings.simplify else f"{cell.head}/unsimplified", wanted.settings.keep
    if keep:
        variant += f"/keep-{digest.of_json(list(keep))[7:15]}"
    model_pin = OutputPin("model.onnx", onnx, "model.onnx")
    if cell.precision == "fp16" and runtime != "openvino":
        return Job(f"lower-fp16/{variant}", LowerFp16(keep), (model_pin,), ("onnx", "onnxruntime"))
    if cell.precision != "int8" or matrix.calibration is None or _calibrated(wanted):
        return None
    placement, activations = _PLACEMENT.get(runtime, "inputs"), wanted.settings.activations
    recipe = LowerInt8(matrix.calibration.method, matrix.calibration.percentile, activations, placement, keep)
    job = f"lower-int8/{variant}/{activations}/{placement}"
    images = OutputPin("images.npz", CALIBRATION, "images.npz")
    return Job(job, recipe, (model_pin, images), ("onnx", "onnxruntime", "numpy"))


def _lower_opset(matrix: Matrix, wanted: Wanted, onnx: str) -> Optional[Job]:
    """A TensorRT whose parser reads only an older opset gets the graph in that one."""
    target = matrix.target(wanted.cell.target)
    series = tables.tensorrt_series(target.version) if target.runtime == "tensorrt" and target.version else None
    declared = isinstance(matrix.model.source, TorchSource)  # an ONNX file may have any
    if series is None or series.opset >= (matrix.model.opset if declared else tables.tensorrt().series[-1].opset):
        return None
    pins = (OutputPin("model.onnx", onnx, "model.onnx"),)
    return Job(f"lower-opset/{onnx}/{series.opset}", LowerOpset(series.opset), pins, ("onnx",))


def _calibrated(wanted: Wanted) -> bool:
    """Does TensorRT's own calibrator find the ranges, on the target, instead of Q/DQ in the graph?"""
    return wanted.cell.precision == "int8" and wanted.settings.tensorrt.int8 == "calibrator"


def _calibration_data(matrix: Matrix, wanted: Wanted) -> Optional[Job]:
    """The images that set the ranges: for Q/DQ in the graph and for TensorRT's calibrator alike."""
    chosen = matrix.calibration
    if chosen is None or wanted.cell.precision != "int8":
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


def _parse(matrix: Matrix, wanted: Wanted, onnx: str) -> Optional[Job]:
    """A graph for native TensorRT elsewhere is parsed here first, where a parser of it is."""
    if matrix.target(wanted.cell.target).runtime != "tensorrt" or not wanted.elsewhere or wanted.parser is None:
        return None
    return Job(f"parse/{onnx}", Parse(), (OutputPin("model.onnx", onnx, "model.onnx"),), (wanted.parser, "polygraphy"))


def _engine(matrix: Matrix, wanted: Wanted, onnx: str, calibration: Optional[str]) -> Job:
    settings = wanted.settings
    recipe = Engine(
        precision=wanted.cell.precision,
        compute=settings.compute,
        profiles=tuple(matrix.profile(name) for name in settings.profiles),
        workspace=bytes_of(settings.workspace),
        tensorrt=settings.tensorrt,
        calibration=matrix.calibration.method if calibration and matrix.calibration else "",
    )
    tools = () if wanted.elsewhere else (BUILDER[wanted.platform.runtime],)
    pins: List[Pin] = [OutputPin("model.onnx", onnx, "model.onnx")]
    if calibration is not None:
        pins.append(OutputPin("calibration.npz", calibration, "images.npz"))
    timing = settings.tensorrt.timing_cache
    if timing is not None:
        pins.append(FilePin("timing.cache", timing.file, timing.sha256))
    return Job(
        f"engine/{wanted.cell.id}",
        recipe,
        tuple(pins),
        tools,
        wanted.platform,
        elsewhere=wanted.elsewhere,
        reached=wanted.reached,
    )


# The job that finds how much each layer of a cell suffers from being lowered, and what it needs. Pure.
#
# It belongs to the lowering, not to the target: cells that share a lowered graph share it. `build matrix` draws it for the
# search of a cell that failed, a report for any cell of int8 or fp16.


_PHOTOGRAPHS = 2  # each layer runs once on each of them


def layer_errors(matrix: Matrix, wanted: Wanted) -> Tuple[Job, ...]:
    """Jobs in order of need, the one that gives `LayerErrors` last. None where no step lowers the graph: fp32, bf16, fp16
    that OpenVINO stores by itself, int8 that TensorRT's own calibrator makes."""
    drawn = {job.id: job for job in draw(matrix, wanted).jobs}
    for job in drawn.values():
        if isinstance(job.recipe, (LowerFp16, LowerInt8)):
            return (*_needed(job, drawn), *_reference(matrix, wanted, drawn), _measure(matrix, wanted, job))
    return ()


def _reference(matrix: Matrix, wanted: Wanted, drawn: Dict[str, Job]) -> Tuple[Job, ...]:
    return (drawn[f"reference/{wanted.cell.head}"],)


def _measure(matrix: Matrix, wanted: Wanted, lowering: Job) -> Job:
    assert isinstance(lowering.recipe, (LowerFp16, LowerInt8))
    size = min(matrix.parity.sizes, key=lambda size: size[0] * size[1])
    samples = tuple(sample_name(file, size) for file in matrix.parity.photographs.files[:_PHOTOGRAPHS])
    recipe = MeasureLayers(lowering.recipe, samples, matrix.head(wanted.cell.head).align is not None)
    reference = f"reference/{wanted.cell.head}"
    pins: Tuple[Pin, ...] = tuple(OutputPin(f"reference/{name}.npz", reference, f"{name}.npz") for name in samples)
    return Job(f"layer-errors/{lowering.id}", recipe, (*lowering.pins, *pins), ("onnx", "onnxruntime", "numpy"))


def _needed(job: Job, drawn: Dict[str, Job]) -> Tuple[Job, ...]:
    """The jobs that make the inputs of `job`, in order of need."""
    found: Dict[str, Job] = {}
    for need in job.needs:
        found.update({one.id: one for one in _needed(drawn[need], drawn)})
        found[need] = drawn[need]
    return tuple(found.values())
