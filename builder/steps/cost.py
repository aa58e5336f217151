"""The cost step: an artifact with layers kept in float32 and the one without, timed in turns, in one process, with nothing
else running.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from builder import plugins
from builder.actions.action import Action
from builder.actions.measurements import Cost
from builder.actions.recipes import Facts, MeasureCost
from builder.errors import StepFailed
from validation import timing


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, MeasureCost) or action.platform is None:
        raise StepFailed("a cost action needs a cost recipe and a platform")
    options = plugins.OpenOptions(recipe.compute, recipe.static, recipe.threads)
    backend = plugins.backend(action.platform.runtime)
    kept, lowered = backend.open(inputs / "artifact", options), backend.open(inputs / "lowered", options)
    feed = {recipe.input: np.random.default_rng(0).random(recipe.shape, dtype=np.float32)}
    timed = timing.interleaved(
        lambda: kept(feed),
        lambda: lowered(feed),
        seconds=recipe.seconds,
        shape=recipe.shape,
        threads=recipe.threads,
        machine=recipe.machine,
    )
    assert timed.naive is not None
    method = timed.method.replace("the naive export", "the artifact with everything lowered")
    return Cost(timed.artifact, timed.naive, timed.shape, timed.threads, timed.machine, method, timed.noise)
