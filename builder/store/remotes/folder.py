"""Layouts read by path (`ByPath`), and a folder as a repository.

Bucket, web server and bundle share `ByPath`; each opens files, and possibly writes, in its own way. Nothing is cached
between two calls: a tag is always resolved anew.
"""

from __future__ import annotations

import abc
import contextlib
from pathlib import Path
from typing import ContextManager, Iterator, Mapping, Optional, Tuple

from builder import digest, files
from builder.errors import StoreDamaged
from builder.plugins import Stream
from builder.store import oci
from builder.store.layout import Layout
from builder.store.oci import Descriptor

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
        return tuple(oci.all_of(self.store))

    def resolve(self, tag: str) -> Optional[Descriptor]:
        found = oci.find(self.store, tag)
        return None if found is None else oci.read(found)

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
            oci.put(self.store, tag, oci.entry(it))


# ------------------------------------------------------------------------------------------- layouts read by path


INDEX_FILE = "index.json"
_MOST_INDEX = 64 << 20  # bytes of index.json; a thousand versions have some hundred thousand


class ByPath(abc.ABC):
    """The reading half of `seams.Repository`."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """For messages: where it is, without secrets."""

    @abc.abstractmethod
    def size(self, path: str) -> Optional[int]:
        """Bytes of a file; None when there is none. Raises Unreachable."""

    @abc.abstractmethod
    def open(self, path: str, start: int) -> ContextManager[Optional[Stream]]:
        """A file from byte `start` on, or from an earlier one.

        None for no file. Raises Unreachable.
        """

    def tags(self) -> Tuple[str, ...]:
        return tuple(oci.named(self.index()))

    def resolve(self, tag: str) -> Optional[Descriptor]:
        found = oci.named(self.index()).get(tag)
        try:
            return None if found is None else oci.read(found)
        except StoreDamaged as problem:
            raise StoreDamaged(f"{tag}: {problem.what}", where=self.name) from None

    def has(self, it: Descriptor) -> bool:
        return self.size(blob_path(it)) == it.size

    @contextlib.contextmanager
    def stream(self, it: Descriptor, start: int = 0) -> Iterator[Stream]:
        if start == it.size:  # no server has a range without a byte
            yield Stream(start, iter(()))
            return
        with self.open(blob_path(it), start if start < it.size else 0) as found:
            if found is None:
                raise StoreDamaged(f"{it.title or 'the object'} is missing: {it.digest}", where=self.name)
            yield found

    def index(self) -> oci.Object:
        """The current index.json; an empty one for no file.

        Raises StoreDamaged, Unreachable.
        """
        return self.parsed_index(self.read_index())

    def parsed_index(self, data: Optional[bytes]) -> oci.Object:
        return oci.parsed(data, f"{self.name}/{INDEX_FILE}")

    def read_index(self) -> Optional[bytes]:
        with self.open(INDEX_FILE, 0) as found:
            return None if found is None else whole(found, f"{self.name}/{INDEX_FILE}")


def whole(stream: Stream, where: str, most: int = _MOST_INDEX) -> bytes:
    """All bytes of a small file. Raises StoreDamaged when there are more than `most`."""
    data = bytearray()
    for piece in stream.pieces:
        data += piece
        if len(data) > most:
            raise StoreDamaged(f"has more than {most:,} bytes, which is not believed", where=where)
    return bytes(data)


def blob_path(it: Descriptor) -> str:
    """The path of a blob in a layout. Raises StoreDamaged for an invalid digest."""
    return f"blobs/sha256/{digest.hex_part(it.digest)}"
