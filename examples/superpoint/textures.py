"""Procedural textures and scenes without a list of corners."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from validation.homography import Bytes, Float

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?+-*/=()&%$#@"))


def spread(x: npt.NDArray[np.float32]) -> Float:
    """Stretch to 0..1."""
    low, high = float(x.min()), float(x.max())
    return ((x - low) / max(high - low, 1e-6)).astype(np.float32)


def to_bytes(x: Float) -> Bytes:
    """0..1 to 0..255."""
    grey: Bytes = np.clip(x * 255, 0, 255).astype(np.uint8)
    return grey


def gradient(rng: np.random.Generator, size: int) -> Float:
    """A linear ramp in a random direction, [size,size] in 0..1."""
    x, y = np.meshgrid(np.linspace(-1, 1, size, dtype=np.float32), np.linspace(-1, 1, size, dtype=np.float32))
    angle = rng.uniform(0, 2 * np.pi)
    return spread((np.cos(angle) * x + np.sin(angle) * y).astype(np.float32))


def octaves(rng: np.random.Generator, size: int, smooth: bool = False) -> Float:
    """Noise at several octaves, [size,size] in 0..1; its spectrum falls off as natural ones do."""
    total = np.zeros((size, size), np.float32)
    fall = rng.uniform(0.5, 1.0)
    first = int(rng.integers(1, 4))
    for k in range(first, 4 if smooth else 9):
        cells = 2**k
        if cells > size:
            break
        stretch = max(2, int(cells * np.exp(rng.uniform(-0.7, 0.7))))
        noise = rng.standard_normal((cells, stretch), dtype=np.float32)
        total += np.float32(fall ** (k - first)) * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return spread(total)


def stripes(rng: np.random.Generator, size: int) -> Float:
    """A wave, square or round, bent a little: cloth, blinds, bricks' joints."""
    period = np.exp(rng.uniform(np.log(6), np.log(60)))
    phase = gradient(rng, size) * size + octaves(rng, size, smooth=True) * rng.uniform(0, 60)
    wave = np.sin(phase * (2 * np.pi / period))
    if rng.random() < 0.5:
        wave = np.tanh(wave * 6)
    return spread(wave.astype(np.float32))


def facade(rng: np.random.Generator, size: int) -> Float:
    """Rows of framed rectangles with small differences, like windows, shelves or tiles."""
    image = np.full((size, size), rng.uniform(0.1, 0.9), np.float32)
    step_x, step_y = (int(v) for v in rng.integers(14, 60, 2))
    for y in range(int(rng.integers(step_y)), size, step_y):
        for x in range(int(rng.integers(3)), size, step_x):
            w, h = int(step_x * rng.uniform(0.3, 0.9)), int(step_y * rng.uniform(0.3, 0.9))
            cv2.rectangle(image, (x, y), (x + w, y + h), float(rng.uniform(0, 1)), -1)
            if rng.random() < 0.5:
                cv2.rectangle(image, (x, y), (x + w, y + h), float(rng.uniform(0, 1)), int(rng.integers(1, 4)))
    return image


def page(rng: np.random.Generator, size: int) -> Float:
    """Lines of random letters."""
    paper, ink = (rng.uniform(0.6, 1), rng.uniform(0, 0.4)) if rng.random() < 0.7 else (0.2, 0.9)
    written = np.zeros((size, size), np.uint8)
    scale = rng.uniform(0.35, 1.5)
    thick, font = int(rng.integers(1, 3)), int(rng.integers(0, 8))
    step = int(30 * scale) + 4
    for y in range(step, size, step):
        text = "".join(rng.choice(LETTERS, int(size / (10 * scale))))
        cv2.putText(written, text, (int(rng.integers(-20, 30)), y), font, scale, 255, thick, cv2.LINE_AA)
    return (paper + (ink - paper) * (written.astype(np.float32) / 255)).astype(np.float32)


def fill(rng: np.random.Generator, size: int, photographs: list[Bytes]) -> Float:
    """Some texture [size,size] in 0..1: procedural, or a piece of a training photograph."""
    kind = rng.random()
    if kind < 0.2:
        return gradient(rng, size)
    if kind < 0.45:
        return octaves(rng, size)
    if kind < 0.55:
        return stripes(rng, size)
    if kind < 0.65:
        return facade(rng, size)
    if kind < 0.72:
        return page(rng, size)
    photo = photographs[int(rng.integers(len(photographs)))]
    side = int(min(photo.shape) * rng.uniform(0.4, 1.0))
    y, x = int(rng.integers(photo.shape[0] - side + 1)), int(rng.integers(photo.shape[1] - side + 1))
    piece = cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
    return np.rot90(piece, int(rng.integers(4))).astype(np.float32) / 255


def leaves(rng: np.random.Generator, size: int, photographs: list[Bytes]) -> Bytes:
    """Textured pieces of all sizes that hide one another ("dead leaves"), like the things in a scene."""
    stock = [fill(rng, size, photographs) for _ in range(5)]
    image: Float = stock[0] * np.float32(rng.uniform(0.3, 1))
    for _ in range(int(rng.integers(20, 140))):
        radius = min(size * 0.4, size * 0.015 / max(rng.random(), 0.02) ** 0.9)  # few large, many small
        n = int(rng.integers(3, 8)) if rng.random() < 0.6 else 24
        angles = np.sort(rng.uniform(0, 2 * np.pi, n)) if n < 24 else np.arange(n) * 2 * np.pi / n
        reach = radius * (rng.uniform(0.5, 1.2, n) if n < 24 else np.ones(n))
        shape = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.3, 1)], 1) * reach[:, None]
        turn = rng.uniform(0, np.pi)
        shape = shape @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = np.rint((shape + rng.uniform(0, size, 2)) * 16).astype(np.int32)
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, 4)
        x, y, w, h = cv2.boundingRect(points // 16)
        x0, y0, x1, y1 = max(x - 2, 0), max(y - 2, 0), min(x + w + 2, size), min(y + h + 2, size)
        if x0 >= x1 or y0 >= y1:
            continue
        alpha = (
            mask[y0:y1, x0:x1].astype(np.float32) / 255 * np.float32(1 if rng.random() < 0.8 else rng.uniform(0.3, 1))
        )
        gain, offset = rng.uniform(0.1, 0.9), rng.uniform(0, 0.6)
        piece = stock[int(rng.integers(len(stock)))][y0:y1, x0:x1] * np.float32(gain) + np.float32(offset)
        image[y0:y1, x0:x1] += alpha * (piece - image[y0:y1, x0:x1])
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    return to_bytes(image)


def plain(rng: np.random.Generator, size: int, photographs: list[Bytes]) -> Bytes:
    """One texture, or two blended."""
    image = fill(rng, size, photographs)
    if rng.random() < 0.5:
        image = image + (fill(rng, size, photographs) - image) * np.float32(rng.uniform(0.2, 0.6))
    return to_bytes(image)
