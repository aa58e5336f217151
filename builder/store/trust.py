"""Trusted keys of this machine, and verifying versions of a store.

Trusted keys are the public keys in a folder of the user: `deploymatrix/trusted/NAME.pub` below XDG_CONFIG_HOME or
~/.config, or the folder in DEPLOYMATRIX_TRUSTED. manifest.json is signed; it names every artifact by
digest. Without a trusted key nothing is checked; with one, unsigned versions are refused. Accepted key statements of
the owners
are kept beside the pinned keys.
Proofs over any bytes are in `builder/trust/keyring.py`.
Written by hand: the client of tuf 6.0, the newest for Python 3.8, does not import there.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from pathlib import Path
from typing import Callable, Mapping, Optional, Tuple

from builder import clock, digest, files
from builder.errors import StoreDamaged, UsageError
from builder.plugins import Repository
from builder.store import oci, referrers, transfers, versions
from builder.store.layout import Layout
from builder.trust import key_memory, key_statements, minisign
from builder.trust.key_statements import MOST_BYTES, History, history
from builder.trust.keyring import (
    KeyGroup,
    Keyring,
    SignatureProof,
    Trusted,
    proven,  # of bytes that are no version
)

# ---------------------------------------------------------------- the key statement, one OCI object with the tag `keys`


TAG, FILE = "keys", "keys.json"


def put(store: Layout, text: bytes) -> None:
    """In the place of an earlier one. The caller holds the store."""
    made = oci.put_manifest(store, oci.KEYS_TYPE, (store.put_bytes(FILE, text),), {})
    oci.put(store, TAG, oci.descriptor(made, oci.MANIFEST, oci.KEYS_TYPE))


def offered(place: Repository) -> Optional[bytes]:
    """The same from a place outside. Raises Unreachable, StoreDamaged."""
    top = place.resolve(TAG)
    if top is None:
        return None
    try:
        body = oci.as_object(digest.loads(transfers.read(place, top)))
    except ValueError as problem:
        raise StoreDamaged(f"what is tagged {TAG} does not read: {problem}", where=place.name) from None
    layers = oci.as_list(body.get("layers"))
    return transfers.read(place, oci.read(layers[0] if layers else None), MOST_BYTES)


def of(store: Layout) -> Optional[bytes]:
    """The bytes of keys.json.

    None for none. Raises StoreDamaged, also when it is too large.
    """
    tagged = oci.find(store, TAG)
    if tagged is None:
        return None
    layers = oci.as_list(oci.load(store, oci.digest_of(tagged)).get("layers"))
    named = oci.digest_of(layers[0] if layers else None)
    if store.fetch(named).stat().st_size > MOST_BYTES:
        raise StoreDamaged(f"its key statement is larger than {MOST_BYTES:,} bytes", where=str(store.root))
    return store.read(named)


def newer(store: Layout, place: Repository) -> bool:
    """Whether `store` has a later statement than `place`, by serial."""
    here, there = of(store), offered(place)
    if here is None or there is None:
        return here is not None
    ours, theirs = history(here, str(store.root)), history(there, place.name)
    return ours.statements[-1].read.serial > theirs.statements[-1].read.serial


# ------------------------------------------------------------------------------------------- trusted keys and versions


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def folder(environ: Mapping[str, str]) -> Path:
    named = environ.get("DEPLOYMATRIX_TRUSTED")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "~"), ".config")
    return Path(named) if named else Path(config).expanduser() / "deploymatrix" / "trusted"


def keys(place: Path) -> Tuple[Trusted, ...]:
    """The pinned keys by name. Raises UsageError for a file that is not a key."""
    return tuple(Trusted(path.stem, read_key(path)) for path in sorted(place.glob("*.pub")))


def these(key: Optional[str], environ: Mapping[str, str], store: Optional[Layout] = None) -> Keyring:
    """The keys whose signatures count.

    `key` (a file, or the key itself), or else all pinned ones. Pinned keys include those in their key statements;
    `store` may have a newer statement. Raises UsageError.
    """
    if key is None:
        return learned(environ, lambda: of(store) if store else None, str(store and store.root))
    path = Path(key)
    if os.path.exists(path):  # false also for a text too long for a name
        return Keyring((KeyGroup((Trusted(path.stem, read_key(path)),)),))
    return Keyring((KeyGroup((Trusted("--key", minisign.public_key(key, key[:80])),)),))


def at(key: Optional[str], environ: Mapping[str, str], place: Repository) -> Keyring:
    """`these`, for a repository whose versions are not here yet: reads its key statement."""
    if key is not None:
        return these(key, environ)
    return learned(environ, lambda: offered(place), place.name)


def learned(environ: Mapping[str, str], offered: Callable[[], Optional[bytes]], where: str) -> Keyring:
    """The keys whose signatures count, after reading the keys.json of `offered`.

    An unreadable one is ignored with a note, since its author could also have hidden it. Raises UsageError.
    """
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
    """Trust `key`. Raises UsageError when another key has that name."""
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


def proof(store: Layout, version: int, ring: Keyring, least: int = 1, where: str = "") -> SignatureProof:
    """Prove that `least` keys of `ring` signed `version`, before any of it is parsed.

    `where`: its source, for messages. Raises Untrusted.
    """
    return proven(
        store.read(versions.manifest_digest(store, version)),
        referrers.signatures_of(store, version),
        ring,
        what=f"v{version}",
        where=where or str(store.root),
        hint=f"where it was built: build sign --version {version} --key FILE",
        least=least,
    )


# -------------------------------------------------------------------------------------- secret keys and their passwords


def secret_key(path: Path) -> minisign.SecretKey:
    """The secret key in a file; prompts for its password if it has one.

    Raises UsageError.
    """
    text = read_text(path)
    password = ask() if minisign.is_protected(text, str(path)) else ""
    return minisign.secret_key(text, password, str(path))


def ask(*, again: bool = False) -> str:
    """A password from DEPLOYMATRIX_PASSWORD or the terminal.

    Raises UsageError without either.
    """
    given = os.environ.get("DEPLOYMATRIX_PASSWORD")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "the key needs a password, and there is no terminal to ask on",
            hint="set DEPLOYMATRIX_PASSWORD, or make a key with --no-password",
        )
    import getpass

    password = getpass.getpass("Password: ")
    if again and getpass.getpass("Again: ") != password:
        raise UsageError("the two passwords differ; nothing was written")
    return password
