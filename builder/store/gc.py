"""Garbage collection: versions, results and files that are not needed.

Order of removal: files without a name and records of results, which frees a full disk; tags; the files of both. After a
kill at any point, the rest is consistent and the next collection continues. Kept are:

- every tag that is not a version, and the versions that `Rule` keeps, with everything they lead to;
- results that a kept version was made of; others while they are young, for trials and unfinished runs;
- the inputs of pending orders.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Collection, Dict, FrozenSet, Iterable, Iterator, List, Optional, Set, Tuple

from builder import digest
from builder.errors import StoreDamaged
from builder.store import channels, oci, versions
from builder.store.layout import Layout

# ------------------------------------------------------------------------------------------- mark: what is needed


_BEFORE, _LENGTH = b"sha256:", 64
_OBJECTS = (oci.INDEX, oci.MANIFEST)


class Mentions:
    """Digests mentioned in texts.

    There are hundreds of megabytes, so digests stay as bytes.
    """

    def __init__(self) -> None:
        self._found: Set[bytes] = set()

    def add(self, data: bytes) -> None:
        self._found.update([part[:_LENGTH] for part in data.split(_BEFORE)[1:]])

    def __contains__(self, named: str) -> bool:
        return named[len(_BEFORE) :].encode() in self._found


class Reach(Mentions):
    """The digests that tags lead to. Objects that versions share are read once.

    Any digest that a record mentions counts as needed, in known fields or not: a record of another release keeps its
    files too. Objects are verified, since a damaged one could hide a digest.
    """

    def __init__(self, store: Layout) -> None:
        super().__init__()
        self._store = store
        self._read: Set[str] = set()
        self._later: List[str] = []

    def follow(self, tagged: oci.Object) -> None:
        """Add what the descriptor of a tag leads to.

        Raises StoreDamaged for a wrong digest.
        """
        self.add(oci.digest_of(tagged).encode())
        ahead: List[oci.Object] = [tagged]
        while ahead:
            one = ahead.pop()
            named = oci.digest_of(one)
            if named not in self._read:
                self._read.add(named)
                ahead += self._children(named, one)

    def steps(self) -> None:
        """Add what the versions' provenance mentions.

        Their results, and the files of these. Provenance is large, so it is read only for callers that need it.
        """
        for named in self._later:
            self.add(self._store.fetch(named).read_bytes())
        self._later = []

    def files(self, records: Iterable[Path]) -> None:
        """Add every digest that these records mention."""
        for path in records:
            self.add(path.read_bytes())

    def _children(self, named: str, one: oci.Object) -> Iterator[oci.Object]:
        """The digests in an object or a record. One that is not in the store has none."""
        media = str(one.get("mediaType", ""))
        if not (media in _OBJECTS or media.endswith("json")) or not self._store.holds(named):
            return
        if media == oci.PROVENANCE_TYPE:
            self._later.append(named)
            return
        data = self._store.fetch(named).read_bytes()
        self.add(data)
        if media not in _OBJECTS:
            return
        if digest.of_bytes(data) != named:
            raise StoreDamaged(
                f"{named} has other content than its name says, so what it needs is not known; nothing is removed",
                where=str(self._store.root),
                hint="delete that file and run `build matrix` again, or publish the version anew",
            )
        if one.get("artifactType") == oci.ARTIFACT_TYPE and media == oci.MANIFEST:
            return  # it names files only, and all of them were mentioned
        try:
            body = oci.as_object(digest.loads(data))
        except ValueError as problem:
            raise StoreDamaged(f"{named} is not JSON: {problem}", where=str(self._store.root)) from None
        for child in (*oci.as_list(body.get("manifests")), *oci.as_list(body.get("layers")), body.get("subject")):
            if child is not None and oci.digest_of(child) not in self._read:
                yield oci.as_object(child)


# ------------------------------------------------------------------------------------------- sweep: what is removed


YOUNG = 30 * 86400.0  # seconds that a result is kept which no version was made of
_ARRIVING = 86400.0  # seconds after which a fetch is not resumed
_OF_VERSION = re.compile(r"v([0-9]+)(\..*)?")


@dataclass(frozen=True)
class Rule:
    """What to keep.

    `keep`: the number of newest versions. `older_than` (seconds): remove only older ones. None means no limit; with
    neither, every version stays. The newest version, those of channels and pins, and those in `used` always stay.
    """

    keep: Optional[int] = None
    older_than: Optional[float] = None
    used: FrozenSet[int] = frozenset()


@dataclass(frozen=True)
class Removal:
    """Files to remove for one reason."""

    count: int
    size: int


@dataclass(frozen=True)
class RetainedVersion:
    """A version that stays only for these reasons."""

    version: int
    reasons: Tuple[str, ...]


@dataclass(frozen=True)
class Garbage:
    """What can be removed.

    `loose`: files without a name. `blobs`: files of versions and results. `of_versions`, `of_results` and `of_nothing`
    count the files by their last user.
    """

    versions: Tuple[int, ...]
    kept: Tuple[int, ...]
    held: Tuple[RetainedVersion, ...]
    tags: Tuple[str, ...]
    results: Tuple[str, ...]
    loose: Tuple[str, ...]
    blobs: Tuple[str, ...]
    of_versions: Removal
    of_results: Removal
    of_nothing: Removal
    arriving: Removal
    left: Removal

    @property
    def size(self) -> int:
        """Bytes to be freed."""
        return sum(part.size for part in (self.of_versions, self.of_results, self.of_nothing, self.arriving))


def garbage(store: Layout, rule: Rule, now: float) -> Garbage:
    """The garbage of `store` at time `now`.

    The caller holds the store. Raises StoreDamaged.
    """
    known = oci.all_of(store)
    unwanted, roots = _versions(store, rule, now), channels.roots(store)
    gone = unwanted - set(roots)
    dropped = {tag: it for tag, it in known.items() if _number(tag) in gone}
    reach, last = Reach(store), Reach(store)
    for tag, it in known.items():
        if tag not in dropped:
            reach.follow(it)
    for item in oci.as_list(oci.as_object(store.index()).get("manifests")):
        if not oci.tag_of(item):
            reach.follow(oci.as_object(item))  # an object without a tag, of another program
    for it in dropped.values():
        with contextlib.suppress(StoreDamaged):  # a damaged version may go too; only the counts suffer
            last.follow(it)
    reach.files(store.orders_at())
    results, theirs = _results(store, reach, last, now, rule.older_than if rule.older_than is not None else YOUNG)
    parts: Dict[str, Dict[str, int]] = {"kept": {}, "versions": {}, "results": {}, "nothing": {}}
    for name, size in store.blobs():
        group = "kept" if name in reach else "versions" if name in last else "results" if name in theirs else "nothing"
        parts[group][name] = size
    stale = [path.stat().st_size for path in store.arriving() if now - path.stat().st_mtime > _ARRIVING]
    return Garbage(
        versions=tuple(sorted(gone)),
        kept=tuple(n for n in versions.numbers(store) if n not in gone),
        held=tuple(RetainedVersion(number, why) for number, why in roots.items() if number in unwanted),
        tags=tuple(dropped),
        results=tuple(results),
        loose=tuple(sorted(parts["nothing"])),
        blobs=tuple(sorted((*parts["versions"], *parts["results"]))),
        of_versions=_part(parts["versions"].values()),
        of_results=_part(parts["results"].values()),
        of_nothing=_part(parts["nothing"].values()),
        arriving=_part(stale),
        left=_part(parts["kept"].values()),
    )


def remove(store: Layout, found: Garbage, now: float) -> None:
    """Remove it. The caller holds the store for collecting."""
    for name in found.loose:
        store.discard(name)
    for key in found.results:
        store.forget(key)
    if found.tags:
        oci.remove(store, found.tags)
    for name in found.blobs:
        store.discard(name)
    for path in store.arriving():
        if now - path.stat().st_mtime > _ARRIVING:
            path.unlink()


def _versions(store: Layout, rule: Rule, now: float) -> Set[int]:
    """The versions that the rule would not keep."""
    if rule.keep is None and rule.older_than is None:
        return set()
    known = versions.numbers(store)
    newest = known[-max(rule.keep or 1, 1) :]
    gone = set(known) - set(newest) - rule.used
    if rule.older_than is not None:
        gone = {number for number in gone if now - _created(store, number) > rule.older_than}
    return gone


def _created(store: Layout, number: int) -> float:
    """When a version was published, seconds since 1970. Raises StoreDamaged."""
    text = versions.read(store, number).created
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise StoreDamaged(f"v{number} says that it was created {text!r}", where=str(store.root)) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _number(tag: str) -> int:
    """The version of a tag: 3 of `v3` and of `v3.KEY.minisig`; -1 for any other."""
    match = _OF_VERSION.fullmatch(tag)
    return int(match.group(1)) if match else -1


def _results(store: Layout, reach: Reach, last: Reach, now: float, young: float) -> Tuple[List[str], Mentions]:
    """(keys of results that are not needed, their output files).

    Outputs of the others go to `reach`.
    """
    records = {key: (path, now - path.stat().st_mtime > young) for key, path in store.recorded()}
    if records:
        last.steps()
    if any(old or key in last for key, (_, old) in records.items()):
        reach.steps()
    gone: List[str] = []
    files = Mentions()
    for key, (path, old) in records.items():
        needless = key not in reach and (old or key in last)
        (files if needless else reach).add(path.read_bytes())
        if needless:
            gone.append(key)
    return gone, files


def _part(sizes: Collection[int]) -> Removal:
    return Removal(len(sizes), sum(sizes))
