"""The sweep steps: model and artifact at every size of a grid.

The artifact is opened anew for every size, as on a host, so that memory is that of one size and no state is left from
another. Sizes outside the profile are run but not timed.
"""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

from builder import plugins
from builder.actions.action import Action
from builder.actions.measurements import SweepPoint, SweepRow, Swept
from builder.actions.recipes import Facts, MeasureSweep, Sampled, SweepReference
from builder.config.matrix import OnnxSource
from builder.errors import StepFailed, first_line
from builder.models import preprocessing
from builder.planning.jobs import sample_name
from validation import parity, samples, timing
from validation.samples import Arrays, Sample, load


def sweep_artifact(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, MeasureSweep) or action.platform is None:
        raise StepFailed("a sweep action needs a sweep recipe and a platform")
    backend = plugins.backend(action.platform.runtime)
    options = plugins.OpenOptions(recipe.compute, recipe.static, recipe.threads)
    rows = []
    for point in recipe.points:
        name = sample_name(recipe.photograph, point.size)
        sample = load(inputs / "reference" / f"{name}.npz", name)
        rows.append(_row(backend.open(inputs / "artifact", options), point, sample, recipe))
        print(f"sweep {name}: {point.why}", flush=True)
    return Swept(tuple(rows), recipe.photograph, recipe.seconds, recipe.threads, recipe.machine)


def _row(runner: plugins.Runner, point: SweepPoint, sample: Sample, recipe: MeasureSweep) -> SweepRow:
    answer: Optional[Arrays] = None
    refused = ""
    try:
        answer = runner(sample.inputs)
    except Exception as problem:  # any exception of the runtime is the result for this size
        refused = first_line(problem) or type(problem).__name__
    if answer is None or sample.refusal:
        return SweepRow(point, refused=refused, model_refused=sample.refusal)
    given: Arrays = answer
    rows = tuple(parity.compare(lambda inputs: given, sample, recipe.outputs, recipe.align, recipe.agreement))
    del answer
    time = timing.alone(lambda: runner(sample.inputs), recipe.seconds) if point.inside else None
    return SweepRow(point, rows, time)


# ------------------------ reference: the model on one photograph at every size; an error message is stored as an answer


def sweep_reference(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, SweepReference):
        raise StepFailed("a sweep-reference action needs a sweep-reference recipe")
    kind = "onnx" if isinstance(recipe.source, OnnxSource) else "torch"
    model = plugins.source(kind).open(recipe, inputs, root)
    image = preprocessing.read(inputs / recipe.photograph)
    names: List[str] = []
    for size in recipe.sizes:
        feed: Arrays = {recipe.input.name: preprocessing.tensor(image, recipe.preprocess, size)}
        name = sample_name(recipe.photograph, size)
        samples.save(out / f"{name}.npz", _sample(name, model, feed))
        names.append(name)
        print(f"sweep-reference {name}", flush=True)
    return Sampled(tuple(names))


def _sample(name: str, model: plugins.Runner, feed: Arrays) -> Sample:
    try:
        return Sample(name, feed, model(feed))
    except Exception as problem:  # any exception of the model at an unsupported size
        return Sample(name, feed, {}, first_line(problem) or type(problem).__name__)
