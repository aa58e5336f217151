"""The sweep-reference step: the model itself on one photograph at every size of a grid, one at a time.

A size that the model refuses is stored with its words: outside a profile that is an answer too.
"""

from __future__ import annotations

from pathlib import Path
from typing import List

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Facts, Sampled, SweepReference
from builder.config.matrix import OnnxSource
from builder.errors import StepFailed, first_line
from builder.models import preprocessing
from builder.planning.jobs import sample_name
from validation import samples
from validation.samples import Arrays, Sample


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, SweepReference):
        raise StepFailed("a sweep-reference action needs a sweep-reference recipe")
    kind = "onnx" if isinstance(recipe.source, OnnxSource) else "torch"
    model = plugins.source(kind).open(recipe, inputs, root)
    image = preprocessing.read(inputs / recipe.photograph)
    names: List[str] = []
    for size in recipe.sizes:
        feed: Arrays = {recipe.input.name: preprocessing.tensor(image, recipe.preprocess, size)}
        name = sample_name(recipe.photograph, size)
        samples.save(out / f"{name}.npz", _sample(name, model, feed))
        names.append(name)
        print(f"sweep-reference {name}", flush=True)
    return Sampled(tuple(names))


def _sample(name: str, model: plugins.Runner, feed: Arrays) -> Sample:
    try:
        return Sample(name, feed, model(feed))
    except Exception as problem:  # whatever the model raises at a size that it was not made for
        return Sample(name, feed, {}, first_line(problem) or type(problem).__name__)
