"""The calibration-data step: the calibration photographs as one array, for TensorRT's calibrator on a target that has
neither the photographs nor their decoder. The Q/DQ path (`lower_int8.py`) makes the same tensors of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from builder import preprocess
from builder.action import Action
from builder.errors import StepFailed
from builder.recipes import CalibrationData, Facts, Sampled


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, CalibrationData):
        raise StepFailed("a calibration-data action needs a calibration-data recipe")
    tensors = [
        preprocess.tensor(preprocess.read(inputs / name), recipe.preprocess, recipe.size) for name in recipe.photographs
    ]
    np.savez(out / "images.npz", images=np.concatenate(tensors))
    return Sampled(recipe.photographs)
