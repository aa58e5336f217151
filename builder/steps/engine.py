"""The engine step: a lowered ONNX file to the files of a target's runtime.

It also writes artifact.json beside them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Engine, Facts
from builder.errors import StepFailed
from builder.inspection import formats
from builder.inspection.contents import flag
from builder.store import sidecar


def build_engine(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe, platform = action.recipe, action.platform
    if not isinstance(recipe, Engine) or platform is None:
        raise StepFailed("an engine action needs an engine recipe and a platform")
    try:
        made = plugins.backend(platform.runtime).build(recipe, platform, inputs / "model.onnx", out)
    except StepFailed as problem:
        largest = "workspace" in (problem.hint or "") and formats.largest_tensor(inputs / "model.onnx", recipe.profiles)
        raise StepFailed(problem.what, hint=f"{problem.hint}; {largest}" if largest else problem.hint) from problem
    sidecar.write(action, out)
    if recipe.precision != "int8":
        return made
    known = formats.Known(platform, recipe.compute, recipe.profiles)
    flags = (flag(recipe.precision, formats.realised(file, known)) for file in sorted(out.iterdir()))
    return replace(made, remarks=(*made.remarks, *(said for said in flags if said)))
