"""Versions and spans of them: what every table of this folder is written in. Versions compare as tuples of numbers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Iterable, Tuple

Version = Tuple[int, ...]


@functools.lru_cache(maxsize=None)
def version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True)
class Span:
    """From `first` to `last`, both included, as far as they are written: last 12.1 includes 12.1.105. An empty `last`
    is an open end."""

    first: str
    last: str = ""

    def covers(self, asked: str) -> bool:
        """A version that says less than the ends (12, of 12.0 to 12.1) is covered when one that begins so is."""
        number, low = version(asked), version(self.first)
        if low[: len(number)] > number[: len(low)]:
            return False
        return not self.last or number[: len(version(self.last))] <= version(self.last)[: len(number)]

    def __str__(self) -> str:
        if self.first == self.last:
            return self.first
        return f"{self.first} to {self.last}" if self.last else f"{self.first} and newer"


def only(text: str) -> Span:
    return Span(text, text)


def listed(spans: Iterable[Span], word: str = "or") -> str:
    """11.8 or 12.0 to 12.6"""
    return f" {word} ".join(str(span) for span in spans)
