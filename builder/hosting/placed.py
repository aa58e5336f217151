"""What lies in DEST/HEAD: which placed folders there are, whether one is as it was placed, and which go.

DEST/HEAD/.v3-9f86d081.json    size, time and inode of each file when it was placed, and by its own time, when it was last
                               made current. Only a shortcut: where it is missing or differs, files are hashed again

Placing itself is builder/hosting/pull.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import FrozenSet, Iterable, Iterator, List, Optional

from builder import files
from builder.errors import StoreBusy

KEEP = 2  # placed versions of a head: the current one, and the one before it
_WAIT = 120.0  # seconds, for another pull into the same place
_FORM = re.compile(r"v\d+-[0-9a-f]{8}")
_PARTIAL, _GONE = ".partial-", ".gone-"


@contextlib.contextmanager
def locked(dest: Path) -> Iterator[None]:
    """Nobody else places into `dest` meanwhile. Raises StoreBusy when another pull does so for too long."""
    dest.mkdir(parents=True, exist_ok=True)
    with (dest / ".lock").open("ab") as file:
        try:
            ours = files.take(file, wait=_WAIT)
        except OSError:  # a file system without locks: as before there were any
            ours = True
        if not ours:
            hint = "wait for it to end, and run the same command again"
            raise StoreBusy("another `build pull` places here", where=str(dest), hint=hint)
        yield


def folders(head: Path) -> List[Path]:
    """Every placed folder, last used first."""
    found = [path for path in head.glob("v*") if _FORM.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=_used, reverse=True)


def versions(dest: Path) -> FrozenSet[int]:
    """The numbers of the versions that are placed anywhere in `dest`, as current ones or as earlier ones."""
    found = (folder.name for head in dest.iterdir() if head.is_dir() for folder in folders(head))
    return frozenset(int(name[1:].partition("-")[0]) for name in found)


def current(head: Path) -> Optional[str]:
    """The name of the folder that `current` points to."""
    try:
        return os.readlink(str(head / "current"))
    except OSError:
        return None


def remember(folder: Path, names: Iterable[str]) -> None:
    """`folder` holds these files, has just been verified, and is about to be used."""
    text = json.dumps({name: _stamp(folder / name) for name in names}, indent=0)
    with contextlib.suppress(OSError):  # without it the next pull takes longer, that is all
        files.write(_record(folder), text.encode())


def is_unchanged(folder: Path, names: Iterable[str]) -> bool:
    """Are these files as they were when they were remembered? Nothing of them is read."""
    try:
        known = json.loads(_record(folder).read_bytes())
        return isinstance(known, dict) and all(known.get(name) == _stamp(folder / name) for name in names)
    except (OSError, ValueError):
        return False


def surplus(head: Path, keep: int) -> List[Path]:
    """The folders that are neither current nor among the `keep` last used."""
    now = current(head)
    others = [folder for folder in folders(head) if folder.name != now]
    return others[max(keep - 1, 0) :]


def tidy(head: Path, keep: int) -> None:
    """Remove what killed pulls left, and the surplus. The caller holds the lock."""
    for folder in surplus(head, keep):
        with contextlib.suppress(OSError):
            os.rename(str(folder), str(folder.with_name(_GONE + folder.name)))  # gone in one step
            _record(folder).unlink()
    for path in head.glob(".*"):
        if path.name.startswith((_PARTIAL, _GONE)):
            shutil.rmtree(str(path), ignore_errors=True)
        elif re.fullmatch(r"\.current-\d+|\.self-test\.json-\d+|\.v.*\.json-\d+", path.name):
            with contextlib.suppress(OSError):
                path.unlink()


def discard(folder: Path) -> None:
    """Remove a folder that was not made current. The caller holds the lock."""
    if folder.name != current(folder.parent):
        shutil.rmtree(str(folder), ignore_errors=True)
        with contextlib.suppress(OSError):
            _record(folder).unlink()


def _record(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.json")


def _used(folder: Path) -> int:
    times = [folder.stat().st_mtime_ns]
    with contextlib.suppress(OSError):
        times.append(_record(folder).stat().st_mtime_ns)
    return max(times)


def _stamp(file: Path) -> List[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]
