"""Synthetic drawings whose corners are known by construction."""

from __future__ import annotations

import cv2
import numpy as np

from examples.superpoint.textures import gradient, octaves
from validation.homography import Bytes, Float

SUPERSAMPLING = 2  # drawings are made this much larger and averaged down, for smooth edges


class Drawing:
    """A canvas and the corners that are still visible on it."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        self.size = size * SUPERSAMPLING
        ground = gradient(rng, self.size) if rng.random() < 0.6 else octaves(rng, self.size, smooth=True)
        spread = rng.uniform(0.1, 0.6)
        self.image: Float = (rng.uniform(60, 200) + (ground - 0.5) * 255 * spread).astype(np.float32)
        self.corners: Float = np.zeros((0, 2), np.float32)

    def paint(self, mask: Bytes, corners: Float, contrast: float = 30.0) -> None:
        """Fill a mask with a grey that stands out, and forget the corners that it hides."""
        covered = mask > 0
        if not covered.any():
            return
        below = float(self.image[covered].mean())
        choices = [v for v in self.rng.uniform(0, 255, 12) if abs(v - below) > contrast]
        value = choices[0] if choices else (below + 128) % 256
        self.image[covered] = value
        hidden = cv2.dilate(mask, np.ones((9, 9), np.uint8))
        column = np.clip(np.rint(self.corners).astype(int), 0, self.size - 1)
        self.corners = np.concatenate([self.corners[hidden[column[:, 1], column[:, 0]] == 0], corners])

    def blank(self) -> Bytes:
        """An empty mask."""
        return np.zeros((self.size, self.size), np.uint8)

    def finish(self) -> tuple[Bytes, Float]:
        """Average down: image [size,size], corners [N,2]."""
        small = self.size // SUPERSAMPLING
        image = cv2.resize(self.image, (small, small), interpolation=cv2.INTER_AREA)
        corners = (self.corners + 0.5) / SUPERSAMPLING - 0.5
        inner = np.all((corners > 1) & (corners < small - 2), axis=1)
        return np.clip(image, 0, 255).astype(np.uint8), corners[inner].astype(np.float32)


def sharp(points: Float, limit: float = 150.0) -> Float:
    """Of a polygon's vertices [N,2], those whose angle is below the limit in degrees."""
    before, after = np.roll(points, 1, 0) - points, np.roll(points, -1, 0) - points
    cos = (before * after).sum(1) / np.maximum(np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1), 1e-6)
    chosen: Float = points[np.degrees(np.arccos(np.clip(cos, -1, 1))) < limit]
    return chosen


def polygon(d: Drawing) -> None:
    """A random polygon, convex or star-shaped; its sharp vertices are corners."""
    n = int(d.rng.integers(3, 8))
    angles = np.sort(d.rng.uniform(0, 2 * np.pi) + (np.arange(n) + d.rng.uniform(-0.3, 0.3, n)) * 2 * np.pi / n)
    radius = d.rng.uniform(0.03, 0.2) * d.size * d.rng.uniform(0.6, 1.0, n)
    points = d.rng.uniform(0, d.size, 2) + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    mask = d.blank()
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)
    d.paint(mask, sharp(points.astype(np.float32)))


def ellipse(d: Drawing) -> None:
    """An ellipse: edges without a corner."""
    mask = d.blank()
    axes = d.rng.uniform(0.02, 0.15, 2) * d.size
    centre = d.rng.uniform(0, d.size, 2)
    cv2.ellipse(mask, (tuple(centre), tuple(2 * axes), float(d.rng.uniform(0, 180))), 255, -1)
    d.paint(mask, np.zeros((0, 2), np.float32))


def star(d: Drawing) -> None:
    """Rays from one centre; the centre and the ends are corners."""
    n = int(d.rng.integers(3, 7))
    centre = d.rng.uniform(0.1, 0.9, 2) * d.size
    angles = d.rng.uniform(0, 2 * np.pi) + (np.arange(n) + d.rng.uniform(-0.25, 0.25, n)) * 2 * np.pi / n
    length = d.rng.uniform(0.04, 0.18, n) * d.size
    ends = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * length[:, None]
    mask = d.blank()
    width = int(d.rng.integers(3, 9))
    for end in ends:
        cv2.line(
            mask,
            tuple(np.rint(centre).astype(int).tolist()),
            tuple(np.rint(end).astype(int).tolist()),
            255,
            width,
        )
    d.paint(mask, np.concatenate([centre[None], ends]).astype(np.float32))


def line(d: Drawing) -> None:
    """One stroke; its two ends are corners."""
    ends = d.rng.uniform(0, d.size, 2) + np.array([[0, 0], d.rng.uniform(-0.3, 0.3, 2) * d.size])
    mask = d.blank()
    a, b = np.rint(ends).astype(int).tolist()
    cv2.line(mask, tuple(a), tuple(b), 255, int(d.rng.integers(2, 10)))
    d.paint(mask, ends.astype(np.float32))


def board(d: Drawing) -> None:
    """A checkerboard in perspective; every crossing is a corner."""
    rows, columns = (int(v) for v in d.rng.integers(2, 8, 2))
    unit = 16
    squares = (np.indices((rows, columns)).sum(0) % 2 * 255).astype(np.uint8)
    if d.rng.random() < 0.4:  # irregular greys rather than black and white
        squares = d.rng.integers(0, 256, (rows, columns)).astype(np.uint8)
    flat = np.kron(squares, np.ones((unit, unit), np.uint8))
    box = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32) * unit
    extent = d.rng.uniform(0.02, 0.07) * d.size * np.array([columns, rows])
    centred = (box / (unit * np.array([columns, rows])) - 0.5) * extent
    angle = d.rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    quad = centred @ turn.T + d.rng.uniform(0.1, 0.9, 2) * d.size + d.rng.uniform(-0.1, 0.1, (4, 2)) * extent
    h = cv2.getPerspectiveTransform(box - 0.5, quad.astype(np.float32))
    mask = cv2.warpPerspective(np.full(flat.shape, 255, np.uint8), h, (d.size, d.size), flags=cv2.INTER_NEAREST)
    if not mask.any():
        return
    grid = np.stack(np.meshgrid(np.arange(columns + 1.0), np.arange(rows + 1.0)), -1).reshape(-1, 1, 2)
    crossings: Float = cv2.perspectiveTransform(grid * unit - 0.5, h).reshape(-1, 2)
    d.paint(mask, crossings.astype(np.float32))
    low, high = np.sort(d.rng.uniform(0, 255, 2))
    if high - low < 60:
        low, high = 30, 220
    drawn = cv2.warpPerspective(flat, h, (d.size, d.size), flags=cv2.INTER_NEAREST)
    d.image[mask > 0] = (low + (high - low) * drawn / 255.0)[mask > 0]


def shapes(rng: np.random.Generator, size: int) -> tuple[Bytes, Float]:
    """A drawing of random shapes: image [size,size], corners [N,2] (x,y)."""
    drawing = Drawing(rng, size)
    kinds = (polygon, polygon, polygon, ellipse, star, line, board, board)
    for _ in range(int(rng.integers(8, 40))):
        kinds[int(rng.integers(len(kinds)))](drawing)
    return drawing.finish()
