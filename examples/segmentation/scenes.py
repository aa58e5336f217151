"""Scenes that know their own labels: discs, boxes, triangles and rings drawn over pieces of photographs.

Colour, texture and contrast say nothing about the class; only the shape does. Crosses and blobs of the same make lie
among the objects and count as background. Arrays: images are uint8 [H, W, 3] RGB, label maps uint8 [H, W] with numbers
of `CLASSES`, masks float32 [H, W] in 0..1, points float64 [N, 2] as (x, y) in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence, Tuple

import cv2
import numpy as np
import numpy.typing as npt
from classes import CLASSES

Bytes = npt.NDArray[Any]  # uint8
Float = npt.NDArray[Any]  # float32
Points = npt.NDArray[Any]  # float64
Size = Tuple[int, int]  # height, width
Photographs = Sequence[Bytes]

DISTRACTORS = ("cross", "blob")
RADIUS = (0.085, 0.19)  # of a shape, as a share of the scene's shorter side
HIDDEN = 0.4  # an object keeps more than this share of its pixels in sight
TRIES = 20  # places tried for one object before the scene does without it


def read(path: Path) -> Bytes:
    """A photograph file as uint8 [H, W, 3] RGB; a gray one gets three equal channels."""
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is not an image that OpenCV can decode")
    return np.ascontiguousarray(image[:, :, ::-1])


def scene(photographs: Photographs, seed: int, number: int, size: Size) -> Tuple[Bytes, Bytes]:
    """Image and label map of one scene: the same arguments, the same scene.

    The background is photograph `number`, counted round and round; textures come from any of them.
    """
    rng = np.random.default_rng((seed, number))
    canvas = background(rng, photographs[number % len(photographs)], size)
    for _ in range(int(rng.integers(0, 4))):
        kind = DISTRACTORS[int(rng.integers(len(DISTRACTORS)))]
        paint(rng, canvas, silhouette(outline(rng, kind, size), size), photographs)
    labels = np.zeros(size, np.uint8)
    owners = np.zeros(size, np.uint8)  # which object a pixel shows, from 1
    areas: List[int] = [1]  # of every object before others hid parts of it; 0 is the background
    for _ in range(int(rng.integers(3, 7))):
        label = int(rng.integers(1, len(CLASSES)))
        for _ in range(TRIES):
            mask = silhouette(outline(rng, CLASSES[label], size), size)
            inside = mask >= 0.5
            left = np.bincount(owners[~inside], minlength=len(areas)) / np.array(areas)
            if len(areas) == 1 or left[1:].min() > HIDDEN:
                break
        else:
            continue
        paint(rng, canvas, mask, photographs)
        labels[inside] = label
        owners[inside] = len(areas)
        areas.append(max(int(inside.sum()), 1))
    scratch(rng, canvas)
    return expose(rng, canvas), labels


def piece(rng: np.random.Generator, photograph: Bytes, size: Size, least: float, most: float) -> Float:
    """A random part of a photograph, or its mirror image: float32 [H, W, 3] in 0..255.

    The part has the proportions of `size`, and is `least` to `most` times as large as the largest such part.
    """
    scale = min(photograph.shape[0] / size[0], photograph.shape[1] / size[1]) * rng.uniform(least, most)
    h, w = max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)
    y, x = int(rng.integers(photograph.shape[0] - h + 1)), int(rng.integers(photograph.shape[1] - w + 1))
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    part: Float = cv2.resize(photograph[y : y + h, x : x + w], (size[1], size[0]), interpolation=method)
    return (part[:, ::-1] if rng.random() < 0.5 else part).astype(np.float32)


def background(rng: np.random.Generator, photograph: Bytes, size: Size) -> Float:
    """A piece of the photograph, often flatter or tinted: float32 [H, W, 3] in 0..255."""
    image = piece(rng, photograph, size, least=0.5, most=1)
    if rng.random() < 0.5:
        image = image * rng.uniform(0.7, 1.15, 3).astype(np.float32)
    mean = image.mean((0, 1), keepdims=True)
    flat: Float = (image - mean) * np.float32(rng.uniform(0.5, 1.1)) + mean
    return flat


def outline(rng: np.random.Generator, kind: str, size: Size, radii: Tuple[float, float] = RADIUS) -> List[Points]:
    """The closed curves around a shape of this kind, at a random place, turned, sized and a little stretched."""
    radius = min(size) * np.exp(rng.uniform(np.log(radii[0]), np.log(radii[1])))
    around = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.stack([np.cos(around), np.sin(around)], 1)
    curves = [circle]
    if kind == "box":
        angle = np.deg2rad(rng.uniform(27, 45))  # of the diagonal: from two to one, to square
        corner = np.array([np.cos(angle), np.sin(angle)])
        curves = [corner * [[1, 1], [-1, 1], [-1, -1], [1, -1]]]
    elif kind == "triangle":
        corners = np.deg2rad([0, 120, 240] + rng.uniform(-22, 22, 3))
        curves = [np.stack([np.cos(corners), np.sin(corners)], 1) * 1.15]
    elif kind == "ring":
        curves = [circle, circle * rng.uniform(0.4, 0.7)]
    elif kind == "cross":
        a = rng.uniform(0.2, 0.35)
        arm = np.array([[1, a], [a, a], [a, 1], [-a, 1], [-a, a], [-1, a]])
        curves = [np.concatenate([arm, -arm])]
    elif kind == "blob":
        waves = sum(rng.uniform(0.1, 0.25) * np.cos(n * around + rng.uniform(0, 6.3)) for n in (2, 3, 5))
        curves = [circle * (0.8 + np.asarray(waves)[:, None])]
    turn, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1)  # squeezed first: a box keeps its right angles
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    margin = min(0.6 * radius, min(size) / 2)
    place = rng.uniform(margin, np.array([size[1], size[0]]) - margin)
    return [(curve * [1, squeeze]) @ spin.T * radius + place for curve in curves]


def silhouette(curves: Sequence[Points], size: Size) -> Float:
    """The mask of what lies inside an odd number of the curves, with soft edges."""
    mask = np.zeros(size, np.uint8)
    fixed = [np.rint(curve * 16).astype(np.int32) for curve in curves]  # OpenCV's sixteenths of a pixel
    cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / np.float32(255)


def paint(rng: np.random.Generator, canvas: Float, mask: Float, photographs: Photographs) -> None:
    """Put a shape on the canvas: often with a shadow and a rim, always so that it can be told from what is behind."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return
    if rng.random() < 0.4:
        offset = rng.uniform(-8, 8, 2)
        moved = cv2.warpAffine(mask, np.array([[1, 0, offset[0]], [0, 1, offset[1]]]), mask.shape[::-1])
        soft = cv2.GaussianBlur(moved, (0, 0), rng.uniform(1, 5))
        canvas *= 1 - np.float32(rng.uniform(0.2, 0.6)) * soft[:, :, None]
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    alpha = mask[box]
    behind = canvas[box][alpha > 0].mean(0)
    filling = fill(rng, alpha.shape, photographs)
    contrast = float(np.abs(filling[alpha > 0].mean(0) - behind).max())
    if contrast < 50 or rng.random() < 0.4:
        thick = 2 * int(rng.integers(1, 3)) + 1
        # What lies outside of the box counts as zero, as what lies outside of the shape does.
        padded = cv2.copyMakeBorder(alpha, thick, thick, thick, thick, cv2.BORDER_CONSTANT, value=0)
        core = cv2.erode(padded, np.ones((thick, thick), np.uint8))[thick:-thick, thick:-thick, None]
        colour = rng.uniform(0, 255, 3)
        if np.abs(colour - behind).max() < 80:
            colour = np.where(behind > 127, behind - 110, behind + 110)
        filling = core * filling + (1 - core) * colour.astype(np.float32)
    canvas[box] += alpha[:, :, None] * (filling - canvas[box])


def fill(rng: np.random.Generator, size: Size, photographs: Photographs) -> Float:
    """A surface: one colour, one colour fading into another, or one colour with the grain of a photograph."""
    first, second = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    kind = rng.random()
    if kind < 0.35:
        surface: Float = np.broadcast_to(first, (*size, 3))
    elif kind < 0.65:
        y, x = np.mgrid[0 : size[0], 0 : size[1]]
        angle = rng.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * (x / size[1] - 0.5) + np.sin(angle) * (y / size[0] - 0.5)
        surface = first + (second - first) * (slope[:, :, None] * 0.7 + 0.5).astype(np.float32)
    else:
        photograph = photographs[int(rng.integers(len(photographs)))]
        grain = piece(rng, np.rot90(photograph, int(rng.integers(0, 4))), size, least=0.1, most=0.4)
        surface = first + (grain - grain.mean((0, 1))) * np.float32(rng.uniform(0.4, 0.9))
    return surface


def scratch(rng: np.random.Generator, canvas: Float) -> None:
    """Thin lines and arcs across everything. What they cross keeps its label."""
    height, width = canvas.shape[:2]
    for _ in range(int(rng.integers(0, 6))):
        colour = [float(v) for v in rng.uniform(0, 255, 3)]
        x, y, u, v = (int(n) for n in rng.integers(0, [width, height, width, height]))
        if rng.random() < 0.6:
            cv2.line(canvas, (x, y), (u, v), colour, 1, cv2.LINE_AA)
        else:
            start, sweep = rng.uniform(0, 360), rng.uniform(40, 160)
            axes = (u // 4 + 5, v // 4 + 5)
            cv2.ellipse(canvas, (x, y), axes, rng.uniform(0, 180), start, start + sweep, colour, 1, cv2.LINE_AA)


def expose(rng: np.random.Generator, canvas: Float) -> Bytes:
    """What a camera makes of the canvas: uneven light, another gain, blur and noise."""
    coarse = rng.uniform(0.75, 1.2, (2, 3)).astype(np.float32)
    light = cv2.resize(coarse, canvas.shape[1::-1], interpolation=cv2.INTER_CUBIC)[:, :, None]
    image = canvas * (light * rng.uniform(0.8, 1.15, 3).astype(np.float32))
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.7:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(abs(rng.normal(0, 5)))
    return np.asarray(np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8))
