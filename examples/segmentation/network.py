"""A small network that says of every pixel what class it belongs to.

The encoder halves the image four times and looks far around in its coarse stages; the decoder goes back up by bilinear
interpolation and adds the encoder's finer features on the way. All scale factors are constants and all ranks are
static, so that it exports to ONNX (opset 20) with a dynamic batch.
"""

from __future__ import annotations

from classes import CLASSES
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 40, 80, 112)  # channels at 1/2, 1/4, 1/8 and 1/16 of the image's size
BLOCKS = (0, 1, 3, 8)  # residual blocks there: most of them where a step is far


class Convolution(nn.Sequential):
    """Convolution, batch norm, ReLU (or not)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> None:
        layers = [
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        super().__init__(*layers, *([nn.ReLU()] if relu else []))


class Block(nn.Module):
    """Residual and separable: a depthwise convolution looks around, a pointwise one mixes the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = Convolution(channels, channels, 3, groups=channels)
        self.mix = Convolution(channels, channels, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        return functional.relu(x + self.mix(self.look(x)))


class Segmenter(nn.Module):
    """Encoder and decoder; the image's height and width are multiples of 16."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        inputs = (3, *WIDTHS[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(Convolution(c_in, c_out, 3, stride=2), *(Block(c_out) for _ in range(blocks)))
            for c_in, c_out, blocks in zip(inputs, WIDTHS, BLOCKS, strict=True)
        )
        # Going up: from each stage to the width of the finer one, where both are added and smoothed by a block.
        self.narrow = nn.ModuleList(
            Convolution(coarse, fine, 1, relu=False) for fine, coarse in zip(WIDTHS[:-1], WIDTHS[1:], strict=True)
        )
        self.blend = nn.ModuleList(Block(channels) for channels in WIDTHS[:-1])
        self.classify = nn.Conv2d(WIDTHS[0], classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] RGB, normalised -> logits [B, classes, H, W]."""
        stages = [image]
        for stage in self.encoder:
            stages.append(stage(stages[-1]))
        x = stages.pop()
        for narrow, blend in zip(reversed(self.narrow), reversed(self.blend), strict=True):
            x = blend(functional.relu(stages.pop() + enlarge(narrow(x))))
        return enlarge(self.classify(x))


def enlarge(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 2h, 2w]."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def segmenter(head: str = "classes") -> nn.Module:
    """An untrained segmenter; there is one head, "classes"."""
    if head != "classes":
        raise ValueError(f'head must be "classes", not {head!r}')
    return Segmenter(len(CLASSES))
