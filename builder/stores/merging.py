"""What was done in one store, brought into another: results of actions with their files, and nothing that is there."""

from __future__ import annotations

from typing import Set

from builder.descriptor import OCTETS, Descriptor
from builder.errors import StoreDamaged, UsageError
from builder.manifest import Manifest
from builder.platforms.platform import Blob
from builder.stores import versions
from builder.stores.folder import Folder
from builder.stores.layout import Layout
from builder.transfers import transfer


def results(source: Layout, into: Layout) -> int:
    """Bring every result that `into` cannot recall. How many there were. Files are verified on their way."""
    place, count = Folder(str(source.root), {}), 0
    for result in source.results():
        if into.recall(result.key) is None:
            for blob in result.outputs:
                transfer.fetch(place, Descriptor(OCTETS, blob.digest, blob.size, title=blob.name), into)
            into.record(result)
            count += 1
    return count


def artifacts(manifest: Manifest, source: Layout, cells: Set[str], into: Layout) -> None:
    """Bring the artifacts of these cells, with their OCI objects and their golden samples."""
    place = Folder(str(source.root), {})
    for entry in manifest.entries:
        if entry.artifact is None or entry.cell not in cells:
            continue
        samples = (entry.golden.sample,) if entry.golden else ()
        for blob in (*entry.artifact.files, *samples):
            transfer.fetch(place, Descriptor(OCTETS, blob.digest, blob.size, title=blob.name), into)
        made: Blob = versions.put_artifact(into, entry.cell, entry.artifact.files)
        if made.digest != entry.artifact.digest:
            raise StoreDamaged(
                f"the artifact of {entry.cell} is another than its manifest says", where=str(source.root)
            )


def opened(store: Layout) -> Layout:
    """`store`, when it is one. Raises UsageError."""
    if not (store.root / "index.json").is_file() and not any(store.results()):
        raise UsageError(
            "is no store", where=str(store.root), hint="a folder that `build matrix` or `build perform` wrote"
        )
    return store
