"""The photographs of the scikit-image package, split into training and evaluation files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import skimage

# Never add to one what the other has: the evaluation photographs must stay unseen.
TRAINING = (
    "brick.png",
    "cell.png",
    "chessboard_GRAY.png",
    "clock_motion.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "logo.png",
    "moon.png",
    "phantom.png",
    "retina.jpg",
    "text.png",
)
EVALUATION = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "rocket.jpg",
)


def load(name: str) -> npt.NDArray[np.uint8]:
    """Read one photograph as grayscale [H,W]."""
    path = Path(skimage.__file__).parent / "data" / name
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise FileNotFoundError(f"scikit-image has no readable {name} at {path}")
    return image.astype(np.uint8, copy=False)
