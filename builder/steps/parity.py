"""The parity step: an artifact's outputs against the stored reference, sample by sample."""

from __future__ import annotations

from pathlib import Path

from builder import plugins
from builder.actions.action import Action
from builder.actions.measurements import Arithmetic, Parity
from builder.actions.recipes import Facts, MeasureParity
from builder.errors import StepFailed
from validation import parity
from validation.samples import load


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, MeasureParity) or action.platform is None:
        raise StepFailed("a parity action needs a parity recipe and a platform")
    options = plugins.OpenOptions(recipe.compute, recipe.static, frugal=True)
    runner = plugins.backend(action.platform.runtime).open(inputs / "artifact", options)
    measured = []
    for name in recipe.samples:
        sample = load(inputs / "reference" / f"{name}.npz", name)
        measured.extend(parity.compare(runner, sample, recipe.outputs, recipe.align, recipe.agreement))
        print(f"parity {name}", flush=True)
    told = runner.arithmetic() if isinstance(runner, plugins.Telling) else {}
    return Parity(tuple(measured), tuple(Arithmetic(precision, layers) for precision, layers in sorted(told.items())))
