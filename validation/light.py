"""Random changes of light, sensor and lens; the geometry stays.

Images are uint8 [H, W] grey. `photometric` mixes them as a camera would; each of the other functions makes one change,
for metrics by kind of change.
"""

from __future__ import annotations

import cv2
import numpy as np

from validation.homography import Bytes, Float


def shade(rng: np.random.Generator, size: tuple[int, int], strength: float) -> Float:
    """A smooth factor [H,W] around 1, such as uneven light or a soft shadow throws."""
    coarse = rng.uniform(1 - strength, 1 + strength, (3, 4)).astype(np.float32)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def photometric(rng: np.random.Generator, image: Bytes, strength: float = 1.0) -> Bytes:
    """[H,W] grey -> [H,W] grey under random gamma, contrast, brightness, shading, blur and noise."""
    x: Float = image.astype(np.float32) / 255
    if rng.random() < 0.4:
        x = x ** np.float32(np.exp(rng.uniform(-0.5, 0.5) * strength))
    contrast = np.exp(rng.uniform(-0.5, 0.3) * strength)
    mean = float(x.mean())
    x = (x - mean) * np.float32(contrast) + np.float32(mean + rng.uniform(-0.15, 0.15) * strength)
    if rng.random() < 0.4:
        x = x * shade(rng, (x.shape[0], x.shape[1]), 0.4 * strength)
    kind = rng.random()
    if kind < 0.35:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 0.3 + 1.0 * strength))
    elif kind < 0.45:  # camera shake along one direction
        length = int(rng.integers(3, 6))
        kernel: Float = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, np.pi)
        middle = (length - 1) / 2
        step = np.array([np.cos(angle), np.sin(angle)]) * middle
        start, end = np.rint(middle - step).astype(int), np.rint(middle + step).astype(int)
        cv2.line(kernel, tuple(int(v) for v in start), tuple(int(v) for v in end), 1.0)
        x = cv2.filter2D(x, -1, kernel / kernel.sum())
    if rng.random() < 0.7:
        sigma = abs(rng.normal(0, 0.025)) * strength
        x = x + rng.standard_normal(x.shape, dtype=np.float32) * np.float32(sigma)
    return _bytes(x)


def illuminated(rng: np.random.Generator, image: Bytes) -> Bytes:
    """Another gamma (0.6 to 1.7), contrast (0.6 to 1.2) and uneven light (up to 40 %)."""
    x: Float = (image.astype(np.float32) / 255) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    mean = float(x.mean())
    x = (x - mean) * np.float32(rng.uniform(0.6, 1.2)) + np.float32(mean)
    return _bytes(x * shade(rng, (image.shape[0], image.shape[1]), 0.4))


def blurred(rng: np.random.Generator, image: Bytes) -> Bytes:
    """Gaussian blur, standard deviation 0.8 to 1.8 pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 1.8)), dtype=np.uint8)


def noisy(rng: np.random.Generator, image: Bytes) -> Bytes:
    """Gaussian noise, standard deviation 0.02 to 0.06 of the full range."""
    x: Float = image.astype(np.float32) / 255
    return _bytes(x + rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(0.02, 0.06)))


def _bytes(x: Float) -> Bytes:
    return np.clip(x * 255 + 0.5, 0, 255).astype(np.uint8)
