"""The sizes of a sweep: a table worked out by hand, and what must hold for any profile."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest

from builder.config import contract
from builder.config.contract import Input, Profile, ShapeRange
from builder.planning import sweep_grid

hypothesis: Any = pytest.importorskip("hypothesis")
from hypothesis import given
from hypothesis import strategies as st

Size = Tuple[int, int]
IMAGE = Input("image", ("batch", 1, "8*h8", "8*w8"))
FREE = Input("image", ("batch", 3, "h", "w"))
SQUARE = Input("image", ("batch", 1, "8*s", "8*s"))


def profile(low: Size, opt: Size, high: Size, name: str = "p", channels: int = 1) -> Profile:
    shapes_ = [(1, channels, *size) for size in (low, opt, high)]
    return Profile(name, (ShapeRange("image", shapes_[0], shapes_[1], shapes_[2]),))


VGA = profile((240, 320), (480, 640), (720, 1280))


def inside(of: Profile, image: Input = IMAGE, multiple: int = 8, most: int = 12) -> List[Size]:
    return [point.size for point in sweep_grid.inside(of, image, multiple, most, 0)]


def outside(of: Profile, image: Input = IMAGE, multiple: int = 8) -> List[Size]:
    return [point.size for point in sweep_grid.outside(of, image, multiple)]


def test_the_grid_of_a_wide_profile() -> None:
    found = sweep_grid.inside(VGA, IMAGE, 8, 12, 0)
    assert [(p.named, p.why) for p in found[:10]] == [
        ("480x640", "opt"),
        ("240x320", "corner"),
        ("720x1280", "corner"),
        ("240x1280", "corner"),
        ("720x320", "corner"),
        ("640x480", "opt, upright"),
        ("488x648", "odd multiple"),
        ("472x632", "odd multiple"),
        ("248x1272", "flat"),
        ("712x328", "tall"),
    ]
    assert [p.why for p in found[10:]] == ["drawn", "drawn"]
    assert [(p.named, p.why) for p in sweep_grid.outside(VGA, IMAGE, 8)] == [
        ("232x640", "lower than min"),
        ("480x312", "narrower than min"),
        ("728x640", "higher than max"),
        ("480x1288", "wider than max"),
        ("484x640", "no multiple of 8"),
        ("481x641", "no multiple of 8"),
    ]


def test_fewer_points_are_the_first_ones_and_more_are_drawn() -> None:
    assert inside(VGA, most=3) == inside(VGA)[:3] == [(480, 640), (240, 320), (720, 1280)]
    assert inside(VGA, most=30)[:12] == inside(VGA)
    assert len(set(inside(VGA, most=30))) == 30


def test_another_seed_draws_others() -> None:
    one, two = (sweep_grid.inside(VGA, IMAGE, 8, 20, seed) for seed in (0, 1))
    assert one[:10] == two[:10]
    assert set(one[10:]) != set(two[10:])


@pytest.mark.parametrize(
    ("of", "image", "multiple", "expected"),
    [
        (profile((64, 64), (64, 64), (64, 64)), IMAGE, 8, [(64, 64)]),
        (profile((64, 64), (72, 64), (80, 64)), IMAGE, 8, [(72, 64), (64, 64), (80, 64)]),
        (profile((8, 8), (16, 16), (24, 24)), SQUARE, 8, [(16, 16), (8, 8), (24, 24)]),
        # an upright opt that does not fit is brought inside; a size the contract rules out is not in the grid
        (profile((30, 100), (50, 120), (60, 130), channels=3), FREE, 32, [(32, 96 + 32)]),
        # no size here is a multiple that the contract asks for: the input's own step
        (profile((33, 33), (34, 34), (35, 35), channels=3), FREE, 32, [(34, 34), (33, 33), (35, 35), (33, 35), (35, 33)]),
    ],
    ids=["one size", "one fixed side", "square", "the contract's multiple", "no multiple inside"],
)  # fmt: skip
def test_narrow_profiles(of: Profile, image: Input, multiple: int, expected: List[Size]) -> None:
    found = inside(of, image, multiple)
    assert found[: len(expected)] == expected
    for size in found:
        contract.bind(image.shape, contract.with_size(image.shape, size))


def test_a_size_that_would_be_empty_is_not_asked_for() -> None:
    assert outside(profile((8, 8), (16, 16), (24, 24))) == [(32, 16), (16, 32), (20, 16), (17, 17)]


def test_an_artifact_of_two_profiles_is_asked_once_per_size() -> None:
    large = profile((120, 160), (480, 640), (1088, 1920), "large")
    found = sweep_grid.of_profiles((VGA, large), IMAGE, 8, 12, 0)
    sizes = [point.size for _, point in found]
    assert len(sizes) == len(set(sizes))
    assert {name for name, _ in found} == {"p", "large"}
    beyond = {point.named for _, point in found if not point.inside}
    assert "232x640" not in beyond, "the large profile accepts it"
    assert {"112x640", "1096x640", "484x640"} <= beyond


sides = st.lists(st.integers(1, 60), min_size=3, max_size=3).map(sorted)


@given(heights=sides, widths=sides, own=st.sampled_from([1, 2, 8, 14]), multiple=st.sampled_from([1, 4, 8, 32]), most=st.integers(1, 40), seed=st.integers(0, 5))  # fmt: skip
def test_any_grid_lies_in_its_profile_and_on_its_multiples(
    heights: List[int], widths: List[int], own: int, multiple: int, most: int, seed: int
) -> None:
    image = Input("image", ("batch", 1, f"{own}*h", f"{own}*w"))
    low, opt, high = ((own * h, own * w) for h, w in zip(heights, widths))
    of = profile(low, opt, high)
    points = sweep_grid.inside(of, image, multiple, most, seed)
    assert 1 <= len(points) <= most
    assert points == sweep_grid.inside(of, image, multiple, most, seed)
    for point in points:
        assert point.inside
        for which in (0, 1):
            side, step = point.size[which], shapes_step(own, multiple, low[which], high[which])
            assert low[which] <= side <= high[which]
            assert side % own == 0
            assert side % step == 0
    for point in sweep_grid.outside(of, image, multiple):
        assert not point.inside
        assert min(point.size) > 0
        steps = [shapes_step(own, multiple, low[i], high[i]) for i in (0, 1)]
        fits = all(low[i] <= point.size[i] <= high[i] for i in (0, 1))
        assert not fits or any(point.size[i] % steps[i] for i in (0, 1))
        assert point.size not in [p.size for p in points]


def shapes_step(own: int, multiple: int, low: int, high: int) -> int:
    """The contract's step where the profile has such a size, else the input's own: by trying them all."""
    both = next(n for n in range(1, own * multiple + 1) if n % own == 0 and n % multiple == 0)
    return both if any(n % both == 0 for n in range(low, high + 1)) else own
