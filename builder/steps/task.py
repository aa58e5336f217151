"""The task step: an artifact, scored on a task's cases. Needs the artifact's runtime and what the metric imports."""

from __future__ import annotations

from pathlib import Path

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Facts, MeasureTask
from builder.errors import StepFailed
from validation import task


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, MeasureTask) or action.platform is None:
        raise StepFailed("a task action needs a task recipe and a platform")
    options = plugins.OpenOptions(recipe.compute, recipe.static, frugal=True)
    runner = plugins.backend(action.platform.runtime).open(inputs / "artifact", options)
    scored = task.find(recipe.metric, recipe.settings, inputs / "code")
    return task.measure(recipe.metric, scored, recipe.contract, recipe.input, runner, inputs)
