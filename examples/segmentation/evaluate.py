"""Measure trained weights on scenes over held-out photographs, none of which was trained on.

    python evaluate.py weights/segmenter.safetensors --draw scenes.png

Prints the intersection over union of every class, and the worst scenes. The picture shows scenes in columns: the
image, the truth, the answer.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from metric import MeanIoU
from network import segmenter
from photographs import EVALUATION, paths
from safetensors.torch import load_file
from scenes import Bytes, Size
from torch import Tensor, nn

from builder.config.loader import load
from builder.models import preprocessing
from validation.task import Case, Scores

MODEL = load(Path(__file__).with_name("matrix.yaml")).matrix.model  # it says how a photograph becomes a tensor
SIZE: Size = (256, 320)
COLOURS = np.array([(0, 0, 0), (235, 90, 80), (90, 200, 90), (80, 130, 240), (240, 210, 70)], np.uint8)  # of classes


def tensor(images: Sequence[Bytes]) -> Tensor:
    """uint8 [H, W, 3] RGB each -> float32 [B, 3, H, W], normalised, channels last."""
    stacked = np.concatenate([preprocessing.tensor(image, MODEL.preprocess) for image in images])
    return torch.from_numpy(stacked).contiguous(memory_format=torch.channels_last)


def answer(model: nn.Module, case: Case) -> Bytes:
    """The model's logits [1, classes, H, W] for a case's image, float32."""
    with torch.inference_mode():
        logits: Tensor = model(tensor(case.images))
    return logits.numpy()


def measure(
    model: nn.Module, metric: MeanIoU, files: Mapping[str, Path], size: Size = SIZE
) -> tuple[Scores, dict[str, float]]:
    """The metrics over all scenes, and the mean IoU of each scene by name."""
    cases = list(metric.cases(files, size))
    scores = [metric.score(MODEL.heads[0], case.truth, [{"logits": answer(model, case)}]) for case in cases]
    return metric.total(scores), {case.name: row["iou"] for case, row in zip(cases, scores, strict=True)}


def draw(model: nn.Module, cases: Sequence[Case], path: Path) -> None:
    """Write image, truth and answer of each case as a PNG, below one another."""
    columns = [
        np.concatenate([c.images[0], COLOURS[c.truth["labels"]], COLOURS[answer(model, c)[0].argmax(0)]]) for c in cases
    ]
    cv2.imwrite(str(path), np.concatenate(columns, 1)[:, :, ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure segmenter weights on held-out scenes.")
    parser.add_argument("weights", type=Path, help="a .safetensors file")
    parser.add_argument("--scenes", type=int, default=240, help="how many scenes")
    parser.add_argument("--seed", type=int, default=12, help="of the scenes; the gate in matrix.yaml uses 11")
    parser.add_argument("--draw", type=Path, help="draw the first scenes to this PNG")
    options = parser.parse_args()

    model = segmenter().eval()
    model.load_state_dict(load_file(options.weights))
    metric = MeanIoU(options.scenes, options.seed)
    files = paths(EVALUATION)
    total, each = measure(model, metric, files)
    print(f"{options.scenes} scenes of {SIZE[0]}x{SIZE[1]} over {len(files)} photographs, seed {options.seed}")
    for name, value in total.items():
        print(f"{name:16} {value:.3f}")
    for name in sorted(each, key=lambda name: each[name])[:3]:
        print(f"worst: {name} {each[name]:.3f}")
    if options.draw:
        draw(model, list(MeanIoU(len(files), options.seed).cases(files, SIZE)), options.draw)


if __name__ == "__main__":
    main()
