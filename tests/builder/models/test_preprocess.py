"""The contract between a photograph and the input tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Tuple

import pytest

np: Any = pytest.importorskip("numpy")
cv2: Any = pytest.importorskip("cv2")
from builder.config.contract import Preprocess
from builder.errors import UsageError
from builder.models import preprocessing

IMAGE = np.random.default_rng(5).integers(0, 256, (19, 30, 3), dtype=np.uint8)


def test_read_gives_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE[:, :, ::-1])
    np.testing.assert_array_equal(preprocessing.read(tmp_path / "a.png"), IMAGE)
    cv2.imwrite(str(tmp_path / "gray.png"), IMAGE[:, :, 0])
    assert preprocessing.read(tmp_path / "gray.png").shape == (19, 30, 3)


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UsageError, match="not an image"):
        preprocessing.read(tmp_path / "a.png")
    for missing in (tmp_path / "b.png", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            preprocessing.read(missing)


def test_grayscale_is_the_luma_of_rgb_in_the_range() -> None:
    made = preprocessing.tensor(IMAGE, Preprocess())
    assert (made.shape, made.dtype) == ((1, 1, 19, 30), np.float32)
    assert made.flags.c_contiguous
    luma = IMAGE @ np.asarray([0.299, 0.587, 0.114])
    np.testing.assert_allclose(made[0, 0] * 255, luma, atol=0.51)


def test_a_gray_image_stays_what_it_is() -> None:
    gray = IMAGE[:, :, 0]
    np.testing.assert_allclose(preprocessing.tensor(gray, Preprocess())[0, 0], gray / 255, rtol=1e-6)
    three = preprocessing.tensor(gray, Preprocess(color="rgb"))
    assert three.shape == (1, 3, 19, 30)
    np.testing.assert_array_equal(three[0, 0], three[0, 2])


def test_rgb_with_range_mean_and_std() -> None:
    contract = Preprocess(color="rgb", range=(-1.0, 1.0), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    made = preprocessing.tensor(IMAGE, contract)
    wanted = (IMAGE / 255 * 2 - 1 - np.asarray(contract.mean)) / np.asarray(contract.std)
    np.testing.assert_allclose(made[0], wanted.transpose(2, 0, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "multiple", "fitting"),
    [((19, 30, 3), 8, (16, 24)), ((16, 24), 8, (16, 24)), ((5, 9), 8, (8, 8)), ((19, 30, 3), 1, (19, 30))],
)
def test_the_fitting_size(shape: Tuple[int, ...], multiple: int, fitting: Tuple[int, int]) -> None:
    contract = Preprocess(multiple=multiple)
    assert preprocessing.fitting_size(shape, contract) == fitting
    assert preprocessing.tensor(np.zeros(shape, np.uint8), contract).shape == (1, 1, *fitting)


@pytest.mark.parametrize(("resize", "how"), [("linear", cv2.INTER_LINEAR), ("area", cv2.INTER_AREA)])
def test_a_size_is_height_and_width_and_the_interpolation_the_declared_one(resize: Any, how: int) -> None:
    made = preprocessing.tensor(IMAGE[:, :, 0], Preprocess(resize=resize), (8, 16))
    assert made.shape == (1, 1, 8, 16)
    wanted = cv2.resize(IMAGE[:, :, 0].astype(np.float32), (16, 8), interpolation=how) / 255
    np.testing.assert_allclose(made[0, 0], wanted, rtol=1e-5)


def test_the_two_interpolations_differ() -> None:
    small = [preprocessing.tensor(IMAGE, Preprocess(resize=r), (8, 8)) for r in ("linear", "area")]
    assert np.abs(small[0] - small[1]).max() > 0.01


def test_the_image_is_not_changed() -> None:
    before = IMAGE.copy()
    preprocessing.tensor(IMAGE[:, :, ::-1], Preprocess(), (8, 8))
    np.testing.assert_array_equal(IMAGE, before)
