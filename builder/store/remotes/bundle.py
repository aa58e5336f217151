"""A bundle as a repository: one tar with an OCI image layout.

It is one uncompressed tar with an OCI image layout in it, for hosts without a network. It is written once, then
read-only. Written once, then read-only.

It is read in place; nothing is unpacked. Allowed members: `oci-layout`, `index.json` and `blobs/sha256/DIGEST`, each
once, as plain files. The same version gives the same bytes: members have a fixed order, and no times, owners or
permissions.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import tarfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Collection, Dict, Iterable, Iterator, Mapping, NamedTuple, Optional

from builder import digest, files
from builder.errors import StoreDamaged, UsageError
from builder.plugins import Stream
from builder.store import oci, supply
from builder.store.layout import OCI_LAYOUT, Layout
from builder.store.oci import Descriptor
from builder.store.remotes.folder import INDEX_FILE, ByPath, Folder, blob_path

_PLAIN = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}")
_FOLDERS = ("", ".", "blobs", "blobs/sha256")  # as `tar` writes them when a folder is packed; nothing is made of them
_MOST = 200_000  # members
_PIECE = 1 << 20
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
}
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"x": "an extended header",
    b"g": "an extended header",
    b"L": "a long name",
    b"K": "a long name",
}


class _Member(NamedTuple):
    """Where the bytes of a member lie in the tar."""

    offset: int
    size: int


class Bundle(ByPath):
    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        """`address`: the path of a tar. It is opened on first use."""
        self.file = Path(address)
        self._lock = threading.Lock()
        self._found: Optional[Dict[str, _Member]] = None

    @property
    def name(self) -> str:
        return str(self.file)

    def size(self, path: str) -> Optional[int]:
        member = self._members().get(path)
        return None if member is None else member.size

    @contextlib.contextmanager
    def open(self, path: str, start: int) -> Iterator[Optional[Stream]]:
        member = self._members().get(path)
        if member is None:
            yield None
            return
        with self.file.open("rb") as file:
            file.seek(member.offset + start)
            yield Stream(start, _pieces(file, max(0, member.size - start)))

    def lacks(self, it: Descriptor) -> bool:
        """Was it left out when the bundle was made?"""
        return blob_path(it) not in self._members()

    def put(self, it: Descriptor, source: Path) -> None:
        raise self._fixed()

    def tag(self, tag: str, it: Descriptor) -> None:
        raise self._fixed()

    def _fixed(self) -> UsageError:
        return UsageError(
            "nothing can be published to a bundle", where=self.name, hint=f"write it anew: build bundle {self.file}"
        )

    def _members(self) -> Dict[str, _Member]:
        with self._lock:
            if self._found is None:
                self._found = _scanned(self.file)
            return self._found


def _pieces(file: BinaryIO, left: int) -> Iterator[bytes]:
    while left > 0:
        piece = file.read(min(left, _PIECE))
        if not piece:
            return  # it was cut since it was scanned; who asked counts the bytes
        left -= len(piece)
        yield piece


# ------------------------------------------------------------------------------------------- reading the tar


def _scanned(path: Path) -> Dict[str, _Member]:
    """The members, from the headers alone.

    Raises StoreDamaged for a tar that `build bundle` would not write, UsageError for any other file.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    found: Dict[str, _Member] = {}
    length = path.stat().st_size
    with path.open("rb") as file:
        _check_kind(path, file.read(tarfile.BLOCKSIZE))
        file.seek(0)
        for header in iter(lambda: _header(path, file), None):
            offset = file.tell()
            if not 0 <= header.size <= length - offset:
                raise _refused(
                    path, f"{header.name} is said to have {header.size:,} bytes, which are not there: it was cut"
                )
            if _kept(path, header, found):
                found[_plain(header.name)] = _Member(offset, header.size)
            file.seek(offset + -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    if INDEX_FILE not in found:
        raise _refused(path, f"it is a tar without {INDEX_FILE}")
    return found


def _header(path: Path, file: BinaryIO) -> Optional[tarfile.TarInfo]:
    """The next member's header; None at the end, which is a block of zeros."""
    try:
        return tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "backslashreplace")
    except tarfile.HeaderError as problem:
        kind = type(problem).__name__
    if kind == "EOFHeaderError":
        return None
    if kind in ("EmptyHeaderError", "TruncatedHeaderError"):
        raise _refused(path, "it ends in the middle: it was cut")
    raise _refused(path, f"there is no header where one should be, at byte {file.tell() - tarfile.BLOCKSIZE:,}")


def _kept(path: Path, header: tarfile.TarInfo, found: Mapping[str, _Member]) -> bool:
    """Is it a file of the layout? False for its folders; everything else is refused."""
    name = _plain(header.name)
    if header.type == tarfile.DIRTYPE and name in _FOLDERS and not header.size:
        return False
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        kind = _KINDS.get(header.type, "something else than a file")
        raise _refused(path, f"{header.name[:200]!r} is {kind}; a bundle holds plain files only")
    if not _PLAIN.fullmatch(name):
        raise _refused(path, f"{header.name[:200]!r} is no name of an OCI image layout")
    if name in found:
        raise _refused(path, f"{name} is in it twice")
    if len(found) >= _MOST:
        raise _refused(path, f"it has more than {_MOST:,} members")
    return True


def _plain(name: str) -> str:
    """The name without `./`, which `tar -C artifacts -cf FILE .` prepends."""
    return name[2:] if name.startswith("./") else name


def _check_kind(path: Path, start: bytes) -> None:
    """Raises UsageError when the first block is not one of a tar."""
    for magic, kind in _COMPRESSED.items():
        if start.startswith(magic):
            raise UsageError(
                f"is compressed ({kind}); a bundle is a plain tar, so that nothing unpacks to more than it is",
                where=str(path),
                hint="if you know who compressed it, decompress it to a tar first; its content is verified as ever",
            )
    if start[257:262] != b"ustar" and start.strip(b"\0"):
        raise UsageError("is neither a bundle nor a folder", where=str(path), hint="make one: build bundle FILE.tar")


def _refused(path: Path, why: str) -> StoreDamaged:
    return StoreDamaged(
        f"no bundle that can be believed: {why}",
        where=str(path),
        hint="copy it again from where it was made with build bundle",
    )


# ------------------------------------------------------------------------------------------- writing a bundle


@dataclass(frozen=True)
class Bundled:
    """`files`: how many objects and files; `size`: bytes of the tar."""

    files: int
    size: int


def write_bundle(store: Layout, names: Iterable[str], artifacts: Collection[str], file: Path) -> Bundled:
    """Write what the tags `names` lead to as `file`, with only the artifacts in `artifacts`.

    The write is atomic. Raises StoreDamaged for a blob that does not match its name, UsageError when `file` exists and
    is not a tar.
    """
    check_free(file)
    tops, blobs = supply.content(Folder(str(store.root), {}), names, artifacts)
    index = oci.parsed(None, "")
    for tag, top in tops.items():
        index = oci.with_tag(index, tag, oci.entry(top))
    with files.opened(file) as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name, data in (("oci-layout", OCI_LAYOUT), (INDEX_FILE, digest.canonical(index))):
                tar.addfile(_tar_header(name, len(data)), io.BytesIO(data))
            for name in sorted(blobs):
                _add(tar, name, blobs[name], store)
        size = out.tell()
    return Bundled(len(blobs), size)


def _add(tar: tarfile.TarFile, name: str, it: Descriptor, store: Layout) -> None:
    path = store.fetch(it.digest)
    with path.open("rb") as source:
        counted = _Hashing(source)
        try:
            tar.addfile(_tar_header(name, it.size), counted)
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
    """A file that is hashed while it is copied."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.found = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.found.update(data)
        return data


def _tar_header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)  # of 1970, without an owner
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
