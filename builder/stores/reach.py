"""What of a store is needed by what: every digest that a tag leads to, by reading what lies behind it. Writes nothing.

It errs on the side of too much: whatever a record of ours mentions as a digest counts as needed, known field or not, so that
a record of another release keeps its files too. Objects are held against their digests: a damaged one could hide what it needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Iterator, List, Set

from builder import descriptor, digest
from builder.errors import StoreDamaged
from builder.stores import oci
from builder.stores.layout import Layout

_BEFORE, _LENGTH = b"sha256:", 64
_OBJECTS = (descriptor.INDEX, descriptor.MANIFEST)


class Mentions:
    """Digests that texts mention. Hundreds of megabytes are looked through, so they are kept as they stand in the texts."""

    def __init__(self) -> None:
        self._found: Set[bytes] = set()

    def add(self, data: bytes) -> None:
        self._found.update([part[:_LENGTH] for part in data.split(_BEFORE)[1:]])

    def __contains__(self, named: str) -> bool:
        return named[len(_BEFORE) :].encode() in self._found


class Reach(Mentions):
    """What several tags lead to. Objects that versions share are read once."""

    def __init__(self, store: Layout) -> None:
        super().__init__()
        self._store = store
        self._read: Set[str] = set()
        self._later: List[str] = []

    def follow(self, tagged: oci.Object) -> None:
        """What the descriptor of a tag leads to. Raises StoreDamaged for an object with other content than its digest says."""
        self.add(oci.digest_of(tagged).encode())
        ahead: List[oci.Object] = [tagged]
        while ahead:
            one = ahead.pop()
            named = oci.digest_of(one)
            if named not in self._read:
                self._read.add(named)
                ahead += self._children(named, one)

    def steps(self) -> None:
        """What the provenance of the versions mentions: the results that they were made of, and these results' files. Large,
        and so read only where somebody asks."""
        for named in self._later:
            self.add(self._store.fetch(named).read_bytes())
        self._later = []

    def files(self, records: Iterable[Path]) -> None:
        """Whatever these records mention."""
        for path in records:
            self.add(path.read_bytes())

    def _children(self, named: str, one: oci.Object) -> Iterator[oci.Object]:
        """What an object, or a record among the files, leads to. What is not here leads nowhere."""
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
        if one.get("artifactType") == oci.ARTIFACT_TYPE and media == descriptor.MANIFEST:
            return  # it names files only, and all of them were mentioned
        try:
            body = oci.as_object(digest.loads(data))
        except ValueError as problem:
            raise StoreDamaged(f"{named} is not JSON: {problem}", where=str(self._store.root)) from None
        for child in (*oci.as_list(body.get("manifests")), *oci.as_list(body.get("layers")), body.get("subject")):
            if child is not None and oci.digest_of(child) not in self._read:
                yield oci.as_object(child)
