"""Merging stores: manifests of one matrix as one, with results and artifacts.

A cell that one part built comes from there. A cell that two parts built differently is a conflict: the error names
both, and the user chooses. Merging manifests is pure.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from builder.errors import StoreDamaged, UsageError
from builder.platforms.platform import Blob
from builder.store import transfers, versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest
from builder.store.oci import OCTETS, Descriptor
from builder.store.provenance import Chain, Provenance, StepRecord
from builder.store.remotes.folder import Folder

# The more is known of a cell, the higher. Cells skipped by a rule are skipped on every machine.
_KNOWN = {"skipped": 0, "waiting": 1, "unverified": 2, "failed": 3, "passed": 3}
_MEASURED = 3


@dataclass(frozen=True)
class StorePart:
    """The newest version of the store `name`, and its provenance if there is one."""

    name: str
    manifest: Manifest
    made_of: Optional[Provenance] = None


@dataclass(frozen=True)
class Merged:
    """`manifest` has number, date and builder of the first part; `taken` maps each cell to its part."""

    manifest: Manifest
    made_of: Optional[Provenance]
    taken: Mapping[str, str]


def merged(parts: Sequence[StorePart], prefer: Sequence[str] = ()) -> Merged:
    """All cells of `parts`.

    Of a cell that several built, the first part in `prefer` counts. Raises UsageError with every conflict, for parts of
    another model or matrix.yaml and for cells that differ.
    """
    first = parts[0]
    problems = [problem for part in parts[1:] for problem in _unlike(first, part)]
    if problems:
        raise UsageError("these are not parts of one matrix: " + "; ".join(problems))
    chosen: Dict[str, Tuple[StorePart, Entry]] = {}
    conflicts: List[str] = []
    for part in parts:
        for entry in part.manifest.entries:
            known = chosen.get(entry.cell)
            if known is None:
                chosen[entry.cell] = (part, entry)
                continue
            better = _better(known, (part, entry), prefer)
            if better is None:
                conflicts.append(f"{entry.cell} was built differently in {known[0].name} and in {part.name}")
            else:
                chosen[entry.cell] = better
    if conflicts:
        raise UsageError("; ".join(conflicts), hint=f"say which one counts: build merge ... --prefer {parts[-1].name}")
    entries = tuple(entry for _, entry in chosen.values())
    taken = {cell: part.name for cell, (part, _) in chosen.items()}
    return Merged(dataclasses.replace(first.manifest, entries=entries), _made_of(parts, taken), taken)


def _unlike(one: StorePart, other: StorePart) -> List[str]:
    a, b = one.manifest, other.manifest
    if a.model != b.model:
        said = [
            f"{name} is {getattr(a.model, name)!r} in {one.name} and {getattr(b.model, name)!r} in {other.name}"
            for name in ("name", "source", "weights")
            if getattr(a.model, name) != getattr(b.model, name)
        ]
        return said or [f"the model's inputs, heads or preprocessing differ between {one.name} and {other.name}"]
    if a.matrix != b.matrix:
        return [f"matrix.yaml was another one for {other.name} than for {one.name}"]
    return []


def _better(
    known: Tuple[StorePart, Entry], new: Tuple[StorePart, Entry], prefer: Sequence[str]
) -> Optional[Tuple[StorePart, Entry]]:
    """The one that counts; None for a conflict."""
    a, b = known[1], new[1]
    if _KNOWN[a.verdict.status] != _KNOWN[b.verdict.status]:
        return max(known, new, key=lambda one: _KNOWN[one[1].verdict.status])
    if a == b or (_KNOWN[a.verdict.status] < _MEASURED and _files(a) == _files(b)):
        return known
    return next((one for name in prefer for one in (known, new) if one[0].name == name), None)


def _files(entry: Entry) -> Tuple[Blob, ...]:
    return entry.artifact.files if entry.artifact else ()


def _made_of(parts: Sequence[StorePart], taken: Mapping[str, str]) -> Optional[Provenance]:
    """The provenance of the chosen cells; None when a part has none."""
    steps: Dict[str, StepRecord] = {}
    chains: List[Chain] = []
    for part in parts:
        if part.made_of is None:
            return None
        mine = [chain for chain in part.made_of.cells if taken.get(chain.cell) == part.name]
        chains += mine
        for key in (link.key for chain in mine for link in chain.links):
            step = part.made_of.by_key.get(key)
            if step is not None and (key not in steps or not steps[key].done):
                steps[key] = step
    revisions = {part.made_of.revision for part in parts if part.made_of}
    same = revisions.pop() if len(revisions) == 1 else None  # parts of two commits are of neither
    return Provenance(1, 0, tuple(steps.values()), tuple(chains), same)


# ---------------------------------------------------------------------------------------- copying results and artifacts


def results(source: Layout, into: Layout) -> int:
    """Copy every result that `into` does not have, verified. Returns their number."""
    place, count = Folder(str(source.root), {}), 0
    for result in source.results():
        if into.recall(result.key) is None:
            for blob in result.outputs:
                transfers.fetch(place, Descriptor(OCTETS, blob.digest, blob.size, title=blob.name), into)
            into.record(result)
            count += 1
    return count


def artifacts(manifest: Manifest, source: Layout, cells: Set[str], into: Layout) -> None:
    """Copy the artifacts of these cells, with their OCI objects and golden samples."""
    place = Folder(str(source.root), {})
    for entry in manifest.entries:
        if entry.artifact is None or entry.cell not in cells:
            continue
        samples = (entry.golden.sample,) if entry.golden else ()
        for blob in (*entry.artifact.files, *samples):
            transfers.fetch(place, Descriptor(OCTETS, blob.digest, blob.size, title=blob.name), into)
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
