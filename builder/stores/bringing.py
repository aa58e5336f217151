"""Bringing versions with their artifacts from a place outside into a store: to bundle them, or to publish them elsewhere.

A host brings less: builder/stores/supply.py.
"""

from __future__ import annotations

import dataclasses
from typing import Collection, Dict, Iterable, Tuple

from builder.descriptor import Descriptor
from builder.errors import UsageError
from builder.plugins import Repository
from builder.stores import channels, copying, oci, versions
from builder.stores.by_path import blob_path
from builder.stores.folder import Folder
from builder.stores.layout import Layout
from builder.stores.supply import Supply
from builder.transfers import transfer
from builder.transfers.pace import Pace


def content(
    place: Repository, names: Iterable[str], artifacts: Collection[str]
) -> "Tuple[Dict[str, Descriptor], Dict[str, Descriptor]]":
    """By tag of `names`, what it names; by path, all that these lead to, of artifacts those whose digests are `artifacts`."""
    tops: Dict[str, Descriptor] = {}
    blobs: Dict[str, Descriptor] = {}
    for tag in names:
        top = place.resolve(tag)
        if top is None:
            raise UsageError(f"there is no {tag}", where=place.name)
        tops[tag] = dataclasses.replace(top, title="")
        found = copying.closure(place, top, lambda it: it.kind != oci.ARTIFACT_TYPE or it.digest in artifacts)
        blobs.update((blob_path(it), it) for it in found)
    return tops, blobs


def bring(place: Repository, names: Iterable[str], artifacts: Collection[str], store: Layout, pace: Pace) -> None:
    """Fetch that content into `store`, and tag it there."""
    tops, blobs = content(place, names, artifacts)
    pace.meter.expect(len(blobs), sum(it.size for it in blobs.values()))
    pace.each(blobs.values(), lambda it: _fetch(place, it, store, pace))
    for tag, top in tops.items():
        Folder(str(store.root), {}).tag(tag, top)


def _fetch(place: Repository, it: Descriptor, store: Layout, pace: Pace) -> None:
    transfer.fetch(place, it, store, pace)


def whole(supplied: Supply, number: int, pace: Pace) -> None:
    """Bring a version with all artifacts, and the channels that stand at it. Raises UsageError for a bundle without some."""
    place = supplied.place
    assert place is not None
    version = supplied.version(number, "")
    manifest = versions.read(supplied.store, version)
    if supplied.offered(manifest) != manifest:
        raise UsageError(
            f"v{version} is not there with all its artifacts",
            where=place.name,
            hint="publish it from a bundle that was made without --only and --head",
        )
    names = (*copying.belonging(version, place.tags()), *channels.standing(place, version))
    bring(place, names, {e.artifact.digest for e in manifest.entries if e.artifact}, supplied.store, pace)
