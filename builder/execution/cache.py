"""What a machine that is worked on keeps: files by digest, unfinished ones, and what this run has done there already."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from builder import digest
from builder.actions.action import Result
from builder.errors import StoreDamaged, Unreachable
from builder.execution.messages import File
from builder.records import RecordError, from_json, to_json
from builder.store.layout import Layout

FULL = (errno.ENOSPC, errno.EDQUOT)  # what a system says of a disk with no room
_KEPT = 14 * 86400  # seconds since it was last used
_UNFINISHED = 3600  # seconds since anything came: whoever lost the connection is back in a minute, or has given up


class Cache:
    """`free`: bytes of disk space that are left alone. Unfinished files and results belong to one run."""

    def __init__(self, folder: Path, run: str, free: int) -> None:
        self.folder, self.store, self._free = folder, Layout(folder), free
        self._run = folder / "runs" / run
        self._seen: Dict[str, bool] = {}

    def needed(self, files: Tuple[File, ...]) -> Tuple[File, ...]:
        """Those that are not here whole; `start` is how much of them came with an earlier try. Raises Unreachable when the
        disk has no room for the rest."""
        lacking = [self._begun(file) for file in dict.fromkeys(files) if not self._holds(file)]
        self.check_room(sum(file.size - file.start for file in lacking))
        return tuple(lacking)

    def check_room(self, size: int = 0) -> None:
        """Have `size` bytes of inputs room, beside what is left alone? Raises Unreachable: another day, or
        on another machine, the same action may be performed."""
        free = self.room()
        if free - size < self._free:
            needs = f"its inputs need {size / 2**20:,.1f} MiB; " if size else ""
            raise Unreachable(
                f"{needs}{free >> 20:,} MiB are free in {self.folder}, of which {self._free >> 20:,} MiB are left alone",
                hint="free disk space there, or set `worker: {folder: ..., free: ...}` of the target in matrix.yaml",
            )

    def room(self) -> int:
        there = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        return shutil.disk_usage(there).free

    def take(self, files: Tuple[File, ...], pull: Callable[[int, Callable[[bytes], None]], None]) -> None:
        """The bytes of the files, in order, from `pull`. All are taken from the connection, whatever becomes of them."""
        problems: List[Exception] = []
        for file in files:
            try:
                self._take(file, pull)
            except _Aside as aside:
                problems.append(aside.problem)
        if problems:
            raise problems[0]

    def recall(self, key: str) -> Optional[Result]:
        """What this very run had done here before its connection was lost."""
        try:
            result = from_json(Result, json.loads(self._place(key).read_bytes()))
        except (OSError, ValueError, RecordError):
            return None
        return result if result.key == key and all(map(self.store.has, result.outputs)) else None

    def record(self, result: Result) -> None:
        self._run.mkdir(parents=True, exist_ok=True)
        self._place(result.key).write_text(json.dumps(to_json(result)), encoding="utf-8")

    def sweep(self) -> None:
        """What killed sessions left, and what nobody has used for long. For whoever holds the machine."""
        shutil.rmtree(self.folder / ".deploymatrix" / "work", ignore_errors=True)
        for path in self.folder.glob("runs/*/*"):
            if path.suffix != ".json":
                _remove(path, _UNFINISHED)
        for pattern in ("worker/*", "runs/*", "blobs/sha256/*"):
            for path in self.folder.glob(pattern):
                _remove(path, _KEPT)

    def _place(self, key: str) -> Path:
        return self._run / f"{digest.hex_part(key)}.json"

    def _incoming(self, file: File) -> Path:
        self._run.mkdir(parents=True, exist_ok=True)
        return self._run / digest.hex_part(file.digest)

    def _holds(self, file: File) -> bool:
        """Is it here, and is it what its name says? Each is read once a session."""
        if not self.store.holds(file.digest):
            return False
        path = self.store.fetch(file.digest)
        if file.digest not in self._seen:
            self._seen[file.digest] = digest.of_file(path) == file.digest
        if not self._seen[file.digest]:
            path.unlink()
            del self._seen[file.digest]
            return False
        os.utime(path)
        return True

    def _begun(self, file: File) -> File:
        growing = self._incoming(file)
        start = growing.stat().st_size if growing.exists() else 0
        return File(file.digest, file.size, start if start < file.size else 0)

    def _take(self, file: File, pull: Callable[[int, Callable[[bytes], None]], None]) -> None:
        growing, left = self._incoming(file), file.size - file.start
        broken: Optional[OSError] = None
        with growing.open("r+b" if growing.exists() else "w+b") as stream:
            stream.truncate(file.start)
            stream.seek(file.start)

            def write(piece: bytes) -> None:
                nonlocal broken
                if broken is None:
                    try:
                        stream.write(piece)
                        stream.flush()
                    except OSError as problem:  # a full disk: what follows is read and left
                        broken = problem

            pull(left, write)
        if broken is not None:
            growing.unlink()
            raise _Aside(broken)
        if growing.stat().st_size != file.size or digest.of_file(growing) != file.digest:
            growing.unlink()
            raise _Aside(StoreDamaged(f"{file.digest} arrived with other content than its name says"))
        self.store.adopt(growing, file.digest)
        self._seen[file.digest] = True


def _remove(path: Path, seconds: float) -> None:
    """When nothing has touched it for so long."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > seconds:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


class _Aside(Exception):
    """A file that was not taken, while the connection goes on."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(str(problem))
        self.problem = problem
