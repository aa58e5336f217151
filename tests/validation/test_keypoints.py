"""Keypoints against a slow implementation that is plainly right."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

import pytest

np: Any = pytest.importorskip("numpy")
pytest.importorskip("cv2")
from builder.config.contract import Keypoints
from builder.errors import UsageError
from validation import keypoints


def slow_peaks(scores: Any, contract: Keypoints) -> List[Tuple[float, int, int]]:
    """(score, x, y), best first: no neighbour in the square is larger."""
    found, r = [], contract.nms_radius
    for y in range(scores.shape[0]):
        for x in range(scores.shape[1]):
            around = scores[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1]
            if scores[y, x] >= contract.threshold and scores[y, x] == around.max():
                found.append((float(scores[y, x]), x, y))
    return sorted(found, key=lambda p: -p[0])[: contract.top_k]


def slow_sample(coarse: Any, x: float, y: float, stride: float) -> Any:
    """Bilinear between the centres of cells `stride` pixels wide, edge cells repeated; then of length 1."""
    u, v = (x + 0.5) / stride - 0.5, (y + 0.5) / stride - 0.5
    total = np.zeros(coarse.shape[0])
    for j in (int(np.floor(v)), int(np.floor(v)) + 1):
        for i in (int(np.floor(u)), int(np.floor(u)) + 1):
            weight = (1 - abs(u - i)) * (1 - abs(v - j))
            total += weight * coarse[:, min(max(j, 0), coarse.shape[1] - 1), min(max(i, 0), coarse.shape[2] - 1)]
    return total / np.linalg.norm(total)


RANDOM = np.random.default_rng(11)


@pytest.mark.parametrize("radius", [0, 1, 2, 4])
@pytest.mark.parametrize("shape", [(16, 24), (8, 8), (1, 40)])
@pytest.mark.parametrize("top_k", [5, 1000])
def test_peaks(radius: int, shape: Tuple[int, int], top_k: int) -> None:
    scores = RANDOM.random(shape, dtype=np.float32)
    contract = Keypoints(threshold=0.3, nms_radius=radius, top_k=top_k)
    points, found = keypoints.peaks(scores, contract)
    wanted = slow_peaks(scores, contract)
    assert points.tolist() == [[x, y] for _, x, y in wanted]
    np.testing.assert_allclose(found, [s for s, _, _ in wanted])


@pytest.mark.parametrize("radius", [1, 3])
def test_no_two_keypoints_are_close_even_on_a_plateau(radius: int) -> None:
    """Quantized scores have few values, so equal neighbours are usual."""
    scores = np.round(RANDOM.random((24, 32), dtype=np.float32) * 4) / 4
    contract = Keypoints(threshold=0.3, nms_radius=radius)
    points, _ = keypoints.peaks(scores, contract)
    assert len(points)
    apart = np.abs(points[:, None] - points[None]).max(-1) + 99 * np.eye(len(points))
    assert apart.min() > radius


def test_nothing_above_the_threshold() -> None:
    points, scores = keypoints.peaks(np.zeros((8, 8), np.float32), Keypoints(threshold=0.1))
    assert points.shape == (0, 2)
    assert scores.shape == (0,)
    assert keypoints.sample(RANDOM.random((4, 2, 2)), points, 16).shape == (0, 4)


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_sample(stride: int) -> None:
    coarse = RANDOM.normal(size=(5, 3, 4)).astype(np.float32)
    points = np.asarray([[0, 0], [4 * stride - 1, 3 * stride - 1], [stride, 1], [2.25, 1.5]], np.float32)
    found = keypoints.sample(coarse, points, 3 * stride)
    wanted = [slow_sample(coarse, float(x), float(y), stride) for x, y in points]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_extract_from_a_map_scales_pixel_centres() -> None:
    scores = np.zeros((1, 16, 16), np.float32)
    scores[0, 4, 8] = 0.9
    tensors = {"scores": scores, "descriptors": RANDOM.normal(size=(1, 4, 2, 2)).astype(np.float32)}
    found = keypoints.extract(tensors, Keypoints(), (2.0, 3.0), "cell")
    assert found.points.tolist() == [[16.5, 13.0]]
    assert found.points.dtype == np.float32
    assert found.cell == "cell"
    assert found.descriptors.shape == (1, 4)
    assert keypoints.extract(tensors, Keypoints(), (1.0, 1.0), "").points.tolist() == [[8, 4]]


def test_extract_points_that_the_head_found() -> None:
    tensors = {
        "p": np.asarray([[[1, 2], [3, 4], [5, 6], [0, 0]]], np.float32),
        "scores": np.asarray([[0.2, 0.9, 0.5, 0.0]], np.float32),
        "descriptors": np.eye(4, dtype=np.float32)[None],
    }
    found = keypoints.extract(tensors, Keypoints(points="p", threshold=0.1, top_k=2), (1.0, 1.0), "")
    assert found.points.tolist() == [[3, 4], [5, 6]], "best first"
    assert found.scores.tolist() == [np.float32(0.9), 0.5]
    assert found.descriptors[0].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("count", [0, 3])
def test_draw(tmp_path: Path, count: int) -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    points = RANDOM.random((count, 2), dtype=np.float32) * 30
    found = keypoints.DetectedKeypoints(points, np.ones(count, np.float32), np.zeros((count, 4), np.float32), "")
    keypoints.draw(image, found, tmp_path / "out.png")
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    assert not image.any(), "the photograph itself is not drawn on"
    for bad in (tmp_path / "out.xyz", tmp_path / "nowhere" / "out.png"):
        with pytest.raises(UsageError, match="cannot write a picture"):
            keypoints.draw(image, found, bad)
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
