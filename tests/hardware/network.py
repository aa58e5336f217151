"""The model of these tests: convolutions, pooling, a softmax, a pixel shuffle and a normalised map. Seconds to build anywhere.

It is copied beside a matrix.yaml; nothing imports it from here.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch import nn


class Corners(nn.Module):
    """float32 [B, 1, H, W] -> scores [B, H, W] and descriptors [B, 32, H/8, W/8]; H and W are multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4),
        )  # fmt: skip
        self.score = nn.Conv2d(64, 64, 1)
        self.describe = nn.Conv2d(64, 32, 1)

    def forward(self, image: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        features = self.features(image)
        scores = nn.functional.pixel_shuffle(self.score(features).softmax(1), 8).squeeze(1)
        return scores, nn.functional.normalize(self.describe(features), dim=1)


def corners() -> nn.Module:
    return Corners()
