"""Busy backgrounds for training: nine photographs are few and plain, and an eye or a cup is no ring to be found.

A collage has what everyday photographs have and drawn objects have not: things much larger or smaller than an object,
strokes, crooked outlines, soft focus, quiet colours.
"""

from __future__ import annotations

import cv2
import numpy as np
from scenes import Bytes, Float, Photographs, Size, background, outline, paint, silhouette

SIZE: Size = (384, 480)
LARGE = (0.35, 1.0)  # radii of background things, as shares of the collage's height
ANY = (0.02, 0.6)


def collage(photographs: Photographs, seed: int, number: int) -> Bytes:
    """uint8 [H, W, 3] RGB of `SIZE`; the same arguments, the same collage."""
    rng = np.random.default_rng((seed, number))
    canvas = background(rng, photographs[number % len(photographs)], SIZE)
    for _ in range(int(rng.integers(1, 4))):  # from far to near: each layer softens the ones behind it
        for _ in range(int(rng.integers(2, 20))):
            paint(rng, canvas, thing(rng), photographs)
        if rng.random() < 0.7:
            canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 4)).astype(np.float32)
    grey = canvas.mean(2, keepdims=True)
    canvas = grey + (canvas - grey) * np.float32(rng.uniform(0.1, 1))
    return np.asarray(np.clip(canvas, 0, 255).astype(np.uint8))


def thing(rng: np.random.Generator) -> Float:
    """The mask of one thing that is no object: float32 [H, W] in 0..1."""
    kind = rng.random()
    if kind < 0.25:
        return stroke(rng)
    if kind < 0.45:  # the edge of something round or straight, too large to be an object
        return silhouette(outline(rng, ("disc", "box", "triangle", "ring")[int(rng.integers(4))], SIZE, LARGE), SIZE)
    return silhouette(outline(rng, "blob" if kind < 0.85 else "cross", SIZE, ANY), SIZE)


def stroke(rng: np.random.Generator) -> Float:
    """A pole, a wire or a hair: the mask of a bent line."""
    start = rng.uniform(0, [SIZE[1], SIZE[0]])
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0, 0.5), 12))
    steps = np.stack([np.cos(heading), np.sin(heading)], 1) * rng.uniform(8, 50)
    points = np.rint((start + np.cumsum(steps, 0)) * 16).astype(np.int32)
    mask = np.zeros(SIZE, np.uint8)
    cv2.polylines(mask, [points], False, 255, int(rng.integers(1, 16)), cv2.LINE_AA, 4)
    return mask.astype(np.float32) / np.float32(255)
