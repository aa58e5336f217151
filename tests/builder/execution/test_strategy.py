"""The strategy on made-up rules of what passes."""

from __future__ import annotations

from typing import Callable, FrozenSet, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.execution.precision_search import smallest

Passes = Callable[[FrozenSet[int]], bool]


def played(
    layers: int, passes: Passes, forced: int = 0, work: Optional[List[int]] = None
) -> Tuple[Optional[Tuple[int, ...]], List[Tuple[int, ...]]]:
    """(what it returns, what it asked). Without `work`, no layer is cheaper than another."""
    asking, asked = smallest(work or [1] * layers, forced), []
    keep = next(asking)
    while True:
        asked.append(keep)
        try:
            keep = asking.send(passes(frozenset(keep)))
        except StopIteration as end:
            return end.value, asked


def test_the_worst_layer_alone_takes_two_trials() -> None:
    found, asked = played(12, lambda kept: 0 in kept)
    assert found == (0,)
    assert asked == [tuple(range(12)), (0,)]


def test_when_all_in_float32_fails_it_stops() -> None:
    found, asked = played(12, lambda kept: False)
    assert found is None
    assert len(asked) == 1


def test_a_layer_that_was_blamed_wrongly_is_dropped() -> None:
    found, _ = played(12, lambda kept: {1, 4} <= kept)
    assert found == (1, 4)


def test_layers_that_cannot_be_lowered_are_always_kept() -> None:
    found, asked = played(6, lambda kept: True, forced=2)
    assert found == (0, 1)
    assert all({0, 1} <= set(keep) for keep in asked)


def test_a_dear_layer_is_exchanged_for_a_cheaper_one_that_does_as_well() -> None:
    """The last layer that fits is found by rank; one that does a tenth of the work passes as well."""
    found, asked = played(6, lambda kept: 0 in kept and len(kept) > 1, work=[10, 100, 90, 10, 80, 5])
    assert found == (0, 3)
    assert (0, 3) in asked
    assert len(asked) < 10


def test_a_forced_layer_is_never_exchanged() -> None:
    found, _ = played(4, lambda kept: True, forced=1, work=[100, 1, 1, 1])
    assert found == (0,)


@pytest.mark.parametrize("forced", [0, 1])
def test_one_layer(forced: int) -> None:
    assert played(1, lambda kept: 0 in kept, forced) == ((0,), [(0,)])


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1), st.integers(0, 3))))  # fmt: skip
def test_it_finds_exactly_what_is_needed(case: Tuple[int, FrozenSet[int], int]) -> None:
    """Where keeping more never harms, the answer is the needed layers, and no question is asked twice."""
    layers, needed, forced = case[0], frozenset(case[1]), min(case[2], case[0])
    found, asked = played(layers, lambda kept: needed <= kept, forced)
    assert found is not None
    assert frozenset(found) == needed | frozenset(range(forced))
    assert len(set(asked)) == len(asked)
    assert len(asked) <= 2 + 2 * layers.bit_length() + max(needed)


@given(st.integers(1, 9), st.randoms(use_true_random=False))
def test_whatever_passes_it_returns_only_what_passed(layers: int, random: object) -> None:
    answers = {}

    def passes(kept: FrozenSet[int]) -> bool:
        return answers.setdefault(kept, len(kept) == layers or random.random() < 0.5)  # type: ignore[attr-defined]

    found, asked = played(layers, passes)
    assert found is not None
    assert answers[frozenset(found)]
    assert len(set(asked)) == len(asked)
