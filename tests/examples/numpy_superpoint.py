"""SuperPoint's forward pass a second time: NumPy, float64, loops where they are clearer. It shares no code with the model.

`State` is a state dict of arrays by the names of the public weights.
"""

from __future__ import annotations

from typing import Iterator, List, Mapping, Tuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, Array]

EPSILON = 1e-3
CELL = 8
BORDER = 4
ROUNDS = 3


def raw(state: State, image: Array) -> Tuple[Array, Array]:
    """[B,1,H,W] -> logits [B,65,H/8,W/8], descriptors before L2 [B,256,H/8,W/8]."""
    x = image.astype(np.float64)
    for stage in range(4):
        x = block(state, f"backbone.{stage}.0", x)
        x = block(state, f"backbone.{stage}.1", x)
        if stage < 3:
            x = max_pool(x)
    logits = block(state, "detector.1", block(state, "detector.0", x), relu=False)
    return logits, block(state, "descriptor.1", block(state, "descriptor.0", x), relu=False)


def dense(logits: Array, descriptors: Array) -> Tuple[Array, Array]:
    """What `raw` gave -> scores [B,H,W], unit descriptors [B,256,H/8,W/8]."""
    return unfolded(softmax(logits)), descriptors / norms(descriptors, axis=1)


def keypoints(scores: Array, descriptors: Array, count: int, radius: int) -> Tuple[Array, Array, Array]:
    """What `dense` gave -> (x,y) [B,K,2], scores [B,K], unit descriptors [B,K,256], best first."""
    height, width = scores.shape[1:]
    inside = np.zeros((height, width))
    inside[BORDER : height - BORDER, BORDER : width - BORDER] = 1
    scores = suppress(scores * inside, radius)
    points = np.zeros((len(scores), count, 2))
    best = np.zeros((len(scores), count))
    for item, one in enumerate(scores):
        ranked = sorted(((-one[y, x], y, x) for y in range(height) for x in range(width)))[:count]
        points[item] = [(x, y) for _, y, x in ranked]
        best[item] = [-score for score, _, _ in ranked]
    return points, best, sample(descriptors, points)


def block(state: State, name: str, x: Array, relu: bool = True) -> Array:
    """Convolution, ReLU, batch norm with the running statistics, in this order."""
    x = convolution(x, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"])
    if relu:
        x = np.where(x > 0, x, 0.0)
    mean, variance, gain, offset = (
        state[f"{name}.bn.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return gain * (x - mean) / np.sqrt(variance + EPSILON) + offset


def convolution(x: Array, weight: Array, bias: Array) -> Array:
    """Cross-correlation with zeros around, so that the size stays."""
    side = weight.shape[2]
    around = side // 2
    padded = np.pad(x, ((0, 0), (0, 0), (around, around), (around, around)))
    windows = sliding_window_view(padded, (side, side), axis=(2, 3))  # [B, C, H, W, side, side]
    summed = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3]))  # [B, H, W, C']
    made: Array = np.moveaxis(summed + bias, 3, 1)
    return made


def max_pool(x: Array) -> Array:
    batch, channels, height, width = x.shape
    largest: Array = x.reshape(batch, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    return largest


def softmax(logits: Array) -> Array:
    powers: Array = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    total: Array = np.sum(powers, axis=1, keepdims=True)
    return powers / total


def unfolded(probabilities: Array) -> Array:
    """[B,65,h,w] -> [B,8h,8w]: class k is row k // 8 and column k % 8 of its cell, the 65th means "no keypoint"."""
    batch, _, rows, columns = probabilities.shape
    scores = np.zeros((batch, CELL * rows, CELL * columns))
    for row in range(CELL):
        for column in range(CELL):
            scores[:, row::CELL, column::CELL] = probabilities[:, CELL * row + column]
    return scores


def norms(x: Array, axis: int) -> Array:
    lengths: Array = np.sqrt(np.sum(x * x, axis=axis, keepdims=True))
    return np.maximum(lengths, 1e-12)


def suppress(scores: Array, radius: int) -> Array:
    """Pixel by pixel: in each round, what no neighbour beats is kept and rules its square out of the next rounds.

    Neighbours with one score do not beat one another.
    """
    kept = np.zeros_like(scores)
    for one, out in zip(scores, kept):
        left = one.copy()
        ruled_out = np.zeros(one.shape, dtype=bool)
        for _ in range(ROUNDS):
            chosen = [
                (y, x)
                for y, x in np.ndindex(*one.shape)
                if not ruled_out[y, x] and left[y, x] == left[square(y, x, radius)].max()
            ]
            for y, x in chosen:
                out[y, x] = one[y, x]
                ruled_out[square(y, x, radius)] = True
            left[ruled_out] = 0
    return kept


def square(y: int, x: int, radius: int) -> Tuple[slice, slice]:
    return slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1)


def greedy(scores: Array, radius: int) -> List[Tuple[int, int]]:
    """The textbook's suppression of one [H,W] map of distinct scores: best first, if none taken is near."""
    taken: List[Tuple[int, int]] = []
    for y, x in sorted(np.ndindex(*scores.shape), key=lambda place: -float(scores[place])):
        if all(max(abs(y - v), abs(x - u)) > radius for v, u in taken):
            taken.append((y, x))
    return taken


def sample(descriptors: Array, points: Array) -> Array:
    """Bilinear unit descriptors [B,K,C] at (x,y) in pixels; the centre of coarse cell i is at pixel 8 * i + 3.5."""
    batch, channels, rows, columns = descriptors.shape
    values = np.zeros((batch, points.shape[1], channels))
    for item in range(batch):
        for k, (x, y) in enumerate(points[item]):
            for row, across in neighbours((y - 3.5) / CELL, rows):
                for column, along in neighbours((x - 3.5) / CELL, columns):
                    values[item, k] += across * along * descriptors[item, :, row, column]
    return values / norms(values, axis=2)


def neighbours(place: float, length: int) -> Iterator[Tuple[int, float]]:
    """The (at most two) whole numbers in 0..length-1 around `place`, and their bilinear weights."""
    low = int(np.floor(place))
    for index in (low, low + 1):
        weight = 1 - abs(place - index)
        if 0 <= index < length and weight > 0:
            yield index, weight


def random_state(shapes: Mapping[str, Tuple[int, ...]], generator: np.random.Generator) -> State:
    """Random values for every tensor of a state dict, such that activations stay of order 1 and every part matters."""
    state = {}
    for name, shape in shapes.items():
        if name.endswith("conv.weight"):
            state[name] = generator.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        elif name.endswith("conv.bias"):
            state[name] = generator.normal(0, 0.2, shape)
        elif name.endswith("running_mean"):
            state[name] = generator.normal(0.4, 0.2, shape)
        elif name.endswith("running_var"):
            state[name] = generator.uniform(0.2, 1.5, shape)
        elif name.endswith("bn.weight"):
            state[name] = generator.choice((-1.0, 1.0), shape) * generator.uniform(0.5, 1.2, shape)
        elif name.endswith("bn.bias"):
            state[name] = generator.normal(0, 0.3, shape)
        else:
            state[name] = np.asarray(7.0)  # num_batches_tracked decides nothing in eval mode
    return state
