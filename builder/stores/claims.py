"""Moving a channel's tag so that of several who move it at the same time at most one does, at places that know no locks.

Who wants to move raises a flag that nobody else writes, then looks: whoever sees another's flag, or the tag elsewhere than
where the move begins, takes the flag back and moves nothing. Of two at once the one that raised its flag later sees the
other's, so never both move; it can happen that neither does. A flag is a tag, since tags are all that places have:

    stable.5.HEX.TIME        wants to move stable to serial 5; HEX is random, so that no two movers share a flag
    stable.5.HEX.TIME.off    no more

Flags name an object of nothing, not the record: a record that was not moved to is nowhere to be found. They stay, and tell
who moved when. A program that is killed between flag and move holds up others for `PATIENCE`.
"""

from __future__ import annotations

import datetime
import re
from typing import Callable, Iterable, Optional

from builder import clock
from builder.descriptor import Descriptor
from builder.errors import StoreBusy
from builder.plugins import Repository

PATIENCE = datetime.timedelta(minutes=10)
_FLAG = re.compile(r"(?P<name>[^.]+)\.(?P<serial>[0-9]{1,18})\.(?P<who>[0-9a-f]{16})\.(?P<time>[0-9]{1,12})")
_OFF = ".off"


def move(
    place: Repository,
    name: str,
    base: Optional[Descriptor],
    serials: "tuple[int, int]",
    top: Descriptor,
    nothing: Descriptor,
    now: clock.Time,
    who: str,
    bring: Callable[[], None],
) -> None:
    """Let the tag `name` go from the object `base` (None: there was none) to `top`; `serials` are theirs, 0 for none.

    `nothing` is an object that is there, for flags to name; `who` is 16 random hexadecimal digits. `bring` copies `top` there; it is called once it is ours to
    move. Raises StoreBusy.
    """
    flag = f"{name}.{serials[1]}.{who}.{int(now.timestamp())}"
    place.tag(flag, nothing)
    known = place.tags()
    elsewhere = _digest(place.resolve(name)) != _digest(base)
    if elsewhere or _raised(known, name, serials[0], who, now):
        place.tag(flag + _OFF, nothing)
        raise StoreBusy(
            f"someone else {'has just moved' if elsewhere else 'is moving'} {name}",
            where=place.name,
            hint=f"look where it stands (build channels {place.name}), and say again what you want"
            + ("" if elsewhere else f"; a program that was killed holds up others for {clock.ago(PATIENCE)}"),
        )
    bring()
    place.tag(name, top)


def _raised(tags: Iterable[str], name: str, above: int, who: str, now: clock.Time) -> bool:
    """Is there a flag of someone else to a serial above the one where the move begins, not taken back and not too old?"""
    known = set(tags)
    for tag in known:
        match = _FLAG.fullmatch(tag)
        if match is None or match.group("name") != name or match.group("who") == who or tag + _OFF in known:
            continue
        age = now.timestamp() - int(match.group("time"))
        if int(match.group("serial")) > above and abs(age) <= PATIENCE.total_seconds():
            return True
    return False


def _digest(it: Optional[Descriptor]) -> str:
    return it.digest if it else ""
