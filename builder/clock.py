"""The system clock, and times as ISO 8601 in UTC, to the second."""

from __future__ import annotations

import datetime
import re

from builder.errors import UsageError

Time = datetime.datetime
_LENGTH = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_LONGEST = datetime.timedelta(days=3660)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def now() -> Time:
    """The current time in UTC. Commands read it once and pass it on."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def text(time: Time) -> str:
    """'2026-11-21T12:00:00+00:00'"""
    return time.astimezone(datetime.timezone.utc).isoformat(timespec="seconds")


def read(said: str) -> Time:
    """The inverse of `text`. Raises ValueError for a time that does not name UTC."""
    time = datetime.datetime.fromisoformat(said)
    if time.utcoffset() != datetime.timedelta(0):
        raise ValueError(f"{said!r} is not a time in UTC")
    return time


def length(said: str, flag: str) -> datetime.timedelta:
    """A length of time such as '12h', '30d' or '8w'. Raises UsageError."""
    match = _LENGTH.fullmatch(said)
    if match is None:
        raise UsageError(f"{said!r} is not a length of time", where=flag, hint="write it as 12h, 30d or 8w")
    found = datetime.timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})
    if found > _LONGEST:
        raise UsageError(f"{said} is more than ten years", where=flag, hint="write it as 12h, 30d or 8w")
    return found


def ago(length: datetime.timedelta) -> str:
    """'40 seconds', '3 hours', '12 days': a duration for messages."""
    seconds = max(int(length.total_seconds()), 0)
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= 2 * size or unit == "second":
            break
    count = seconds // size
    return f"{count} {unit}{'' if count == 1 else 's'}"
