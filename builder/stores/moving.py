"""Bringing the object of a channel to a place and moving the tag there, from a promotion or from another store."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Callable, Optional, Tuple

from builder import channel, clock
from builder.channel import Channel, Move
from builder.descriptor import Descriptor
from builder.errors import UsageError
from builder.plugins import Repository
from builder.stores import channels, claims, copying, tags, versions
from builder.stores.channels import Offered
from builder.stores.folder import Folder
from builder.stores.layout import Layout
from builder.transfers.pace import Pace


def put(
    place: Repository,
    base: Optional[Offered],
    move: Tuple[int, Channel],
    top: Descriptor,
    made: Layout,
    now: clock.Time,
) -> None:
    """Let a channel go from `base` to the object `top` of `made`; `move` is the serial at `base` and the new record.

    Its version is there. Raises StoreBusy when someone else moves it.
    """
    record = move[1]
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as scratch, copying.reading(place):
        flags = Layout(Path(scratch))
        flag = channels.put_flag(flags)
        _bring(place, flag, flags)
        serials = (move[0], record.current.serial)
        before, who = base.top if base else None, os.urandom(8).hex()
        claims.move(place, record.channel, before, serials, top, flag, now, who, lambda: _bring(place, top, made))


def _bring(place: Repository, top: Descriptor, store: Layout) -> None:
    for it in copying.closure(Folder(str(store.root), {}), top):
        if not place.has(it):
            place.put(it, store.fetch(it.digest))


def carry(
    store: Layout,
    name: str,
    place: Repository,
    now: clock.Time,
    say: Callable[[str], None],
    pace: Optional[Pace] = None,
) -> Tuple[Channel, int]:
    """Copy a channel of `store`, with the version that it stands at, to `place`: forwards only. How many files were copied.

    Raises UsageError when it was moved there by someone else, StoreBusy when someone does so now.
    """
    mine = channels.offered(Folder(str(store.root), {}), channel.named(name))
    if mine is None:
        raise UsageError(
            f"there is no channel {name}", where=str(store.root), hint="build promote VERSION --channel NAME"
        )
    record = channel.parsed(mine.data, str(store.root))
    version = record.current.version
    versions.read(store, version)
    theirs = channels.offered(place, name)
    before = channel.parsed(theirs.data, place.name) if theirs else None
    if before is not None and record != before and not record.follows(before):
        raise UsageError(
            f"{name} was moved there by someone else: {_told(before.current)}; here: {_told(record.current)}",
            where=place.name,
            hint=f"to move it on from there: build promote v{version} --channel {name} --store {place.name}",
        )
    copied = copying.publish(store, copying.belonging(version, tags.all_of(store)), place, say, pace)
    if theirs is None or theirs.top.digest != mine.top.digest:
        put(place, theirs, (before.current.serial if before else 0, record), mine.top, store, now)
        say(f"{name} -> {place.name}")
    return record, copied


def _told(move: Move) -> str:
    return f"v{move.version}, serial {move.serial}, {move.issued}" + (f" ({move.reason})" if move.reason else "")
