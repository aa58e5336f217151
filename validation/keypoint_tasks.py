"""Tasks for keypoint heads: homographies, stereo, the model's own keypoints.

    tasks:
      views:
        metric: validation.keypoint_tasks:Homographies
        data: {package: skimage, folder: data, files: [camera.png, coffee.png]}
        size: [240, 320]

The head's `postprocess` turns its tensors into keypoints, so a score is about the keypoints that a host gets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

import cv2
import numpy as np

from builder.config.matrix import Head
from builder.errors import StepFailed
from builder.models import preprocessing
from validation import keypoints, light
from validation.homography import Bytes, Matrix, random_homography, shift, warp_image
from validation.keypoint_metrics import Features, sameness, scores, stereo_scores
from validation.samples import Arrays
from validation.task import Case, Scores, mean

_ROOM = 1.25  # the piece of a photograph that views are taken from, relative to a view
_STILL: Dict[str, float] = {"rotation": 0, "zoom": 1, "tilt": 0, "travel": 0, "stretch": 0}

Geometry = Dict[str, float]
Change = Callable[[np.random.Generator, Bytes], Bytes]

# The change from the first view to the second: limits of the homography, and a change of the image.
KINDS: Dict[str, Tuple[Geometry, Change]] = {
    "scale": ({**_STILL, "zoom": 1.6}, lambda rng, image: image),
    "rotation": ({**_STILL, "rotation": 45}, lambda rng, image: image),
    "perspective": ({**_STILL, "tilt": 0.2, "stretch": 0.15}, lambda rng, image: image),
    "illumination": (_STILL, light.illuminated),
    "blur": (_STILL, light.blurred),
    "noise": (_STILL, light.noisy),
    "mixed": (
        {"rotation": 30, "zoom": 1.3, "tilt": 0.12, "travel": 0.6, "stretch": 0.15},
        lambda rng, image: light.photometric(rng, image, 0.5),
    ),
}


class Homographies:
    """Views of each photograph under known homographies and changes of light, blur and noise.

    keypoints: number of the best ones that are scored. kinds: some of KINDS, separated by spaces. seed: of the changes.
    Metrics are the means over photographs and kinds of `validation.keypoint_metrics.scores`.
    """

    lower_is_better: Tuple[str, ...] = ()

    def __init__(self, keypoints: int = 300, kinds: str = " ".join(KINDS), seed: int = 2) -> None:
        self._count, self._kinds, self._seed = keypoints, tuple(kinds.split()), seed
        unknown = [kind for kind in self._kinds if kind not in KINDS]
        if unknown or not self._kinds:
            raise StepFailed(f"kinds: {kinds!r}: not among {' '.join(KINDS)}")

    def cases(self, files: Mapping[str, Path], size: Tuple[int, int]) -> Iterator[Case]:
        """One case a photograph: the first view and a second one for each kind.

        truth: homographies [kinds, 3, 3], size [2].
        """
        for number, (name, path) in enumerate(files.items()):
            base, to_first = _middle(grey(path), size)
            images, homographies = [np.asarray(warp_image(base, to_first, size), np.uint8)], []
            for kind in self._kinds:
                rng = np.random.default_rng((self._seed, number, list(KINDS).index(kind)))
                limits, change = KINDS[kind]
                room = (base.shape[0], base.shape[1])
                to_second = random_homography(rng, room, size, **limits)
                images.append(change(rng, np.asarray(warp_image(base, to_second, size), np.uint8)))
                homographies.append(to_second @ np.linalg.inv(to_first))
            yield Case(
                Path(name).stem, tuple(images), {"homographies": np.stack(homographies), "size": np.asarray(size)}
            )

    def score(self, head: Head, truth: Arrays, outputs: Sequence[Arrays]) -> Scores:
        """The mean over the kinds."""
        first, *others = (features(head, tensors, self._count) for tensors in outputs)
        pairs: List[Scores] = []
        size = (int(truth["size"][0]), int(truth["size"][1]))
        for homography, second in zip(truth["homographies"], others):
            pairs.append(scores(first, second, homography, size))
        return mean(pairs)

    def total(self, scores: Sequence[Scores]) -> Scores:
        return mean(scores)


class Stereo:
    """A rectified stereo pair.

    keypoints: number of the best ones that are scored. Metrics: see `validation.keypoint_metrics.stereo_scores`.
    """

    lower_is_better: Tuple[str, ...] = ()

    def __init__(self, keypoints: int = 600) -> None:
        self._count = keypoints

    def cases(self, files: Mapping[str, Path], size: Tuple[int, int]) -> Iterator[Case]:
        """One case; truth: disparity float32 [h, w] in pixels of the resized views."""
        if len(files) != 3:
            raise StepFailed(f"Stereo takes three files (left, right, disparity), not {len(files)}")
        left, right, disparity = files.values()
        with np.load(disparity, allow_pickle=False) as file:
            shifts = np.asarray(file[file.files[0]], np.float32)
        views = [_resized(grey(path), size) for path in (left, right)]
        # The nearest value: a mean of two surfaces' disparities belongs to neither.
        near = cv2.resize(shifts, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
        truth = {"disparity": near * np.float32(size[1] / shifts.shape[1])}
        yield Case(Path(next(iter(files))).stem, tuple(views), truth)

    def score(self, head: Head, truth: Arrays, outputs: Sequence[Arrays]) -> Scores:
        left, right = (features(head, tensors, self._count) for tensors in outputs)
        return stereo_scores(left, right, truth["disparity"])

    def total(self, scores: Sequence[Scores]) -> Scores:
        return mean(scores)


class SamePoints:
    """Whether the artifact's keypoints are those of the model.

    Needs no truth, so any photographs will do. keypoints: number of the best ones that are compared. Metrics: see
    `validation.keypoint_metrics.sameness`; the model's own are 1.
    """

    lower_is_better: Tuple[str, ...] = ()

    def __init__(self, keypoints: int = 1000) -> None:
        self._count = keypoints

    def cases(self, files: Mapping[str, Path], size: Tuple[int, int]) -> Iterator[Case]:
        """One case a photograph, brought to `size`."""
        for name, path in files.items():
            yield Case(Path(name).stem, (_resized(grey(path), size),), {"size": np.asarray(size)})

    def remember(self, head: Head, outputs: Sequence[Arrays]) -> Arrays:
        """points [N, 2] and descriptors [N, D] of the model."""
        own = features(head, outputs[0], self._count)
        return {"points": own.points, "descriptors": own.descriptors}

    def score(self, head: Head, truth: Arrays, outputs: Sequence[Arrays]) -> Scores:
        own = Features(truth["points"], truth["descriptors"])
        size = (int(truth["size"][0]), int(truth["size"][1]))
        return sameness(own, features(head, outputs[0], self._count), size)

    def total(self, scores: Sequence[Scores]) -> Scores:
        return mean(scores)


def features(head: Head, tensors: Arrays, count: int) -> Features:
    """The best `count` keypoints of the first image of the batch, as on a host."""
    if head.postprocess is None:
        raise StepFailed(
            f"head {head.name!r} has no `postprocess: {{kind: keypoints}}`, so there are no keypoints to score"
        )
    found = keypoints.extract(tensors, head.postprocess, (1.0, 1.0), cell="")
    return Features(found.points[:count], found.descriptors[:count])


def grey(path: Path) -> Bytes:
    """A photograph as uint8 [H, W]."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(preprocessing.read(path)), cv2.COLOR_RGB2GRAY), np.uint8)


def _middle(image: Bytes, size: Tuple[int, int]) -> Tuple[Bytes, Matrix]:
    """The middle of a photograph, a little larger than a view, and the translation to the first view."""
    room = (int(size[0] * _ROOM), int(size[1] * _ROOM))
    scale = max(room[0] / image.shape[0], room[1] / image.shape[1])
    whole = _resized(image, (max(round(image.shape[0] * scale), room[0]), max(round(image.shape[1] * scale), room[1])))
    y, x = (whole.shape[0] - room[0]) // 2, (whole.shape[1] - room[1]) // 2
    to_first = shift(-((room[1] - size[1]) // 2), -((room[0] - size[0]) // 2))
    return whole[y : y + room[0], x : x + room[1]], to_first


def _resized(image: Bytes, size: Tuple[int, int]) -> Bytes:
    smaller = size[0] < image.shape[0]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=method), np.uint8)
