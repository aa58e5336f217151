"""The calibration-data step: the images that set int8 ranges, as one array.

It feeds the Q/DQ writer here and TensorRT's calibrator on a target that has neither the photographs nor their decoder:
the same tensors for both.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from builder.actions.action import Action
from builder.actions.recipes import CalibrationData, Facts, Sampled
from builder.errors import StepFailed
from builder.models import preprocessing
from validation import task

_MOST = 10_000  # images that a source may give: beyond it, it never ends


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, CalibrationData):
        raise StepFailed("a calibration-data action needs a calibration-data recipe")
    names, tensors = [], []
    for name, image in _given(recipe, inputs) if recipe.source else _read(recipe, inputs):
        names.append(name)
        tensors.append(preprocessing.tensor(image, recipe.preprocess, recipe.size))
    if not tensors:
        raise StepFailed(f"{recipe.source or 'calibration'} gave no image", hint="int8 ranges need some images")
    np.savez(out / "images.npz", images=np.concatenate(tensors))
    return Sampled(tuple(names))


def _read(recipe: CalibrationData, inputs: Path) -> "Iterator[tuple[str, Any]]":
    for name in recipe.photographs:
        yield name, preprocessing.read(inputs / name)


def _given(recipe: CalibrationData, inputs: Path) -> "Iterator[tuple[str, Any]]":
    """The images of the person's function, checked."""
    code = inputs / "code"
    images = task.attribute(recipe.source, code)()
    with task.told_of(recipe.source, code):
        for number, image in enumerate(itertools.islice(images, _MOST + 1)):
            if number == _MOST:
                raise StepFailed(f"{recipe.source} gave more than {_MOST} images")
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3):
                raise StepFailed(f"{recipe.source}: image {number} is no uint8 array [H, W, 3] or [H, W]")
            yield f"{recipe.source}#{number}", image
