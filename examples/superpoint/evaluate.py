"""Compare trained weights with ORB and SIFT on the held-out photographs.

    python -m examples.superpoint.evaluate examples/superpoint/weights/superpoint.safetensors

Prints, for each method, the mean repeatability and the share of pairs whose homography comes out right, both
within 3 pixels. `orb` and `sift` are OpenCV's; `/nms` means that a square non-maximum suppression of the
same radius as the network's was applied to them too, as in SuperPoint's paper. Without it, several keypoints
may sit on one corner, which raises repeatability and helps nobody.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

from examples.superpoint.extractors import classical, network
from examples.superpoint.metrics import Extractor, held_out_pairs, measure
from examples.superpoint.model import superpoint
from examples.superpoint.photographs import EVALUATION, load


def draw(extractor: Extractor, name: str, path: Path) -> None:
    """Write a photograph with its keypoints as a PNG."""
    image = load(name)
    height, width = (side // 8 * 8 for side in image.shape)
    image = np.ascontiguousarray(image[:height, :width])
    points, _ = extractor(image)
    marks = [cv2.KeyPoint(float(x), float(y), 5) for x, y in points]
    drawn = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    cv2.imwrite(str(path), cv2.drawKeypoints(image, marks, drawn, (0, 255, 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare SuperPoint weights with ORB and SIFT.")
    parser.add_argument("weights", type=Path, help="a .safetensors file")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), help="height and width of the views")
    parser.add_argument("--keypoints", type=int, default=300, help="keypoints per view, for every method")
    parser.add_argument("--per-photograph", type=int, default=6, help="pairs per photograph")
    parser.add_argument("--radius", type=int, default=4, help="of non-maximum suppression")
    parser.add_argument("--plain", action="store_true", help="estimate by plain RANSAC instead of MAGSAC")
    parser.add_argument("--seed", type=int, default=2, help="of the views; training reports use 1")
    parser.add_argument("--each", action="store_true", help="also print every photograph by itself")
    parser.add_argument("--draw", type=Path, help="draw the keypoints of one photograph to this PNG")
    parser.add_argument("--photograph", default="astronaut.png", choices=EVALUATION)
    options = parser.parse_args()

    torch.manual_seed(0)
    random = superpoint("keypoints", options.keypoints, options.radius).eval()
    trained = superpoint("keypoints", options.keypoints, options.radius).eval()
    trained.load_state_dict(load_file(options.weights))
    methods = {
        "superpoint": network(trained),
        "untrained": network(random),
        "orb": classical("orb", options.keypoints),
        "orb/nms": classical("orb", options.keypoints, options.radius),
        "sift": classical("sift", options.keypoints),
        "sift/nms": classical("sift", options.keypoints, options.radius),
    }
    pairs = held_out_pairs((options.size[0], options.size[1]), options.per_photograph, options.seed)
    robust = cv2.RANSAC if options.plain else cv2.USAC_MAGSAC
    print(f"{len(pairs)} pairs of {options.size[0]}x{options.size[1]}, {options.keypoints} keypoints")
    for name, method in methods.items():
        repeated, right = measure(method, pairs, robust=robust)
        print(f"{name:12} repeatability {repeated:.3f}  homography {right:.3f}")
        if options.each:
            for photograph in EVALUATION:
                repeated, right = measure(method, [p for p in pairs if p.name == photograph], robust=robust)
                print(f"  {photograph:24} {repeated:.3f}  {right:.3f}")
    if options.draw:
        draw(methods["superpoint"], options.photograph, options.draw)


if __name__ == "__main__":
    main()
