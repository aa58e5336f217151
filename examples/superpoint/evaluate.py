"""Compare trained weights with ORB and SIFT on the held-out photographs.

    python -m examples.superpoint.evaluate examples/superpoint/weights/superpoint.safetensors

Prints, for each method, the metrics of the product's own keypoint tasks. `orb` and `sift` are OpenCV's; `/nms` means
that a square non-maximum suppression of the same radius as the network's was applied to them too, as in SuperPoint's
paper. Without it, several keypoints may sit on one corner, which raises repeatability and helps nobody.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from examples.superpoint.extractors import classical, network
from examples.superpoint.metrics import Extractor, score_stereo, score_views, views
from examples.superpoint.model import superpoint
from examples.superpoint.photographs import EVALUATION, load
from validation.keypoint_tasks import KINDS
from validation.task import Scores


def draw(extractor: Extractor, name: str, path: Path) -> None:
    """Write a photograph with its keypoints as a PNG."""
    image = load(name)
    height, width = (side // 8 * 8 for side in image.shape)
    image = np.ascontiguousarray(image[:height, :width])
    marks = [cv2.KeyPoint(float(x), float(y), 5) for x, y in extractor(image).points]
    drawn = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    cv2.imwrite(str(path), cv2.drawKeypoints(image, marks, drawn, (0, 255, 0)))


def methods(weights: Path, count: int, radius: int) -> dict[str, Extractor]:
    """Every method with the same number of keypoints; the untrained network shows what the weights are worth."""
    torch.manual_seed(0)
    random = superpoint("keypoints", count, radius).eval()
    trained = superpoint("keypoints", count, radius).eval()
    trained.load_state_dict(load_file(weights))
    return {
        "superpoint": network(trained),
        "untrained": network(random),
        "orb": classical("orb", count),
        f"orb/nms{radius}": classical("orb", count, radius),
        "sift": classical("sift", count),
        f"sift/nms{radius}": classical("sift", count, radius),
    }


def table(title: str, rows: dict[str, Scores]) -> str:
    """A Markdown table: a row per method, a column per metric."""
    metrics = list(next(iter(rows.values())))
    lines = [f"| {title} | {' | '.join(metrics)} |", "| --- " * (len(metrics) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[m]:.3f}' for m in metrics)} |" for name, row in rows.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare SuperPoint weights with ORB and SIFT.")
    parser.add_argument("weights", type=Path, help="a .safetensors file")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), help="height and width of the views")
    parser.add_argument("--keypoints", type=int, default=300, help="keypoints per view, for every method")
    parser.add_argument("--radius", type=int, default=4, help="of non-maximum suppression")
    parser.add_argument("--plain", action="store_true", help="estimate by plain RANSAC instead of MAGSAC")
    parser.add_argument("--seeds", type=int, nargs="+", default=(2, 3, 4), help="of the views; training reports use 1")
    parser.add_argument("--each", action="store_true", help="also print every kind of change by itself")
    parser.add_argument("--draw", type=Path, help="draw the keypoints of one photograph to this PNG")
    parser.add_argument("--photograph", default="astronaut.png", choices=EVALUATION)
    options = parser.parse_args()

    cv2.setNumThreads(1)  # sums in a fixed order
    compared = methods(options.weights, options.keypoints, options.radius)
    robust = cv2.RANSAC if options.plain else cv2.USAC_MAGSAC
    size = (options.size[0], options.size[1])
    groups = {"all": " ".join(KINDS), **({kind: kind for kind in KINDS} if options.each else {})}
    print(f"{options.keypoints} keypoints, suppression within {options.radius} pixels\n")
    for title, kinds in groups.items():
        cases = [case for seed in options.seeds for case in views(size, kinds, seed)]
        pairs = sum(len(case.images) - 1 for case in cases)
        print(table(f"{title}: {pairs} pairs", {n: score_views(m, cases, robust) for n, m in compared.items()}))
    wide = methods(options.weights, 2 * options.keypoints, options.radius)
    print(table("stereo 480x640", {name: score_stereo(method, (480, 640)) for name, method in wide.items()}))
    if options.draw:
        draw(compared["superpoint"], options.photograph, options.draw)


if __name__ == "__main__":
    main()
