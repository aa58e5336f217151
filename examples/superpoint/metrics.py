"""Scores of any extractor, learned or classical, on the product's own keypoint tasks (`validation/keypoint_tasks.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import skimage

from examples.superpoint.photographs import EVALUATION
from validation import keypoint_metrics
from validation.homography import Bytes
from validation.keypoint_metrics import Features
from validation.keypoint_tasks import Homographies, Stereo
from validation.task import Case, Scores, mean

# image uint8 [H,W] -> keypoints [N,2] (x,y), best first; descriptors [N,D], float32 or (for Hamming distance) uint8
Extractor = Callable[[Bytes], Features]

STEREO = ("motorcycle_left.png", "motorcycle_right.png", "motorcycle_disp.npz")


def data(names: Sequence[str]) -> dict[str, Path]:
    """Where scikit-image keeps these files."""
    return {name: Path(skimage.__file__).parent / "data" / name for name in names}


def views(size: tuple[int, int], kinds: str, seed: int) -> list[Case]:
    """Held-out photographs under known homographies and changes of light (height, width). The motorcycle is left to
    the stereo task: its two views show one scene."""
    names = [name for name in EVALUATION if not name.startswith("motorcycle")]
    return list(Homographies(kinds=kinds, seed=seed).cases(data(names), size))


def score_views(extractor: Extractor, cases: Sequence[Case], robust: int = cv2.USAC_MAGSAC) -> Scores:
    """The means over cases and kinds; see `keypoint_metrics.scores`."""
    pairs: list[Scores] = []
    for case in cases:
        size = (case.images[0].shape[0], case.images[0].shape[1])
        first = extractor(case.images[0])
        for homography, image in zip(case.truth["homographies"], case.images[1:], strict=True):
            pairs.append(keypoint_metrics.scores(first, extractor(image), homography, size, robust))
    return mean(pairs)


def score_stereo(extractor: Extractor, size: tuple[int, int]) -> Scores:
    """Middlebury's motorcycle; see `keypoint_metrics.stereo_scores`."""
    (case,) = Stereo().cases(data(STEREO), size)
    left, right = (extractor(image) for image in case.images)
    disparity: Bytes = np.asarray(case.truth["disparity"])
    return keypoint_metrics.stereo_scores(left, right, disparity)
