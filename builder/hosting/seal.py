"""The signed manifest beside what was placed: manifest.json as it was signed, and its signatures as files of minisign.

deploy.json says what was placed, and nobody signed it; with these it can be held against what was. Any host can do so without
the store: `build verify --pulled`, or `minisign -Vm manifest.json -x manifest.json.KEY.minisig`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Dict, Optional, Tuple

from builder import files
from builder.store import referrers, versions
from builder.store.layout import Layout
from builder.trust.keyring import MOST_SIGNATURES

MANIFEST, _SIGNATURE = "manifest.json", "manifest.json.{}.minisig"
_MOST_BYTES = 256 << 20
_MOST_TEXT = 4096


def write(folder: Path, store: Layout, version: int) -> None:
    """Keep the manifest of `version` and its signatures in a placed folder; what is there already is left alone."""
    wanted: Dict[str, bytes] = {MANIFEST: store.read(versions.manifest_digest(store, version))}
    for number, text in enumerate(referrers.signatures_of(store, version)[:MOST_SIGNATURES], 1):
        wanted[_SIGNATURE.format(number)] = text.encode()
    for stale in {path.name for path in folder.glob(_SIGNATURE.format("*"))} - set(wanted):
        (folder / stale).unlink()
    for name, data in wanted.items():
        with contextlib.suppress(OSError):
            if (folder / name).read_bytes() == data:
                continue
        files.write(folder / name, data)


def read(folder: Path) -> Optional[Tuple[bytes, Tuple[str, ...]]]:
    """(the manifest's bytes, its signatures); None where they were not kept."""
    path = folder / MANIFEST
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    texts = (
        found.read_bytes().decode("utf-8", errors="replace")
        for found in sorted(folder.glob(_SIGNATURE.format("*")))[:MOST_SIGNATURES]
        if found.stat().st_size <= _MOST_TEXT
    )
    return path.read_bytes(), tuple(texts)
