"""Channels and pins of a store or another place: the OCI objects that hold them. What a record says: builder/channel.py.

    stable                       OCI manifest; its subject is the manifest of the version
      layer channel.json             the record
      layer channel.json.KEY.minisig one per signature of it
    stable.5.HEX.TIME            an OCI manifest of nothing: who moved stable when, see builder/stores/claims.py
    pin.v3                       the version that `build gc` keeps

Record and signatures are one object, so that a move is one step. What a place answers here is not believed yet:
builder/hosting/offered.py does that for a host, builder/promotion.py for who moves a channel on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Tuple

from builder import channel, descriptor, digest
from builder.channel import Channel
from builder.descriptor import Descriptor
from builder.errors import StoreDamaged
from builder.plugins import Repository
from builder.stores import oci, tags, versions
from builder.stores.folder import Folder
from builder.stores.layout import Layout
from builder.transfers import transfer

FILE = "channel.json"
_MOST, _MOST_SIGNATURES = 64 << 10, 16  # bytes of an object or a file of a channel; signatures that are looked at
_PIN = "pin.v"


@dataclass(frozen=True)
class Offered:
    """What a place shows as a channel: the object, the bytes of its record, and texts that say they are signatures."""

    name: str
    top: Descriptor
    data: bytes
    signatures: Tuple[str, ...]


def offered(place: Repository, name: str) -> Optional[Offered]:
    """The channel `name`; None when nothing is tagged so, or something else is. Raises StoreDamaged, Unreachable."""
    top = place.resolve(name)
    if top is None or top.media != descriptor.MANIFEST:
        return None
    try:
        body = oci.as_object(digest.loads(transfer.read(place, top, _MOST)))
    except (ValueError, RecursionError) as problem:
        raise StoreDamaged(f"what is tagged {name} is not JSON: {problem}", where=place.name) from None
    if body.get("artifactType") != oci.CHANNEL_TYPE:
        return None
    files = [descriptor.read(layer) for layer in oci.as_list(body.get("layers"))]
    records = [file for file in files if file.title == FILE]
    if len(records) != 1:
        raise StoreDamaged(f"the channel {name} holds {len(records)} records instead of one", where=place.name)
    signed = [file for file in files if file.title.endswith(".minisig")][:_MOST_SIGNATURES]
    texts = tuple(transfer.read(place, file, _MOST).decode("utf-8", errors="replace") for file in signed)
    return Offered(name, top, transfer.read(place, records[0], _MOST), texts)


def all_of(place: Repository) -> Tuple[Offered, ...]:
    """Every channel of a place, by name."""
    found = (offered(place, tag) for tag in sorted(place.tags()) if channel.is_name(tag))
    return tuple(one for one in found if one is not None)


def put(store: Layout, data: bytes, signatures: Iterable[Tuple[str, str]], about: oci.Object) -> Descriptor:
    """The object of a channel over the record `data` and its signatures (key's name, text). No tag names it yet.

    `about` describes the manifest object of its version.
    """
    files = [store.put_bytes(FILE, data)]
    files += [store.put_bytes(f"{FILE}.{key}.minisig", text.encode()) for key, text in signatures]
    made = oci.put_manifest(store, oci.CHANNEL_TYPE, tuple(files), {}, about)
    return Descriptor(descriptor.MANIFEST, made.digest, made.size, kind=oci.CHANNEL_TYPE)


def put_flag(store: Layout) -> Descriptor:
    """An object for a tag that says all by its name. No tag names it yet."""
    made = oci.put_manifest(store, oci.FLAG_TYPE, (store.put_bytes("flag.json", b"{}"),), {})
    return Descriptor(descriptor.MANIFEST, made.digest, made.size, kind=oci.FLAG_TYPE)


def standing(place: Repository, version: int) -> Tuple[str, ...]:
    """The channels of a place that stand at `version`. Raises StoreDamaged for one that does not read."""
    found = all_of(place)
    return tuple(one.name for one in found if channel.parsed(one.data, place.name).current.version == version)


# ------------------------------------------------------------------------------------------- what must stay


def pin(store: Layout, version: int) -> None:
    """Keep `version`. Raises UsageError when there is none."""
    versions.manifest_object(store, version)
    tags.put(store, f"{_PIN}{version}", tags.all_of(store)[f"v{version}"])


def unpin(store: Layout, version: int) -> None:
    tags.remove(store, [f"{_PIN}{version}"])


def pinned(store: Layout) -> Tuple[int, ...]:
    found = (tag[len(_PIN) :] for tag in tags.all_of(store) if tag.startswith(_PIN))
    return tuple(sorted(int(number) for number in found if number.isascii() and number.isdigit()))


def roots(store: Layout) -> Dict[int, Tuple[str, ...]]:
    """The versions that must not be collected, and why: pins, where channels stand, and where a rollback of them goes.

    Raises StoreDamaged for a channel that does not read: what it keeps is not known then.
    """
    why: Dict[int, List[str]] = {}
    for version in pinned(store):
        why.setdefault(version, []).append("pinned")
    for one in all_of(Folder(str(store.root), {})):
        record: Channel = channel.parsed(one.data, str(store.root))
        why.setdefault(record.current.version, []).append(f"channel {one.name}")
        before = channel.previous(record)
        if before is not None:
            why.setdefault(before.version, []).append(f"rollback of {one.name}")
    return {version: tuple(why[version]) for version in sorted(why)}
