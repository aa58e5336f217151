"""What of a store is needed by what: every digest that a tag leads to, by reading what lies behind it. Writes nothing.

It errs on the side of too much: whatever a record of ours mentions as a digest counts as needed, known field or not, so that
a record of another release keeps its files too. Objects are held against their digests: a damaged one could hide what it needs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterable, Iterator, List, Set

from builder import descriptor, digest, strict_json
from builder.errors import StoreDamaged
from builder.stores import oci
from builder.stores.layout import Layout

_MENTION = re.compile(rb"sha256:[0-9a-f]{64}")


def mentioned(data: bytes) -> Set[str]:
    """Every digest in a text."""
    return {found.decode() for found in _MENTION.findall(data)}


class Reach:
    """What several tags lead to. Objects that versions share are read once."""

    def __init__(self, store: Layout) -> None:
        self._store = store
        self._read: Set[str] = set()
        self.digests: Set[str] = set()

    def add(self, tagged: oci.Object) -> None:
        """Follow the descriptor of a tag. Raises StoreDamaged for an object with other content than its digest says."""
        ahead: List[oci.Object] = [tagged]
        while ahead:
            named = oci.digest_of(ahead[-1])
            one = ahead.pop()
            self.digests.add(named)
            if named not in self._read and self._store.holds(named):
                self._read.add(named)
                ahead += self._children(named, one)

    def files(self, records: Iterable[Path]) -> None:
        """Keep whatever these records mention."""
        for path in records:
            self.digests |= mentioned(path.read_bytes())

    def _children(self, named: str, one: oci.Object) -> Iterator[oci.Object]:
        """What an object, or a record among the files, leads to."""
        media, data = str(one.get("mediaType", "")), b""
        if media in (descriptor.INDEX, descriptor.MANIFEST) or media.endswith("json"):
            data = self._store.fetch(named).read_bytes()
            self.digests |= mentioned(data)
        if media not in (descriptor.INDEX, descriptor.MANIFEST):
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
            body = oci.as_object(strict_json.loads(data))
        except ValueError as problem:
            raise StoreDamaged(f"{named} is not JSON: {problem}", where=str(self._store.root)) from None
        for child in (*oci.as_list(body.get("manifests")), *oci.as_list(body.get("layers")), body.get("subject")):
            if child is not None:
                yield oci.as_object(child)
