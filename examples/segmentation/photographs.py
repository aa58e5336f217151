"""The photographs of the scikit-image package, split as examples/superpoint splits them, less some that show shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import skimage

# Never add to one what the other has: the evaluation photographs must stay unseen. Left out are chessboards, logos
# and phantoms, whose boxes and discs would count as background.
TRAINING = (
    "brick.png",
    "grass.png",
    "gravel.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "retina.jpg",
    "text.png",
)
EVALUATION = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


def paths(names: Sequence[str]) -> dict[str, Path]:
    """Where the files with these names are."""
    folder = Path(skimage.__file__).parent / "data"
    return {name: folder / name for name in names}
