"""The reference step: the model itself on every photograph at every size, stored as data.

One uncompressed .npz per sample holds `input/NAME` and `output/NAME` arrays. Whatever is compared later, on
whatever machine, is compared with these files, so no target needs PyTorch.
"""

from __future__ import annotations

from pathlib import Path
from typing import List

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Facts, Reference, Sampled
from builder.config.matrix import OnnxSource
from builder.errors import StepFailed
from builder.models import preprocessing
from builder.planning.jobs import sample_name
from validation import samples
from validation.samples import Sample


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
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
