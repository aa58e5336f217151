"""A classical corner measure made view-independent: the teacher on images whose corners nobody knows.

The idea is SuperPoint's homographic adaptation (average a detector's answers over warped views, in one common
frame) with the Shi-Tomasi measure in the place of a pretrained network.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from validation.homography import Bytes, Float, Matrix, warp_image


def corner_response(image: Bytes) -> Float:
    """[H,W] grey -> [H,W] response in grey levels, at two scales (about 1.5 and 3 pixels)."""
    grey = cv2.GaussianBlur(image, (0, 0), 0.8).astype(np.float32)
    # The square root makes the response linear in contrast, so that strong edges do not outweigh everything.
    fine = np.sqrt(np.maximum(cv2.cornerMinEigenVal(grey, 5, ksize=3), 0))
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    coarse: Float = np.sqrt(np.maximum(cv2.cornerMinEigenVal(half, 5, ksize=3), 0))
    coarse = cv2.resize(coarse, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    response: Float = fine + 0.7 * coarse
    # A corner's position is worth nothing at the very edge, where half of its surroundings are missing.
    response[:3], response[-3:], response[:, :3], response[:, -3:] = 0, 0, 0, 0
    return response


def adapted_response(base: Bytes, views: list[Bytes], homographies: list[Matrix]) -> Float:
    """Average the response of [H,W] `base` with those of its views (homographies map base to view)."""
    total = corner_response(base)
    weight = np.ones_like(total)
    size = (base.shape[0], base.shape[1])
    for view, homography in zip(views, homographies, strict=True):
        back = np.linalg.inv(homography)
        total += warp_image(corner_response(view), back, size)
        weight += warp_image(np.ones(view.shape, np.float32), back, size)
    return total / weight


def peaks(
    response: Float, count: int, radius: int = 4, share: float = 0.12, floor: float = 0.004
) -> tuple[Float, Float]:
    """Local maxima of [H,W]: positions [N,2] (x,y) and strengths [N], best first, N <= count.

    share: least strength relative to the strong corners of the image; floor: least absolute strength.
    """
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    strong = float(np.partition(response.ravel(), -30)[-30])
    keep: npt.NDArray[np.bool_] = (response == cv2.dilate(response, square)) & (response > max(share * strong, floor))
    y, x = np.nonzero(keep)
    strength = response[y, x]
    order = np.argsort(-strength)[:count]
    return np.stack([x, y], 1)[order].astype(np.float32), strength[order].astype(np.float32)
