"""Symbolic shapes."""

from __future__ import annotations

from typing import Dict, Tuple

import pytest

from builder.config import contract

IMAGE: contract.Shape = ("batch", 1, "8*h8", "8*w8")


@pytest.mark.parametrize(
    ("dim", "parsed", "spelled"),
    [
        (256, (256, None), "256"),
        ("batch", (1, "batch"), "batch"),
        ("8*h8", (8, "h8"), "8*h8"),
        (" 8 * h8 ", (8, "h8"), "8*h8"),
        ("1*n", (1, "n"), "n"),
    ],
)
def test_parse_and_spell(dim: contract.Dim, parsed: Tuple[int, str], spelled: str) -> None:
    assert contract.parse(dim) == parsed
    assert contract.spelled(dim) == spelled


@pytest.mark.parametrize("dim", [0, -1, "", "0*h", "h*8", "8**h", "8*8", "h-1", "256"])
def test_what_is_no_dimension(dim: contract.Dim) -> None:
    with pytest.raises(ValueError):
        contract.parse(dim)


def test_bind() -> None:
    assert contract.bind(IMAGE, (2, 1, 16, 24)) == {"batch": 2, "h8": 2, "w8": 3}


@pytest.mark.parametrize(
    ("actual", "said"),
    [
        ((1, 1, 16), "has 3 dimensions"),
        ((1, 3, 16, 16), "fixed dimension 1"),
        ((1, 1, 17, 16), "17 is not a multiple of 8"),
        ((1, 1, 0, 16), "0 is not a multiple"),
        ((0, 1, 8, 8), "0 is not a multiple"),
    ],
)
def test_what_does_not_bind(actual: Tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        contract.bind(IMAGE, actual)


def test_a_symbol_has_one_value() -> None:
    with pytest.raises(ValueError, match="n would be 2 and 3 at once"):
        contract.bind(("n", "8*n"), (2, 24))


def test_with_size() -> None:
    assert contract.with_size(IMAGE, (480, 640)) == (1, 1, 480, 640)
    assert contract.with_size(IMAGE, (8, 8), batch=4) == (4, 1, 8, 8)
    with pytest.raises(ValueError, match="12 is not a multiple of 8"):
        contract.with_size(IMAGE, (12, 16))


def test_bound_symbols_give_the_shape_back() -> None:
    bound: Dict[str, int] = contract.bind(IMAGE, (3, 1, 40, 8))
    again = tuple(m if s is None else m * bound[s] for m, s in map(contract.parse, IMAGE))
    assert again == (3, 1, 40, 8)
