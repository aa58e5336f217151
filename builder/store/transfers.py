"""Fetching by digest from untrusted repositories, verified and resumable.

A file grows in the store's `incoming` folder, locked by one process, and gets its name once size and digest match. A
fetch that was cut resumes where it ended, in this process or in a later one. `Pace` bounds the transfers of one
command.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from pathlib import Path
from typing import BinaryIO, Callable, Generic, Iterable, Iterator, List, Optional, TypeVar

from builder import files
from builder.errors import DeployError, StoreBusy, StoreDamaged, Unreachable
from builder.files import write_all
from builder.plugins import Repository
from builder.store.layout import Layout
from builder.store.oci import Descriptor
from builder.terminal import Meter

# ------------------------------------------------------------------------------------------- several transfers at once


JOBS, SECONDS, TRIES = 4, 3600.0, 5
_T = TypeVar("_T")
_PATIENCE = 2.0  # seconds; for threads that are stopped to notice it


class Stopped(Exception):
    """Another transfer failed, or the user interrupted: end without a message."""


class Pace:
    def __init__(self, meter: Optional[Meter] = None, *, jobs: int = JOBS, seconds: float = SECONDS) -> None:
        """`jobs` transfers at once; all of them have `seconds` from now."""
        self.meter, self.jobs, self.seconds = meter or Meter(), jobs, seconds
        self._until = time.monotonic() + seconds
        self._stop = threading.Event()

    def go_on(self) -> None:
        """Raises Unreachable when the time is over, Stopped when another transfer failed."""
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() > self._until:
            raise Unreachable(
                f"the transfer took longer than {self.seconds:g} seconds in all",
                hint="the same command goes on from here; give it more time with --timeout SECONDS",
            )

    def rest(self, seconds: float) -> None:
        """Wait, but not for a transfer that is stopped. Raises as `go_on`."""
        self._stop.wait(max(0.0, min(seconds, self._until - time.monotonic())))
        self.go_on()

    def each(self, items: Iterable[_T], do: Callable[[_T], None]) -> None:
        """Run `do` with every item, `jobs` at once.

        Raises the first failure after the others have stopped.
        """
        waiting = list(items)
        if self.jobs == 1 or len(waiting) < 2:
            for item in waiting:
                self.go_on()
                do(item)
            return
        crew = _Crew(iter(waiting), self)
        threads = [
            threading.Thread(target=crew.work, args=(do,), daemon=True) for _ in range(min(self.jobs, len(waiting)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive() and not crew.failures:
                    thread.join(0.1)
        finally:
            if crew.failures or any(thread.is_alive() for thread in threads):
                self._stop.set()
            until = time.monotonic() + _PATIENCE
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, until - time.monotonic()))
        if crew.failures:
            raise crew.failures[0]


class _Crew(Generic[_T]):
    """The threads of one `Pace.each`.

    They are daemons. A thread that hangs in a system call stops when the call returns, or with the process.
    """

    def __init__(self, items: Iterator[_T], pace: Pace) -> None:
        self._items, self._pace = items, pace
        self._lock = threading.Lock()
        self.failures: List[BaseException] = []

    def work(self, do: Callable[[_T], None]) -> None:
        try:
            for item in self._own():
                do(item)
        except Stopped:
            pass
        except BaseException as problem:  # handed to who waits, and raised there
            self.failures.append(problem)

    def _own(self) -> Iterator[_T]:
        while True:
            self._pace.go_on()
            with self._lock:
                try:
                    item = next(self._items)
                except StopIteration:
                    return
            yield item


# ------------------------------------------------------------------------------------------- fetching


MOST_OBJECT = 16 << 20  # bytes of a manifest or an index; those of this program have some hundred thousand
_PIECE = 256 << 10
_STANDING = 60.0  # seconds without a byte more, after which another process is not waited for


def read(place: Repository, it: Descriptor, most: int = MOST_OBJECT) -> bytes:
    """A small file or object, verified.

    Raises StoreDamaged for another or a larger one than `most`. Starts again when the connection is cut.
    """
    if it.size > most:
        raise _wrong(place, it, f"is said to have {it.size:,} bytes; at most {most:,} are taken")
    pace = Pace(jobs=1)
    for again in range(1, TRIES + 1):
        try:
            data = _read(place, it)
            break
        except Unreachable as problem:
            if not problem.passing or again == TRIES:
                raise
        pace.rest(0.1 * 2**again)
    if len(data) != it.size or "sha256:" + hashlib.sha256(data).hexdigest() != it.digest:
        raise _wrong(place, it, "has other content than its name says")
    return bytes(data)


def _read(place: Repository, it: Descriptor) -> bytearray:
    """The bytes received, bounded when the repository sends too many."""
    data = bytearray()
    with place.stream(it) as stream:
        for piece in stream.pieces:
            data += piece
            if len(data) > it.size:
                break
    return data


def fetch(place: Repository, it: Descriptor, store: Layout, pace: Optional[Pace] = None) -> Path:
    """A file in `store`, fetched if it is missing.

    Raises StoreDamaged, StoreBusy, Unreachable.
    """
    pace = pace or Pace(jobs=1)
    while not store.holds(it.digest):
        file = _taken(place, it, store, pace)
        if file is not None:
            with file:
                _Growth(place, it, file, pace).fetched()
                return store.adopt(store.incoming(it.digest), it.digest)
    pace.meter.moved(it.size, kept=True)
    return store.fetch(it.digest)


def _taken(place: Repository, it: Descriptor, store: Layout, pace: Pace) -> Optional[BinaryIO]:
    """The partial file, locked for this thread.

    None when another process has completed it.
    """
    path = store.incoming(it.digest)
    with contextlib.ExitStack() as until:
        file = until.enter_context(path.open("ab+", buffering=0))
        size, since = -1, time.monotonic()
        while not files.take(file):
            grown = os.fstat(file.fileno()).st_size
            if grown != size:
                size, since = grown, time.monotonic()
            elif time.monotonic() - since > _STANDING:
                raise StoreBusy(
                    f"{it.title or it.digest} is being fetched by another process, "
                    f"and stands at {size:,} of {it.size:,} bytes",
                    where=str(path),
                    hint="end that process, or wait for it, and run the same command again",
                )
            pace.rest(0.1)
        if not _still_grows(file, path) or store.holds(it.digest):
            return None
        until.pop_all()  # left open for the caller
        return file


def _still_grows(file: BinaryIO, path: Path) -> bool:
    """Has it not got its final name meanwhile, under which it must not be written to?"""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


class _Growth:
    """One growing file: open, locked, with the hash of its content."""

    def __init__(self, place: Repository, it: Descriptor, file: BinaryIO, pace: Pace) -> None:
        self._place, self._it, self._file, self._pace = place, it, file, pace
        self._found, self._size = hashlib.sha256(), 0

    def fetched(self) -> None:
        """Returns when the file is whole and the right one."""
        before = self._take_up()
        if self._size < self._it.size:
            self._grow()
        if before and not self._is_right():  # an earlier piece may be of another day, or of a bad disk
            self._restart()
            self._grow()
        if not self._is_right():
            self._restart()
            raise _wrong(self._place, self._it, "has other content than its name says")
        self._pace.meter.done()

    def _take_up(self) -> int:
        """Hash what an earlier process left. Returns its size."""
        self._file.seek(0)
        for piece in iter(lambda: self._file.read(_PIECE), b""):
            self._pace.go_on()
            self._add(piece, kept=True)
        if self._size > self._it.size:
            self._restart()
        return self._size

    def _grow(self) -> None:
        """To its full length, in as many tries as bring something, and a few that do not."""
        vain = 0
        while True:
            before = self._size
            cut = self._try()
            if self._size == self._it.size:
                return
            vain = 1 if self._size > before else vain + 1
            if vain == TRIES:
                raise cut
            self._pace.rest(0.1 * 2**vain * (0.5 + random.random() / 2))

    def _try(self) -> DeployError:
        """Continue from the current size until the end or a cut.

        Returns the error of the cut.
        """
        with self._place.stream(self._it, self._size) as stream:  # connecting was tried often enough below
            if stream.start != self._size:  # the place cannot begin in the middle
                self._restart()
            try:
                for piece in stream.pieces:
                    self._take(piece)
            except Unreachable as problem:
                if not problem.passing:
                    raise
                return problem
        return _wrong(
            self._place,
            self._it,
            f"ended after {self._size:,} of {self._it.size:,} bytes; the next try goes on from there",
        )

    def _take(self, piece: bytes) -> None:
        self._pace.go_on()
        if self._size + len(piece) > self._it.size:
            self._restart()
            raise _wrong(self._place, self._it, f"sends more than its {self._it.size:,} bytes")
        write_all(self._file, piece)
        self._add(piece)

    def _add(self, piece: bytes, *, kept: bool = False) -> None:
        self._found.update(piece)
        self._size += len(piece)
        self._pace.meter.moved(len(piece), kept=kept)

    def _restart(self) -> None:
        self._file.truncate(0)
        self._pace.meter.moved(-self._size, kept=True)
        self._found, self._size = hashlib.sha256(), 0

    def _is_right(self) -> bool:
        return self._size == self._it.size and "sha256:" + self._found.hexdigest() == self._it.digest


def _wrong(place: Repository, it: Descriptor, why: str) -> StoreDamaged:
    return StoreDamaged(f"{it.title or it.digest} {why}", where=place.name)
