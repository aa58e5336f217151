"""The export step: the model, from wherever it comes, to `model.onnx` with symbolic dimensions."""

from __future__ import annotations

from pathlib import Path

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Export, Facts
from builder.config.matrix import OnnxSource
from builder.errors import StepFailed


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    if not isinstance(action.recipe, Export):
        raise StepFailed("an export action needs an export recipe")
    kind = "onnx" if isinstance(action.recipe.source, OnnxSource) else "torch"
    return plugins.source(kind).export(action.recipe, inputs, root, out)
