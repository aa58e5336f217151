"""pull: from a store to a folder on this host, verified and placed atomically. Standard library only.

DEST/HEAD/current -> v3-9f86d081/     a symbolic link, replaced in one step
DEST/HEAD/v3-9f86d081/deploy.json     the manifest with only what was placed, best first
DEST/HEAD/v3-9f86d081/CELL/...        the artifact's files
DEST/HEAD/v3-9f86d081/golden/...      samples to prove artifacts with (builder/hosting/selftest.py)
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

from builder import digest, files
from builder.errors import StoreDamaged, UsageError
from builder.hosting import placed
from builder.platforms.platform import Blob
from builder.plugins import Store
from builder.records import RecordError, from_json, to_json
from builder.store.manifest import Entry, Manifest

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


def unchanged(manifest: Manifest, chain: Sequence[Entry], dest: Path, keep: int = placed.KEEP) -> Optional[Path]:
    """The folder, when all of `chain` is there and current, and there is nothing to tidy up. Writes nothing needed."""
    folder, text = _planned(manifest, chain, dest)
    if placed.current(folder.parent) != folder.name or placed.surplus(folder.parent, keep):
        return None
    return folder if _is_whole(folder, chain, text) else None


def place(
    manifest: Manifest,
    chain: Sequence[Entry],
    store: Store,
    dest: Path,
    *,
    linked: bool = False,
    keep: int = placed.KEEP,
) -> Path:
    """Place the artifacts of `chain` and point `current` at them. Returns the folder; nothing changes on failure."""
    with placed.locked(dest):
        return point(lay(manifest, chain, store, dest, linked=linked), keep)


def lay(manifest: Manifest, chain: Sequence[Entry], store: Store, dest: Path, *, linked: bool = False) -> Path:
    """Bring the artifacts of `chain` together in a folder that nothing points at yet. The caller holds the lock of `dest`.

    Files are copied and verified on the way. `linked`: `store` is our own, nobody writes to its files, and they have just
    been verified: they are linked where the file system can.
    """
    folder, text = _planned(manifest, chain, dest)
    folder.parent.mkdir(exist_ok=True)
    placed.tidy(folder.parent, sys.maxsize)
    if not _is_whole(folder, chain, text):
        _fill(folder, chain, store, text, linked)
    placed.remember(folder, _names(chain))
    return folder


def point(folder: Path, keep: int = placed.KEEP) -> Path:
    """Let `current` be `folder`, in one step. Of the folders of this head the `keep` last used stay."""
    if placed.current(folder.parent) != folder.name or placed.surplus(folder.parent, keep):
        _point(folder.parent / "current", folder.name)
        placed.tidy(folder.parent, keep)
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
    if placed.is_unchanged(folder, _names(chain)):
        return True
    for path, blob in contents(chain):
        if not (folder / path).is_file() or digest.of_file(folder / path) != blob.digest:
            return False
    placed.remember(folder, _names(chain))
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
