"""The example's network against a second implementation in NumPy, and against cases that can be checked by hand."""

from __future__ import annotations

import functools
from typing import Any, Dict, List, Tuple

import pytest

np: Any = pytest.importorskip("numpy")
torch: Any = pytest.importorskip("torch")
from examples.superpoint import model as example
from tests.examples import keypoint_rows, numpy_superpoint

# ------------------------------------------------------------------------------------------- names and shapes

# (input channels, output channels, kernel) of every block of the public weights.
BLOCKS: Dict[str, Tuple[int, int, int]] = {
    "backbone.0.0": (1, 64, 3),
    "backbone.0.1": (64, 64, 3),
    "backbone.1.0": (64, 64, 3),
    "backbone.1.1": (64, 64, 3),
    "backbone.2.0": (64, 128, 3),
    "backbone.2.1": (128, 128, 3),
    "backbone.3.0": (128, 128, 3),
    "backbone.3.1": (128, 128, 3),
    "detector.0": (128, 256, 3),
    "detector.1": (256, 65, 1),
    "descriptor.0": (128, 256, 3),
    "descriptor.1": (256, 256, 1),
}


def public_shapes() -> Dict[str, Tuple[int, ...]]:
    """Every tensor of the public weights."""
    shapes: Dict[str, Tuple[int, ...]] = {}
    for block, (before, after, kernel) in BLOCKS.items():
        shapes[f"{block}.conv.weight"] = (after, before, kernel, kernel)
        shapes[f"{block}.conv.bias"] = (after,)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{block}.bn.{part}"] = (after,)
        shapes[f"{block}.bn.num_batches_tracked"] = ()
    return shapes


@pytest.mark.parametrize("head", ["dense", "keypoints"])
def test_the_state_dict_has_the_names_and_shapes_of_the_public_weights(head: str) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in example.superpoint(head).state_dict().items()}
    assert found == public_shapes()
    assert len(found) == 84


def test_the_first_three_stages_end_with_a_pooling_and_the_last_has_none() -> None:
    backbone: Any = example.superpoint().backbone
    assert [[type(layer).__name__ for layer in stage] for stage in backbone] == [
        ["Block", "Block", "MaxPool2d"],
        ["Block", "Block", "MaxPool2d"],
        ["Block", "Block", "MaxPool2d"],
        ["Block", "Block"],
    ]


def test_every_block_is_convolution_relu_batch_norm_and_the_heads_end_without_relu() -> None:
    blocks = {
        name: list(dict(module.named_children()))
        for name, module in example.superpoint().named_modules()
        if isinstance(module, example.Block)
    }
    plain = {"detector.1", "descriptor.1"}
    assert blocks == {name: ["conv", "bn"] if name in plain else ["conv", "relu", "bn"] for name in BLOCKS}


def test_every_batch_norm_has_the_epsilon_of_the_public_weights() -> None:
    norms = [module for module in example.superpoint().modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert [norm.eps for norm in norms] == [1e-3] * 12


def test_another_head_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'sparse'"):
        example.superpoint("sparse")


# ------------------------------------------------------------------------------------------- against NumPy

SHAPES = [(1, 48, 64), (2, 48, 64), (2, 40, 72), (1, 16, 24)]
# The same module in double precision leaves no room for a difference that is small on these weights.
KINDS = [("float32", 1e-5), ("float64", 1e-9)]


class Case:
    """Random weights, statistics and images, and what NumPy makes of them; computed once for all tests."""

    def __init__(self, shape: Tuple[int, int, int], kind: str) -> None:
        generator = np.random.default_rng([*shape, 5])
        dtype = getattr(torch, kind)
        state = numpy_superpoint.random_state(public_shapes(), generator)
        self.weights = {name: torch.from_numpy(value).to(dtype) for name, value in state.items()}
        self.given = torch.from_numpy(generator.random((shape[0], 1, shape[1], shape[2]))).to(dtype)
        # What rounding makes of weights and image is no error of the module, so NumPy gets them rounded too.
        self.state = {name: value.double().numpy() for name, value in self.weights.items()}
        self.raw = numpy_superpoint.raw(self.state, self.given.double().numpy())
        self.dense = numpy_superpoint.dense(*self.raw)

    def module(self, head: str, **options: int) -> Any:
        module = example.superpoint(head, **options).to(self.given.dtype).eval()
        module.load_state_dict(self.weights, strict=True)
        return module

    def run(self, head: str, **options: int) -> List[Any]:
        return outputs(self.module(head, **options), self.given)


@functools.lru_cache(maxsize=None)
def case(shape: Tuple[int, int, int], kind: str) -> Case:
    return Case(shape, kind)


def outputs(module: Any, given: Any) -> List[Any]:
    with torch.inference_mode():
        return [tensor.numpy() for tensor in module(given)]


@pytest.mark.parametrize(("kind", "tolerance"), KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_dense_head_is_the_one_in_numpy(shape: Tuple[int, int, int], kind: str, tolerance: float) -> None:
    scores, descriptors = case(shape, kind).run("dense")
    wanted_scores, wanted_descriptors = case(shape, kind).dense
    assert scores.shape == shape
    assert descriptors.shape == (shape[0], 256, shape[1] // 8, shape[2] // 8)
    np.testing.assert_allclose(scores, wanted_scores, rtol=0, atol=tolerance)
    np.testing.assert_allclose(descriptors, wanted_descriptors, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_random_weights_keep_activations_of_order_one(shape: Tuple[int, int, int]) -> None:
    """Else the comparison would be one of zeros, or of saturated softmaxes."""
    for tensor in case(shape, "float64").raw:
        assert 0.3 < tensor.std() < 3
    assert 0.05 < case(shape, "float64").dense[0].max() < 0.9


@pytest.mark.parametrize(("kind", "tolerance"), KINDS)
@pytest.mark.parametrize(("count", "radius"), [(20, 4), (384, 4), (384, 2)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_keypoints_head_is_the_one_in_numpy(
    shape: Tuple[int, int, int], count: int, radius: int, kind: str, tolerance: float
) -> None:
    found = case(shape, kind).run("keypoints", max_keypoints=count, nms_radius=radius)
    assert [part.shape for part in found] == [(shape[0], count, 2), (shape[0], count), (shape[0], count, 256)]
    wanted = numpy_superpoint.keypoints(*case(shape, kind).dense, count, radius)
    keypoint_rows.assert_same(found, wanted, tolerance)


def test_the_keypoints_head_has_1024_rows_and_radius_4_unless_told() -> None:
    shape = (2, 40, 72)
    found = case(shape, "float32").run("keypoints")
    keypoint_rows.assert_same(found, numpy_superpoint.keypoints(*case(shape, "float32").dense, 1024, 4), 1e-5)


def test_the_second_image_of_a_batch_is_as_if_it_were_alone() -> None:
    both = case((2, 40, 72), "float64")
    module = both.module("keypoints", max_keypoints=30)
    for together, alone in zip(outputs(module, both.given), outputs(module, both.given[1:])):
        np.testing.assert_allclose(together[1:], alone, rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------- padding and borders


def test_fewer_maxima_than_rows_are_padded_with_score_zero() -> None:
    some = case((2, 48, 64), "float32")
    points, scores, descriptors = some.run("keypoints", max_keypoints=1024)
    kept = numpy_superpoint.keypoints(*some.dense, 1024, 4)[1] > 0
    assert (scores > 0).tolist() == kept.tolist()
    assert 0 < kept.sum() < kept.size / 2
    assert np.all(scores[~kept] == 0)
    assert np.all((points >= 0) & (points < [64, 48])), "a padding row still names a pixel of the image"
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=2), 1, atol=1e-5)


def test_no_keypoint_is_within_four_pixels_of_the_edge() -> None:
    points, scores, _ = case((2, 40, 72), "float32").run("keypoints", max_keypoints=2880, nms_radius=0)
    x, y = points[scores > 0].T
    assert (x.min(), x.max(), y.min(), y.max()) == (4, 72 - 5, 4, 40 - 5)


def test_an_image_that_is_all_border_has_no_keypoint() -> None:
    module = example.superpoint("keypoints", max_keypoints=10).eval()
    assert outputs(module, torch.ones(1, 1, 8, 8))[1].tolist() == [[0.0] * 10]


def test_keypoints_are_whole_pixels_of_the_dense_score_map() -> None:
    """(x, y), not (row, column): the image is not square, so a swap would be seen."""
    some = case((2, 40, 72), "float32")
    points, scores, _ = some.run("keypoints", max_keypoints=15)
    dense = some.run("dense")[0]
    for item in range(2):
        for (x, y), score in zip(points[item], scores[item]):
            assert score == pytest.approx(dense[item, int(y), int(x)], abs=1e-7)


# ------------------------------------------------------------------------------------------- by hand: score map


def dense_of(logits: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The score map that the dense head makes of these detector logits [65,h,w]."""
    module = example.superpoint("dense").eval()
    descriptors = torch.ones(1, 256, *logits.shape[1:])
    monkeypatch.setattr(module, "raw", lambda image: (logits[None], descriptors))
    return outputs(module, torch.zeros(1, 1, 8, 8))[0][0]


@pytest.mark.parametrize("k", [0, 1, 7, 8, 29, 56, 63])
def test_class_k_of_a_cell_is_its_pixel_in_reading_order(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.zeros(65, 3, 4)
    logits[k, 1, 2] = 30
    scores = dense_of(logits, monkeypatch)
    assert scores.shape == (24, 32)
    assert np.unravel_index(scores.argmax(), scores.shape) == (8 * 1 + k // 8, 8 * 2 + k % 8)
    assert scores.max() == pytest.approx(1)


def test_the_last_class_says_that_a_cell_has_no_keypoint(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.zeros(65, 2, 2)
    logits[64, 0, 1] = 30
    scores = dense_of(logits, monkeypatch)
    assert scores[:8, 8:].max() < 1e-9
    np.testing.assert_allclose(scores[8:], 1 / 65, rtol=1e-6)  # without the last class it would be 1 / 64


# ------------------------------------------------------------------------------------------- by hand: descriptors


def test_descriptors_are_read_at_pixel_centres() -> None:
    """Channels that are 1, the column and the row of a coarse cell say where a keypoint was read."""
    rows, columns = 5, 7
    row, column = np.mgrid[0:rows, 0:columns].astype(np.float64)
    ramps = torch.from_numpy(np.stack([np.ones_like(row), column, row])[None])
    inside = [(x, y) for y in range(4, 8 * rows - 4) for x in range(4, 8 * columns - 4)]
    found = example.sample(ramps, torch.tensor([inside], dtype=torch.float64)).numpy()[0]
    x, y = np.asarray(inside, np.float64).T
    np.testing.assert_allclose(found[:, 1] / found[:, 0], (x - 3.5) / 8, atol=1e-12)
    np.testing.assert_allclose(found[:, 2] / found[:, 0], (y - 3.5) / 8, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)


def test_descriptors_anywhere_in_the_image_are_those_of_numpy() -> None:
    generator = np.random.default_rng(11)
    coarse = generator.normal(size=(2, 16, 5, 7))
    corners = [(0, 0), (55, 0), (0, 39), (55, 39), (3.5, 3.5), (51.5, 35.5)]
    points = np.stack([[*corners, *(generator.random((40, 2)) * [55, 39])] for _ in range(2)])
    found = example.sample(torch.from_numpy(coarse), torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(found, numpy_superpoint.sample(coarse, points), rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------------------- suppression


def suppressed(scores: Any, radius: int) -> Any:
    return example.suppress(torch.from_numpy(scores), radius).numpy()


@pytest.mark.parametrize("levels", [2, 4, 10, 1000])
@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_suppression_is_the_one_pixel_by_pixel(radius: int, levels: int) -> None:
    """Few levels make many ties and plateaus; level 0 makes holes without any score."""
    generator = np.random.default_rng([radius, levels])
    scores = generator.integers(0, levels, (3, 17, 22)) / levels
    np.testing.assert_array_equal(suppressed(scores, radius), numpy_superpoint.suppress(scores, radius))


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_distinct_scores_are_suppressed_as_the_textbook_does(radius: int) -> None:
    """What is kept is what greedy suppression keeps; that may keep a few more, for which it takes more rounds."""
    generator = np.random.default_rng(radius)
    found = wanted = 0
    for _ in range(5):
        scores = (generator.permutation(24 * 30) + 1.0).reshape(1, 24, 30)
        kept = {(int(y), int(x)) for y, x in np.argwhere(suppressed(scores, radius)[0])}
        taken = numpy_superpoint.greedy(scores[0], radius)
        assert kept <= set(taken)
        found, wanted = found + len(kept), wanted + len(taken)
    assert found > 0.9 * wanted


def test_a_chain_of_falling_scores_takes_a_round_per_maximum() -> None:
    """With radius 1, 9 hides 8, which would hide 7: the second round brings 7 back, the third 5, and there is no
    fourth for 3."""
    scores = np.asarray([[[9.0, 8, 7, 6, 5, 4, 3, 2]]])
    assert suppressed(scores, 1).tolist() == [[[9, 0, 7, 0, 5, 0, 0, 0]]]


def test_equal_neighbours_are_both_kept_and_hide_what_is_lower() -> None:
    scores = np.asarray([[[1.0, 5, 5, 1, 0, 0, 2]]])
    assert suppressed(scores, 1).tolist() == [[[0, 5, 5, 0, 0, 0, 2]]]


def test_suppression_reaches_exactly_the_radius() -> None:
    for distance, kept in ((4, False), (5, True)):
        scores = np.zeros((1, 20, 20))
        scores[0, 10, 10], scores[0, 10 + distance, 10 - distance] = 2.0, 1.0
        assert bool(suppressed(scores, 4)[0, 10 + distance, 10 - distance]) == kept


def test_images_of_a_batch_do_not_suppress_one_another() -> None:
    scores = np.zeros((2, 9, 9))
    scores[0, 4, 4], scores[1, 4, 5] = 2.0, 1.0
    np.testing.assert_array_equal(suppressed(scores, 4), scores)


def test_the_border_is_four_pixels_of_zeros() -> None:
    found = example.drop_border(torch.ones(2, 16, 24)).numpy()
    wanted = np.zeros((2, 16, 24))
    wanted[:, 4:-4, 4:-4] = 1
    np.testing.assert_array_equal(found, wanted)
