"""Keypoints of two views with a known geometry: points made by hand, and shares that can be counted."""

from __future__ import annotations

import math
from typing import Any, Callable, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

np: Any = pytest.importorskip("numpy")
cv2: Any = pytest.importorskip("cv2")
from validation import homography, keypoint_metrics
from validation.homography import shift
from validation.keypoint_metrics import Features, sameness

SIZE = (100, 120)
STILL = np.eye(3)
QUARTER = np.asarray([[0.0, -1, 99], [1, 0, 0], [0, 0, 1]])  # a quarter turn of a view of 100x100
HALF = np.asarray([[-1.0, 0, 119], [0, -1, 99], [0, 0, 1]])  # half a turn of a view of SIZE
NOWHERE = shift(1000, 0)  # two views that share nothing

SEEDS = st.integers(0, 2**32 - 1)


def points(*places: Tuple[float, float]) -> Any:
    return np.asarray(places, np.float32).reshape(-1, 2)


def features(places: Any, order: Optional[List[int]] = None) -> Features:
    """Each point with a descriptor of its own; `order` gives them to other points."""
    own = np.eye(len(places), dtype=np.float32) if len(places) else np.zeros((0, 4), np.float32)
    return Features(places, own if order is None else own[order])


def scattered(seed: int, count: int, size: Tuple[int, int] = SIZE) -> Any:
    rng = np.random.default_rng(seed)
    return rng.uniform((0, 0), (size[1] - 1, size[0] - 1), (count, 2)).astype(np.float32)


# ------------------------------------------------------------------------------------------- repeatability

FOUR = points((20, 20), (60, 30), (40, 70), (90, 80))


@pytest.mark.parametrize(
    ("second", "between", "share"),
    [
        (FOUR, STILL, 1.0),
        (FOUR + points((5, -3)), shift(5, -3), 1.0),
        (FOUR + points((5, -3)), STILL, 0.0),
        (FOUR + points((3, 0)), STILL, 1.0),
        (FOUR + points((3.01, 0)), STILL, 0.0),
        (points((99, 79), (59, 69), (79, 29), (29, 19)), HALF, 1.0),
        (points((20, 20), (60, 30), (10, 10), (110, 10)), STILL, 0.5),
        (FOUR[:1], STILL, 0.4),  # one of four found again, and the one of the second view
        (points((20, 20), (21, 20)), STILL, 0.5),  # both near one point: one of four and two of two
        (points(), STILL, 0.0),
    ],
    ids=["same", "moved", "moved-unknown", "just-near", "just-far", "half-turn", "half", "few", "crowd", "none"],
)
def test_repeatability_is_the_share_with_a_counterpart(second: Any, between: Any, share: float) -> None:
    assert keypoint_metrics.repeatability(FOUR, second, between, SIZE, 3) == pytest.approx(share)


def test_repeatability_under_a_quarter_turn() -> None:
    first, second = points((20, 10), (60, 30)), points((89, 20), (69, 60))
    assert keypoint_metrics.repeatability(first, second, QUARTER, (100, 100), 0.01) == 1.0


def test_points_that_only_one_view_shows_do_not_count() -> None:
    first = points((10, 50), (30, 50), (90, 50), (80, 20))  # those left of x = 50 leave the view
    second = points((40, 50), (30, 20), (100, 50), (110, 10))  # those right of x = 70 come into it
    assert keypoint_metrics.repeatability(first, second, shift(-50, 0), SIZE, 1) == 1.0


@pytest.mark.parametrize(
    ("first", "second", "between"),
    [(points(), points(), STILL), (FOUR, FOUR, NOWHERE), (points(), FOUR, NOWHERE)],
    ids=["no-point", "nothing-shared", "neither"],
)
def test_without_a_point_in_the_shared_area_there_is_no_share(first: Any, second: Any, between: Any) -> None:
    assert math.isnan(keypoint_metrics.repeatability(first, second, between, SIZE, 3))
    assert math.isnan(keypoint_metrics.matching_score(features(first), features(second), between, SIZE, 3))


@given(SEEDS, st.integers(1, 30), st.integers(1, 30), st.sampled_from([STILL, shift(7, -4), shift(-30, 20), HALF]))
def test_it_does_not_matter_which_view_is_the_first(seed: int, many: int, few: int, between: Any) -> None:
    first, second = np.rint(scattered(seed, many)), np.rint(scattered(seed + 1, few))
    back = np.linalg.inv(between)
    for pixels in (1.5, 6.5):  # between two whole points no distance is that of the limit
        there = keypoint_metrics.repeatability(first, second, between, SIZE, pixels)
        assert there == pytest.approx(keypoint_metrics.repeatability(second, first, back, SIZE, pixels), nan_ok=True)


@given(SEEDS, st.integers(0, 20), st.integers(0, 20))
def test_shares_are_between_0_and_1(seed: int, many: int, few: int) -> None:
    between = homography.random_homography(np.random.default_rng(seed), SIZE, SIZE)
    first = features(scattered(seed, many))
    second = Features(homography.warp_points(first.points, between)[:few], first.descriptors[:few])
    found = keypoint_metrics.scores(first, second, between, SIZE)
    assert all(math.isnan(value) or 0 <= value <= 1 for value in found.values()), found


# ------------------------------------------------------------------------------------------- matches


def test_a_match_is_of_two_that_are_nearest_to_each_other() -> None:
    first = Features(FOUR[:2], np.asarray([[0], [10]], np.float32))
    second = Features(FOUR[1:], np.asarray([[1], [2], [11]], np.float32))  # 2 is nearest to 0, but 0 to 1
    one, two = keypoint_metrics.matches(first, second)
    pairs = sorted(zip(one.tolist(), two.tolist()))
    assert pairs == sorted([(FOUR[0].tolist(), FOUR[1].tolist()), (FOUR[1].tolist(), FOUR[3].tolist())])


@pytest.mark.parametrize(("kind", "nearest"), [("uint8", 0b01111111), ("float32", 0b11110000)])
def test_bytes_are_compared_by_their_bits(kind: str, nearest: int) -> None:
    """One bit apart is 128 as a number, four bits are 15."""
    candidates = [0b01111111, 0b11110000]
    first = Features(FOUR[:1], np.asarray([[0b11111111]], kind))
    _, two = keypoint_metrics.matches(first, Features(FOUR[:2], np.asarray(candidates, kind)[:, None]))
    assert two.tolist() == [FOUR[candidates.index(nearest)].tolist()]


@pytest.mark.parametrize(("first", "second"), [(points(), FOUR), (FOUR, points()), (points(), points())])
def test_without_points_there_are_no_matches(first: Any, second: Any) -> None:
    one, two = keypoint_metrics.matches(features(first), features(second))
    assert one.shape == two.shape == (0, 2)


# ------------------------------------------------------------------------------------------- matching score

MOVED = FOUR + points((5, -3))


@pytest.mark.parametrize(
    ("first", "second", "between", "share"),
    [
        (features(FOUR), features(MOVED), shift(5, -3), 1.0),
        (features(FOUR), features(MOVED), STILL, 0.0),
        (features(FOUR), features(MOVED, [1, 0, 2, 3]), shift(5, -3), 0.5),
        (features(FOUR), Features(MOVED[:2], features(FOUR).descriptors[:2]), shift(5, -3), 0.75),
        (features(FOUR), features(FOUR + points((3, 0))), STILL, 1.0),
        (features(FOUR), features(FOUR + points((3.01, 0))), STILL, 0.0),
        (features(FOUR), features(points()), STILL, 0.0),
        (features(points()), features(FOUR), STILL, 0.0),
    ],
    ids=["right", "wrong-place", "two-swapped", "half-the-points", "just-near", "just-far", "no-second", "no-first"],
)
def test_matching_score_is_right_matches_over_keypoints(
    first: Features, second: Features, between: Any, share: float
) -> None:
    """Of each view's own keypoints; the mean of the two shares."""
    assert keypoint_metrics.matching_score(first, second, between, SIZE, 3) == pytest.approx(share)


def test_keypoints_that_only_one_view_shows_do_not_lower_the_matching_score() -> None:
    first = features(points((10, 50), (30, 50), (90, 50), (80, 20)))
    second = Features(points((80, 90), (110, 10), (40, 50), (30, 20)), first.descriptors)
    assert keypoint_metrics.matching_score(first, second, shift(-50, 0), SIZE, 1) == 1.0


@pytest.mark.parametrize("step", [-1, 1])
def test_a_match_across_the_edge_of_the_shared_area_is_no_share_of_it(step: int) -> None:
    """A point at the edge leaves the other view by a pixel, but is matched to one there that is near enough. That leaves
    one right match, of one keypoint in one view and of two in the other."""
    first, second = features(points((0, 10), (50, 50))), features(points((0, 10), (50 + step, 50)))
    assert keypoint_metrics.matching_score(first, second, shift(step, 0), SIZE, 3) == 0.75


# ------------------------------------------------------------------------------------------- homographies


@pytest.mark.parametrize(
    ("found", "true", "error"),
    [
        (STILL, STILL, 0.0),
        (shift(3, 4), STILL, 5.0),
        (STILL, shift(3, 4), 5.0),
        (3 * shift(3, 4), shift(3, 4), 0.0),  # a homography is one up to a factor
        (np.diag([2.0, 2, 1]), STILL, (0 + 119 + 99 + math.hypot(119, 99)) / 4),
        (None, STILL, math.inf),
    ],
    ids=["same", "moved", "true-moved", "scaled-matrix", "twice-as-large", "none"],
)
def test_corner_error_is_the_mean_distance_of_the_corners(found: Any, true: Any, error: float) -> None:
    assert keypoint_metrics.corner_error(found, true, SIZE) == pytest.approx(error)


GRID = points(*((x, y) for x in range(10, 90, 10) for y in range(10, 60, 10)))
TRUE = homography.random_homography(np.random.default_rng(5), SIZE, SIZE)


def pair(wrong: float, noise: float = 0.0, count: int = 100) -> Tuple[Features, Features]:
    """Keypoints of two views under TRUE; a share of them has the descriptor of some other point."""
    rng = np.random.default_rng(17)
    first = features(scattered(3, count))
    second = homography.warp_points(first.points, TRUE) + rng.normal(0, noise, (count, 2)).astype(np.float32)
    order, moved = list(range(count)), rng.permutation(count)[: round(wrong * count)].tolist()
    for i, j in zip(moved, moved[1:] + moved[:1]):
        order[i] = j
    return first, features(second, order)


@pytest.mark.parametrize("robust", [cv2.USAC_MAGSAC, cv2.RANSAC])
@pytest.mark.parametrize(("wrong", "noise", "limit"), [(0, 0, 0.01), (0.3, 0, 0.01), (0, 0.5, 1.0), (0.3, 0.5, 1.5)])
def test_a_homography_is_estimated_from_matches(robust: int, wrong: float, noise: float, limit: float) -> None:
    found = keypoint_metrics.estimated(*pair(wrong, noise), robust=robust)
    assert keypoint_metrics.corner_error(found, TRUE, SIZE) < limit


@pytest.mark.parametrize(("off", "counts"), [(2.9, True), (3.1, False)])
def test_a_match_that_is_three_pixels_off_is_a_wrong_one_for_ransac(off: float, counts: bool) -> None:
    """Among many exact ones, some of them around it. One that counts draws the estimate to itself."""
    around = points(*((50 + x, 30 + y) for x in (-1, 0, 1) for y in (-1, 0, 1)))
    first = np.concatenate([GRID, around, points((50.5, 30.5))])
    second = first.copy()
    second[-1, 0] += off
    found = keypoint_metrics.estimated(features(first), features(second), robust=cv2.RANSAC)
    assert (keypoint_metrics.corner_error(found, STILL, SIZE) > 0.1) == counts


@pytest.mark.parametrize(
    "places",
    [points(), FOUR[:3], points(*[(5, 5)] * 6), points(*((i, 2 * i) for i in range(20)))],
    ids=["no-point", "three", "one-place", "a-line"],
)
def test_from_too_little_there_is_no_homography(places: Any) -> None:
    assert keypoint_metrics.estimated(features(places), features(places)) is None


def test_the_estimate_does_not_depend_on_what_was_drawn_before() -> None:
    drawn = []
    for seed in (1, 2):
        cv2.setRNGSeed(seed)
        drawn.append([keypoint_metrics.estimated(*pair(0.3, 0.5), robust=r) for r in (cv2.USAC_MAGSAC, cv2.RANSAC)])
    np.testing.assert_array_equal(*drawn)


# ------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    ("offset", "within_1", "within_3", "homographies"),
    [(0.0, 1, 1, (1, 1, 1)), (0.5, 1, 1, (1, 1, 1)), (2, 0, 1, (0, 1, 1)), (4, 0, 0, (0, 0, 1)), (6, 0, 0, (0, 0, 0))],
)
def test_a_pair_of_views_is_scored(
    offset: float, within_1: float, within_3: float, homographies: Tuple[float, float, float]
) -> None:
    """All keypoints are off by so many pixels, and so is the homography that they suggest."""
    assert keypoint_metrics.scores(features(GRID), features(GRID + points((offset, 0))), STILL, SIZE) == {
        "repeatability_1px": within_1,
        "repeatability_3px": within_3,
        "matching_score_3px": within_3,
        "homography_1px": homographies[0],
        "homography_3px": homographies[1],
        "homography_5px": homographies[2],
    }


def test_views_without_keypoints_estimate_no_homography() -> None:
    found = keypoint_metrics.scores(features(points()), features(points()), STILL, SIZE)
    assert [name for name, value in found.items() if value == 0] == [f"homography_{n}px" for n in (1, 3, 5)]
    assert all(math.isnan(value) for name, value in found.items() if not name.startswith("homography"))


def _one_pair() -> Any:
    return keypoint_metrics.scores(*pair(0.3, 0.7), TRUE, SIZE)


def _one_stereo_pair() -> Any:
    return keypoint_metrics.stereo_scores(*pair(0.3, 0.7), np.full(SIZE, 3, np.float32))


@pytest.mark.parametrize("measured", [_one_pair, _one_stereo_pair, lambda: keypoint_metrics.estimated(*pair(0.3, 0.7))])
def test_two_calls_give_the_same_numbers(measured: Callable[[], Any]) -> None:
    one, two = measured(), measured()
    if isinstance(one, dict):
        assert one == two
    else:
        assert one.tobytes() == two.tobytes()


# ------------------------------------------------------------------------------------------- stereo


def disparity(*known: Tuple[int, int, float]) -> Any:
    """A map of SIZE that is known at a few (x, y) only."""
    made = np.full(SIZE, np.nan, np.float32)
    for x, y, value in known:
        made[y, x] = value
    return made


SEEN = disparity((20, 20, 5), (60, 30, 10), (40, 70, np.inf), (90, 80, 2.5))  # the third point is hidden on the right
LEFT = features(FOUR)
TRUE_RIGHT = points((15, 20), (50, 30), (39, 70), (87.5, 80))


def stereo(right: Features, left: Features = LEFT, pixels: float = 3.0) -> Tuple[float, float, float]:
    """(precision, matching score, repeatability)."""
    found = keypoint_metrics.stereo_scores(left, right, SEEN, pixels)
    assert set(found) == {f"{name}_{pixels:g}px" for name in ("precision", "matching_score", "repeatability")}
    return tuple(found[f"{n}_{pixels:g}px"] for n in ("precision", "matching_score", "repeatability"))  # type: ignore


@pytest.mark.parametrize(
    ("right", "precision", "score", "repeated"),
    [
        (features(TRUE_RIGHT), 1, 1, 1),
        (features(TRUE_RIGHT + points((0, 3))), 1, 1, 1),
        (features(TRUE_RIGHT + points((0, 3.01))), 0, 0, 0),
        (features(FOUR), 1 / 3, 1 / 3, 1 / 3),  # where the disparity is 2.5, not to have moved is near enough
        (features(TRUE_RIGHT, [1, 0, 2, 3]), 1 / 3, 1 / 3, 1),
        (Features(TRUE_RIGHT[:1], LEFT.descriptors[:1]), 1, 1 / 3, 1 / 3),
        (Features(TRUE_RIGHT[2:3], LEFT.descriptors[2:3]), 0, 0, 0),  # its only match is one that nobody can judge
    ],
    ids=["right", "just-near", "just-far", "unmoved", "two-swapped", "one-only", "hidden-only"],
)
def test_stereo_counts_left_keypoints_with_a_known_disparity(
    right: Features, precision: float, score: float, repeated: float
) -> None:
    assert stereo(right) == pytest.approx((precision, score, repeated))


def test_the_number_of_pixels_is_in_the_name_and_in_the_judgement() -> None:
    right = features(TRUE_RIGHT + points((1, 0)))
    assert stereo(right, pixels=1.5) == (1, 1, 1)
    assert stereo(right, pixels=0.5) == (0, 0, 0)


def test_the_disparity_of_the_nearest_pixel_counts() -> None:
    left = features(FOUR + points((0.4, -0.4)))
    assert stereo(features(TRUE_RIGHT), left) == (1, 1, 1)
    assert all(map(math.isnan, stereo(features(points()), features(FOUR + points((0.6, 0))))))


def test_a_point_at_the_very_edge_has_the_disparity_of_the_edge() -> None:
    corner = np.full(SIZE, 4, np.float32)
    found = keypoint_metrics.stereo_scores(
        features(points((119.4, 99.4), (-0.4, -0.4))), features(points((115.4, 99.4), (-4.4, -0.4))), corner
    )
    assert set(found.values()) == {1.0}


def test_without_keypoints_that_can_be_judged_in_either_view_there_is_no_share() -> None:
    for left in (features(points()), features(points((1, 1), (2, 2)))):
        assert all(map(math.isnan, stereo(features(points()), left)))


@pytest.mark.parametrize(
    ("left", "right"), [(LEFT, features(points())), (features(points()), features(TRUE_RIGHT))], ids=["right", "left"]
)
def test_a_view_without_keypoints_finds_none_of_the_other_ones_again(left: Features, right: Features) -> None:
    """No number at all would leave the pair out of a mean, as if it had never been tried."""
    assert stereo(right, left) == (0, 0, 0)


# ------------------------------------------------------------------------------------------- points and images


@given(SEEDS, st.sampled_from([SIZE, (48, 64), (240, 320)]))
def test_points_come_back_from_where_they_were_warped_to(seed: int, size: Tuple[int, int]) -> None:
    between = homography.random_homography(np.random.default_rng(seed), size, size)
    places = scattered(seed, 20, size)
    there = homography.warp_points(places, between)
    np.testing.assert_allclose(homography.warp_points(there, np.linalg.inv(between)), places, atol=0.02)


def test_a_point_under_a_homography() -> None:
    perspective = np.asarray([[1.0, 0, 0], [0, 1, 0], [0.01, 0, 1]])
    assert homography.warp_points(points((100, 60), (0, 60)), perspective).tolist() == [[50, 30], [0, 60]]
    assert homography.warp_points(points((1, 2)), shift(3, -4)).tolist() == [[4, -2]]
    assert homography.warp_points(points(), shift(3, -4)).shape == (0, 2)


@given(SEEDS)
def test_an_image_is_warped_as_its_points_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    between = homography.random_homography(rng, SIZE, SIZE, rotation=60)
    place = points((rng.uniform(40, 80), rng.uniform(35, 65)))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    blob = np.exp(-((x - place[0, 0]) ** 2 + (y - place[0, 1]) ** 2) / (2 * 3.0**2)).astype(np.float32)
    warped = homography.warp_image(blob, between, SIZE)
    brightest = np.unravel_index(int(warped.argmax()), SIZE)
    wanted = homography.warp_points(place, between)[0]
    assert math.hypot(brightest[1] - wanted[0], brightest[0] - wanted[1]) < 1.5


def test_a_warped_image_has_its_own_size_and_is_black_outside() -> None:
    warped = homography.warp_image(np.full((10, 20), 200, np.uint8), shift(5, -2), (12, 30))
    assert warped.shape == (12, 30)
    assert (warped[:8, 5:25] == 200).all()
    assert warped.sum() == 200 * 8 * 20


@pytest.mark.parametrize(
    ("place", "margin", "there"),
    [
        ((0, 0), 0, True),
        ((-0.5, 0), 0, True),
        ((-0.51, 0), 0, False),
        ((0, -0.51), 0, False),
        ((119.49, 99.49), 0, True),
        ((119.5, 50), 0, False),
        ((50, 99.5), 0, False),
        ((2, 2), 2, True),
        ((1.49, 50), 2, False),
        ((50, 1.49), 2, False),
        ((117.49, 97.49), 2, True),
        ((117.5, 50), 2, False),
        ((50, 97.5), 2, False),
        ((math.nan, 50), 0, False),
        ((math.inf, 50), 0, False),
    ],
)
def test_inside_is_to_round_to_a_pixel_of_the_image(place: Tuple[float, float], margin: float, there: bool) -> None:
    assert homography.inside(points(place), SIZE, margin).tolist() == [there]


@given(SEEDS, st.sampled_from([SIZE, (300, 200), (100, 400)]))
def test_a_random_homography_looks_at_the_middle_of_its_source(seed: int, source: Tuple[int, int]) -> None:
    """The centre of the target is a place of the source that lies no farther from the middle than `travel` says."""
    made = homography.random_homography(np.random.default_rng(seed), source, SIZE, travel=0.5)
    centre = points(((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2))
    place = homography.warp_points(centre, np.linalg.inv(made))[0]
    assert homography.inside(place[None], source).all()
    for i, (whole, part) in enumerate(((source[1], SIZE[1]), (source[0], SIZE[0]))):
        assert abs(place[i] - (whole - 1) / 2) <= 0.5 * max(whole - part, 0) / 2 + 0.01


@given(SEEDS)
def test_a_random_homography_keeps_its_limits(seed: int) -> None:
    """At the centre a homography with a perspective part is a turn and a stretch."""
    made = homography.random_homography(
        np.random.default_rng(seed), SIZE, SIZE, rotation=20, zoom=1.5, tilt=0.1, travel=0, stretch=0.1
    )
    x, y = (_derivative(made, np.asarray([59.5, 49.5]), axis) for axis in (0, 1))
    scale = math.sqrt(abs(x[0] * y[1] - x[1] * y[0]))
    assert 1 / 1.5 - 1e-3 <= scale <= 1.5 + 1e-3
    assert abs(math.degrees(math.atan2(x[1], x[0]))) <= 20.01
    assert abs(math.log(math.hypot(*x) / math.hypot(*y))) <= 2 * 0.1 + 1e-3


def _derivative(matrix: Any, place: Any, axis: int) -> Any:
    """Of the warped place by one of its coordinates, in float64."""
    step = 1e-3 * np.eye(2)[axis]
    high, low = (matrix @ np.append(place + sign * step, 1) for sign in (1, -1))
    return (high[:2] / high[2] - low[:2] / low[2]) / 2e-3


def test_no_limit_no_change_and_the_same_seed_the_same_homography() -> None:
    def made(seed: int, **limits: float) -> Any:
        return homography.random_homography(np.random.default_rng(seed), SIZE, SIZE, **limits)

    np.testing.assert_allclose(made(1, rotation=0, zoom=1, tilt=0, travel=0, stretch=0), STILL, atol=1e-12)
    np.testing.assert_array_equal(made(1), made(1))
    assert not np.allclose(made(1), made(2))


# ------------------------------------------------------------------------------------------- the same view again

ROW = points((10, 10), (30, 10), (50, 10), (70, 10))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (features(ROW), (1, 1, 1, 1)),
        (features(ROW[::-1].copy(), [3, 2, 1, 0]), (1, 1, 1, 1)),
        (features(ROW + np.float32(1)), (0, 1, 1, None)),
        (features(ROW + np.float32(0.5)), (1, 1, 1, 1)),
        (features(ROW, [1, 0, 3, 2]), (1, 1, 1, 0)),
        (features(ROW[:2]), (2 * 2 / 6, 2 * 2 / 6, 0.5, None)),
        (features(points()), (0, 0, 0, None)),
    ],
    ids=["same", "another order", "moved by 1.4 px", "by 0.7 px", "other descriptors", "half of them", "none"],
)
def test_how_far_points_are_the_same_again(
    found: Features, expected: Tuple[float, float, float, Optional[float]]
) -> None:
    if len(found.points) == 2:  # their descriptors have four numbers too
        found = Features(found.points, np.eye(4, dtype=np.float32)[:2])
        expected = (*expected[:3], 1)
    made = sameness(features(ROW), found, SIZE)
    assert list(made) == ["repeatability_1px", "repeatability_3px", "count_ratio", "descriptor_cosine"]
    wanted = [float("nan") if value is None else value for value in expected]
    assert list(made.values()) == pytest.approx(wanted, nan_ok=True)


def test_where_neither_has_points_there_is_nothing_to_say() -> None:
    assert all(np.isnan(value) for value in sameness(features(points()), features(points()), SIZE).values())


def test_a_point_has_one_counterpart() -> None:
    """Two points at one place: only one of them is the other's nearest."""
    found = features(points((10, 10), (10.4, 10), (50, 10), (70, 10)))
    assert sameness(features(ROW), found, SIZE)["descriptor_cosine"] == pytest.approx(1)
