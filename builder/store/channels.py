"""Channels and pins: which version a name means, its history, and moving it.

Of two records of a channel, the one with the higher serial counts. A rollback is a move like any other and has a higher
serial, so that a host can tell it from an old record that is replayed.

    stable                       OCI manifest; its subject is the manifest of the version
      layer channel.json             the record
      layer channel.json.KEY.minisig one per signature of it
    stable.5.HEX.TIME            an empty OCI manifest: a flag, see `move_tag`
    pin.v3                       the version that `build gc` keeps

Record and signatures are one object, so that a move is one step. Nothing read here is trusted yet: a host checks it in
builder/host/offers.py, and a move in builder/store/promotion.py.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Literal, Optional, Tuple

from builder import clock, digest
from builder.errors import StoreBusy, StoreDamaged, UsageError
from builder.plugins import Repository
from builder.records import RecordError, from_json, to_json
from builder.release import HOW_TO_MAKE_IT
from builder.store import copying, oci, transfers, versions
from builder.store.layout import Layout
from builder.store.oci import Descriptor
from builder.store.remotes.folder import Folder
from builder.store.transfers import Pace

MOST_MOVES = 50
_MOST_SERIAL = 1 << 53  # what every JSON reader takes
_LONGEST_REASON = 500
# A channel is a tag. It cannot be read as a version, and has no dot: tags that belong to another tag have one.
_NAME = re.compile(r"(?!v[0-9]+$)[a-z][a-z0-9_-]{0,62}")
_RESERVED = ("latest", "keys")  # the newest version; the key statement


@dataclass(frozen=True)
class ChannelMove:
    """One position of a channel.

    `manifest`: digest of the version's manifest.json. `issued`: time of the record (UTC). `back`: whether it was a
    rollback.
    """

    serial: int
    version: int
    manifest: str
    issued: str
    reason: str = ""
    back: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.serial < _MOST_SERIAL or self.version < 1:
            raise ValueError("a serial and a version are at least 1")
        if len(self.reason) > _LONGEST_REASON or not self.reason.isprintable():
            raise ValueError("a reason is one short line of text")
        clock.read(self.issued)


@dataclass(frozen=True)
class Channel:
    """A channel's record.

    `moves`: newest first; the first is the current position. `expires` (UTC): empty when it never does.
    """

    schema: Literal[1]
    channel: str
    model: str
    moves: Tuple[ChannelMove, ...]
    expires: str = ""

    def __post_init__(self) -> None:
        if not is_name(self.channel):
            raise ValueError(f"{self.channel!r} is no name for a channel")
        if not self.model.isprintable():
            raise ValueError("a model's name is text")
        if not self.moves:
            raise ValueError("a channel stands somewhere")
        if any(newer.serial <= older.serial for newer, older in zip(self.moves, self.moves[1:])):
            raise ValueError("the serials of a channel's moves fall from the newest to the oldest")
        if self.expires:
            clock.read(self.expires)

    @property
    def current(self) -> ChannelMove:
        return self.moves[0]

    @property
    def lifetime(self) -> Optional[datetime.timedelta]:
        """How long the record is good for; None when it never expires."""
        return clock.read(self.expires) - clock.read(self.current.issued) if self.expires else None

    def expired(self, now: clock.Time) -> bool:
        return bool(self.expires) and now > clock.read(self.expires)

    def follows(self, other: "Channel") -> bool:
        """Was this record made from `other`, perhaps over several moves?"""
        return other.current in self.moves[1:]


def is_name(word: str) -> bool:
    return bool(_NAME.fullmatch(word)) and word not in _RESERVED


def named(word: str) -> str:
    """`word`, when it is a valid name of a channel. Raises UsageError."""
    if not is_name(word):
        raise UsageError(
            f"{word!r} is no name for a channel",
            hint="a small letter, then small letters, digits, - and _; such as stable or canary",
        )
    return word


def moved(
    before: Optional[Channel],
    name: str,
    model: str,
    to: Tuple[int, str],
    now: clock.Time,
    *,
    lifetime: Optional[datetime.timedelta],
    reason: str = "",
    back: bool = False,
    serial: int = 0,
) -> Channel:
    """The record after a move `to` (version, manifest digest), with a serial above `serial`.

    Times never decrease between two records, even when the clock does. Raises UsageError for an invalid `reason`.
    """
    earlier = before.moves if before else ()
    issued = max([now, *(clock.read(move.issued) for move in earlier[:1])])
    above = max([serial, *(move.serial for move in earlier[:1])])
    if above + 1 >= _MOST_SERIAL:
        raise UsageError(f"no serial comes after {above}, which {name} has", hint="choose another name")
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise UsageError(f"a reason is one line of at most {_LONGEST_REASON} letters", where="--reason")
    move = ChannelMove(above + 1, to[0], to[1], clock.text(issued), reason, back)
    expires = clock.text(issued + lifetime) if lifetime is not None else ""
    return Channel(1, name, model, _kept((move, *earlier)), expires)


def _kept(moves: Tuple[ChannelMove, ...]) -> Tuple[ChannelMove, ...]:
    """The newest moves.

    Renewals of a version are dropped first, so that weekly ones do not push out the last version that was another.
    """
    kept = list(moves)
    while len(kept) > MOST_MOVES:
        renewals = [n for n in range(len(kept) - 2, 0, -1) if kept[n].version == kept[n + 1].version]
        del kept[renewals[0] if renewals else -1]
    return tuple(kept)


def previous(channel: Channel) -> Optional[ChannelMove]:
    """The target of a rollback; None when the record has none.

    It is the last version before the current one that was not itself rolled back from.
    """
    stack: List[ChannelMove] = []
    for move in reversed(channel.moves):
        while move.back and stack and stack[-1].version != move.version:
            stack.pop()
        if stack and stack[-1].version == move.version:
            stack.pop()
        stack.append(move)
    return stack[-2] if len(stack) > 1 else None


def standing(channel: Channel, version: int) -> Optional[ChannelMove]:
    """The last move to `version` that the record knows of."""
    return next((move for move in channel.moves if move.version == version), None)


def written(channel: Channel) -> bytes:
    """channel.json, the bytes that are signed."""
    return (json.dumps(to_json(channel), indent=1, ensure_ascii=False) + "\n").encode()


def parsed(data: bytes, where: str) -> Channel:
    """Raises StoreDamaged."""
    try:
        found = from_json(Channel, digest.loads(data))
        for move in found.moves:
            digest.hex_part(move.manifest)
        return found
    except (ValueError, RecordError) as problem:
        raise StoreDamaged(
            f"the channel's record does not read: {problem}",
            where=where,
            hint=f"it may be from a newer deploymatrix; install its wheel: {HOW_TO_MAKE_IT}",
        ) from None


# ------------------------------------------------------------------------------------------- objects


FILE = "channel.json"
_MOST, _MOST_SIGNATURES = 64 << 10, 16  # bytes of an object or a file of a channel; signatures that are looked at
_PIN = "pin.v"


@dataclass(frozen=True)
class OfferedChannel:
    """A channel as a repository offers it.

    Its object, its record, and unverified signatures.
    """

    name: str
    top: Descriptor
    data: bytes
    signatures: Tuple[str, ...]


def offered(place: Repository, name: str) -> Optional[OfferedChannel]:
    """The channel `name`.

    None when no channel has that tag. Raises StoreDamaged, Unreachable.
    """
    top = place.resolve(name)
    if top is None or top.media != oci.MANIFEST:
        return None
    try:
        body = oci.as_object(digest.loads(transfers.read(place, top, _MOST)))
    except (ValueError, RecursionError) as problem:
        raise StoreDamaged(f"what is tagged {name} is not JSON: {problem}", where=place.name) from None
    if body.get("artifactType") != oci.CHANNEL_TYPE:
        return None
    files = [oci.read(layer) for layer in oci.as_list(body.get("layers"))]
    records = [file for file in files if file.title == FILE]
    if len(records) != 1:
        raise StoreDamaged(f"the channel {name} holds {len(records)} records instead of one", where=place.name)
    signed = [file for file in files if file.title.endswith(".minisig")][:_MOST_SIGNATURES]
    texts = tuple(transfers.read(place, file, _MOST).decode("utf-8", errors="replace") for file in signed)
    return OfferedChannel(name, top, transfers.read(place, records[0], _MOST), texts)


def all_of(place: Repository) -> Tuple[OfferedChannel, ...]:
    """Every channel of a place, by name."""
    found = (offered(place, tag) for tag in sorted(place.tags()) if is_name(tag))
    return tuple(one for one in found if one is not None)


def put(store: Layout, data: bytes, signatures: Iterable[Tuple[str, str]], about: oci.Object) -> Descriptor:
    """Put the object of a channel.

    The record `data` and its signatures (key's name, text). `about` describes the manifest object of its version. The
    object has no tag yet.
    """
    files = [store.put_bytes(FILE, data)]
    files += [store.put_bytes(f"{FILE}.{key}.minisig", text.encode()) for key, text in signatures]
    made = oci.put_manifest(store, oci.CHANNEL_TYPE, tuple(files), {}, about)
    return Descriptor(oci.MANIFEST, made.digest, made.size, kind=oci.CHANNEL_TYPE)


def put_flag(store: Layout) -> Descriptor:
    """Put the empty object that flags name. It has no tag yet."""
    made = oci.put_manifest(store, oci.FLAG_TYPE, (store.put_bytes("flag.json", b"{}"),), {})
    return Descriptor(oci.MANIFEST, made.digest, made.size, kind=oci.FLAG_TYPE)


def names_at(place: Repository, version: int) -> Tuple[str, ...]:
    """The channels at `version`. Raises StoreDamaged for one that cannot be read."""
    found = all_of(place)
    return tuple(one.name for one in found if parsed(one.data, place.name).current.version == version)


# ------------------------------------------------------------------------------------------- pins and roots


def pin(store: Layout, version: int) -> None:
    """Keep `version`. Raises UsageError when there is none."""
    versions.manifest_object(store, version)
    oci.put(store, f"{_PIN}{version}", oci.all_of(store)[f"v{version}"])


def unpin(store: Layout, version: int) -> None:
    oci.remove(store, [f"{_PIN}{version}"])


def pinned(store: Layout) -> Tuple[int, ...]:
    found = (tag[len(_PIN) :] for tag in oci.all_of(store) if tag.startswith(_PIN))
    return tuple(sorted(int(number) for number in found if number.isascii() and number.isdigit()))


def roots(store: Layout) -> Dict[int, Tuple[str, ...]]:
    """The versions that must not be collected, each with the reasons.

    Reasons: pins, current versions of channels, and targets of their rollbacks. Raises StoreDamaged for a channel that
    cannot be read, since the versions that it keeps are unknown.
    """
    why: Dict[int, List[str]] = {}
    for version in pinned(store):
        why.setdefault(version, []).append("pinned")
    for one in all_of(Folder(str(store.root), {})):
        record: Channel = parsed(one.data, str(store.root))
        why.setdefault(record.current.version, []).append(f"channel {one.name}")
        before = previous(record)
        if before is not None:
            why.setdefault(before.version, []).append(f"rollback of {one.name}")
    return {version: tuple(why[version]) for version in sorted(why)}


# ------------------------------------------------------------------------------------------- moving a tag


PATIENCE = datetime.timedelta(minutes=10)
_FLAG = re.compile(r"(?P<name>[^.]+)\.(?P<serial>[0-9]{1,18})\.(?P<who>[0-9a-f]{16})\.(?P<time>[0-9]{1,12})")
_OFF = ".off"


def move_tag(
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
    """Move the tag `name` from the object `base` (None: there was none) to `top`, when no one else does.

    Repositories have no locks, so a mover first writes a flag: a tag that no one else writes.

        stable.5.HEX.TIME        a move of stable to serial 5; HEX is random, so that no two movers share a flag
        stable.5.HEX.TIME.off    the move is over

    A mover that then sees another flag, or the tag at another object than `base`, withdraws its flag and moves nothing.
    Of two movers the later one sees the flag of the other, so never both move; possibly neither does. Flags name an
    empty object, so a record without a move cannot be found. They stay, as a log of moves. A program killed between
    flag and move blocks others for `PATIENCE`.

    `serials`: those of `base` and `top`, 0 for none. `nothing`: an object in the repository, for flags to name. `who`:
    16 random hexadecimal digits. `bring` copies `top` there; it is called once the move is reserved. Raises StoreBusy.
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
    """Whether another mover has a flag to a serial beyond `above`, neither withdrawn nor expired."""
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


# ------------------------------------------------------------------------------------ putting a channel in a repository


def put_channel(
    place: Repository,
    base: Optional[OfferedChannel],
    move: Tuple[int, Channel],
    top: Descriptor,
    made: Layout,
    now: clock.Time,
) -> None:
    """Move a channel from `base` to the object `top` of `made`.

    `move`: the serial at `base`, and the new record. Its version must be there. Raises StoreBusy during another move.
    """
    record = move[1]
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as scratch, copying.reading(place):
        flags = Layout(Path(scratch))
        flag = put_flag(flags)
        _bring(place, flag, flags)
        serials = (move[0], record.current.serial)
        before, who = base.top if base else None, os.urandom(8).hex()
        move_tag(place, record.channel, before, serials, top, flag, now, who, lambda: _bring(place, top, made))


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
    """Copy a channel of `store` and its version to `place`, forwards only.

    Returns the record and the number of copied files. Raises UsageError when `place` has a move that `store` does not,
    StoreBusy during another move.
    """
    mine = offered(Folder(str(store.root), {}), named(name))
    if mine is None:
        raise UsageError(
            f"there is no channel {name}", where=str(store.root), hint="build promote VERSION --channel NAME"
        )
    record = parsed(mine.data, str(store.root))
    version = record.current.version
    versions.read(store, version)
    theirs = offered(place, name)
    before = parsed(theirs.data, place.name) if theirs else None
    if before is not None and record != before and not record.follows(before):
        raise UsageError(
            f"{name} was moved there by someone else: {_told(before.current)}; here: {_told(record.current)}",
            where=place.name,
            hint=f"to move it on from there: build promote v{version} --channel {name} --store {place.name}",
        )
    copied = copying.publish(store, copying.belonging(version, oci.all_of(store)), place, say, pace)
    if theirs is None or theirs.top.digest != mine.top.digest:
        put_channel(place, theirs, (before.current.serial if before else 0, record), mine.top, store, now)
        say(f"{name} -> {place.name}")
    return record, copied


def _told(move: ChannelMove) -> str:
    return f"v{move.version}, serial {move.serial}, {move.issued}" + (f" ({move.reason})" if move.reason else "")
