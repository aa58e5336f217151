"""Training pairs: two warped views of one scene, their keypoints and the correspondences."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from examples.superpoint import photographs
from examples.superpoint.corners import adapted_response, peaks
from examples.superpoint.shapes import shapes
from examples.superpoint.textures import leaves, plain
from validation.homography import Bytes, Float, inside, random_homography, warp_image, warp_points
from validation.light import photometric

VIEW = (120, 160)  # height, width of a training view
BASE = (200, 264)  # of the scene's piece that both views are taken from
CANVAS = 400  # side of a procedural scene
CELL = 8
NOTHING = CELL * CELL  # the class of a cell without a keypoint
IGNORED = -100  # the class of a cell that the scene does not cover


@dataclass
class Scene:
    """An image [H,W] and its corners [N,2], or None where nobody knows them."""

    image: Bytes
    corners: Float | None


@dataclass
class Batch:
    """P pairs as 2P views, first all first views and then all second ones.

    images [2P,1,H,W] in 0..1; classes [2P,H/8,W/8]; points [2P,N,2] (x,y) where point n of view p
    corresponds to point n of view p+P; weights [P,N], 0 for padding.
    """

    images: Tensor
    classes: Tensor
    points: Tensor
    weights: Tensor


def cell_classes(points: Float, covered: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Keypoints [N,2], best first, and the covered pixels [H,W] -> class of every cell [H/8,W/8]."""
    rows, columns = covered.shape[0] // CELL, covered.shape[1] // CELL
    classes = np.full((rows, columns), NOTHING, np.int64)
    whole = np.rint(points[inside(points, (covered.shape[0], covered.shape[1]))]).astype(int)
    for x, y in whole[::-1]:  # the best point of a cell is written last
        classes[y // CELL, x // CELL] = (y % CELL) * CELL + x % CELL
    full = covered.reshape(rows, CELL, columns, CELL).all(axis=(1, 3))
    classes[~full] = IGNORED
    return classes


class PairSource:
    """A pool of scenes, renewed bit by bit, and batches of random pairs from it."""

    def __init__(self, seed: int, pool: int = 480, threads: int = 2) -> None:
        self.seed = seed
        self.photographs = [photographs.load(name) for name in photographs.TRAINING]
        self.executor = ThreadPoolExecutor(threads)
        self.pool = list(self.executor.map(self.scene, range(pool)))

    def scene(self, number: int) -> Scene:
        """Make the scene with this number; the same number gives the same scene."""
        rng = np.random.default_rng((self.seed, 0, number))
        kind = rng.random()
        if kind < 0.25:
            image, corners = shapes(rng, CANVAS)
            return Scene(image, corners)
        if kind < 0.8:
            return Scene(leaves(rng, CANVAS, self.photographs), None)
        return Scene(plain(rng, CANVAS, self.photographs), None)

    def base(self, rng: np.random.Generator) -> Scene:
        """A random piece of a random scene, resized to BASE and flipped at will."""
        if rng.random() < 0.2:
            scene = Scene(self.photographs[int(rng.integers(len(self.photographs)))], None)
        else:
            scene = self.pool[int(rng.integers(len(self.pool)))]
        height, width = scene.image.shape
        widest = min(height / BASE[0], width / BASE[1], 2.5)
        scale = widest * rng.uniform(0.5, 1.0) if widest > 1 else widest
        h, w = min(int(BASE[0] * scale), height), min(int(BASE[1] * scale), width)
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        method = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
        image = cv2.resize(scene.image[y : y + h, x : x + w], (BASE[1], BASE[0]), interpolation=method)
        corners = scene.corners
        if corners is not None:
            corners = (corners - np.array([x, y]) + 0.5) * np.array([BASE[1] / w, BASE[0] / h]) - 0.5
        for axis in (0, 1):
            if rng.random() < 0.5:
                image = np.flip(image, axis)
                if corners is not None:
                    corners[:, 1 - axis] = BASE[axis] - 1 - corners[:, 1 - axis]
        if corners is not None:
            corners = corners[inside(corners, BASE)].astype(np.float32)
        return Scene(np.ascontiguousarray(image), corners)

    def pair(self, key: tuple[int, ...], count: int) -> tuple[list[Bytes], list[npt.NDArray[np.int64]], Float, int]:
        """Two views, their cell classes, points [2,count,2] and how many of the points are real."""
        rng = np.random.default_rng(key)
        scene = self.base(rng)
        wide = rng.random() < 0.15
        matrices = [random_homography(rng, BASE, VIEW, rotation=180 if wide and i else 30) for i in range(2)]
        clean = [np.asarray(warp_image(scene.image, m, VIEW), dtype=np.uint8) for m in matrices]
        if scene.corners is None:
            keypoints, _ = peaks(adapted_response(scene.image, clean, matrices), 260)
        else:
            keypoints = scene.corners
        everywhere = np.ones(BASE, np.uint8)
        classes = [
            cell_classes(warp_points(keypoints, m), np.asarray(warp_image(everywhere, m, VIEW)) > 0) for m in matrices
        ]
        # Some correspondences lie anywhere, for points that the detector will add; not many of them, since
        # nobody can tell one point of a plain surface from another.
        anywhere = (rng.random((3 * count, 2)) * (BASE[1] - 1, BASE[0] - 1)).astype(np.float32)
        seen = [self.visible(p, matrices) for p in (rng.permutation(keypoints), anywhere)]
        known = seen[0][: count * 3 // 4]
        chosen = np.concatenate([known, seen[1][: 8 + len(known) // 4]])[:count]
        points = np.zeros((2, count, 2), np.float32)
        for i, matrix in enumerate(matrices):
            points[i, : len(chosen)] = warp_points(chosen, matrix)
        return [photometric(rng, view) for view in clean], classes, points, len(chosen)

    @staticmethod
    def visible(points: Float, matrices: list[npt.NDArray[np.float64]]) -> Float:
        """Those base points [N,2] that both views show."""
        shown = np.ones(len(points), bool)
        for matrix in matrices:
            shown &= inside(warp_points(points, matrix), VIEW, margin=2)
        return points[shown]

    def batch(self, step: int, pairs: int, count: int = 128) -> Batch:
        """The batch of this step; also replaces one scene of the pool."""
        keys = [(self.seed, 1, step, i) for i in range(pairs)]
        fresh = self.executor.submit(self.scene, len(self.pool) + step)
        made = list(self.executor.map(lambda key: self.pair(key, count), keys))
        self.pool[step % len(self.pool)] = fresh.result()
        images = np.stack([m[0][i] for i in range(2) for m in made])
        weights = np.stack([np.arange(count) < m[3] for m in made])
        return Batch(
            torch.from_numpy(images).unsqueeze(1).float() / 255,
            torch.from_numpy(np.stack([m[1][i] for i in range(2) for m in made])),
            torch.from_numpy(np.stack([m[2][i] for i in range(2) for m in made])),
            torch.from_numpy(weights.astype(np.float32)),
        )
