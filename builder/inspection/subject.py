"""What the person asked about: a cell, a pulled folder, an artifact's folder or a lone file, and what is known of it.

What is known comes from artifact.json beside the file; without one, from a manifest that names the file's digest.
"""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, Optional, Tuple

from builder import digest
from builder.actions.action import SIDECAR
from builder.errors import StoreDamaged, UsageError
from builder.host import install
from builder.inspection import formats
from builder.store import sidecar, versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest
from builder.store.sidecar import Sidecar


@dataclass(frozen=True)
class Subject:
    """`file` is the one that was named; empty for a whole folder. `entry` is of version `version` of a manifest."""

    name: str
    folder: Path
    file: str = ""
    sidecar: Optional[Sidecar] = None
    entry: Optional[Entry] = None
    version: int = 0

    @property
    def identity(self) -> Optional[Sidecar]:
        """What it was made as: by its sidecar, or by the manifest."""
        entry = self.entry
        if self.sidecar is not None or entry is None or entry.artifact is None or entry.platform is None:
            return self.sidecar
        made = entry.artifact
        return Sidecar(
            1, entry.precision, made.compute, entry.platform, entry.profiles, made.onnx, made.action, (), made.files
        )

    @property
    def files(self) -> Tuple[Path, ...]:
        """Those that hold a model: the named one, or each that is recognised."""
        if self.file:
            return (self.folder / self.file,)
        found = sorted(p for p in self.folder.iterdir() if p.is_file() and p.name != SIDECAR)
        return tuple(path for path in found if formats.recognised(path) is not None)


def find(word: str, store: Layout, scratch: Path) -> Tuple[Subject, ...]:
    """`word` is a path that exists, or a cell of the store's latest version, whose files are linked into `scratch`."""
    path = Path(word)
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return (_lone(path, store),)
    if "/" in word or path.suffix in (".onnx", ".xml", ".engine", ".plan", ".json"):
        raise UsageError("there is no such file", where=word)
    entry, manifest = cell(word, store)
    if entry.artifact is None:
        raise UsageError(
            f"{word} has no artifact in v{manifest.version}: it is {entry.verdict.status}",
            hint=entry.verdict.reason or None,
        )
    for blob in entry.artifact.files:
        (scratch / blob.name).symlink_to(store.fetch(blob.digest).absolute())
    return (Subject(word, scratch, "", sidecar.read(scratch), entry, manifest.version),)


def cell(word: str, store: Layout) -> Tuple[Entry, Manifest]:
    """The entry of a cell in the latest version. UsageError with the nearest names when there is none."""
    manifest = versions.latest(store)
    if manifest is None:
        raise UsageError(
            f"{word!r} is no file, and {store.root} holds no version to look it up in",
            hint="name a file, or a store with --store DIR",
        )
    entry = manifest.entry(word)
    if entry is None:
        near = difflib.get_close_matches(word, [e.cell for e in manifest.entries], n=3, cutoff=0.4)
        raise UsageError(
            f"{word!r} is neither a file nor a cell of v{manifest.version} in {store.root}",
            hint=f"did you mean: {', '.join(near)}?" if near else "list the cells with: build plan --print-ids",
        )
    return entry, manifest


def _in_folder(folder: Path) -> Tuple[Subject, ...]:
    if (folder / "index.json").is_file():
        raise UsageError(
            "is a store", where=str(folder), hint=f"name a cell of it: build inspect CELL --store {folder}"
        )
    heads = sorted(link.resolve() for link in folder.glob("*/current"))
    placed = [folder] if (folder / "deploy.json").is_file() else heads
    if placed:
        return tuple(subject for place in placed for subject in _pulled(place))
    subject = Subject(str(folder), folder, "", sidecar.read(folder))
    if subject.sidecar is None and not subject.files:
        raise UsageError(
            "holds no artifact: neither artifact.json nor a model",
            where=str(folder),
            hint="name a pulled folder, an artifact's folder or one file",
        )
    return (subject,)


def _pulled(folder: Path) -> List[Subject]:
    manifest = install.described(folder)
    return [
        Subject(e.cell, folder / e.cell, "", sidecar.read(folder / e.cell), e, manifest.version)
        for e in manifest.entries
        if (folder / e.cell).is_dir()
    ]


def _lone(path: Path, store: Layout) -> Subject:
    if path.name == SIDECAR:
        return Subject(str(path.parent), path.parent, "", sidecar.read(path.parent))
    if path.name == "deploy.json":
        raise UsageError("describes a pulled folder", where=str(path), hint=f"build inspect {path.parent}")
    subject = Subject(str(path), path.parent, path.name, sidecar.read(path.parent))
    return subject if subject.sidecar is not None else _looked_up(subject, path, store)


def _looked_up(subject: Subject, path: Path, store: Layout) -> Subject:
    """With the entry of the latest version that holds these very bytes, if any."""
    with contextlib.suppress(StoreDamaged, OSError):
        manifest = versions.latest(store)
        found = digest.of_file(path) if manifest is not None else ""
        for entry in manifest.entries if manifest is not None else ():
            if entry.artifact is not None and any(blob.digest == found for blob in entry.artifact.files):
                return replace(subject, entry=entry, version=manifest.version if manifest else 0)
    return subject
