"""The engine step: a lowered ONNX to the files that one target's runtime opens."""

from __future__ import annotations

from pathlib import Path

from builder import seams
from builder.action import Action
from builder.errors import StepFailed
from builder.recipes import Engine, Facts


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    if not isinstance(action.recipe, Engine) or action.platform is None:
        raise StepFailed("an engine action needs an engine recipe and a platform")
    return seams.backend(action.platform.runtime).build(action.recipe, action.platform, inputs / "model.onnx", out)
