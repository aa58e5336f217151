"""`build merge STORE...`: bring together what several machines did for one matrix."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import List

from builder import clock
from builder.errors import UsageError
from builder.release import VERSION
from builder.store import merge, versions
from builder.store.layout import Layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stores", type=Path, nargs="+", metavar="STORE", help="folders that `build` wrote elsewhere")
    parser.add_argument(
        "--store", type=Path, default=Path("artifacts"), metavar="DIR", help="into this one (artifacts)"
    )
    parser.add_argument(
        "--prefer",
        action="append",
        default=[],
        metavar="STORE",
        help="of a cell that two built differently, take this one's; may be repeated, the first counts most",
    )


def run(args: argparse.Namespace) -> int:
    into = Layout(args.store)
    sources = [merge.opened(Layout(path)) for path in dict.fromkeys(args.stores) if path != args.store]
    if not sources:
        raise UsageError("nothing to merge: it names only the store itself", where=str(args.store))
    unknown = [name for name in args.prefer if Path(name) not in (args.store, *args.stores)]
    if unknown:
        raise UsageError(f"--prefer {unknown[0]} is none of the stores")
    parts = _parts([into, *sources])
    found = merge.merged(parts, [str(Path(name)) for name in args.prefer]) if parts else None
    with into.locked():
        count = sum(merge.results(source, into) for source in sources)
        print(f"{count} results brought into {args.store}/, with their files")
        if found is not None:
            print(_published(found, parts, into, args.store))
    return 0


def _parts(stores: List[Layout]) -> List[merge.StorePart]:
    """The newest version of each store that has one."""
    found = []
    for store in stores:
        manifest = versions.latest(store)
        if manifest is not None:
            found.append(merge.StorePart(str(store.root), manifest, versions.read_provenance(store, manifest)))
    return found


def _published(found: merge.Merged, parts: List[merge.StorePart], into: Layout, place: Path) -> str:
    last = versions.latest(into)
    number = (last.version if last else 0) + 1
    created = clock.text(clock.now())
    manifest = dataclasses.replace(found.manifest, version=number, created=created)
    manifest = dataclasses.replace(manifest, builder=dataclasses.replace(manifest.builder, deploymatrix=VERSION))
    if last is not None and last.says_the_same_as(manifest):
        return f"Their versions say nothing that v{last.version} does not. Next: build matrix"
    for part in parts:
        cells = {cell for cell, name in found.taken.items() if name == part.name}
        if part.name != str(into.root):
            merge.artifacts(part.manifest, Layout(Path(part.name)), cells, into)
            print(f"{part.name}: {len(cells)} cells")
    made_of = dataclasses.replace(found.made_of, version=number) if found.made_of else None
    versions.publish(into, manifest, made_of)
    done = sum(entry.verdict.status == "passed" for entry in manifest.entries)
    return f"{len(manifest.entries)} cells, {done} passed. Version v{number} in {place}/. Next: build audit"
