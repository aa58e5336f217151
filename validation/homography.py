"""Random homographies, and points and images under them.

Points are (x, y), pixel centres are integers.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# Names for readers: OpenCV's type stubs are too coarse to check element types.
Float = npt.NDArray[Any]  # float32
Matrix = npt.NDArray[Any]  # float64, 3x3
Bytes = npt.NDArray[Any]  # uint8


def shift(x: float, y: float) -> Matrix:
    """3x3 translation by (x, y) pixels."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


def random_homography(
    rng: np.random.Generator,
    source: tuple[int, int],
    target: tuple[int, int],
    rotation: float = 30.0,
    zoom: float = 1.4,
    tilt: float = 0.12,
    travel: float = 0.5,
    stretch: float = 0.15,
) -> Matrix:
    """A 3x3 homography from source to target pixels; sizes are (height, width).

    rotation: largest angle in degrees; zoom: largest factor of scale either way; tilt: largest change of
    scale by perspective between the centre and the edge; travel: offset of the centre, as a fraction of
    the spare room that the source has around the target; stretch: largest log ratio between the axes.
    """
    scale = np.exp(rng.uniform(-1, 1) * np.log(zoom))
    ratio = np.exp(rng.uniform(-1, 1) * stretch)
    angle = np.deg2rad(rng.uniform(-rotation, rotation))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([scale * ratio, scale / ratio, 1])
    perspective = np.eye(3)
    perspective[2, 0] = rng.uniform(-tilt, tilt) / (target[1] / 2)
    perspective[2, 1] = rng.uniform(-tilt, tilt) / (target[0] / 2)
    room_x, room_y = max(source[1] - target[1], 0) / 2, max(source[0] - target[0], 0) / 2
    x = (source[1] - 1) / 2 + rng.uniform(-travel, travel) * room_x
    y = (source[0] - 1) / 2 + rng.uniform(-travel, travel) * room_y
    whole: Matrix = shift((target[1] - 1) / 2, (target[0] - 1) / 2) @ perspective @ turn @ shift(-x, -y)
    return whole


def warp_points(points: Float, homography: Matrix) -> Float:
    """[N,2] -> [N,2] under a 3x3 homography."""
    moved = points.astype(np.float64) @ homography[:, :2].T + homography[:, 2]
    return (moved[:, :2] / moved[:, 2:]).astype(np.float32)


def warp_image(image: npt.NDArray[Any], homography: Matrix, size: tuple[int, int]) -> npt.NDArray[Any]:
    """[H,W] -> [size], bilinear, zero outside; size is (height, width)."""
    return cv2.warpPerspective(image, homography, (size[1], size[0]), flags=cv2.INTER_LINEAR)


def inside(points: Float, size: tuple[int, int], margin: float = 0.0) -> npt.NDArray[np.bool_]:
    """[N,2] -> [N], true where a point rounds to a pixel of a (height, width) image less the margin."""
    low = margin - 0.5
    x, y = points[:, 0], points[:, 1]
    return (x >= low) & (y >= low) & (x < size[1] - 0.5 - margin) & (y < size[0] - 0.5 - margin)
