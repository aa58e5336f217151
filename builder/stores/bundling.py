"""Writing a bundle: a version as one uncompressed tar with an OCI image layout in it. `repositories/bundle.py` reads them.

The same version gives the same bytes: members stand in a fixed order, without times, owners or permissions of this machine.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Collection, Iterable

from builder import digest, files
from builder.descriptor import Descriptor
from builder.errors import StoreDamaged, UsageError
from builder.stores import bringing, tags
from builder.stores.by_path import INDEX_FILE
from builder.stores.folder import Folder
from builder.stores.layout import OCI_LAYOUT, Layout


@dataclass(frozen=True)
class Bundled:
    """`files`: how many objects and files; `size`: bytes of the tar."""

    files: int
    size: int


def write(store: Layout, names: Iterable[str], artifacts: Collection[str], file: Path) -> Bundled:
    """Write what the tags `names` lead to as `file`, of artifacts only those whose digests are `artifacts`.

    The file appears whole or not at all. Raises StoreDamaged for a blob with other content than its name, UsageError when
    `file` is there and is no tar.
    """
    check_free(file)
    tops, blobs = bringing.content(Folder(str(store.root), {}), names, artifacts)
    index = tags.parsed(None, "")
    for tag, top in tops.items():
        index = tags.with_tag(index, tag, tags.entry(top))
    with files.opened(file) as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name, data in (("oci-layout", OCI_LAYOUT), (INDEX_FILE, digest.canonical(index))):
                tar.addfile(_header(name, len(data)), io.BytesIO(data))
            for name in sorted(blobs):
                _add(tar, name, blobs[name], store)
        size = out.tell()
    return Bundled(len(blobs), size)


def _add(tar: tarfile.TarFile, name: str, it: Descriptor, store: Layout) -> None:
    path = store.fetch(it.digest)
    with path.open("rb") as source:
        counted = _Hashing(source)
        try:
            tar.addfile(_header(name, it.size), counted)
        except OSError as problem:
            if problem.errno is not None:  # tarfile's own "unexpected end of data" has none
                raise
        if counted.found.hexdigest() != digest.hex_part(it.digest) or source.read(1):
            raise StoreDamaged(
                f"{it.title or it.digest} has other content than its name says",
                where=str(path),
                hint="delete that file and run `build matrix` again",
            )


class _Hashing(io.RawIOBase):
    """A file whose bytes are hashed while they are copied."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.found = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.found.update(data)
        return data


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)  # of 1970, owned by nobody in particular
    header.size = size
    return header


def check_free(file: Path) -> None:
    """Raises UsageError when a bundle cannot be written there."""
    if file.is_dir() or (file.exists() and not _is_tar(file)):
        what = "a folder" if file.is_dir() else "there, and no bundle"
        raise UsageError(f"{file} is {what}", hint="name a new file, such as bundle.tar")
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}", hint=f"mkdir -p {file.parent}")


def _is_tar(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(tarfile.BLOCKSIZE)[257:262] == b"ustar"
