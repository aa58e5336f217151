"""The worker as it is sent: this program's own modules, as far as a target needs them, in one archive with a digest.

The digest is over names and contents, so equal modules are sent to a machine once. `boot` finds it again there.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict

import builder

# Folders of ours that only the machine which plans, judges or publishes uses.
LEFT_OUT = ("attest", "audit", "ci", "http", "report", "repositories", "search", "signing", "sources", "verbs")


@dataclass(frozen=True)
class Parcel:
    """`digest`: 64 hex digits."""

    digest: str
    archive: bytes


def pack() -> Parcel:
    sha, archive = hashlib.sha256(), io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in sorted(_modules().items()):
            sha.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
            packed.writestr(name, data)
    return Parcel(sha.hexdigest(), archive.getvalue())


def bootstrap() -> bytes:
    """The text of `boot`, framed for COMMAND."""
    text = (Path(builder.__file__).parent / "remote" / "boot.py").read_bytes() + b"\nstart()\n"
    return b"%d\n" % len(text) + text


# For `python -c`; it holds nothing that any shell would expand inside single quotes.
COMMAND = "import sys;s=sys.stdin.buffer;exec(s.read(int(s.readline())))"


def _modules() -> Dict[str, bytes]:
    root = Path(builder.__file__).absolute().parent.parent
    found: Dict[str, bytes] = {}
    for package in ("builder", "validation"):
        for path in (root / package).rglob("*.py"):
            name = path.relative_to(root)
            if name.parts[1] not in LEFT_OUT:
                found[name.as_posix()] = path.read_bytes()
    return found
