"""The source of a host's versions: a local store, or a cached remote.

A local store is read in place. The copy is in the folder `CACHE` beside the installed versions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Collection, Dict, FrozenSet, Iterable, Iterator, Mapping, Optional, Tuple

from builder import digest, plugins
from builder.errors import StoreBusy, StoreDamaged, UsageError
from builder.platforms.platform import Blob
from builder.plugins import Repository
from builder.store import channels, copying, oci, transfers, versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest, Verdict
from builder.store.oci import OCTETS, Descriptor
from builder.store.remotes.folder import Folder, blob_path
from builder.store.transfers import Pace

CACHE = ".store"


class Supply:
    """`store`: the versions that are known; `place`: the remote, None when `store` is the source."""

    def __init__(self, store: Layout, place: Optional[plugins.Repository] = None) -> None:
        self.store, self.place = store, place

    @property
    def name(self) -> str:
        return self.place.name if self.place else str(self.store.root)

    @property
    def repository(self) -> plugins.Repository:
        """The source itself."""
        return self.place or Folder(str(self.store.root), {})

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold off collection of what is in `store` or is copied to it."""
        if self.place is not None:
            self.store.begin()
        with self.store.reading():
            yield

    def version(self, number: Optional[int], hint: str) -> int:
        """`number`, or the newest when it is None, with its metadata in `store`."""
        if self.place is None:
            return versions.chosen(self.store, number, hint)
        tags = self.place.tags()
        known = sorted(versions.numbered(tags))
        if not known:
            raise UsageError(
                f"{self.name} holds no version", hint=f"check the name, or publish one: build publish {self.name}"
            )
        if number is not None and number not in known:
            listed = ", ".join(f"v{n}" for n in known)
            raise UsageError(f"there is no version {number} in {self.name}", hint=f"versions: {listed}")
        wanted = number if number is not None else known[-1]
        copying.mirror(self.place, copying.belonging(wanted, tags), self.store)
        return wanted

    def bring(self, files: Iterable[Blob], pace: Optional[Pace] = None) -> None:
        """Fetch these files into `store`.

        A file that exists is verified, and fetched again if it is wrong.
        """
        if self.place is None:
            return
        pace = pace or Pace()
        wanted = {file.digest: Descriptor(OCTETS, file.digest, file.size, title=file.name) for file in files}
        pace.meter.expect(len(wanted), sum(it.size for it in wanted.values()))
        pace.each(wanted.values(), lambda it: self._bring(it, pace))

    def _bring(self, it: Descriptor, pace: Pace) -> None:
        assert self.place is not None
        if self.store.holds(it.digest) and digest.of_file(self.store.fetch(it.digest)) != it.digest:
            self.store.fetch(it.digest).unlink()
        transfers.fetch(self.place, it, self.store, pace)

    def tidy(self, placed: FrozenSet[int]) -> None:
        """Remove what no installed version uses; `placed` are their numbers.

        Does nothing while a reader is active, or where the store cannot be written.
        """
        if self.place is None or placed.issuperset(versions.numbers(self.store)):
            return
        from builder.store import gc  # seldom needed

        with contextlib.suppress(StoreBusy, StoreDamaged, OSError), self.store.collecting():
            now = time.time()
            found = gc.garbage(self.store, gc.Rule(keep=1, used=placed), now)
            gc.remove(self.store, found, now)

    def offered(self, manifest: Manifest) -> Manifest:
        """The manifest without the artifacts that a bundle leaves out."""
        place = self.place
        if not isinstance(place, plugins.Partial):
            return manifest

        def lacking(blob: Blob) -> bool:
            return not self.store.holds(blob.digest) and place.lacks(Descriptor(OCTETS, blob.digest, blob.size))

        return dataclasses.replace(
            manifest,
            entries=tuple(
                dataclasses.replace(entry, artifact=None, verdict=Verdict("skipped", f"it is not in {self.name}"))
                if entry.artifact is not None and any(map(lacking, entry.artifact.files))
                else entry
                for entry in manifest.entries
            ),
        )


def opened(source: str, dest: Path, environ: Mapping[str, str]) -> Supply:
    """The supply from `source`, a folder or an address, for a host that installs into `dest`."""
    if "://" not in source and not plugins.is_bundle(source):
        return Supply(Layout(Path(source)))
    return Supply(Layout(dest / CACHE), plugins.repository(source, environ))


# ---------------------------------------------- complete versions, for bundles and for publishing to another repository


def content(
    place: Repository, names: Iterable[str], artifacts: Collection[str]
) -> "Tuple[Dict[str, Descriptor], Dict[str, Descriptor]]":
    """(tag -> descriptor, path -> descriptor of all content), with only the artifacts in `artifacts`."""
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
    transfers.fetch(place, it, store, pace)


def whole(supplied: Supply, number: int, pace: Pace) -> None:
    """Fetch a version with all artifacts, and the channels at it.

    Raises UsageError for an incomplete bundle.
    """
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
    names = (*copying.belonging(version, place.tags()), *channels.names_at(place, version))
    bring(place, names, {e.artifact.digest for e in manifest.entries if e.artifact}, supplied.store, pace)
