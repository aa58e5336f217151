"""Repeatability and homography accuracy, and the pairs of held-out photographs to measure them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from examples.superpoint import photographs
from examples.superpoint.photometric import photometric
from examples.superpoint.warp import (
    Bytes,
    Float,
    Matrix,
    inside,
    random_homography,
    shift,
    warp_image,
    warp_points,
)

# image [H,W] -> keypoints [N,2] (x,y), best first; descriptors [N,D], float32 or (for Hamming distance) uint8
Extractor = Callable[[Bytes], tuple[Float, "Float | Bytes"]]


@dataclass
class Pair:
    """Two views [H,W] of a photograph; the homography maps pixels of the first to the second."""

    name: str
    first: Bytes
    second: Bytes
    homography: Matrix


def held_out_pairs(size: tuple[int, int], per_photograph: int, seed: int, light: float = 0.5) -> list[Pair]:
    """Random views (height, width) of every evaluation photograph, the same for the same arguments.

    The first view is the middle of the photograph, the second a random homography (up to 30 degrees and a
    factor 1.3 of scale) with another light, blur and noise (`light` times as strong as in training).
    """
    pairs = []
    room = (int(size[0] * 1.25), int(size[1] * 1.25))
    for number, name in enumerate(photographs.EVALUATION):
        image = photographs.load(name)
        scale = max(room[0] / image.shape[0], room[1] / image.shape[1])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        whole = cv2.resize(image, None, fx=scale, fy=scale, interpolation=method)
        y, x = (whole.shape[0] - room[0]) // 2, (whole.shape[1] - room[1]) // 2
        base = whole[y : y + room[0], x : x + room[1]]
        to_first = shift(-((room[1] - size[1]) // 2), -((room[0] - size[0]) // 2))
        for k in range(per_photograph):
            rng = np.random.default_rng((seed, number, k))
            to_second = random_homography(rng, room, size, rotation=30, zoom=1.3, tilt=0.12, travel=0.6)
            first = np.asarray(warp_image(base, to_first, size), dtype=np.uint8)
            second = np.asarray(warp_image(base, to_second, size), dtype=np.uint8)
            homography = to_second @ np.linalg.inv(to_first)
            pairs.append(Pair(name, first, photometric(rng, second, light), homography))
    return pairs


def repeatability(first: Float, second: Float, pair: Pair, pixels: float = 3.0) -> float:
    """Of the keypoints [N,2], [M,2] that both views show, the share with a counterpart that near."""
    size = (pair.first.shape[0], pair.first.shape[1])
    there = warp_points(first, pair.homography)
    there = there[inside(there, size)]
    back = warp_points(second, np.linalg.inv(pair.homography))
    second = second[inside(back, size)]
    if not len(there) or not len(second):
        return 0.0
    distance = np.linalg.norm(there[:, None] - second[None], axis=2)
    hits = (distance.min(1) <= pixels).sum() + (distance.min(0) <= pixels).sum()
    return float(hits / (len(there) + len(second)))


def estimate(
    first: tuple[Float, Float | Bytes], second: tuple[Float, Float | Bytes], robust: int = cv2.USAC_MAGSAC
) -> Matrix | None:
    """Homography between two sets of (keypoints, descriptors), from mutual nearest neighbours.

    robust: OpenCV's method against wrong matches. Plain RANSAC keeps whichever sample has most inliers, however
    inexact it is, and so varies more than MAGSAC, which weighs the residuals.
    """
    if min(len(first[0]), len(second[0])) < 4:
        return None
    norm = cv2.NORM_HAMMING if first[1].dtype == np.uint8 else cv2.NORM_L2
    matches = cv2.BFMatcher(norm, crossCheck=True).match(first[1], second[1])
    if len(matches) < 4:
        return None
    a = first[0][[m.queryIdx for m in matches]]
    b = second[0][[m.trainIdx for m in matches]]
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(a, b, robust, 3.0, maxIters=5000, confidence=0.9999)
    return None if found is None else np.asarray(found, dtype=np.float64)


def corner_error(found: Matrix | None, pair: Pair) -> float:
    """Mean distance in pixels of the first view's four corners under the found and the true homography."""
    if found is None:
        return float("inf")
    h, w = pair.first.shape
    corners = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], np.float32)
    there, true = warp_points(corners, found), warp_points(corners, pair.homography)
    return float(np.linalg.norm(there - true, axis=1).mean())


def measure(
    extractor: Extractor, pairs: list[Pair], pixels: float = 3.0, robust: int = cv2.USAC_MAGSAC
) -> tuple[float, float]:
    """Mean repeatability, and share of pairs whose corner error is within so many pixels."""
    repeated, right = [], []
    for pair in pairs:
        first, second = extractor(pair.first), extractor(pair.second)
        repeated.append(repeatability(first[0], second[0], pair, pixels))
        right.append(corner_error(estimate(first, second, robust), pair) <= pixels)
    return float(np.mean(repeated)), float(np.mean(right))
