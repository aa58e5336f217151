"""The ready-made keypoint tasks: views that are what their truth says, scored by heads that are right and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest

np: Any = pytest.importorskip("numpy")
cv2: Any = pytest.importorskip("cv2")
from builder.config.contract import Keypoints, Output
from builder.config.matrix import Head
from builder.errors import StepFailed
from validation import homography, keypoint_tasks, light
from validation.keypoint_tasks import KINDS, Homographies, SamePoints, Stereo
from validation.task import Case

SIZE = (96, 128)
GEOMETRY = ("scale", "rotation", "perspective")
LIGHT = ("illumination", "blur", "noise")


def texture(seed: int, height: int, width: int) -> Any:
    """uint8 [H, W], smooth enough that interpolation changes little, and nowhere the same."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(128 + smooth * 60 / smooth.std(), 0, 255).astype(np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> Dict[str, Path]:
    """Photographs by the names that matrix.yaml would have: larger than a view, portrait, smaller than a view."""
    shapes = {"wide.png": (240, 400), "folder/portrait.png": (300, 160), "tiny.png": (40, 50)}
    found = {}
    for seed, (name, shape) in enumerate(shapes.items()):
        path = found[name] = tmp_path / Path(name).name
        cv2.imwrite(str(path), texture(seed, *shape))
    return found


def made(task: Any, files: Dict[str, Path], size: Tuple[int, int] = SIZE) -> List[Case]:
    return list(task.cases(files, size))


def difference(one: Any, two: Any) -> float:
    return float(np.abs(one.astype(float) - two.astype(float)).mean())


# ------------------------------------------------------------------------------------------- homographies: the cases


def test_the_kinds_of_change() -> None:
    assert " ".join(KINDS) == "scale rotation perspective illumination blur noise mixed"
    assert set(KINDS) == {*GEOMETRY, *LIGHT, "mixed"}


@pytest.mark.parametrize("size", [SIZE, (100, 124), (64, 64)])
def test_a_case_a_photograph_and_a_view_a_kind(size: Tuple[int, int], files: Dict[str, Path]) -> None:
    cases = made(Homographies(), files, size)
    assert [case.name for case in cases] == ["wide", "portrait", "tiny"]
    for case in cases:
        assert {(image.shape, image.dtype.name) for image in case.images} == {(size, "uint8")}
        assert len(case.images) == 1 + len(KINDS)
        assert case.truth["homographies"].shape == (len(KINDS), 3, 3)
        assert case.truth["size"].tolist() == list(size)


def test_a_colour_photograph_is_seen_in_grey(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([texture(seed, 150, 200) for seed in range(3)]))
    (case,) = made(Homographies(kinds="scale"), {"a.png": tmp_path / "a.png"})
    assert {image.ndim for image in case.images} == {2}


def same(one: Sequence[Case], two: Sequence[Case]) -> bool:
    def content(cases: Sequence[Case]) -> Any:
        return [
            (case.name, [i.tobytes() for i in case.images], {k: v.tobytes() for k, v in case.truth.items()})
            for case in cases
        ]

    return bool(content(one) == content(two))


def test_the_same_files_give_the_same_cases(files: Dict[str, Path]) -> None:
    assert same(made(Homographies(), files), made(Homographies(), files))
    assert not same(made(Homographies(), files), made(Homographies(seed=3), files))
    assert not same(made(Homographies(), files), made(Homographies(), {**files, "wide.png": files["tiny.png"]}))


def test_a_view_does_not_depend_on_the_other_kinds(files: Dict[str, Path]) -> None:
    (whole, *_), (part, *_) = made(Homographies(), files), made(Homographies(kinds="mixed scale"), files)
    np.testing.assert_array_equal(whole.images[7], part.images[1])
    np.testing.assert_array_equal(whole.images[1], part.images[2])
    np.testing.assert_array_equal(whole.truth["homographies"][[6, 0]], part.truth["homographies"])


@pytest.mark.parametrize("kind", GEOMETRY)
@pytest.mark.parametrize("size", [SIZE, (100, 124)])
def test_the_homography_maps_the_first_view_onto_the_second(
    kind: str, size: Tuple[int, int], files: Dict[str, Path]
) -> None:
    for case in made(Homographies(kinds=kind), files, size):
        first, second = case.images
        between = case.truth["homographies"][0]
        covered = cv2.erode(homography.warp_image(np.full(size, 255, np.uint8), between, size), np.ones((5, 5))) == 255
        assert covered.mean() > 0.2, "the two views share something"
        warped = homography.warp_image(first, between, size)
        assert difference(warped[covered], second[covered]) < 4
        assert difference(first[covered], second[covered]) > 8, "the second view is another one"


@pytest.mark.parametrize("kind", LIGHT)
@pytest.mark.parametrize("size", [SIZE, (100, 124), (90, 123)])
def test_a_change_of_light_moves_nothing(kind: str, size: Tuple[int, int], files: Dict[str, Path]) -> None:
    for case in made(Homographies(kinds=kind), files, size):
        first, second = case.images
        moved = case.truth["homographies"][0]
        np.testing.assert_allclose(moved, homography.shift(moved[0, 2], moved[1, 2]), atol=1e-12)
        assert np.abs(moved[:2, 2]).max() <= 0.5, "half a pixel, where the middle of the photograph is between two"
        assert (first != second).mean() > 0.2


def _turned(matrix: Any) -> bool:
    return bool(np.allclose(matrix[:2, :2] @ matrix[:2, :2].T, np.eye(2)) and np.linalg.det(matrix) > 0)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("scale", lambda h: np.allclose(h[:2, :2], h[0, 0] * np.eye(2)) and abs(np.log(h[0, 0])) > 0.01),
        ("rotation", lambda h: _turned(h) and abs(h[0, 1]) > 0.01),
        ("perspective", lambda h: np.abs(h[2, :2]).max() * 100 > 0.01),
        ("mixed", lambda h: np.abs(h[2, :2]).max() * 100 > 0.01 and abs(h[0, 1]) > 0.01),
    ],
)
def test_a_kind_is_what_it_is_called(kind: str, shown: Callable[[Any], bool], files: Dict[str, Path]) -> None:
    for case in made(Homographies(kinds=kind), files):
        matrix = case.truth["homographies"][0]
        assert shown(matrix / matrix[2, 2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [SIZE, (480, 640), (64, 256)])
def test_no_place_of_the_photograph_is_behind_the_camera(kind: str, size: Tuple[int, int]) -> None:
    """There a point would be mapped into the view although nobody sees it."""
    room = (int(size[0] * 1.25), int(size[1] * 1.25))
    corners = np.asarray([[x, y, 1] for x in (0, room[1] - 1) for y in (0, room[0] - 1)], float)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        matrix = homography.random_homography(rng, room, size, **KINDS[kind][0])
        assert (corners @ matrix[2] > 0.2).all()


@pytest.mark.parametrize("kinds", ["scal", "scale, rotation", "scale rotation dusk", "", "  "])
def test_an_unknown_kind_is_told_with_the_known_ones(kinds: str) -> None:
    with pytest.raises(StepFailed, match="not among scale rotation perspective illumination blur noise mixed"):
        Homographies(kinds=kinds)


# ------------------------------------------------------------------------------------------- light


@pytest.mark.parametrize("change", [light.illuminated, light.blurred, light.noisy, light.photometric])
def test_a_change_of_light_is_drawn_from_its_seed(change: Callable[..., Any]) -> None:
    image = texture(1, 60, 80)
    before = image.copy()
    one, two, other = (change(np.random.default_rng(seed), image) for seed in (4, 4, 5))
    assert one.dtype == np.uint8
    assert one.shape == image.shape
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("seed", range(5))
def test_blur_takes_detail_away_and_noise_adds_it(seed: int) -> None:
    def detail(image: Any) -> float:
        return float(np.abs(np.diff(image.astype(float), axis=1)).mean())

    image = np.random.default_rng(seed).integers(64, 192, (60, 80), dtype=np.uint8)
    flat = np.full((60, 80), 128, np.uint8)
    assert detail(light.blurred(np.random.default_rng(seed), image)) < 0.5 * detail(image)
    assert detail(light.noisy(np.random.default_rng(seed), flat)) > 3
    np.testing.assert_array_equal(light.blurred(np.random.default_rng(seed), flat), flat)


# ------------------------------------------------------------------------------------------- homographies: the score

COUNT = 60
POINTS = Head(
    "points",
    tuple(Output(name, ("batch",)) for name in ("keypoints", "scores", "descriptors")),
    postprocess=Keypoints(points="keypoints", threshold=0.1),
)
DESCRIPTORS = np.random.default_rng(8).normal(size=(COUNT, 32)).astype(np.float32)
Tensors = Dict[str, Any]


def tensors(places: Any, size: Tuple[int, int], descriptors: Any = DESCRIPTORS) -> Tensors:
    """What a head that finds these points would give: one that is not in the view has no score."""
    seen = homography.inside(places, size)
    ranked = np.linspace(0.9, 0.5, len(places), dtype=np.float32)
    return {
        "keypoints": places[None].astype(np.float32),
        "scores": np.where(seen, ranked, 0).astype(np.float32)[None],
        "descriptors": descriptors[None],
    }


def perfect(case: Case) -> List[Tensors]:
    """The same places of the scene in every view."""
    size = case.images[0].shape
    first = np.random.default_rng(6).uniform((4, 4), (size[1] - 5, size[0] - 5), (COUNT, 2)).astype(np.float32)
    return [
        tensors(homography.warp_points(first, between), size) for between in (np.eye(3), *case.truth["homographies"])
    ]


def scored(task: Any, head: Head, case: Case, outputs: Sequence[Tensors]) -> Dict[str, float]:
    return dict(task.score(head, case.truth, outputs))


def test_a_perfect_head_has_all_of_every_metric(files: Dict[str, Path]) -> None:
    task = Homographies()
    scores = [scored(task, POINTS, case, perfect(case)) for case in made(task, files)]
    wanted = {
        *(f"repeatability_{n}px" for n in (1, 3)),
        "matching_score_3px",
        *(f"homography_{n}px" for n in (1, 3, 5)),
    }
    assert all(set(row) == wanted and set(row.values()) == {1.0} for row in scores), scores
    assert task.total(scores) == dict.fromkeys(scores[0], 1.0)
    assert not set(task.lower_is_better) & wanted


def _moved(outputs: List[Tensors]) -> List[Tensors]:
    """Every other keypoint of the later views is 8 pixels off."""
    off = np.zeros((1, COUNT, 2), np.float32)
    off[:, ::2] = 8
    return [outputs[0], *({**o, "keypoints": o["keypoints"] + off} for o in outputs[1:])]


def _mistaken(outputs: List[Tensors]) -> List[Tensors]:
    """The later views have each keypoint's descriptor at another one."""
    return [outputs[0], *({**o, "descriptors": np.roll(o["descriptors"], 7, axis=1)} for o in outputs[1:])]


def _silent(outputs: List[Tensors]) -> List[Tensors]:
    return [outputs[0], *({**o, "scores": 0 * o["scores"]} for o in outputs[1:])]


@pytest.mark.parametrize(
    ("spoilt", "repeatability", "matching", "estimate"),
    [
        (_moved, (0.4, 0.8), (0.3, 0.7), (0, 1)),
        (_mistaken, (1, 1), (0, 0.1), (0, 0)),
        (_silent, (0, 0), (0, 0), (0, 0)),
    ],
)
def test_each_metric_sees_its_own_mistake(
    spoilt: Callable[[List[Tensors]], List[Tensors]],
    repeatability: Tuple[float, float],
    matching: Tuple[float, float],
    estimate: Tuple[float, float],
    files: Dict[str, Path],
) -> None:
    task = Homographies()
    for case in made(task, files):
        found = scored(task, POINTS, case, spoilt(perfect(case)))
        assert repeatability[0] <= found["repeatability_3px"] <= repeatability[1]
        assert matching[0] <= found["matching_score_3px"] <= matching[1]
        assert estimate[0] <= found["homography_3px"] <= estimate[1]


def test_a_score_is_the_mean_over_the_kinds(files: Dict[str, Path]) -> None:
    task = Homographies(kinds="blur noise illumination scale")
    case = made(task, files)[0]
    good = perfect(case)
    outputs = [*good[:3], *_silent(good)[3:]]
    assert scored(task, POINTS, case, outputs) == dict.fromkeys(scored(task, POINTS, case, good), 0.5)


def test_only_the_best_keypoints_are_scored(files: Dict[str, Path]) -> None:
    """The worse half lies elsewhere in every view."""
    task = Homographies(keypoints=COUNT // 2, kinds="blur noise")
    case = made(task, files)[0]
    outputs = perfect(case)
    for number, view in enumerate(outputs):
        view["keypoints"][:, COUNT // 2 :] = np.random.default_rng(number).uniform(0, 90, (1, COUNT // 2, 2))
    assert scored(task, POINTS, case, outputs)["matching_score_3px"] == 1
    assert scored(Homographies(kinds="blur noise"), POINTS, case, outputs)["matching_score_3px"] < 0.7


def test_a_dense_head_is_scored_on_what_its_postprocess_finds(files: Dict[str, Path]) -> None:
    """A map of scores and a coarse one of descriptors, as a host gets them."""
    from validation import keypoints

    contract = Keypoints(threshold=0.5, nms_radius=2)
    dense = Head("dense", (Output("scores", ("batch",)), Output("descriptors", ("batch",))), postprocess=contract)
    given = np.random.default_rng(2)
    maps = {
        "scores": given.random((1, *SIZE), dtype=np.float32),
        "descriptors": given.normal(size=(1, 16, SIZE[0] // 8, SIZE[1] // 8)).astype(np.float32),
    }
    found = keypoint_tasks.features(dense, maps, 25)
    on_host = keypoints.extract(maps, contract, (1.0, 1.0), "")
    np.testing.assert_array_equal(found.points, on_host.points[:25])
    np.testing.assert_array_equal(found.descriptors, on_host.descriptors[:25])
    task = Homographies(kinds="blur")
    case = made(task, files)[0]
    assert set(scored(task, dense, case, [maps, maps]).values()) == {1.0}


@pytest.mark.parametrize("task", [Homographies(kinds="blur"), Stereo()], ids=["homographies", "stereo"])
def test_a_head_that_gives_no_keypoints_cannot_be_scored(task: Any) -> None:
    bare = Head("map", POINTS.outputs)
    truth = {"homographies": np.eye(3)[None], "size": np.asarray(SIZE), "disparity": np.zeros(SIZE, np.float32)}
    with pytest.raises(StepFailed, match="head 'map' has no `postprocess"):
        task.score(bare, truth, [tensors(np.zeros((COUNT, 2)), SIZE)] * 2)


# ------------------------------------------------------------------------------------------- stereo

SHIFT = 12


@pytest.fixture
def pair(tmp_path: Path) -> Dict[str, Path]:
    """A wall seen by two cameras: everything is 12 pixels farther left on the right; some of it nobody has measured."""
    wall = texture(3, 2 * SIZE[0], 2 * SIZE[1] + SHIFT)
    known = np.full((2 * SIZE[0], 2 * SIZE[1]), SHIFT, np.float32)
    known[:, :40] = np.inf
    known[:20] = np.nan
    cv2.imwrite(str(tmp_path / "l.png"), wall[:, :-SHIFT])
    cv2.imwrite(str(tmp_path / "r.png"), wall[:, SHIFT:])
    np.savez(str(tmp_path / "d.npz"), known)
    return {"rig/l.png": tmp_path / "l.png", "rig/r.png": tmp_path / "r.png", "rig/d.npz": tmp_path / "d.npz"}


def test_a_stereo_case_is_two_views_and_the_disparity_of_their_size(pair: Dict[str, Path]) -> None:
    (case,) = made(Stereo(), pair)
    assert case.name == "l"
    assert [(image.shape, image.dtype.name) for image in case.images] == [(SIZE, "uint8")] * 2
    known = case.truth["disparity"]
    assert (known.shape, known.dtype.name) == (SIZE, "float32")
    assert set(known[np.isfinite(known)].tolist()) == {SHIFT / 2}, "half the size, half the disparity"
    assert np.isinf(known[12:, :18]).all()
    assert np.isnan(known[:8]).all()


def test_the_disparity_leads_from_the_left_view_to_the_right_one(pair: Dict[str, Path]) -> None:
    (case,) = made(Stereo(), pair)
    left, right = case.images
    step = SHIFT // 2
    assert difference(left[:, step:], right[:, :-step]) < 1.5
    assert difference(left, right) > 10


@pytest.mark.parametrize("size", [SIZE, (192, 256), (64, 64)])
def test_stereo_cases_are_the_same_each_time(size: Tuple[int, int], pair: Dict[str, Path]) -> None:
    assert same(made(Stereo(), pair, size), made(Stereo(), pair, size))


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_stereo_takes_three_files(number: int, pair: Dict[str, Path]) -> None:
    given = dict([*pair.items(), ("more.png", pair["rig/l.png"])][:number])
    with pytest.raises(StepFailed, match=f"three files .left, right, disparity., not {number}"):
        made(Stereo(), given)


def test_a_perfect_head_on_stereo_and_one_that_is_not(pair: Dict[str, Path]) -> None:
    task = Stereo(keypoints=COUNT)
    (case,) = made(task, pair)
    left = np.random.default_rng(6).uniform((30, 15), (SIZE[1] - 5, SIZE[0] - 5), (COUNT, 2)).astype(np.float32)
    right = left - np.float32([SHIFT / 2, 0])
    found = scored(task, POINTS, case, [tensors(left, SIZE), tensors(right, SIZE)])
    assert found == {"precision_3px": 1.0, "matching_score_3px": 1.0, "repeatability_3px": 1.0}
    assert task.total([found]) == found
    unmoved = scored(task, POINTS, case, [tensors(left, SIZE), tensors(left, SIZE)])
    assert unmoved["precision_3px"] == unmoved["matching_score_3px"] == 0
    mistaken = tensors(right, SIZE, np.roll(DESCRIPTORS, 7, axis=0))
    found = scored(task, POINTS, case, [tensors(left, SIZE), mistaken])
    assert found["precision_3px"] < 0.2
    assert found["repeatability_3px"] == 1


# ------------------------------------------------------------------------------------------- the model's own points


def test_what_the_model_found_is_what_an_artifact_is_compared_with(files: Dict[str, Path]) -> None:
    task = SamePoints()
    cases = made(task, files)
    assert [(case.name, [image.shape for image in case.images]) for case in cases] == [
        (name, [SIZE]) for name in ("wide", "portrait", "tiny")
    ]
    own = perfect(made(Homographies(kinds="scale"), files)[0])[:1]
    truth = {**cases[0].truth, **task.remember(POINTS, own)}
    assert set(truth) == {"size", "points", "descriptors"}
    same_again = task.score(POINTS, truth, own)
    assert same_again == pytest.approx(
        {"repeatability_1px": 1, "repeatability_3px": 1, "count_ratio": 1, "descriptor_cosine": 1}
    )
    moved = [{**own[0], "keypoints": own[0]["keypoints"] + np.float32(2)}]
    assert task.score(POINTS, truth, moved)["repeatability_1px"] < 0.5 < task.score(POINTS, truth, moved)["count_ratio"]


def test_only_the_best_of_the_models_points_are_remembered(files: Dict[str, Path]) -> None:
    own = perfect(made(Homographies(kinds="scale"), files)[0])[:1]
    kept = SamePoints(keypoints=7).remember(POINTS, own)
    np.testing.assert_array_equal(kept["points"], own[0]["keypoints"][0, :7])
