"""Versions and spans of them. `packaging.version` reads them; where one says less than the other, both are cut.

12.1.105 and 12 agree, and a toolkit that is declared as CUDA 12 may be any of CUDA 12.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Iterable, Tuple


@functools.lru_cache(maxsize=4096)
def release(text: str) -> Tuple[int, ...]:
    """The numbers of a version: (10, 14, 1, 48) of 10.14.1.48.post1. Empty for what is no version."""
    from packaging.version import Version  # here: `build --version` and most hosts compare none

    try:
        return Version(text).release
    except ValueError:  # InvalidVersion, or more digits than int() reads
        return ()


def first(text: str, count: int) -> str:
    """The first numbers of a version: 10.16 of 10.16.1.11. Empty for what is no version."""
    return ".".join(map(str, release(text)[:count]))


def within(text: str, series: str) -> bool:
    """Is 10.16.1.11 of the series 10.16?"""
    numbers = release(series)
    return text == series or (bool(numbers) and release(text)[: len(numbers)] == numbers)


def at_least(text: str, lowest: str) -> bool:
    """Is 12.4 at least 12.1? 12 is, since it may be."""
    numbers = release(text)
    return bool(numbers) and numbers >= release(lowest)[: len(numbers)]


def at_most(text: str, highest: str) -> bool:
    """Is 12.1 at most 12.4? 12.4.1 is, since it is of 12.4."""
    numbers, end = release(text), release(highest)
    return bool(numbers) and numbers[: len(end)] <= end[: len(numbers)]


@dataclass(frozen=True)
class Span:
    """From `first` to `last`, both included; an empty `last` is an open end. In text: 8.6, 12.0 to 12.1, 3.8 and newer."""

    first: str
    last: str = ""

    @classmethod
    def from_text(cls, text: str) -> Span:
        """Raise ValueError for anything else than those three forms."""
        low, to, high = text.partition(" to ")
        if not to:
            low, newer, rest = text.partition(" and newer")
            high = rest if newer else low
        if not release(low) or (high and not release(high)):
            raise ValueError(f"{text!r} is not a version, 'A to B' or 'A and newer'")
        return cls(low, high)

    def covers(self, text: str) -> bool:
        """Is the version in the span, as far as both say?"""
        return at_least(text, self.first) and (not self.last or at_most(text, self.last))

    def __str__(self) -> str:
        if self.first == self.last:
            return self.first
        return f"{self.first} to {self.last}" if self.last else f"{self.first} and newer"


def listed(spans: Iterable[Span], word: str = "or") -> str:
    """11.8 or 12.0 to 12.6"""
    return f" {word} ".join(str(span) for span in spans)
