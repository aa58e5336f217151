"""Keypoints and descriptors of one image, by a network or a classical detector, in one form."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import nn

from examples.superpoint.metrics import Extractor
from validation.homography import Bytes
from validation.keypoint_metrics import Features


def network(model: nn.Module, half: bool = False) -> Extractor:
    """Wrap a model with the keypoint head; `half` runs it in bfloat16, which is faster on some CPUs."""

    def extract(image: Bytes) -> Features:
        x = torch.from_numpy(image).float()[None, None] / 255
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            keypoints, scores, descriptors = model(x.contiguous(memory_format=torch.channels_last))
        real = scores[0].float() > 0
        return Features(keypoints[0][real].float().numpy(), descriptors[0][real].float().numpy())

    return extract


def classical(name: str, count: int, radius: int = 0) -> Extractor:
    """Wrap OpenCV's "orb" or "sift" with this many keypoints; a radius adds non-maximum suppression."""
    # With suppression, start from more keypoints than are wanted, so that enough of them are left.
    start = count if radius == 0 else 8 * count
    detector: cv2.Feature2D
    if name == "orb":
        detector = cv2.ORB.create(nfeatures=start, fastThreshold=5)
    elif name == "sift":
        detector = cv2.SIFT.create(nfeatures=start, contrastThreshold=0.01)
    else:
        raise ValueError(f'name must be "orb" or "sift", not {name!r}')

    def extract(image: Bytes) -> Features:
        found: Sequence[cv2.KeyPoint] = sorted(detector.detect(image, None), key=lambda k: -k.response)
        if radius:
            taken = np.zeros(image.shape, np.uint8)
            spaced = []
            for keypoint in found:
                x, y = (round(v) for v in keypoint.pt)
                if not taken[y, x]:
                    spaced.append(keypoint)
                    taken[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = 1
            found = spaced
        # SIFT lists a place once per orientation, and may return more than it was asked for.
        found, descriptors = detector.compute(image, found[:count])
        points = np.array([k.pt for k in found], np.float32).reshape(-1, 2)
        if descriptors is None:
            descriptors = np.zeros((0, 32), np.uint8 if name == "orb" else np.float32)
        return Features(points, descriptors)

    return extract
