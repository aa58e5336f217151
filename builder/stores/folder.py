"""A folder with an OCI image layout as a place to publish to and pull from: the local store, or a copy of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator, Mapping, Optional, Tuple

from builder import descriptor, digest, files
from builder.descriptor import Descriptor
from builder.plugins import Stream
from builder.stores import tags
from builder.stores.layout import Layout

_PIECE = 256 << 10
_TAGGING = 30  # seconds; that one publisher waits for another to write its tag


class Folder:
    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        """`address` is a path, or one behind `file://`."""
        self.store = Layout(Path(address[len("file://") :] if address.startswith("file://") else address))

    @property
    def name(self) -> str:
        return str(self.store.root)

    def tags(self) -> Tuple[str, ...]:
        return tuple(tags.all_of(self.store))

    def resolve(self, tag: str) -> Optional[Descriptor]:
        found = tags.find(self.store, tag)
        return None if found is None else descriptor.read(found)

    def has(self, it: Descriptor) -> bool:
        return self.store.holds(it.digest)

    @contextlib.contextmanager
    def stream(self, it: Descriptor, start: int = 0) -> Iterator[Stream]:
        with self.store.fetch(it.digest).open("rb") as file:
            file.seek(start)
            yield Stream(start, iter(lambda: file.read(_PIECE), b""))

    def put(self, it: Descriptor, source: Path) -> None:
        if self.has(it):
            return
        with self.store.workspace() as work:
            copied = work / digest.hex_part(it.digest)
            files.verified(source, copied, it.digest, "the file to publish is damaged: see `build verify`")
            self.store.adopt(copied, it.digest)

    def tag(self, tag: str, it: Descriptor) -> None:
        with self.store.locked(wait=_TAGGING):
            tags.put(self.store, tag, tags.entry(it))
