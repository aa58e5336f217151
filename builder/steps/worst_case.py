"""The worst-case step: an artifact once more on the sample where it is worst, as pictures and places for the report."""

from __future__ import annotations

from pathlib import Path

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import DrawWorstCase, Facts
from builder.errors import StepFailed
from validation import worst_case
from validation.samples import load


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, DrawWorstCase) or action.platform is None:
        raise StepFailed("a worst-case action needs a worst-case recipe and a platform")
    sample = load(inputs / "reference" / f"{recipe.sample}.npz", recipe.sample)
    options = plugins.OpenOptions(recipe.compute, recipe.static, frugal=True)
    runner = plugins.backend(action.platform.runtime).open(inputs / "artifact", options)
    return worst_case.draw(recipe, sample, runner(sample.inputs), out)
