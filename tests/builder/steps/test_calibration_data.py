"""The images that set int8 ranges: from photographs, and from a function of the person's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
cv2: Any = pytest.importorskip("cv2")
from builder.actions.action import Action
from builder.actions.recipes import CalibrationData, Sampled
from builder.config.contract import Preprocess
from builder.errors import DeployError, StepFailed
from builder.steps.quantization import calibration

GRAY = Preprocess(range=(0.0, 1.0))


def performed(tmp_path: Path, recipe: CalibrationData) -> Any:
    (tmp_path / "out").mkdir()
    facts = calibration.gather_calibration_data(Action(recipe, (), ()), tmp_path / "in", tmp_path / "out", tmp_path)
    assert isinstance(facts, Sampled)
    with np.load(tmp_path / "out" / "images.npz", allow_pickle=False) as file:
        return facts.samples, file["images"]


def write_code(tmp_path: Path, text: str) -> CalibrationData:
    name = f"images_{abs(hash(str(tmp_path)))}"  # modules stay imported for the whole run of the tests
    (tmp_path / "in" / "code").mkdir(parents=True)
    (tmp_path / "in" / "code" / f"{name}.py").write_text(text, encoding="utf-8")
    return CalibrationData((), f"{name}:images", (8, 16), GRAY)


def test_photographs_become_one_array_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "in" / "photographs").mkdir(parents=True)
    for name, value in (("b.png", 51), ("a.png", 255)):
        cv2.imwrite(str(tmp_path / "in" / "photographs" / name), np.full((8, 16, 3), value, np.uint8))
    recipe = CalibrationData(("photographs/b.png", "photographs/a.png"), "", (8, 16), GRAY)
    names, images = performed(tmp_path, recipe)
    assert names == ("photographs/b.png", "photographs/a.png")
    assert images.shape == (2, 1, 8, 16) and images.dtype == np.float32
    assert np.allclose(images[0], 0.2) and np.allclose(images[1], 1.0)


def test_a_broken_photograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "in" / "photographs").mkdir(parents=True)
    (tmp_path / "in" / "photographs" / "a.png").write_bytes(b"no image")
    with pytest.raises(DeployError, match=r"a\.png"):
        performed(tmp_path, CalibrationData(("photographs/a.png",), "", (8, 16), GRAY))


def test_a_function_gives_images(tmp_path: Path) -> None:
    recipe = write_code(
        tmp_path,
        "import numpy as np\n"
        "def images():\n"
        "    yield np.full((4, 8), 255, np.uint8)\n"
        "    yield np.zeros((8, 16, 3), np.uint8)\n",
    )
    names, images = performed(tmp_path, recipe)
    assert [name.rsplit("#", 1)[1] for name in names] == ["0", "1"]
    assert images.shape == (2, 1, 8, 16)
    assert images[0].min() == 1.0 and images[1].max() == 0.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return []", "gave no image"),
        ("return [[1, 2]]", "image 0 is no uint8 array"),
        ("return [np.zeros((4, 4), np.float32)]", "image 0 is no uint8 array"),
        ("yield np.zeros((4, 4), np.uint8)\n    raise RuntimeError('the disk is gone')", r"RuntimeError at images_\d+"),
        ("return 3", "TypeError"),
        ("while True:\n        yield np.zeros((2, 2), np.uint8)", "more than 10000 images"),
    ],
)
def test_what_a_function_may_not_give(body: str, said: str, tmp_path: Path) -> None:
    recipe = write_code(tmp_path, f"import numpy as np\ndef images():\n    {body}\n")
    with pytest.raises(StepFailed, match=said):
        performed(tmp_path, recipe)


def test_a_module_without_the_function_is_told(tmp_path: Path) -> None:
    recipe = write_code(tmp_path, "x = 1\n")
    with pytest.raises(StepFailed, match="has no function or class 'images'"):
        performed(tmp_path, recipe)
