"""The measuring steps: reference, parity, latency, cost and worst case.

The reference is the model itself on every photograph at every size: one uncompressed .npz per sample with `input/NAME`
and `output/NAME` arrays. All comparisons use these files, on any machine, so no target needs PyTorch.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import List, Optional

import numpy as np

from builder import plugins
from builder.actions.action import Action
from builder.actions.measurements import Arithmetic, Cost, Parity
from builder.actions.recipes import DrawWorstCase, Facts, MeasureCost, MeasureLatency, MeasureParity, Reference, Sampled
from builder.config.matrix import OnnxSource
from builder.errors import StepFailed
from builder.models import preprocessing
from builder.planning.jobs import sample_name
from builder.platforms import hardware, probe
from validation import parity, samples, timing, worst_case
from validation.samples import Sample, load


def measure_parity(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
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


# ------------------------------------------------------------------------------------------- reference


def answer_reference(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, Reference):
        raise StepFailed("a reference action needs a reference recipe")
    kind = "onnx" if isinstance(recipe.source, OnnxSource) else "torch"
    model = plugins.source(kind).open(recipe, inputs, root)
    names: List[str] = []
    for photograph in recipe.photographs:
        image = preprocessing.read(inputs / photograph)
        for size in recipe.sizes:
            tensor = preprocessing.tensor(image, recipe.preprocess, size)
            outputs = model({recipe.input.name: tensor})
            name = sample_name(photograph, size)
            samples.save(out / f"{name}.npz", Sample(name, {recipe.input.name: tensor}, outputs))
            names.append(name)
            print(f"reference {name}", flush=True)
    return Sampled(tuple(names))


# ------------------------------- latency: artifact and naive export in turns, in one process, with nothing else running


def measure_latency(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
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
    """The baseline without this program.

    A default onnxruntime session on the fp32 export.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    from builder.runtimes import onnxruntime

    return onnxruntime.session_on(onnx, threads)


# ----------------------------------------- cost: artifacts with and without layers in float32, in turns, in one process


def measure_cost(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
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


# ----------------------------------------------- worst case: pictures and keypoints of the worst sample, for the report


def draw_worst_case(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, DrawWorstCase) or action.platform is None:
        raise StepFailed("a worst-case action needs a worst-case recipe and a platform")
    sample = load(inputs / "reference" / f"{recipe.sample}.npz", recipe.sample)
    options = plugins.OpenOptions(recipe.compute, recipe.static, frugal=True)
    runner = plugins.backend(action.platform.runtime).open(inputs / "artifact", options)
    return worst_case.draw(recipe, sample, runner(sample.inputs), out)
