"""Pictures of the model beside an artifact on one sample.

The pictures are the photograph, the keypoints of both, and the difference of a map. Small files for a page. The
difference map takes the largest absolute difference of each patch of some pixels, so that a single difference is
visible, on a square-root scale from 0 to the largest, in OpenCV's cividis colours, which suit any colour vision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Tuple

import cv2
import numpy as np

from builder.actions.measurements import MapDifference, Place, WorstCase
from builder.actions.recipes import DrawWorstCase
from builder.config.contract import Preprocess
from builder.errors import StepFailed
from validation import keypoints
from validation.comparison import mutual
from validation.samples import Arrays, Sample

Array = np.ndarray[Any, np.dtype[Any]]

SIDE = 480  # pixels, the longer side of a picture
WITHIN = 3.0  # pixels of the input: keypoints nearer than this are the same one
BYTES = 40_000  # a picture is at most about this large
_SPOT = 5  # pixels of the picture: least size of a difference, to be visible
MOST_CLASSES = 64  # a map of more channels holds features, not classes
# Okabe and Ito's colours for colour-blind readers (2008), as RGB; classes beyond the eighth begin again.
_CLASSES = (
    ((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115))
    + ((240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
)  # fmt: skip


def draw(recipe: DrawWorstCase, sample: Sample, candidate: Arrays, out: Path) -> WorstCase:
    """Write the pictures into `out`.

    Raises StepFailed for tensors that cannot be compared.
    """
    image = sample.inputs[recipe.input]
    height, width = image.shape[-2:]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    _check(recipe, sample.outputs, candidate)
    _jpeg(out / "photograph.jpg", _photograph(image[0], recipe.preprocess, size))
    both, lost, new = _keypoints(recipe, sample.outputs, candidate, (size[0] / width, size[1] / height))
    return WorstCase(
        size=size,
        keypoints=recipe.postprocess is not None,
        both=both,
        lost=lost,
        new=new,
        map=_map(recipe, sample.outputs, candidate, (height, width), size, out),
    )


def _check(recipe: DrawWorstCase, reference: Arrays, candidate: Arrays) -> None:
    for name in recipe.outputs:
        if name not in candidate or candidate[name].shape != reference[name].shape:
            raise StepFailed(f"output {name!r} of the artifact has not the shape of the model's")


def _photograph(planes: Array, contract: Preprocess, size: Place) -> Array:
    """The input tensor [C, H, W] back as a photograph: uint8 [h, w] or [h, w, 3] RGB."""
    values = planes.astype(np.float64)
    if contract.std:
        values = values * np.asarray(contract.std)[:, None, None]
    if contract.mean:
        values = values + np.asarray(contract.mean)[:, None, None]
    low, high = contract.range
    values = np.clip((values - low) / (high - low) * 255.0, 0, 255).transpose(1, 2, 0)
    resized: Array = cv2.resize(np.ascontiguousarray(values), size, interpolation=cv2.INTER_AREA)
    return np.rint(resized).astype(np.uint8)


Paired = Tuple[Tuple[Tuple[int, int, int, int], ...], Tuple[Place, ...], Tuple[Place, ...]]


def _keypoints(recipe: DrawWorstCase, reference: Arrays, candidate: Arrays, scale: Tuple[float, float]) -> Paired:
    """(found by both, only by the model, only by the artifact), in pixels of the picture."""
    if recipe.postprocess is None:
        return (), (), ()
    a, b = (keypoints.extract(t, recipe.postprocess, (1.0, 1.0), "").points for t in (reference, candidate))
    i, j = mutual(a, b, WITHIN)
    left, right = ((points + 0.5) * scale - 0.5 for points in (a, b))
    pairs = tuple((*_place(left[m]), *_place(right[n])) for m, n in zip(i, j))
    lost = tuple(_place(left[m]) for m in sorted(set(range(len(a))) - set(i.tolist())))
    new = tuple(_place(right[n]) for n in sorted(set(range(len(b))) - set(j.tolist())))
    return pairs, lost, new


def _place(point: Array) -> Place:
    return round(float(point[0])), round(float(point[1]))


def _map(
    recipe: DrawWorstCase, reference: Arrays, candidate: Arrays, image: Tuple[int, int], size: Place, out: Path
) -> Optional[MapDifference]:
    """The first output that is a map of the image (a keypoint head's scores), drawn as the difference."""
    name = next((name for name in _candidates(recipe) if _is_map(reference[name], image)), None)
    if name is None:
        return None
    wanted, found = (t[name][0].astype(np.float64) for t in (reference, candidate))
    wanted, found = (values[None] if values.ndim == 2 else values for values in (wanted, found))
    difference = np.nan_to_num(np.abs(found - wanted), nan=0.0, posinf=0.0).max(axis=0)
    largest = float(difference.max())
    y, x = np.unravel_index(int(difference.argmax()), difference.shape)
    at = tuple(int(n * of / whole) for n, of, whole in zip((x, y), size, difference.shape[::-1]))
    small = cv2.dilate(_pooled(difference, size), np.ones((_SPOT, _SPOT), np.uint8))
    shade = np.rint(255 * np.sqrt(small / largest)).astype(np.uint8) if largest else np.zeros(size[::-1], np.uint8)
    _jpeg(out / "difference.jpg", cv2.applyColorMap(shade, cv2.COLORMAP_CIVIDIS)[:, :, ::-1])
    classes = len(wanted) if recipe.postprocess is None and 1 < len(wanted) <= MOST_CLASSES else 0
    agreement = None
    if classes:
        agreement = round(float((wanted.argmax(0) == found.argmax(0)).mean()), 7)
        for file, values in (("reference.png", wanted), ("candidate.png", found)):
            _png(out / file, _colours(values.argmax(0), size))
    return MapDifference(name, float(f"{largest:.7g}"), (at[0], at[1]), classes, agreement)


def _candidates(recipe: DrawWorstCase) -> Tuple[str, ...]:
    if recipe.postprocess is None:
        return recipe.outputs
    return () if recipe.postprocess.points is not None else (recipe.postprocess.scores,)


def _is_map(values: Array, image: Tuple[int, int]) -> bool:
    """Whether it is [1, H, W] or [1, C, H, W] with the image's proportions, and large enough to show."""
    if values.ndim not in (3, 4) or min(values.shape[-2:]) < 4:
        return False
    return bool(values.shape[-2] * image[1] == values.shape[-1] * image[0])


def _pooled(values: Array, size: Place) -> Array:
    """[H, W] -> [h, w] by the largest value of each patch; enlarged by repeating."""
    rows, columns = (np.arange(n) * of // n for n, of in zip(size[::-1], values.shape))
    by_row = np.maximum.reduceat(values, rows, axis=0)
    return np.asarray(np.maximum.reduceat(by_row, columns, axis=1))


def _colours(classes: Array, size: Place) -> Array:
    palette = np.asarray(_CLASSES, np.uint8)
    return np.asarray(
        palette[cv2.resize(classes.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) % len(palette)]
    )


def _jpeg(path: Path, image: Array) -> None:
    """The best quality at which the picture is small enough; the last one in any case."""
    for quality in (85, 75, 65, 50, 35, 20):
        _, data = cv2.imencode(
            ".jpg", image[:, :, ::-1] if image.ndim == 3 else image, [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
        if len(data) <= BYTES:
            break
    path.write_bytes(data.tobytes())


def _png(path: Path, image: Array) -> None:
    _, data = cv2.imencode(".png", image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    path.write_bytes(data.tobytes())
