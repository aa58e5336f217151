"""The sweep step: an artifact at every size of its grid, compared with the model and timed.

It is opened anew for every size, as a host would open it, so that memory is that of one size and no size meets what
another one left behind. Sizes outside are only asked: what it does there is recorded and not timed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from builder import plugins
from builder.actions.action import Action
from builder.actions.measurements import SweepPoint, SweepRow, Swept
from builder.actions.recipes import Facts, MeasureSweep
from builder.errors import StepFailed, first_line
from builder.planning.jobs import sample_name
from validation import parity, timing
from validation.samples import Arrays, Sample, load


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
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
    except Exception as problem:  # whatever a runtime raises at this size is what is to be known
        refused = first_line(problem) or type(problem).__name__
    if answer is None or sample.refusal:
        return SweepRow(point, refused=refused, model_refused=sample.refusal)
    given: Arrays = answer
    rows = tuple(parity.compare(lambda inputs: given, sample, recipe.outputs, recipe.align, recipe.agreement))
    del answer
    time = timing.alone(lambda: runner(sample.inputs), recipe.seconds) if point.inside else None
    return SweepRow(point, rows, time)
