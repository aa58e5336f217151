"""The task-reference step: the model itself, scored on a task's cases. What an artifact loses is counted from here."""

from __future__ import annotations

from pathlib import Path

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Facts, ScoreReference
from builder.config.matrix import OnnxSource
from builder.errors import StepFailed
from validation import task


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, ScoreReference):
        raise StepFailed("a task-reference action needs a task-reference recipe")
    kind = "onnx" if isinstance(recipe.source, OnnxSource) else "torch"
    model = plugins.source(kind).open(recipe, inputs, root)
    scored = task.find(recipe.metric, recipe.settings, inputs / "code")
    return task.measure(recipe.metric, scored, recipe.contract, recipe.input.name, model, inputs, remember=out)
