"""The latency step: an artifact and the naive export timed in turns, in one process, with nothing else running."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Optional

import numpy as np

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Facts, MeasureLatency
from builder.errors import StepFailed
from builder.platforms import hardware, probe
from validation import timing


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, MeasureLatency) or action.platform is None:
        raise StepFailed("a latency action needs a latency recipe and a platform")
    options = plugins.OpenOptions(recipe.compute, recipe.static, recipe.threads)
    artifact = plugins.backend(action.platform.runtime).open(inputs / "artifact", options)
    feed = {recipe.input: np.random.default_rng(0).random(recipe.shape, dtype=np.float32)}
    naive = _naive(inputs / "naive.onnx", recipe.threads)
    return timing.interleaved(
        lambda: artifact(feed),
        (lambda: naive(feed)) if naive else None,
        seconds=recipe.seconds,
        shape=recipe.shape,
        threads=recipe.threads,
        machine=recipe.machine,
        mhz=lambda: hardware.clock(probe.real()),
    )


def _naive(onnx: Path, threads: int) -> Optional[plugins.Runner]:
    """What a person gets without this program: a default onnxruntime session on the fp32 export."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    from builder.runtimes import onnxruntime

    return onnxruntime.session_on(onnx, threads)
