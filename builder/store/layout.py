"""The local store: an OCI image layout, with the action records beside it.

    artifacts/
      oci-layout  index.json  blobs/sha256/...      what `skopeo` or `oras` copies
      .deploymatrix/results/KEY.json                results of actions, by key
      .deploymatrix/pending/CELL.json               orders for another machine
      .deploymatrix/work/                           workspaces; unused ones are removed when a run starts
      .deploymatrix/incoming/                       partial downloads, by digest
      .deploymatrix/run.json                        the run that holds the store, or was interrupted

A blob gets its name by a rename once it is complete and flushed. A result is recorded after its blobs. So a later run
never reads partial data, whenever the program is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Optional, Tuple

from builder import digest, files
from builder.errors import StoreBusy, StoreDamaged
from builder.platforms.platform import Blob
from builder.records import RecordError, from_json, to_json

if TYPE_CHECKING:  # at run time only where they are read: who pulls need not load every recipe of a build
    from builder.actions.action import Pending, Result

_MARKER = "oci-layout"  # never replaced, so that it can be locked: shared by readers, alone by a collector
_COLLECTING = 60  # seconds; that a reader waits for a collector
OCI_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_EMPTY_INDEX: digest.Json = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [],
}


class Layout:
    def __init__(self, root: Path) -> None:
        """Opens nothing and writes nothing: reading a store must not change it."""
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._private = root / ".deploymatrix"

    @property
    def ongoing(self) -> Path:
        return self._private / "run.json"

    # ------------------------------------------------------------------ blobs

    def fetch(self, digest_: str) -> Path:
        path = self._blobs / digest.hex_part(digest_)
        if not path.is_file():
            raise StoreDamaged(
                f"{digest_} is missing", where=str(self.root), hint="run `build matrix` again to remake it"
            )
        return path

    def read(self, digest_: str) -> bytes:
        """The bytes of a small blob, verified."""
        data = self.fetch(digest_).read_bytes()
        if digest.of_bytes(data) != digest_:
            raise StoreDamaged(
                f"{digest_} has other content than its name says",
                where=str(self.fetch(digest_)),
                hint="delete that file and run `build matrix` again",
            )
        return data

    def holds(self, digest_: str) -> bool:
        return (self._blobs / digest.hex_part(digest_)).is_file()

    def has(self, blob: Blob) -> bool:
        try:
            return (self._blobs / digest.hex_part(blob.digest)).stat().st_size == blob.size
        except OSError:
            return False

    def put(self, file: Path) -> Blob:
        blob = Blob(file.name, digest.of_file(file), file.stat().st_size)
        if self.has(blob):
            file.unlink()
        else:
            self._settle(file, self._blobs / digest.hex_part(blob.digest))
        return blob

    def put_bytes(self, name: str, data: bytes) -> Blob:
        known = Blob(name, digest.of_bytes(data), len(data))
        if self.has(known):
            return known
        with self.workspace() as work:
            file = work / "blob"
            file.write_bytes(data)
            return dataclasses.replace(self.put(file), name=name)

    def incoming(self, digest_: str) -> Path:
        """The path of a partial download.

        It survives a kill, so that the fetch can resume.
        """
        folder = self._private / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / digest.hex_part(digest_)

    def adopt(self, file: Path, digest_: str) -> Path:
        """Move a file of verified bytes to its blob. Returns its path."""
        place = self._blobs / digest.hex_part(digest_)
        self._settle(file, place)
        return place

    def blobs(self) -> Iterator[Tuple[str, int]]:
        """Every blob that is here: digest and size, in no order."""
        if self._blobs.is_dir():
            with os.scandir(str(self._blobs)) as found:
                for item in found:
                    if digest.is_one(f"sha256:{item.name}"):
                        yield f"sha256:{item.name}", item.stat().st_size

    def discard(self, digest_: str) -> None:
        """Remove a blob. Only for a collector."""
        self._remove(self._blobs / digest.hex_part(digest_))

    def arriving(self) -> Tuple[Path, ...]:
        """Files that are still being fetched, or were when a program ended."""
        return tuple(sorted((self._private / "incoming").glob("*")))

    # ------------------------------------------------------------------ results

    def recall(self, key: str) -> Optional[Result]:
        from builder.actions.action import Result

        try:
            data = json.loads((self._private / "results" / f"{digest.hex_part(key)}.json").read_bytes())
            result = from_json(Result, data)
        except (FileNotFoundError, ValueError, RecordError):
            return None  # never recorded, or by a version whose records differ: perform it again
        return result if result.key == key and all(map(self.has, result.outputs)) else None

    def results(self) -> Iterator[Result]:
        """Every recorded result whose files are here, without records of another version."""
        for path in sorted((self._private / "results").glob("*.json")):
            found = self.recall(f"sha256:{path.stem}")
            if found is not None:
                yield found

    def recorded(self) -> Iterator[Tuple[str, Path]]:
        """Every record of a result, whole or not: key and file."""
        for path in sorted((self._private / "results").glob("*.json")):
            if digest.is_one(f"sha256:{path.stem}"):
                yield f"sha256:{path.stem}", path

    def forget(self, key: str) -> None:
        """Remove the record of a result; its files stay."""
        self._remove(self._private / "results" / f"{digest.hex_part(key)}.json")

    def record(self, result: Result) -> None:
        self._write(self._private / "results" / f"{digest.hex_part(result.key)}.json", to_json(result))

    def remember(self, pending: Pending) -> None:
        """Keep the order of a cell for another machine."""
        path, wanted = self._private / "pending" / f"{pending.cell}.json", to_json(pending)
        try:
            if json.loads(path.read_bytes()) == wanted:  # reading is faster than writing, and mostly nothing is new
                return
        except (FileNotFoundError, ValueError):
            pass
        self._write(path, wanted)

    def orders(self) -> int:
        """The number of pending cells, including those in records of another version."""
        return len(self.orders_at())

    def orders_at(self) -> Tuple[Path, ...]:
        return tuple(sorted((self._private / "pending").glob("*.json")))

    def pending(self) -> Tuple[Pending, ...]:
        """Every pending order, by cell, without records of another version."""
        from builder.actions.action import Pending

        found = []
        for path in self.orders_at():
            with contextlib.suppress(ValueError, RecordError):
                found.append(from_json(Pending, json.loads(path.read_bytes())))
        return tuple(found)

    # ------------------------------------------------------------------ the index

    def index(self) -> digest.Json:
        try:
            return digest.loads((self.root / "index.json").read_bytes())
        except FileNotFoundError:
            return _EMPTY_INDEX
        except ValueError as problem:
            raise StoreDamaged(f"not JSON: {problem}", where=str(self.root / "index.json")) from None

    def replace_index(self, index: digest.Json) -> None:
        self.begin()
        self._write(self.root / "index.json", index)

    # ------------------------------------------------------------------ writing

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A temporary folder on the store's file system.

        No sweep removes it while it is in use.
        """
        parent = self._private / "work"
        held = -1
        while held < 0:
            parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # a sweep was faster: another one
                folder = Path(tempfile.mkdtemp(dir=parent))
                held = _held(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)

    @contextlib.contextmanager
    def locked(self, wait: float = 0) -> Iterator[None]:
        """Hold the store for one run, after at most `wait` seconds.

        Sweep what a killed run left. The lock ends with the process. Raises StoreBusy.
        """
        self._private.mkdir(parents=True, exist_ok=True)
        with (self._private / "lock").open("a+") as file:
            if not files.take(file, wait=wait):
                file.seek(0)
                raise StoreBusy(
                    f"another run holds this store (process {file.read().strip() or 'unknown'})",
                    where=str(self.root),
                    hint="wait for it to end, or give this run another store with --store",
                )
            with contextlib.suppress(
                OSError
            ):  # a full disk, which a collector is to mend: the number is for messages only
                file.truncate(0)
                os.write(file.fileno(), str(os.getpid()).encode())  # unbuffered: nothing is left to fail when it closes
            self._sweep()
            yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold off collection.

        Waits for a running one; any number of readers may run beside a writer. Also for adding files that no version
        names yet. Does nothing where there is no store.
        """
        with contextlib.ExitStack() as until:
            try:
                file = until.enter_context((self.root / _MARKER).open("rb"))
                if not files.take(file, shared=True, wait=_COLLECTING):
                    raise StoreBusy("is being collected", where=str(self.root), hint="wait for `build gc` to end")
            except OSError:
                pass  # no store yet, or a file system without locks, where `collecting` is refused
            yield

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Hold the store alone, for removing files. Raises StoreBusy."""
        with self.locked(), contextlib.ExitStack() as until:
            self.begin()
            file = until.enter_context((self.root / _MARKER).open("rb+"))
            if not files.take(file):
                raise StoreBusy(
                    "is being read or published to", where=str(self.root), hint="wait for it to end, and try again"
                )
            yield

    def begin(self) -> None:
        """Make it a store, if it is none yet."""
        marker = self.root / _MARKER
        if not marker.exists():
            with self.workspace() as work:
                (work / _MARKER).write_bytes(OCI_LAYOUT)
                self._settle(work / _MARKER, marker, read_only=False)

    def _sweep(self) -> None:
        """Remove workspaces that no living process uses."""
        for folder in (self._private / "work").glob("*"):
            with contextlib.suppress(OSError):
                held = os.open(str(folder), os.O_RDONLY)
                try:
                    if _unused(held):
                        shutil.rmtree(str(folder), ignore_errors=True)
                finally:
                    os.close(held)

    @staticmethod
    def _remove(path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def _write(self, path: Path, value: digest.Json) -> None:
        with self.workspace() as work:
            file = work / path.name
            file.write_bytes(_text(value))
            self._settle(file, path, read_only=False)

    @staticmethod
    def _settle(file: Path, place: Path, *, read_only: bool = True) -> None:
        """Flush, then rename: the one way anything gets its name in a store."""
        place.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        if read_only:
            file.chmod(0o444)
        os.replace(file, place)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _held(folder: Path) -> int:
    """An open workspace, locked; -1 when a sweep took it in between."""
    opened = os.open(str(folder), os.O_RDONLY)
    with contextlib.suppress(OSError):  # a file system without locks: see _unused
        files.take(opened, shared=True, wait=_COLLECTING)
    if not folder.exists():
        os.close(opened)
        return -1
    return opened


def _unused(workspace: int) -> bool:
    try:
        return files.take(workspace)
    except OSError:  # a file system that cannot lock folders (NFS): a day old means unused
        return time.time() - os.fstat(workspace).st_mtime > 24 * 3600


def _text(value: digest.Json) -> bytes:
    """Indented JSON in the order of the fields, readable for users."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
