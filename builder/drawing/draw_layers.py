"""The job that finds how much each layer of a cell suffers from being lowered, and what it needs. Pure.

It belongs to the lowering, not to the target: cells that share a lowered graph share it. `build matrix` draws it for the
search of a cell that failed, a report for any cell of int8 or fp16.
"""

from __future__ import annotations

from typing import Dict, Tuple

from builder.actions.recipes import LowerFp16, LowerInt8, MeasureLayers
from builder.config.matrix import Matrix
from builder.drawing.draw import draw
from builder.jobs import Job, OutputPin, Pin, Wanted, sample_name

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
