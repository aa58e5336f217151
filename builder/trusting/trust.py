"""Whom this machine trusts, and whether a version of a store is signed by them. `builder/trust/keyring.py` proves it of any bytes.

Trusted keys are the public keys in a folder of the person's: `deploymatrix/trusted/NAME.pub` below XDG_CONFIG_HOME or
~/.config, or the folder that DEPLOYMATRIX_TRUSTED names. What is signed is manifest.json, which names every artifact by
digest. Without a trusted key nothing is asked; with one, nothing unsigned is taken. Beside the pinned keys lie the key
statements of their owners, as far as they were accepted here.
Written by hand: the client of tuf 6.0, the newest for Python 3.8, does not import there.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Callable, Mapping, Optional, Tuple

from builder import clock, files
from builder.errors import StoreDamaged, UsageError
from builder.plugins import Repository
from builder.stores import signatures, statements, versions
from builder.stores.layout import Layout
from builder.trust import key_memory, key_statements, minisign
from builder.trust.key_statements import History
from builder.trust.keyring import (
    Group,
    Keyring,
    Proof,
    Trusted,
    proven,  # of bytes that are no version
)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def folder(environ: Mapping[str, str]) -> Path:
    named = environ.get("DEPLOYMATRIX_TRUSTED")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "~"), ".config")
    return Path(named) if named else Path(config).expanduser() / "deploymatrix" / "trusted"


def keys(place: Path) -> Tuple[Trusted, ...]:
    """The pinned keys by name. A file that is no key raises UsageError: it is not passed over."""
    return tuple(Trusted(path.stem, read_key(path)) for path in sorted(place.glob("*.pub")))


def these(key: Optional[str], environ: Mapping[str, str], store: Optional[Layout] = None) -> Keyring:
    """Whose signatures count on this machine: the one key that was named (a file, or the key itself), or else all that
    are pinned here and all that statements of theirs name, of which `store` may have a newer one. Raises UsageError."""
    if key is None:
        return learned(environ, lambda: statements.of(store) if store else None, str(store and store.root))
    path = Path(key)
    if os.path.exists(path):  # false also for what is too long for a name
        return Keyring((Group((Trusted(path.stem, read_key(path)),)),))
    return Keyring((Group((Trusted("--key", minisign.public_key(key, key[:80])),)),))


def at(key: Optional[str], environ: Mapping[str, str], place: Repository) -> Keyring:
    """`these`, for a place whose versions are not here yet: what it says of keys is looked at there."""
    if key is not None:
        return these(key, environ)
    return learned(environ, lambda: statements.offered(place), place.name)


def learned(environ: Mapping[str, str], offered: Callable[[], Optional[bytes]], where: str) -> Keyring:
    """Whose signatures count on this machine, after the keys.json that `offered` gives. One that does not read is passed
    over with a note: whoever put it there could as well have hidden it. Raises UsageError."""
    history: Optional[History] = None
    notes: Tuple[str, ...] = ()
    try:
        data = offered()
        history = None if data is None else key_statements.history(data, where)
    except StoreDamaged as problem:
        notes = (f"the key statement of {where} is passed over: {problem.what}",)
    ring = key_memory.keyring(folder(environ), keys(folder(environ)), history, clock.now())
    return dataclasses.replace(ring, notes=(*notes, *ring.notes))


def pin(place: Path, name: str, key: minisign.PublicKey) -> Path:
    """Trust `key` from now on. Raises UsageError for a name that is taken by another key."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a key", hint="letters, digits, _ . and -")
    path = place / f"{name}.pub"
    if path.exists() and read_key(path) != key:
        raise UsageError(f"{name} is another key already", where=str(path), hint=f"first: build keys distrust {name}")
    place.mkdir(parents=True, exist_ok=True)
    files.write(path, key.file.encode())
    return path


def unpin(place: Path, name: str) -> None:
    """Trust the key no more. Raises UsageError when it is not there."""
    if name not in [path.stem for path in place.glob("*.pub")]:
        known = ", ".join(path.stem for path in sorted(place.glob("*.pub"))) or "none"
        raise UsageError(f"no key {name!r} is trusted here", where=str(place), hint=f"trusted: {known}")
    (place / f"{name}.pub").unlink()


def read_key(path: Path) -> minisign.PublicKey:
    return minisign.public_key(read_text(path), str(path))


def read_text(path: Path) -> str:
    """A small file of text. Raises UsageError."""
    try:
        if path.stat().st_size > 4096:
            raise UsageError("too large for a key or a signature", where=str(path))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        said = problem.strerror if isinstance(problem, OSError) else "not text"
        raise UsageError(f"cannot be read: {said}", where=str(path)) from None


def proof(store: Layout, version: int, ring: Keyring, least: int = 1, where: str = "") -> Proof:
    """That those in `ring` signed `version`, checked before anything of it is parsed. `where` it came from, for messages.
    Raises Untrusted."""
    return proven(
        store.read(versions.manifest_digest(store, version)),
        signatures.of(store, version),
        ring,
        what=f"v{version}",
        where=where or str(store.root),
        hint=f"where it was built: build sign --version {version} --key FILE",
        least=least,
    )
