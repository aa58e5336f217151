"""SuperPoint (DeTone et al., 2018): one network that finds keypoints and describes them.

The layer names and shapes are those of the public `superpoint_v6_from_tf.pth` (MIT licence), so that file and
the weights trained by `train.py` both load with `strict=True`, whichever head is chosen.

Everything here has a static rank and no data-dependent shape, so that both heads export to ONNX (opset 20)
with a dynamic batch, height and width, the latter two being multiples of `STRIDE`.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (64, 64, 128, 128)  # of the four backbone stages
HIDDEN = 256  # width of the hidden layer of either head
DESCRIPTOR_SIZE = 256
STRIDE = 8  # three poolings halve the image three times
BORDER = 4  # pixels along the edge where zero padding makes scores unreliable


class Block(nn.Sequential):
    """Convolution, then ReLU, then batch norm: the unusual order is the one of the public weights."""

    def __init__(self, c_in: int, c_out: int, kernel: int, relu: bool = True) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv"] = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
        if relu:
            layers["relu"] = nn.ReLU()
        layers["bn"] = nn.BatchNorm2d(c_out, eps=1e-3)
        super().__init__(layers)


class SuperPoint(nn.Module):
    """Backbone and the two convolutional heads; subclasses decide what `forward` returns."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        c_in = 1
        for i, c_out in enumerate(CHANNELS):
            layers: list[nn.Module] = [Block(c_in, c_out, 3), Block(c_out, c_out, 3)]
            if i < len(CHANNELS) - 1:
                layers.append(nn.MaxPool2d(2, 2))
            stages.append(nn.Sequential(*layers))
            c_in = c_out
        self.backbone = nn.Sequential(*stages)
        # 64 positions inside an 8x8 cell, and one "dustbin" class for a cell without a keypoint.
        self.detector = nn.Sequential(Block(c_in, HIDDEN, 3), Block(HIDDEN, STRIDE * STRIDE + 1, 1, relu=False))
        self.descriptor = nn.Sequential(Block(c_in, HIDDEN, 3), Block(HIDDEN, DESCRIPTOR_SIZE, 1, relu=False))

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[B,1,H,W] in 0..1 -> detector logits [B,65,H/8,W/8], descriptors before L2 [B,256,H/8,W/8]."""
        features = self.backbone(image)
        return self.detector(features), self.descriptor(features)

    def dense(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[B,1,H,W] in 0..1 -> scores [B,H,W] in 0..1, unit descriptors [B,256,H/8,W/8]."""
        logits, descriptors = self.raw(image)
        cells = functional.softmax(logits, dim=1)[:, :-1]
        # Channel k of a cell is its pixel (row k // 8, column k % 8), which is what a pixel shuffle unfolds.
        scores = functional.pixel_shuffle(cells, STRIDE).squeeze(1)
        return scores, functional.normalize(descriptors, p=2.0, dim=1)


class DenseSuperPoint(SuperPoint):
    """Dense head: the whole score map and the coarse descriptor map."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[B,1,H,W] in 0..1 -> scores [B,H,W], descriptors [B,256,H/8,W/8]."""
        return self.dense(image)


class KeypointSuperPoint(SuperPoint):
    """Keypoint head: a fixed number of keypoints per image, selected inside the graph."""

    def __init__(self, max_keypoints: int, nms_radius: int) -> None:
        super().__init__()
        self.max_keypoints = max_keypoints
        self.nms_radius = nms_radius

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B,1,H,W] in 0..1 -> keypoints [B,K,2] (x,y in pixels), scores [B,K], descriptors [B,K,256].

        K is always `max_keypoints`, best first; an entry with score 0 is padding. The image must have at
        least K pixels.
        """
        scores, descriptors = self.dense(image)
        scores = suppress(drop_border(scores), self.nms_radius)
        width = scores.shape[2]
        best, index = torch.topk(scores.flatten(1), self.max_keypoints, dim=1)
        row = torch.div(index, width, rounding_mode="floor")
        column = index - row * width
        keypoints = torch.stack((column, row), dim=-1).to(scores.dtype)
        return keypoints, best, sample(descriptors, keypoints)


def drop_border(scores: Tensor) -> Tensor:
    """Zero the outermost `BORDER` pixels of [B,H,W]."""
    inner = scores[:, BORDER:-BORDER, BORDER:-BORDER]
    return functional.pad(inner, (BORDER, BORDER, BORDER, BORDER))


def suppress(scores: Tensor, radius: int) -> Tensor:
    """Non-maximum suppression of [B,H,W]: keep local maxima of a (2*radius+1) square, zero all else.

    A pixel next to a maximum is not one itself, yet it can be the best of what the first maxima leave over;
    the two extra rounds bring such pixels back, like a greedy suppression would.
    """

    def dilate(x: Tensor) -> Tensor:
        return functional.max_pool2d(x.unsqueeze(1), 2 * radius + 1, 1, radius).squeeze(1)

    zeros = torch.zeros_like(scores)
    keep = scores == dilate(scores)
    for _ in range(2):
        covered = dilate(keep.to(scores.dtype)) > 0
        left = torch.where(covered, zeros, scores)
        keep = keep | ((left == dilate(left)) & ~covered)
    return torch.where(keep, scores, zeros)


def sample(descriptors: Tensor, keypoints: Tensor) -> Tensor:
    """Bilinear descriptors at keypoints: [B,C,h,w], [B,K,2] (x,y in image pixels) -> unit [B,K,C]."""
    height, width = descriptors.shape[2] * STRIDE, descriptors.shape[3] * STRIDE
    # A pixel's centre is at +0.5, and grid_sample counts -1..1 from edge to edge (align_corners=False).
    x = (keypoints[..., 0] + 0.5) * (2.0 / width) - 1.0
    y = (keypoints[..., 1] + 0.5) * (2.0 / height) - 1.0
    grid = torch.stack((x, y), dim=-1).unsqueeze(1)
    values = functional.grid_sample(descriptors, grid, mode="bilinear", align_corners=False)
    return functional.normalize(values.squeeze(2), p=2.0, dim=1).transpose(1, 2)


def superpoint(head: str = "dense", max_keypoints: int = 1024, nms_radius: int = 4) -> nn.Module:
    """Build an untrained SuperPoint; `head` is "dense" or "keypoints" (see the two classes above)."""
    if head == "dense":
        return DenseSuperPoint()
    if head == "keypoints":
        return KeypointSuperPoint(max_keypoints, nms_radius)
    raise ValueError(f'head must be "dense" or "keypoints", not {head!r}')
