"""The pictures of a worst case: what both found, what differs and where, small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from builder.actions.recipes import DrawWorstCase
from builder.config.contract import Keypoints, Preprocess
from builder.errors import StepFailed

np: Any = pytest.importorskip("numpy")
cv2: Any = pytest.importorskip("cv2")
from validation import worst_case
from validation.samples import Sample

DENSE = Keypoints(threshold=0.5, nms_radius=2, top_k=50)
POINTS = Keypoints(points="keypoints", threshold=0.5)


def recipe(outputs: "tuple[str, ...]", contract: Optional[Keypoints], **preprocess: Any) -> DrawWorstCase:
    return DrawWorstCase("a-64x96", "image", outputs, contract, Preprocess(**preprocess), "f32", False)


def image(channels: int = 1, height: int = 64, width: int = 96) -> Any:
    return np.random.default_rng(3).random((1, channels, height, width), dtype=np.float32)


def scores(*places: "tuple[int, int]") -> Any:
    found = np.zeros((1, 64, 96), np.float32)
    for x, y in places:
        found[0, y, x] = 0.9
    return found


def drawn(
    folder: Path, used: DrawWorstCase, reference: Dict[str, Any], candidate: Dict[str, Any], size: Any = None
) -> Any:
    return worst_case.draw(
        used, Sample("a-64x96", {"image": image() if size is None else size}, reference), candidate, folder
    )


def test_keypoints_are_told_apart_and_the_difference_is_placed(tmp_path: Path) -> None:
    described = {"descriptors": np.ones((1, 4, 8, 12), np.float32)}
    reference = {"scores": scores((10, 10), (30, 20), (80, 50)), **described}
    candidate = {"scores": scores((12, 10), (30, 20), (60, 40)), **described}
    candidate["scores"][0, 63, 5] = -3.0
    made = drawn(tmp_path, recipe(("scores", "descriptors"), DENSE), reference, candidate)
    assert made.size == (96, 64) and made.keypoints
    assert sorted(made.both) == [(10, 10, 12, 10), (30, 20, 30, 20)]  # two pixels apart are the same
    assert (made.lost, made.new) == (((80, 50),), ((60, 40),))
    assert (made.map.output, made.map.largest, made.map.at, made.map.classes) == ("scores", 3.0, (5, 63), 0)
    difference = cv2.imread(str(tmp_path / "difference.jpg"))
    assert difference.shape == (64, 96, 3)
    bright = difference.astype(int).sum(axis=2)
    assert np.unravel_index(bright.argmax(), bright.shape)[0] > 55, "yellow where the largest difference is"
    assert bright[30, 5] < bright[63, 5] / 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["difference.jpg", "photograph.jpg"]


def test_a_large_photograph_is_made_smaller_and_places_follow(tmp_path: Path) -> None:
    reference = {"scores": np.zeros((1, 720, 1280), np.float32), "descriptors": np.ones((1, 4, 90, 160), np.float32)}
    reference["scores"][0, 600, 1000] = 0.9
    candidate = {name: value.copy() for name, value in reference.items()}
    candidate["scores"][0, 100, 200] = 0.9
    made = drawn(tmp_path, recipe(("scores", "descriptors"), DENSE), reference, candidate, image(1, 720, 1280))
    assert made.size == (480, 270)
    assert made.both == ((375, 225, 375, 225),) and made.new == ((75, 37),) and made.map.at == (75, 37)
    assert all(p.stat().st_size <= worst_case.BYTES for p in tmp_path.iterdir())  # noise, the hardest to make small


def test_a_head_of_points_has_no_map(tmp_path: Path) -> None:
    reference = {
        "keypoints": np.asarray([[[5, 6], [40, 30]]], np.float32),
        "scores": np.asarray([[0.9, 0.8]], np.float32),
        "descriptors": np.ones((1, 2, 4), np.float32),
    }
    candidate = {**reference, "scores": np.asarray([[0.9, 0.1]], np.float32)}
    made = drawn(tmp_path, recipe(tuple(reference), POINTS), reference, candidate)
    assert made.both == ((5, 6, 5, 6),) and made.lost == ((40, 30),) and made.new == () and made.map is None
    assert [p.name for p in tmp_path.iterdir()] == ["photograph.jpg"]


def test_classes_are_drawn_beside_each_other(tmp_path: Path) -> None:
    reference = {"logits": np.zeros((1, 3, 64, 96), np.float32)}
    reference["logits"][0, 1, :, :48] = 1.0
    candidate = {"logits": reference["logits"].copy()}
    candidate["logits"][0, 2, :32, :48] = 2.0
    made = drawn(tmp_path, recipe(("logits",), None), reference, candidate)
    assert not made.keypoints and made.map.classes == 3 and made.map.agreement == 0.75
    left, right = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("reference", "candidate"))
    assert (left != right).any(axis=2).mean() == 0.25
    assert len(np.unique(right.reshape(-1, 3), axis=0)) == 3


def test_a_normalised_colour_input_is_shown_as_the_photograph_it_was(tmp_path: Path) -> None:
    contract = {"color": "rgb", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}
    flat = np.zeros((1, 3, 64, 96), np.float32)  # the mean colour
    outputs = {"value": np.zeros((1, 7), np.float32)}
    made = drawn(tmp_path, recipe(("value",), None, **contract), outputs, outputs, flat)
    blue, green, red = cv2.imread(str(tmp_path / "photograph.jpg"))[32, 48].astype(int)
    assert made.map is None and max(abs(red - 128), abs(green - 102), abs(blue - 77)) <= 3


def test_equal_and_broken_tensors(tmp_path: Path) -> None:
    reference = {"map": np.ones((1, 64, 96), np.float32)}
    assert drawn(tmp_path, recipe(("map",), None), reference, reference).map.largest == 0.0
    broken = {"map": np.full((1, 64, 96), np.nan, np.float32)}
    broken["map"][0, 9, 9] = 3.0
    assert drawn(tmp_path, recipe(("map",), None), reference, broken).map.largest == 2.0
    with pytest.raises(StepFailed, match="not the shape"):
        drawn(tmp_path, recipe(("map",), None), reference, {"map": np.ones((1, 8, 8), np.float32)})
    with pytest.raises(StepFailed, match="not the shape"):
        drawn(tmp_path, recipe(("map",), None), reference, {})
