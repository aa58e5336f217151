"""Whom this machine trusts, and whether a version of a store is signed by one of them.

Trusted keys are the public keys in a folder of the person's: `deploymatrix/trusted/NAME.pub` below XDG_CONFIG_HOME or
~/.config, or the folder that DEPLOYMATRIX_TRUSTED names. What is signed is manifest.json, which names every artifact by
digest. Without a trusted key nothing is asked; with one, nothing unsigned is taken.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, List, Mapping, Optional, Sequence, Tuple

from builder.errors import Untrusted, UsageError
from builder.signing import minisign
from builder.stores import signatures, versions
from builder.stores.layout import Layout

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Trusted:
    """A public key and what the person calls its owner."""

    name: str
    key: minisign.PublicKey


@dataclass(frozen=True)
class Proof:
    """`comment` is the signed comment of the signature by the owner of `by`, `data` the bytes that were signed."""

    by: Trusted
    comment: str
    data: bytes


def folder(environ: Mapping[str, str]) -> Path:
    named = environ.get("DEPLOYMATRIX_TRUSTED")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "~"), ".config")
    return Path(named) if named else Path(config).expanduser() / "deploymatrix" / "trusted"


def keys(place: Path) -> Tuple[Trusted, ...]:
    """The pinned keys by name. A file that is no key raises UsageError: it is not passed over."""
    return tuple(Trusted(path.stem, read_key(path)) for path in sorted(place.glob("*.pub")))


def these(key: Optional[str], environ: Mapping[str, str]) -> Tuple[Trusted, ...]:
    """The one key that was named (a file, or the key itself), or else all that are pinned. Raises UsageError."""
    if key is None:
        return keys(folder(environ))
    path = Path(key)
    if path.exists():
        return (Trusted(path.stem, read_key(path)),)
    return (Trusted("--key", minisign.public_key(key, key)),)


def pin(place: Path, name: str, key: minisign.PublicKey) -> Path:
    """Trust `key` from now on. Raises UsageError for a name that is taken by another key."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a key", hint="letters, digits, _ . and -")
    path = place / f"{name}.pub"
    if path.exists() and read_key(path) != key:
        raise UsageError(f"{name} is another key already", where=str(path), hint=f"first: build keys distrust {name}")
    place.mkdir(parents=True, exist_ok=True)
    partial = place / f".{name}-{os.getpid()}"
    partial.write_text(key.file, encoding="utf-8")
    os.replace(partial, path)
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


def proof(store: Layout, version: int, trusted: Sequence[Trusted]) -> Proof:
    """A signature of `version` by one of `trusted`, checked before anything of the version is parsed. Raises Untrusted."""
    return proven(
        store.read(versions.manifest_digest(store, version)),
        signatures.of(store, version),
        trusted,
        what=f"v{version}",
        where=str(store.root),
        hint=f"where it was built: build sign --version {version} --key FILE",
    )


def proven(data: bytes, texts: Iterable[str], trusted: Sequence[Trusted], *, what: str, where: str, hint: str) -> Proof:
    """Which of the signatures `texts` over `data` is by one of `trusted`. Raises Untrusted, with `hint` when there is none."""
    signed_by: List[str] = []
    for text in texts:
        try:
            found = minisign.signature(text, where)
        except UsageError:
            continue  # one that does not read proves nothing, and takes nothing from the others
        for one in trusted:
            if minisign.verifies(one.key, data, found):
                return Proof(one, found.comment, data)
        signed_by.append(minisign.key_name(found.key_id))
    if not signed_by:
        raise Untrusted(
            f"{what} is not signed, and this machine takes only what {_listed(trusted)} signed", where=where, hint=hint
        )
    raise Untrusted(
        f"{what} has no valid signature by {_listed(trusted)}; it names the key {', '.join(sorted(set(signed_by)))}",
        where=where,
        hint="if its owner told you by another way that this key is theirs: build keys trust NAME KEY",
    )


def _listed(trusted: Sequence[Trusted]) -> str:
    return " or ".join(f"{one.name} ({one.key.name})" for one in trusted)
