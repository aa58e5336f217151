"""How long to wait, and how often to ask again. The clock is passed in; nothing here opens a connection."""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass
from typing import Callable, Optional


@dataclass(frozen=True)
class Clock:
    """`now` and `wall` in seconds, of which only `wall` counts from 1970; `chance` is from 0 up to 1."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


@dataclass(frozen=True)
class Patience:
    """All in seconds, but for `tries`.

    `connect`: until a connection stands. `answer`: until status and headers are there. `body`: for a small body as a
    whole, and for each 64 KiB of a large one, which makes some 1 kB/s the slowest that is waited for. `total`: for
    asking again, waits included.
    """

    tries: int = 4
    first: float = 0.5
    longest: float = 15.0
    total: float = 120.0
    connect: float = 10.0
    answer: float = 60.0
    body: float = 60.0

    def pause(self, tried: int, left: float, asked: Optional[float], chance: float) -> Optional[float]:
        """How long to wait after `tried` tries, with `left` seconds of `total`; None to give up.

        Exponential, with half of it left to chance so that many hosts do not come back as one. `asked` is what the
        server asks for.
        """
        if tried >= self.tries:
            return None
        wait = min(self.longest, self.first * 2 ** (tried - 1)) * (0.5 + chance / 2)
        wait = max(wait, asked or 0.0)
        return wait if wait < left else None


def retry_after(value: Optional[str], wall: float) -> Optional[float]:
    """Seconds, from the header Retry-After: a number or a date. None when it says neither."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - wall)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
