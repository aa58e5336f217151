"""The reference step: the model itself on every photograph at every size, stored as data.

One uncompressed .npz per sample holds `input/NAME` and `output/NAME` arrays. Whatever is compared later, on
whatever machine, is compared with these files, so no target needs PyTorch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from builder import preprocess, seams
from builder.action import Action
from builder.errors import StepFailed
from builder.matrix import OnnxSource
from builder.plan import sample_name
from builder.recipes import Facts, Reference, Sampled


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, Reference):
        raise StepFailed("a reference action needs a reference recipe")
    kind = "onnx" if isinstance(recipe.source, OnnxSource) else "torch"
    model = seams.source(kind).open(recipe, inputs, root)
    samples = []
    for photograph in recipe.photographs:
        image = preprocess.read(inputs / photograph)
        for size in recipe.sizes:
            tensor = preprocess.tensor(image, recipe.preprocess, size)
            outputs = model({recipe.input.name: tensor})
            name = sample_name(photograph, size)
            arrays = {f"output/{key}": value for key, value in outputs.items()}
            np.savez(out / f"{name}.npz", **{f"input/{recipe.input.name}": tensor}, **arrays)
            samples.append(name)
            print(f"reference {name}", flush=True)
    return Sampled(tuple(samples))
