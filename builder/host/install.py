"""pull: from a store to a folder on this host, verified and placed atomically. Standard library only.

DEST/HEAD/current -> v3-9f86d081/     a symbolic link, replaced in one step
DEST/HEAD/v3-9f86d081/deploy.json     the manifest with only what was placed, best first
DEST/HEAD/v3-9f86d081/CELL/...        the artifact's files
DEST/HEAD/v3-9f86d081/golden/...      samples to prove artifacts with (builder/host/selftest.py)
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import FrozenSet, Iterable, Iterator, List, Optional, Sequence, Tuple

from builder import digest, files
from builder.errors import StoreBusy, StoreDamaged, UsageError
from builder.platforms.platform import Blob
from builder.plugins import Store
from builder.records import RecordError, from_json, to_json
from builder.store.manifest import Entry, Manifest

# What lies in DEST/HEAD: which placed folders there are, whether one is as it was placed, and which go.
#
# DEST/HEAD/.v3-9f86d081.json    size, time and inode of each file when it was placed, and by its own time, when it was last
#                                made current. Only a shortcut: where it is missing or differs, files are hashed again
#
# Placing itself is builder/host/install.py.


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


_DESCRIPTION = "deploy.json"


def contents(chain: Sequence[Entry]) -> Iterator[Tuple[str, Blob]]:
    """(path inside the folder, file) of everything that is placed for `chain`."""
    for entry in chain:
        for blob in entry.artifact.files if entry.artifact else ():
            yield f"{_plain(entry.cell)}/{_plain(blob.name)}", blob
    for sample in dict.fromkeys(entry.golden.sample for entry in chain if entry.golden):
        yield golden_path(sample), sample


def golden_path(sample: Blob) -> str:
    """Where a golden sample lies inside its folder. Samples of one name may differ; no cell's name lacks a hyphen."""
    return f"golden/{digest.hex_part(sample.digest)[:8]}-{_plain(sample.name)}"


def unchanged(manifest: Manifest, chain: Sequence[Entry], dest: Path, keep: int = KEEP) -> Optional[Path]:
    """The folder, when all of `chain` is there and current, and there is nothing to tidy up. Writes nothing needed."""
    folder, text = _planned(manifest, chain, dest)
    if current(folder.parent) != folder.name or surplus(folder.parent, keep):
        return None
    return folder if _is_whole(folder, chain, text) else None


def place(
    manifest: Manifest,
    chain: Sequence[Entry],
    store: Store,
    dest: Path,
    *,
    linked: bool = False,
    keep: int = KEEP,
) -> Path:
    """Place the artifacts of `chain` and point `current` at them. Returns the folder; nothing changes on failure."""
    with locked(dest):
        return point(lay(manifest, chain, store, dest, linked=linked), keep)


def lay(manifest: Manifest, chain: Sequence[Entry], store: Store, dest: Path, *, linked: bool = False) -> Path:
    """Bring the artifacts of `chain` together in a folder that nothing points at yet. The caller holds the lock of `dest`.

    Files are copied and verified on the way. `linked`: `store` is our own, nobody writes to its files, and they have just
    been verified: they are linked where the file system can.
    """
    folder, text = _planned(manifest, chain, dest)
    folder.parent.mkdir(exist_ok=True)
    tidy(folder.parent, sys.maxsize)
    if not _is_whole(folder, chain, text):
        _fill(folder, chain, store, text, linked)
    remember(folder, _names(chain))
    return folder


def point(folder: Path, keep: int = KEEP) -> Path:
    """Let `current` be `folder`, in one step. Of the folders of this head the `keep` last used stay."""
    if current(folder.parent) != folder.name or surplus(folder.parent, keep):
        _point(folder.parent / "current", folder.name)
        tidy(folder.parent, keep)
    return folder


def _planned(manifest: Manifest, chain: Sequence[Entry], dest: Path) -> Tuple[Path, str]:
    """Where it goes, and the text of its deploy.json."""
    described = dataclasses.replace(manifest, entries=tuple(chain))
    text = json.dumps(to_json(described), indent=1, ensure_ascii=False)
    name = f"v{manifest.version}-{digest.of_bytes(text.encode())[7:15]}"
    return dest / _plain(chain[0].head) / name, text


def find(dest: Path, head: Optional[str]) -> Path:
    """The current folder of `head` below `dest`, or of the only head there."""
    heads: List[str] = sorted(p.parent.name for p in dest.glob("*/current"))
    if not heads:
        raise UsageError(f"nothing has been pulled into {dest}", hint="run: build pull")
    if head is None and len(heads) > 1:
        raise UsageError(f"{dest} holds several heads: {', '.join(heads)}", hint=f"add: --head {heads[0]}")
    if head is not None and head not in heads:
        raise UsageError(f"head {head!r} has not been pulled into {dest}", hint=f"there: {', '.join(heads)}")
    return (dest / (head or heads[0]) / "current").resolve()


def described(folder: Path) -> Manifest:
    """The deploy.json of a placed folder."""
    path = folder / _DESCRIPTION
    try:
        return from_json(Manifest, digest.loads(path.read_bytes()))
    except (OSError, ValueError, RecordError) as problem:
        raise StoreDamaged(f"does not read: {problem}", where=str(path), hint="run `build pull` again") from None


def _names(chain: Sequence[Entry]) -> List[str]:
    return [path for path, _ in contents(chain)]


def _is_whole(folder: Path, chain: Sequence[Entry], text: str) -> bool:
    """Is everything there, as it was when it was placed, or else by its digests?"""
    try:
        if (folder / _DESCRIPTION).read_text(encoding="utf-8") != text:
            return False
    except (OSError, UnicodeDecodeError):
        return False
    if is_unchanged(folder, _names(chain)):
        return True
    for path, blob in contents(chain):
        if not (folder / path).is_file() or digest.of_file(folder / path) != blob.digest:
            return False
    remember(folder, _names(chain))
    return True


def _fill(folder: Path, chain: Sequence[Entry], store: Store, text: str, linked: bool) -> None:
    """Everything is brought together in a folder beside the final one, which then appears by one rename.

    A folder that is there and damaged is mended file by file, so that it is at no moment missing.
    """
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=str(folder.parent)))
    try:
        partial.chmod(0o755)
        for path, blob in contents(chain):
            (partial / path).parent.mkdir(exist_ok=True)
            _bring(store.fetch(blob.digest), partial / path, blob.digest, linked)
        with (partial / _DESCRIPTION).open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        for inner in (*(path for path in partial.iterdir() if path.is_dir()), partial):
            files.flush_folder(inner)
        if folder.exists():
            _mend(folder, partial, (*_names(chain), _DESCRIPTION))
        else:
            os.replace(str(partial), str(folder))
        files.flush_folder(folder.parent)
    finally:
        shutil.rmtree(str(partial), ignore_errors=True)


def _mend(folder: Path, partial: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(str(partial / name), str(folder / name))


def _bring(source: Path, dest: Path, wanted: str, linked: bool) -> None:
    if linked:
        with contextlib.suppress(OSError):  # another file system, or one without links
            os.link(str(source), str(dest))
            return
    files.verified(
        source, dest, wanted, "the stored artifact is damaged: delete that file and run `build matrix` again"
    )


def _plain(name: str) -> str:
    """A name from a manifest that becomes part of a path: never a path itself."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise StoreDamaged(f"the manifest names a file {name!r}, which is not a plain name")
    return name


def _point(link: Path, name: str) -> None:
    """Replace a symbolic link in one step."""
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    os.replace(fresh, link)
