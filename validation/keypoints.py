"""Keypoints from a head's tensors, and a picture of them. OpenCV and NumPy are imported on use.

Non-maximum suppression keeps a score that is the largest in the square of side 2*radius + 1 around it; the
descriptor is sampled bilinearly from the coarse map at the keypoint and normalised again (DeTone et al. 2018,
"SuperPoint", section 3.4: bi-linear interpolation, then L2).

Points are float32 [N, 2] as (x, y) in pixels, pixel centres at whole numbers. Sizes are (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Tuple

from builder.config.contract import Keypoints
from builder.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class DetectedKeypoints:
    """Keypoints of one photograph, best first. `cell` is the artifact that found them.

    points: float32 [N, 2], (x, y) in pixels of the photograph. scores: float32 [N]. descriptors: float32 [N, D],
    each of length 1.
    """

    points: "Array"
    scores: "Array"
    descriptors: "Array"
    cell: str


def extract(
    tensors: "Mapping[str, Array]", contract: Keypoints, scale: Tuple[float, float], cell: str
) -> DetectedKeypoints:
    """Keypoints of the first image of the batch.

    `scale` is (x, y): photograph pixels per input pixel.
    """
    import numpy as np

    if contract.points is not None:
        points, scores = tensors[contract.points][0], tensors[contract.scores][0]
        descriptors = tensors[contract.descriptors][0]
        order = np.argsort(-scores, kind="stable")[: contract.top_k]
        keep = order[scores[order] >= contract.threshold]
        points, scores, descriptors = points[keep], scores[keep], descriptors[keep]
    else:
        points, scores = peaks(tensors[contract.scores][0], contract)
        height = tensors[contract.scores].shape[-2]
        descriptors = sample(tensors[contract.descriptors][0], points, height)
    # Resizing keeps the positions of pixel centres, not of corners: (x + 0.5) * scale - 0.5.
    factor = np.asarray(scale, np.float32)
    return DetectedKeypoints((points.astype(np.float32) + 0.5) * factor - 0.5, scores, descriptors, cell)


def peaks(scores: "Array", contract: Keypoints) -> "Tuple[Array, Array]":
    """Maxima of a score map [H, W]: (points [N, 2] as (x, y), scores [N]), best first."""
    import cv2
    import numpy as np

    side = 2 * contract.nms_radius + 1
    largest = cv2.dilate(np.ascontiguousarray(scores), np.ones((side, side), np.uint8))
    y, x = np.nonzero((scores == largest) & (scores >= contract.threshold))
    order = np.argsort(-scores[y, x], kind="stable")
    kept = _apart(y[order], x[order], scores.shape, contract)
    y, x = y[order][kept], x[order][kept]
    return np.stack([x, y], axis=1).astype(np.float32), scores[y, x]


def _apart(y: "Array", x: "Array", shape: Tuple[int, ...], contract: Keypoints) -> List[int]:
    """Candidates, best first, without a kept one within the radius.

    Equal neighbours are both maxima.
    """
    import numpy as np

    taken, radius = np.zeros(shape, bool), contract.nms_radius
    kept: List[int] = []
    for i, (row, column) in enumerate(zip(y, x)):
        if len(kept) == contract.top_k:
            break
        if not taken[row, column]:
            kept.append(i)
            taken[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = True
    return kept


def sample(coarse: "Array", points: "Array", height: int) -> "Array":
    """Bilinear samples of a map [D, h, w] at `points` of an image `height` pixels high: float32 [N, D], length 1."""
    import numpy as np

    stride = height / coarse.shape[1]
    at = (points + 0.5) / stride - 0.5
    low = np.floor(at).astype(np.int64)
    part = (at - low).astype(np.float32)
    limit = np.asarray([coarse.shape[2] - 1, coarse.shape[1] - 1])
    out = np.zeros((len(points), coarse.shape[0]), np.float32)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = np.clip(low + (dx, dy), 0, limit).T
            weight = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            out += coarse[:, y, x].T * weight[:, None]
    length: Array = np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
    return np.asarray(out / length, np.float32)


def draw(image: "Array", found: DetectedKeypoints, path: Path) -> None:
    """Write the photograph (uint8 [H, W, 3] RGB) with a circle per keypoint, brighter for better ones."""
    import cv2
    import numpy as np

    canvas = np.ascontiguousarray(image[:, :, ::-1])
    radius = max(2, round(max(canvas.shape[:2]) / 250))
    best = float(found.scores.max(initial=1e-9))
    for (x, y), score in zip(found.points[::-1], found.scores[::-1]):
        share = (float(score) / best) ** 0.5
        colour = (int(40 * (1 - share)), int(90 + 165 * share), int(255 - 155 * share))
        centre = (round(float(x) * 8), round(float(y) * 8))
        cv2.circle(canvas, centre, radius * 8, (0, 0, 0), 2, cv2.LINE_AA, shift=3)
        cv2.circle(canvas, centre, radius * 8, colour, 1, cv2.LINE_AA, shift=3)
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        written = cv2.imwrite(str(partial), canvas)
    except cv2.error:  # an ending that OpenCV has no encoder for
        written = False
    if not written:
        raise UsageError(
            f"cannot write a picture to {path}", hint="give a name that ends in .png or .jpg in an existing folder"
        )
    partial.replace(path)
