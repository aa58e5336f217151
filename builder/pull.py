"""pull: from a store to a folder on this host, verified and placed atomically. Standard library only.

DEST/HEAD/current -> v3-9f86d081/     a symbolic link, replaced in one step
DEST/HEAD/v3-9f86d081/deploy.json     the manifest with only what was placed, best first
DEST/HEAD/v3-9f86d081/CELL/...        the artifact's files
DEST/HEAD/v3-9f86d081/golden/...      samples to prove artifacts with (builder/selftest.py)
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

from builder import digest
from builder.action import Blob
from builder.errors import StoreDamaged, UsageError
from builder.manifest import Entry, Manifest
from builder.record import RecordError, from_json, to_json
from builder.seams import Store

_DESCRIPTION = "deploy.json"
GOLDEN = "golden"  # no cell's name: those have hyphens


def contents(chain: Sequence[Entry]) -> Iterator[Tuple[str, Blob]]:
    """(path inside the folder, file) of everything that is placed for `chain`."""
    for entry in chain:
        for blob in entry.artifact.files if entry.artifact else ():
            yield f"{_plain(entry.cell)}/{_plain(blob.name)}", blob
    for sample in dict.fromkeys(entry.golden.sample for entry in chain if entry.golden):
        yield f"{GOLDEN}/{_plain(sample.name)}", sample


def place(manifest: Manifest, chain: Sequence[Entry], store: Store, dest: Path) -> Path:
    """Copy the artifacts of `chain` and point `current` at them. Returns the folder; nothing changes on failure."""
    head = dest / _plain(chain[0].head)
    described = dataclasses.replace(manifest, entries=tuple(chain))
    text = json.dumps(to_json(described), indent=1, ensure_ascii=False)
    folder = head / f"v{manifest.version}-{digest.of_bytes(text.encode())[7:15]}"
    head.mkdir(parents=True, exist_ok=True)
    if not _is_whole(folder, chain, text):
        _fill(folder, chain, store, text)
    _point(head / "current", folder.name)
    return folder


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
        return from_json(Manifest, json.loads(path.read_bytes()))
    except (OSError, ValueError, RecordError) as problem:
        raise StoreDamaged(f"does not read: {problem}", where=str(path), hint="run `build pull` again") from None


def _is_whole(folder: Path, chain: Sequence[Entry], text: str) -> bool:
    try:
        described_so = (folder / _DESCRIPTION).read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
    return described_so and all(
        (folder / path).is_file() and digest.of_file(folder / path) == blob.digest for path, blob in contents(chain)
    )


def _fill(folder: Path, chain: Sequence[Entry], store: Store, text: str) -> None:
    """Everything is copied and verified in a folder beside the final one, which then appears by one rename."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        for path, blob in contents(chain):
            copy_verified(store.fetch(blob.digest), partial / path, blob.digest)
        (partial / _DESCRIPTION).write_text(text, encoding="utf-8")
        partial.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _plain(name: str) -> str:
    """A name from a manifest that becomes part of a path: never a path itself."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise StoreDamaged(f"the manifest names a file {name!r}, which is not a plain name")
    return name


def copy_verified(source: Path, dest: Path, wanted: str) -> None:
    dest.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, dest)
    found = digest.of_file(dest)
    if found != wanted:
        raise StoreDamaged(
            f"has the digest {found}, the manifest says {wanted}",
            where=str(source),
            hint="the stored artifact is damaged: delete that file and run `build matrix` again",
        )
    with dest.open("rb") as stream:
        os.fsync(stream.fileno())


def _point(link: Path, name: str) -> None:
    """Replace a symbolic link in one step."""
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    os.replace(fresh, link)
