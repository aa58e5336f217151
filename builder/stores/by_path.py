"""An OCI image layout read by path, wherever its files lie: in a bucket, behind a web server, within a tar.

What is common to such places. How a file is opened is theirs, and so is writing, where they can. Nothing is kept between
two calls: whoever asks for a tag gets what it names now.
"""

from __future__ import annotations

import abc
import contextlib
from typing import ContextManager, Iterator, Optional, Tuple

from builder import descriptor, digest
from builder.descriptor import Descriptor
from builder.errors import StoreDamaged
from builder.plugins import Stream
from builder.stores import oci, tags

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
        """A file from byte `start` on, or from an earlier one; None when there is none. Raises Unreachable."""

    def tags(self) -> Tuple[str, ...]:
        return tuple(tags.named(self.index()))

    def resolve(self, tag: str) -> Optional[Descriptor]:
        found = tags.named(self.index()).get(tag)
        try:
            return None if found is None else descriptor.read(found)
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
        """index.json as it is now; an empty one where there is none. Raises StoreDamaged, Unreachable."""
        return self.parsed_index(self.read_index())

    def parsed_index(self, data: Optional[bytes]) -> oci.Object:
        return tags.parsed(data, f"{self.name}/{INDEX_FILE}")

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
    """Where a layout keeps what a descriptor names. Raises StoreDamaged for a digest that is none."""
    return f"blobs/sha256/{digest.hex_part(it.digest)}"
