"""Files of minisign: public keys, secret keys and signatures.

Format: https://jedisct1.github.io/minisign/. A signature is over the BLAKE2b digest of the file, so size does not
matter, or over the file itself (the old kind, read only). The trusted comment is signed as well. Trust is decided
elsewhere.

PyNaCl does the arithmetic, here alone. libsodium refuses public keys of small order, non-canonical points and numbers,
and R of small order: otherwise a key could accept unsigned messages, or a message have several signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from typing import List, Tuple

from builder.errors import UsageError

_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_PLAIN, _HASHED = b"Ed", b"ED"
_SCRYPT, _NO_KDF, _CHECK = b"Sc", b"\0\0", b"B2"
_SEED, _SIGNATURE = 32, 64  # bytes
# libsodium's limits in minisign's units. New keys here need 64 MiB; minisign's own need 1 GiB.
_OPERATIONS, _MEMORY = 1 << 21, 1 << 26
_MOST_MEMORY = 1 << 31


@dataclass(frozen=True)
class PublicKey:
    """id [8] names the key, key [32] verifies."""

    id: bytes
    key: bytes

    @property
    def name(self) -> str:
        return key_name(self.id)

    @property
    def text(self) -> str:
        return _encoded(_PLAIN + self.id + self.key)

    @property
    def file(self) -> str:
        return f"{_UNTRUSTED}minisign public key {self.name}\n{self.text}\n"

    def verify_bytes(self, message: bytes, signature: bytes) -> bool:
        """Check an Ed25519 signature [64]. False for a key or a signature of another form."""
        from nacl.exceptions import CryptoError
        from nacl.signing import VerifyKey

        try:
            VerifyKey(self.key).verify(message, signature)
        except CryptoError:
            return False
        return True


@dataclass(frozen=True)
class SecretKey:
    """id [8], seed [32]."""

    id: bytes
    seed: bytes

    @property
    def public(self) -> PublicKey:
        from nacl.signing import SigningKey

        return PublicKey(self.id, bytes(SigningKey(self.seed).verify_key))

    def sign_bytes(self, message: bytes) -> bytes:
        """Ed25519 signature [64]. Raises ValueError for a seed of another length."""
        from nacl.signing import SigningKey

        return SigningKey(self.seed).sign(message).signature


@dataclass(frozen=True)
class Signature:
    """A signature over a file (`signed` [64]) and over that with the trusted comment (`whole` [64])."""

    key_id: bytes
    signed: bytes
    whole: bytes
    comment: str
    hashed: bool = True

    @property
    def file(self) -> str:
        kind = _HASHED if self.hashed else _PLAIN
        first = f"{_UNTRUSTED}signature from deploymatrix\n{_encoded(kind + self.key_id + self.signed)}\n"
        return f"{first}{_TRUSTED}{self.comment}\n{_encoded(self.whole)}\n"


def key_name(id: bytes) -> str:
    """The id [8] of a key as minisign prints it.

    Hexadecimal, here always with 16 digits.
    """
    return f"{int.from_bytes(id, 'little'):016X}"


# ------------------------------------------------------------------------------------------- signing and verifying


def new_key() -> SecretKey:
    return SecretKey(os.urandom(8), os.urandom(_SEED))


def sign(key: SecretKey, data: bytes, comment: str) -> Signature:
    """The comment is one line, else ValueError."""
    if "\n" in comment or "\r" in comment:
        raise ValueError("a trusted comment is one line")
    signed = key.sign_bytes(_digest(data))
    return Signature(key.id, signed, key.sign_bytes(signed + comment.encode()), comment)


def verifies(key: PublicKey, data: bytes, signature: Signature) -> bool:
    """Is `signature` over `data`, and its trusted comment, by this key?"""
    message = _digest(data) if signature.hashed else data
    return (
        key.id == signature.key_id
        and key.verify_bytes(message, signature.signed)
        and key.verify_bytes(signature.signed + signature.comment.encode(), signature.whole)
    )


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=64).digest()


# ------------------------------------------------------------------------------------------- reading files


def public_key(text: str, where: str) -> PublicKey:
    """From a file of minisign, or its second line alone. Raises UsageError."""
    data = _decoded(_last_line(text), where, "public key")
    if len(data) != 42 or data[:2] != _PLAIN:
        raise UsageError("this is not a public key of minisign", where=where, hint="it begins with RW, and is one line")
    return PublicKey(data[2:10], data[10:])


def signature(text: str, where: str) -> Signature:
    """From a .minisig file. Raises UsageError."""
    lines = text.splitlines()
    if len(lines) != 4 or not lines[0].startswith(_UNTRUSTED) or not lines[2].startswith(_TRUSTED):
        raise UsageError("this is not a signature of minisign", where=where, hint="it has four lines")
    data, whole = _decoded(lines[1], where, "signature"), _decoded(lines[3], where, "signature")
    if len(data) != 74 or data[:2] not in (_PLAIN, _HASHED) or len(whole) != _SIGNATURE:
        raise UsageError("this is not a signature of minisign", where=where)
    return Signature(data[2:10], data[10:], whole, lines[2][len(_TRUSTED) :], data[:2] == _HASHED)


def is_protected(text: str, where: str) -> bool:
    """Does this secret key need a password? Raises UsageError."""
    return _secret_bytes(text, where)[2:4] == _SCRYPT


def secret_key(text: str, password: str, where: str) -> SecretKey:
    """The key in a secret key file; `password` is ignored for an unprotected one.

    Raises UsageError.
    """
    data = _secret_bytes(text, where)
    salt, body = data[6:38], data[54:]
    if data[2:4] == _SCRYPT:
        limits = int.from_bytes(data[38:46], "little"), int.from_bytes(data[46:54], "little")
        body = _mixed(body, _derived(password, salt, limits, where))
    id, secret, check = body[:8], body[8:72], body[72:]
    key = SecretKey(id, secret[:32])
    # minisign writes no checksum for a key without a password; compare the public half instead
    unchecked = check == bytes(32) and data[2:4] == _NO_KDF and key.public.key == secret[32:]
    if check != _check(id, secret) and not unchecked:
        raise _damaged(where)
    return key


def secret_key_file(key: SecretKey, password: str) -> str:
    """The text of a secret key file.

    Without a password only the file's permissions protect it.
    """
    public = key.public
    secret = key.seed + public.key
    body, salt, kdf, limits = key.id + secret + _check(key.id, secret), bytes(32), _NO_KDF, (0, 0)
    if password:
        salt, kdf, limits = os.urandom(32), _SCRYPT, (_OPERATIONS, _MEMORY)
        body = _mixed(body, _derived(password, salt, limits, ""))
    head = _PLAIN + kdf + _CHECK + salt + limits[0].to_bytes(8, "little") + limits[1].to_bytes(8, "little")
    return f"{_UNTRUSTED}deploymatrix secret key {public.name}\n{_encoded(head + body)}\n"


def _secret_bytes(text: str, where: str) -> bytes:
    data = _decoded(_last_line(text), where, "secret key")
    if len(data) != 158 or data[:2] != _PLAIN or data[2:4] not in (_SCRYPT, _NO_KDF) or data[4:6] != _CHECK:
        raise UsageError("this is not a secret key of minisign", where=where, hint="make one with: build keys new")
    return data


def _check(id: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(_PLAIN + id + secret, digest_size=32).digest()


def _damaged(where: str) -> UsageError:
    return UsageError("the password is wrong, or the file is damaged", where=where)


def _mixed(one: bytes, two: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, two))


def _derived(password: str, salt: bytes, limits: Tuple[int, int], where: str) -> bytes:
    """104 bytes from a password."""
    from nacl.exceptions import CryptoError
    from nacl.pwhash import scrypt

    operations, memory = limits
    if memory > _MOST_MEMORY:
        raise UsageError(f"its password needs {memory >> 20} MiB of memory", where=where)
    try:
        return scrypt.kdf(104, password.encode(), salt, operations, memory)
    except CryptoError:  # costs that scrypt does not have
        raise _damaged(where) from None


def _last_line(text: str) -> str:
    lines: List[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def _decoded(line: str, where: str, what: str) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"this is not a {what} of minisign", where=where) from None


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
