"""The jobs that measure a cell: the reference, parity with it, the tasks, and latency. Pure."""

from __future__ import annotations

from typing import List, Tuple

from builder.actions.recipes import (
    MeasureCost,
    MeasureLatency,
    MeasureParity,
    MeasureSweep,
    MeasureTask,
    Reference,
    ScoreReference,
    SweepReference,
    TaskCases,
)
from builder.config import contract
from builder.config.cells import Cell, TaskJobs, selects
from builder.config.checks import accepts
from builder.config.matrix import Head, Matrix, Sweep, TaskSet
from builder.planning import sweep_grid
from builder.planning.jobs import (
    CodeFilesPin,
    Job,
    OutputPin,
    PhotographPin,
    Pin,
    options,
    sample_name,
    source_pins,
    source_runtime,
)
from builder.platforms.machines import Machine

_METRIC_TOOLS = ("numpy", "opencv-python-headless")  # what a metric may import; their versions enter its key


def reference(matrix: Matrix, head: Head) -> Job:
    model, chosen = matrix.model, matrix.parity.photographs
    names = tuple(f"photographs/{file}" for file in chosen.files)
    recipe = Reference(
        source=model.source,
        head=head.name,
        options=options(matrix, head),
        input=model.inputs[0],
        outputs=tuple(o.name for o in head.outputs),
        photographs=names,
        sizes=matrix.parity.sizes,
        preprocess=model.preprocess,
    )
    pins = tuple(PhotographPin(name, chosen, file) for name, file in zip(names, chosen.files))
    tools = (source_runtime(matrix), "numpy", "opencv-python-headless")
    return Job(f"reference/{head.name}", recipe, (*source_pins(matrix), *pins), tools)


def _samples(matrix: Matrix, cell: Cell) -> Tuple[str, ...]:
    """The reference samples inside this cell's profiles."""
    image = matrix.model.inputs[0]
    profiles = [matrix.profile(name) for name in cell.profiles]
    sizes = [
        s
        for s in matrix.parity.sizes
        if any(accepts(p, image.name, contract.with_size(image.shape, s)) for p in profiles)
    ]
    return tuple(sample_name(file, size) for file in matrix.parity.photographs.files for size in sizes)


def parity(matrix: Matrix, cell: Cell, engine: str, reference: str) -> Job:
    head, samples = matrix.head(cell.head), _samples(matrix, cell)
    recipe = MeasureParity(
        samples=samples,
        outputs=tuple(o.name for o in head.outputs),
        align=head.align,
        agreement=tuple(a for a in matrix.parity.agreement if a.output in {o.name for o in head.outputs}),
        compute=cell.compute,
        static=cell.static,
    )
    pins: List[Pin] = [OutputPin("artifact", engine, "*")]
    pins += [OutputPin(f"reference/{name}.npz", reference, f"{name}.npz") for name in samples]
    # Tools of a machine that is not this one are not known here, so they cannot be part of the key.
    tools = () if cell.unrunnable else ("polygraphy", "numpy")
    return Job(
        f"parity/{cell.id}",
        recipe,
        tuple(pins),
        tools,
        cell.platform,
        elsewhere=cell.unrunnable,
        reached=cell.reached,
    )


def fitting_tasks(matrix: Matrix, cell: Cell) -> Tuple[TaskSet, ...]:
    """The tasks that are for this cell's head, at a size inside its profiles."""
    image = matrix.model.inputs[0]
    profiles = [matrix.profile(name) for name in cell.profiles]
    return tuple(
        task
        for task in matrix.tasks
        if cell.head in (task.heads or (cell.head,))
        and any(accepts(p, image.name, contract.with_size(image.shape, task.size)) for p in profiles)
    )


def task(matrix: Matrix, cell: Cell, declared: TaskSet, engine: str) -> Tuple[Tuple[Job, ...], TaskJobs]:
    """The cases, the model's own score and the artifact's."""
    head, image = matrix.head(cell.head), matrix.model.inputs[0]
    code = CodeFilesPin("code", declared.metric)
    names = tuple(f"data/{file}" for file in declared.data.files)
    files = tuple(PhotographPin(name, declared.data, file) for name, file in zip(names, declared.data.files))
    cases = Job(
        f"task-cases/{declared.name}",
        TaskCases(declared.metric, declared.options, names, declared.size, matrix.model.preprocess),
        (code, *files),
        _METRIC_TOOLS,
    )
    made = OutputPin("cases", cases.id, "*")
    reference = Job(
        f"task-reference/{declared.name}/{head.name}",
        ScoreReference(
            source=matrix.model.source,
            head=head.name,
            options=options(matrix, head),
            input=image,
            outputs=tuple(o.name for o in head.outputs),
            contract=head,
            metric=declared.metric,
            settings=declared.options,
        ),
        (*source_pins(matrix), code, made),
        (source_runtime(matrix), *_METRIC_TOOLS),
    )
    scored = Job(
        f"task/{cell.id}/{declared.name}",
        MeasureTask(head, image.name, declared.metric, declared.options, cell.compute, cell.static),
        (OutputPin("artifact", engine, "*"), code, made, OutputPin("model", reference.id, "*")),
        () if cell.unrunnable else _METRIC_TOOLS,
        cell.platform,
        elsewhere=cell.unrunnable,
        reached=cell.reached,
    )
    return (cases, reference, scored), TaskJobs(declared.name, scored.id, reference.id)


def cost(matrix: Matrix, machine: Machine, cell: Cell, lowered: str) -> Job:
    """Time the cell's artifact beside that of the job `lowered`."""
    timed = latency(matrix, machine, cell, cell.engine, lowered).recipe
    assert isinstance(timed, MeasureLatency)
    recipe = MeasureCost(
        timed.input, timed.shape, timed.seconds, timed.threads, timed.compute, timed.static, timed.machine
    )
    pins = (OutputPin("artifact", cell.engine, "*"), OutputPin("lowered", lowered, "*"))
    return Job(f"cost/{cell.id}", recipe, pins, ("numpy",), cell.platform, exclusive=True)


def latency(matrix: Matrix, machine: Machine, cell: Cell, engine: str, export: str) -> Job:
    image = matrix.model.inputs[0].name
    shape = next(r for r in matrix.profile(cell.profiles[0]).inputs if r.name == image).opt
    recipe = MeasureLatency(
        input=image,
        shape=shape,
        seconds=matrix.latency.seconds,
        threads=matrix.latency.threads,
        compute=cell.compute,
        static=cell.static,
        machine=matrix.target(cell.target).machine if cell.unrunnable else machine.kind,
    )
    pins = (OutputPin("artifact", engine, "*"), OutputPin("naive.onnx", export, "model.onnx"))
    id, tools = f"latency/{cell.id}", () if cell.unrunnable else ("onnxruntime",)
    return Job(id, recipe, pins, tools, cell.platform, exclusive=True, elsewhere=cell.unrunnable, reached=cell.reached)


# The jobs of a resolution sweep: the model's answers over the grid, once per head and profile, and the artifact's. Pure.


def sweep(matrix: Matrix, machine: Machine, cell: Cell, engine: str) -> Tuple[Job, ...]:
    """The references and, last, the sweep of the cell; nothing for a cell that `sweep:` does not select."""
    chosen = matrix.sweep
    if chosen is None or not selects(chosen.select, cell):
        return ()
    head = matrix.head(cell.head)
    references = tuple(_reference(matrix, chosen, head, profile) for profile in cell.profiles)
    return (*references, _sweep(matrix, machine, chosen, cell, engine))


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


def _sweep(matrix: Matrix, machine: Machine, chosen: Sweep, cell: Cell, engine: str) -> Job:
    head, model, file = matrix.head(cell.head), matrix.model, photograph(matrix, chosen)
    profiles = tuple(matrix.profile(name) for name in cell.profiles)
    grid = sweep_grid.of_profiles(profiles, model.inputs[0], model.preprocess.multiple, chosen.points, chosen.seed)
    recipe = MeasureSweep(
        photograph=file,
        points=tuple(point for _, point in grid),
        outputs=tuple(o.name for o in head.outputs),
        align=head.align,
        agreement=tuple(a for a in matrix.parity.agreement if a.output in {o.name for o in head.outputs}),
        seconds=chosen.seconds,
        threads=matrix.latency.threads,
        compute=cell.compute,
        static=cell.static,
        machine=matrix.target(cell.target).machine if cell.unrunnable else machine.kind,
    )
    pins: List[Pin] = [OutputPin("artifact", engine, "*")]
    for profile, point in grid:
        name = f"{sample_name(file, point.size)}.npz"
        pins.append(OutputPin(f"reference/{name}", _reference_id(head.name, profile), name))
    tools = () if cell.unrunnable else ("polygraphy", "numpy")
    return Job(
        f"sweep/{cell.id}",
        recipe,
        tuple(pins),
        tools,
        cell.platform,
        exclusive=True,
        elsewhere=cell.unrunnable,
        reached=cell.reached,
    )
