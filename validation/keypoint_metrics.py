"""How well keypoints of two views agree when the geometry between the views is known.

Points are float32 [N, 2] as (x, y) in pixels, pixel centres at whole numbers; descriptors are float32 [N, D] (compared
by Euclidean distance) or uint8 [N, D] (by Hamming distance); homographies are float64 [3, 3] and map pixels of the
first view to pixels of the second. Sizes are (height, width). Every function is deterministic.

Definitions: repeatability as in DeTone et al. 2018, "SuperPoint", appendix A (after Mikolajczyk and Schmid 2004);
matching score and homography accuracy as in the same paper, section 7 and appendix A.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Tuple

import cv2
import numpy as np

from validation.homography import Bytes, Float, Matrix, inside, warp_points

RANSAC_PIXELS = 3.0
THRESHOLDS = (1, 3, 5)  # pixels


class Features(NamedTuple):
    """Keypoints [N, 2], best first, and their descriptors [N, D]."""

    points: Float
    descriptors: Bytes


def repeatability(first: Float, second: Float, homography: Matrix, size: Tuple[int, int], pixels: float) -> float:
    """The share of keypoints in both views with a counterpart within `pixels`.

    NaN without any.
    """
    there, here = shared(first, homography, size), shared(second, np.linalg.inv(homography), size)
    second = second[here]
    moved = warp_points(first[there], homography)
    if not len(moved) or not len(second):
        return float("nan") if len(moved) == len(second) else 0.0
    distance = np.linalg.norm(moved[:, None] - second[None], axis=2)
    hits = (distance.min(1) <= pixels).sum() + (distance.min(0) <= pixels).sum()
    return float(hits / (len(moved) + len(second)))


def shared(points: Float, homography: Matrix, size: Tuple[int, int]) -> Bytes:
    """[N, 2] -> bool [N]: which points the other view shows too."""
    return inside(warp_points(points, homography), size)


def matches(first: Features, second: Features) -> Tuple[Float, Float]:
    """The points [M, 2] and [M, 2] with mutually nearest descriptors."""
    if not len(first.points) or not len(second.points):
        return first.points[:0], second.points[:0]
    norm = cv2.NORM_HAMMING if first.descriptors.dtype == np.uint8 else cv2.NORM_L2
    found = cv2.BFMatcher(norm, crossCheck=True).match(first.descriptors, second.descriptors)
    return first.points[[m.queryIdx for m in found]], second.points[[m.trainIdx for m in found]]


def matching_score(
    first: Features, second: Features, homography: Matrix, size: Tuple[int, int], pixels: float
) -> float:
    """Correct matches per keypoint in the shared area, the mean of both views.

    NaN without any.
    """
    back = np.linalg.inv(homography)
    a, b = matches(first, second)
    both = shared(a, homography, size) & shared(b, back, size)
    right = int((np.linalg.norm(warp_points(a[both], homography) - b[both], axis=1) <= pixels).sum())
    counts = int(shared(first.points, homography, size).sum()), int(shared(second.points, back, size).sum())
    return float(np.mean([right / n for n in counts if n])) if any(counts) else float("nan")


def estimated(first: Features, second: Features, robust: int = cv2.USAC_MAGSAC) -> Optional[Matrix]:
    """The homography estimated from the matches; None when there is none.

    robust: OpenCV's method against wrong matches. Plain RANSAC keeps the sample with most inliers, however
    inexact, and so varies more than MAGSAC, which weighs the residuals.
    """
    a, b = matches(first, second)
    if len(a) < 4:
        return None
    found, _ = cv2.findHomography(a, b, robust, RANSAC_PIXELS, maxIters=5000, confidence=0.9999)
    return None if found is None else np.asarray(found, dtype=np.float64)


def corner_error(found: Optional[Matrix], true: Matrix, size: Tuple[int, int]) -> float:
    """Mean distance in pixels of the first view's corners under both homographies; infinite for None."""
    if found is None:
        return float("inf")
    height, width = size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    there, wanted = warp_points(corners, found), warp_points(corners, true)
    return float(np.linalg.norm(there - wanted, axis=1).mean())


def scores(
    first: Features, second: Features, homography: Matrix, size: Tuple[int, int], robust: int = cv2.USAC_MAGSAC
) -> Dict[str, float]:
    """All of the above for one pair of views.

    `homography_Npx` is 1 for a corner error within N.
    """
    error = corner_error(estimated(first, second, robust), homography, size)
    return {
        "repeatability_1px": repeatability(first.points, second.points, homography, size, 1),
        "repeatability_3px": repeatability(first.points, second.points, homography, size, 3),
        "matching_score_3px": matching_score(first, second, homography, size, 3),
        **{f"homography_{pixels}px": float(error <= pixels) for pixels in THRESHOLDS},
    }


def sameness(own: Features, found: Features, size: Tuple[int, int]) -> Dict[str, float]:
    """Two sets of keypoints of one view: how far the second is the first again.

    `count_ratio` is the smaller number of points over the larger; `descriptor_cosine` the mean cosine similarity of the
    descriptors of points that are each other's nearest, within a pixel. NaN where there is nothing to compare.
    """
    still = np.eye(3)
    few, many = sorted((len(own.points), len(found.points)))
    made = {
        "repeatability_1px": repeatability(own.points, found.points, still, size, 1),
        "repeatability_3px": repeatability(own.points, found.points, still, size, 3),
        "count_ratio": few / many if many else float("nan"),
        "descriptor_cosine": float("nan"),
    }
    if few:
        distance = np.linalg.norm(own.points[:, None] - found.points[None], axis=2)
        nearest = distance.argmin(1)
        mutual = distance.argmin(0)[nearest] == np.arange(len(own.points))
        pairs = np.flatnonzero(mutual & (distance.min(1) <= 1))
        one, two = own.descriptors[pairs].astype(np.float64), found.descriptors[nearest[pairs]].astype(np.float64)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        if len(pairs) and lengths.all():
            made["descriptor_cosine"] = float(((one * two).sum(1) / lengths).mean())
    return made


def stereo_scores(left: Features, right: Features, disparity: Float, pixels: float = 3.0) -> Dict[str, float]:
    """A rectified pair: the point (x, y) of the left view is at (x - disparity, y) in the right one.

    disparity: float32 [H, W] in pixels, NaN or infinite where it is unknown (hidden in the other view, for example).
    `precision`: share of correct matches among those with a known disparity of the left point.
    `matching_score`: number of correct matches per left keypoint with a known disparity.
    `repeatability`: share of these keypoints with a right keypoint within `pixels` of the true position.
    """
    known = np.isfinite(_at(disparity, left.points))
    points = left.points[known]
    true = points - np.stack([_at(disparity, points), np.zeros(len(points), np.float32)], 1)
    if not len(points) or not len(right.points):
        nothing = 0.0 if len(points) or len(right.points) else float("nan")  # nothing on one side only is wrong
        return {f"{name}_{pixels:g}px": nothing for name in ("precision", "matching_score", "repeatability")}
    distance = np.linalg.norm(true[:, None] - right.points[None], axis=2)
    a, b = matches(left, right)
    shift = _at(disparity, a)
    judged = np.isfinite(shift)
    moved = a[judged] - np.stack([shift[judged], np.zeros(int(judged.sum()), np.float32)], 1)
    good = int((np.linalg.norm(moved - b[judged], axis=1) <= pixels).sum())
    return {
        f"precision_{pixels:g}px": good / int(judged.sum()) if judged.any() else 0.0,
        f"matching_score_{pixels:g}px": good / len(points),
        f"repeatability_{pixels:g}px": float((distance.min(1) <= pixels).mean()),
    }


def _at(disparity: Float, points: Float) -> Float:
    """Values [N] of a map [H, W] at the pixel nearest to each point [N, 2]."""
    height, width = disparity.shape
    x = np.clip(np.rint(points[:, 0]).astype(int), 0, width - 1)
    y = np.clip(np.rint(points[:, 1]).astype(int), 0, height - 1)
    found: Float = disparity[y, x]
    return found
