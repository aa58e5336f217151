"""The grid of sizes at which a profile is swept. Pure: the same profile, input and number, the same sizes.

Inside, in this order and as many as are wanted: opt, the four corners, opt transposed, odd multiples of the step beside
opt, the flattest and the tallest size that are no corners, then sizes drawn with a seed. Outside: one step beyond each
end of height and width, and sizes that are no multiple of the step. The step is what the input's dimensions (`8*h8`) and
the preprocessing contract ask for together.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Dict, Iterator, List, Tuple

from builder.actions.measurements import SweepPoint
from builder.config import contract
from builder.config.contract import Input, Profile

Size = Tuple[int, int]
_TRIES = 20  # per size that is to be drawn: a narrow profile may hold fewer sizes than are wanted


@dataclass(frozen=True)
class _Axis:
    """Height or width: the multiples of `step` between the profile's ends."""

    low: int
    opt: int
    high: int
    step: int

    def kept(self, value: int) -> int:
        return max(self.low, min(self.high, value))

    def odd(self, sign: int) -> int:
        """The odd multiple next to opt, above or below it; opt where the profile has none there."""
        count = self.opt // self.step
        found = (count + sign * (2 if count % 2 else 1)) * self.step
        return found if self.low <= found <= self.high else self.opt

    def drawn(self, rng: random.Random) -> int:
        return self.low + int(rng.random() * ((self.high - self.low) // self.step + 1)) * self.step

    def beside(self, offset: int) -> int:
        """opt moved by so many pixels, up if there is room."""
        return self.opt + offset if self.opt + offset <= self.high else self.opt - offset


def inside(profile: Profile, image: Input, multiple: int, most: int, seed: int) -> Tuple[SweepPoint, ...]:
    """At most `most` sizes that the profile accepts; `multiple` is the preprocessing contract's."""
    height, width = _axes(profile, image, multiple)
    found: Dict[Size, str] = {}
    for size, why in _named(height, width):
        if size not in found and _fits(profile, image, size):
            found[size] = why
    rng = random.Random(seed)
    for _ in range(_TRIES * most):
        if len(found) >= most:
            break
        size = (height.drawn(rng), width.drawn(rng))
        if size not in found and _fits(profile, image, size):
            found[size] = "drawn"
    return tuple(SweepPoint(size, why) for size, why in found.items())[:most]


def outside(profile: Profile, image: Input, multiple: int) -> Tuple[SweepPoint, ...]:
    """Sizes just beyond what the profile accepts, one dimension at a time, and sizes between the multiples."""
    height, width = _axes(profile, image, multiple)
    step = max(height.step, width.step)
    wanted: List[Tuple[Size, str]] = [
        ((height.low - height.step, width.opt), "lower than min"),
        ((height.opt, width.low - width.step), "narrower than min"),
        ((height.high + height.step, width.opt), "higher than max"),
        ((height.opt, width.high + width.step), "wider than max"),
    ]
    if step > 1:
        wanted += [
            ((height.beside(step // 2), width.opt), f"no multiple of {step}"),
            ((height.beside(1), width.beside(1)), f"no multiple of {step}"),
        ]
    return tuple(
        SweepPoint(size, why, inside=False)
        for size, why in wanted
        if min(size) > 0 and not _taken(profile, image, multiple, size)
    )


def of_profiles(
    profiles: Tuple[Profile, ...], image: Input, multiple: int, most: int, seed: int
) -> Tuple[Tuple[str, SweepPoint], ...]:
    """(profile, point) for an artifact of all these profiles: every size once, and none as outside that one accepts."""
    found: Dict[Size, Tuple[str, SweepPoint]] = {}
    for profile in profiles:
        for point in inside(profile, image, multiple, most, seed):
            found.setdefault(point.size, (profile.name, point))
    for profile in profiles:
        for point in outside(profile, image, multiple):
            if not any(_taken(other, image, multiple, point.size) for other in profiles):
                found.setdefault(point.size, (profile.name, point))
    return tuple(found.values())


def _named(height: _Axis, width: _Axis) -> Iterator[Tuple[Size, str]]:
    yield (height.opt, width.opt), "opt"
    yield (height.low, width.low), "corner"
    yield (height.high, width.high), "corner"
    yield (height.low, width.high), "corner"
    yield (height.high, width.low), "corner"
    yield (height.kept(width.opt), width.kept(height.opt)), "opt, upright"
    yield (height.odd(1), width.odd(1)), "odd multiple"
    yield (height.odd(-1), width.odd(-1)), "odd multiple"
    yield (height.kept(height.low + height.step), width.kept(width.high - width.step)), "flat"
    yield (height.kept(height.high - height.step), width.kept(width.low + width.step)), "tall"


def _axes(profile: Profile, image: Input, multiple: int) -> Tuple[_Axis, _Axis]:
    height, width = (_axis(profile, image, which, multiple) for which in (-2, -1))
    return height, width


def _axis(profile: Profile, image: Input, which: int, multiple: int) -> _Axis:
    range_ = next(r for r in profile.inputs if r.name == image.name)
    low, opt, high = range_.min[which], range_.opt[which], range_.max[which]
    own, symbol = contract.parse(image.shape[which])
    own = own if symbol is not None else 1
    step = own * multiple // math.gcd(own, multiple)
    if -(-low // step) * step > high:  # no size here is what the contract asks for, so hosts never send one
        step = own
    first, last = -(-low // step) * step, high // step * step
    return _Axis(first, max(first, min(last, opt // step * step)), last, step)


def _taken(profile: Profile, image: Input, multiple: int, size: Size) -> bool:
    """Would a host send this size to an artifact of the profile?"""
    height, width = _axes(profile, image, multiple)
    return _fits(profile, image, size) and size[0] % height.step == size[1] % width.step == 0


def _fits(profile: Profile, image: Input, size: Size) -> bool:
    range_ = next(r for r in profile.inputs if r.name == image.name)
    try:
        shape = contract.with_size(image.shape, size)
    except ValueError:  # another multiple, or two dimensions that share a symbol
        return False
    return all(low <= side <= high for low, side, high in zip(range_.min, shape, range_.max))
