"""The two losses: which pixel of a cell is a keypoint, and which descriptors belong together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from examples.superpoint.model import sample

TEMPERATURE = 0.06
NEAR = 10.0  # pixels: a point this close to the right one is not counted as a wrong answer


def detector_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy over the 65 classes: [B,65,h,w], [B,h,w] -> scalar."""
    return functional.cross_entropy(logits.float(), classes, ignore_index=-100)


def descriptor_loss(descriptors: Tensor, points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE in both directions, over the points of all pairs together.

    descriptors [2P,256,h,w] before normalisation, points [2P,N,2], weights [P,N] -> loss, share of
    points whose nearest descriptor is the right one (both scalars).
    """
    pairs, count = weights.shape
    maps = functional.normalize(descriptors.float(), dim=1)
    found = sample(maps, points)
    first, second = found[:pairs].flatten(0, 1), found[pairs:].flatten(0, 1)
    used = weights.flatten() > 0
    first, second = first[used], second[used]
    owner = torch.arange(pairs).repeat_interleave(count)[used]
    similarity = first @ second.T / TEMPERATURE
    target = torch.arange(len(first))
    same = (owner[:, None] == owner[None]) & ~torch.eye(len(first), dtype=torch.bool)
    losses, right = [], []
    for matrix, where in ((similarity, points[pairs:]), (similarity.T, points[:pairs])):
        place = where.flatten(0, 1)[used]
        excused = same & (torch.cdist(place, place) < NEAR)
        matrix = matrix.masked_fill(excused, -1e4)
        losses.append(functional.cross_entropy(matrix, target))
        right.append((matrix.argmax(1) == target).float().mean())
    return torch.stack(losses).mean(), torch.stack(right).mean()
