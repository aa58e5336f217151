"""Mean intersection over union, on scenes made over photographs that are given.

The measure of the PASCAL VOC segmentation task (Everingham et al., 2010, "The PASCAL Visual Object Classes (VOC)
Challenge", section 4.2): per class, the pixels that truth and answer share, of those that either of them has; both
summed over all scenes before they are divided; then the mean over the classes, background included.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, Sequence, Tuple

from classes import CLASSES

from validation.task import Case, Scores, mean

if TYPE_CHECKING:
    from builder.config.matrix import Head
    from validation.samples import Arrays


class MeanIoU:
    """scenes: how many; seed: which ones."""

    def __init__(self, scenes: int = 24, seed: int = 0) -> None:
        self.scenes = scenes
        self.seed = seed

    def cases(self, files: Mapping[str, Path], size: Tuple[int, int]) -> Iterator[Case]:
        """The photographs take turns as the background. truth: `labels`, uint8 [H, W]."""
        from scenes import read, scene  # they need OpenCV, and where artifacts are scored there may be none

        photographs = [read(path) for path in files.values()]
        names = [Path(name).stem for name in files]
        for number in range(self.scenes):
            image, labels = scene(photographs, self.seed, number, size)
            yield Case(f"{number:03}_{names[number % len(names)]}", (image,), {"labels": labels})

    def score(self, head: Head, truth: Arrays, outputs: Sequence[Arrays]) -> Scores:
        """Pixels in `intersection_CLASS` and `union_CLASS`; `iou` and `pixel_accuracy` of this scene, 0..1.

        `iou` is the mean over the classes that the scene shows. outputs: `logits`, float [1, classes, H, W].
        """
        labels = truth["labels"]
        answer = outputs[0]["logits"][0].argmax(0)
        scores: Scores = {}
        for number, name in enumerate(CLASSES):
            scores[f"intersection_{name}"] = float(((labels == number) & (answer == number)).sum())
            scores[f"union_{name}"] = float(((labels == number) | (answer == number)).sum())
        shown = [share(scores, name) for number, name in enumerate(CLASSES) if (labels == number).any()]
        scores["iou"] = sum(shown) / len(shown)
        scores["pixel_accuracy"] = float((labels == answer).mean())
        return scores

    def total(self, scores: Sequence[Scores]) -> Scores:
        """`mean_iou` and `iou_CLASS` from the summed pixels; `iou` and `pixel_accuracy` as means over the scenes."""
        names = [f"{part}_{name}" for part in ("intersection", "union") for name in CLASSES]
        sums = {name: sum(row[name] for row in scores) for name in names}
        each = {name: share(sums, name) for name in CLASSES}
        known = [value for value in each.values() if math.isfinite(value)]
        means = mean(scores)
        return {
            "mean_iou": sum(known) / len(known) if known else math.nan,
            **{f"iou_{name}": value for name, value in each.items()},
            "iou": means.get("iou", math.nan),
            "pixel_accuracy": means.get("pixel_accuracy", math.nan),
        }


def share(pixels: Mapping[str, float], name: str) -> float:
    """Intersection over union of one class; NaN where neither truth nor answer has it."""
    union = pixels[f"union_{name}"]
    return pixels[f"intersection_{name}"] / union if union else math.nan
