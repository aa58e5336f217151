"""The jobs of a resolution sweep: the model's answers over the grid, once per head and profile, and the artifact's. Pure."""

from __future__ import annotations

from typing import List, Tuple

from builder import sweep_grid
from builder.actions.measurements import Sweep
from builder.actions.recipes import MeasureSweep, SweepReference
from builder.config.cells import selects
from builder.config.matrix import Head, Matrix
from builder.drawing.draw_source import options, source_pins, source_runtime
from builder.jobs import Job, OutputPin, PhotographPin, Pin, Wanted, sample_name


def drawn(matrix: Matrix, wanted: Wanted, engine: str) -> Tuple[Job, ...]:
    """The references and, last, the sweep of the cell; nothing for a cell that `sweep:` does not select."""
    chosen = matrix.sweep
    if chosen is None or not selects(chosen.select, wanted.cell):
        return ()
    head = matrix.head(wanted.cell.head)
    references = tuple(_reference(matrix, chosen, head, profile) for profile in wanted.settings.profiles)
    return (*references, _sweep(matrix, chosen, wanted, engine))


def photograph(matrix: Matrix, chosen: Sweep) -> str:
    return chosen.photograph or matrix.parity.photographs.files[0]


def _reference(matrix: Matrix, chosen: Sweep, head: Head, profile: str) -> Job:
    model, file = matrix.model, photograph(matrix, chosen)
    declared, image = matrix.profile(profile), model.inputs[0]
    points = sweep_grid.of_profiles((declared,), image, model.preprocess.multiple, chosen.points, chosen.seed)
    recipe = SweepReference(
        source=model.source,
        head=head.name,
        options=options(matrix, head),
        input=image,
        outputs=tuple(o.name for o in head.outputs),
        photograph=f"photographs/{file}",
        sizes=tuple(point.size for _, point in points),
        preprocess=model.preprocess,
    )
    pin = PhotographPin(recipe.photograph, matrix.parity.photographs, file)
    tools = (source_runtime(matrix), "numpy", "opencv-python-headless")
    return Job(_reference_id(head.name, profile), recipe, (*source_pins(matrix), pin), tools)


def _reference_id(head: str, profile: str) -> str:
    return f"sweep-reference/{head}/{profile}"


def _sweep(matrix: Matrix, chosen: Sweep, wanted: Wanted, engine: str) -> Job:
    head, model, file = matrix.head(wanted.cell.head), matrix.model, photograph(matrix, chosen)
    profiles = tuple(matrix.profile(name) for name in wanted.settings.profiles)
    grid = sweep_grid.of_profiles(profiles, model.inputs[0], model.preprocess.multiple, chosen.points, chosen.seed)
    recipe = MeasureSweep(
        photograph=file,
        points=tuple(point for _, point in grid),
        outputs=tuple(o.name for o in head.outputs),
        align=head.align,
        agreement=tuple(a for a in matrix.parity.agreement if a.output in {o.name for o in head.outputs}),
        seconds=chosen.seconds,
        threads=matrix.latency.threads,
        compute=wanted.settings.compute,
        static=wanted.settings.static,
        machine=matrix.target(wanted.cell.target).machine if wanted.unrunnable else wanted.machine,
    )
    pins: List[Pin] = [OutputPin("artifact", engine, "*")]
    for profile, point in grid:
        name = f"{sample_name(file, point.size)}.npz"
        pins.append(OutputPin(f"reference/{name}", _reference_id(head.name, profile), name))
    tools = () if wanted.unrunnable else ("polygraphy", "numpy")
    return Job(
        f"sweep/{wanted.cell.id}",
        recipe,
        tuple(pins),
        tools,
        wanted.platform,
        exclusive=True,
        elsewhere=wanted.unrunnable,
        reached=wanted.reached,
    )
