"""Ed25519 (RFC 8032, section 5.1), pure: keys and signatures are bytes. Nothing is read or kept here.

It is slow (some ten milliseconds a signature) and not constant in time: sign on a machine that you trust. Verifying uses
no secret. A public key of small order, a point that is not written in its one way, and an S beyond the group's order are
refused, as libsodium does: else one message would have several signatures.
"""

from __future__ import annotations

import hashlib
from typing import Optional, Tuple

SEED, KEY, SIGNATURE = 32, 32, 64  # bytes

_P = 2**255 - 19  # the field
_L = 2**252 + 27742317777372353535851937790883648493  # the order of the base point
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # a square root of -1

_Point = Tuple[int, int, int, int]  # extended coordinates: x = X/Z, y = Y/Z, x * y = T/Z
_ZERO: _Point = (0, 1, 1, 0)


def public_key(seed: bytes) -> bytes:
    """seed [32] -> key [32]."""
    return _encode(_times(_secret(seed)[0], _BASE))


def sign(seed: bytes, message: bytes) -> bytes:
    """seed [32] -> signature [64]. Raises ValueError for a seed of another length."""
    scalar, prefix = _secret(seed)
    key = _encode(_times(scalar, _BASE))
    nonce = _number(prefix + message)
    point = _encode(_times(nonce, _BASE))
    return point + ((nonce + _number(point + key + message) * scalar) % _L).to_bytes(32, "little")


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Is `signature` [64] by the owner of `key` [32]? Anything of another form is not."""
    if len(key) != KEY or len(signature) != SIGNATURE:
        return False
    owner, product = _decode(key), int.from_bytes(signature[32:], "little")
    if owner is None or product >= _L or _equal(_times(8, owner), _ZERO):
        return False
    challenge = _number(signature[:32] + key + message)
    # S * B - k * A has to be the point R of the signature
    found = _add(_times(product, _BASE), _times(_L - challenge, owner))
    return _encode(found) == signature[:32]


def _secret(seed: bytes) -> Tuple[int, bytes]:
    if len(seed) != SEED:
        raise ValueError(f"a seed has {SEED} bytes, not {len(seed)}")
    hashed = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(hashed[:32], "little")
    return (scalar & ((1 << 254) - 8)) | (1 << 254), hashed[32:]


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "little") % _L


def _add(one: _Point, two: _Point) -> _Point:
    a, b = (one[1] - one[0]) * (two[1] - two[0]) % _P, (one[1] + one[0]) * (two[1] + two[0]) % _P
    c, d = 2 * one[3] * two[3] * _D % _P, 2 * one[2] * two[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(factor: int, point: _Point) -> _Point:
    found = _ZERO
    while factor:
        if factor & 1:
            found = _add(found, point)
        point, factor = _add(point, point), factor >> 1
    return found


def _equal(one: _Point, two: _Point) -> bool:
    return (one[0] * two[2] - two[0] * one[2]) % _P == 0 and (one[1] * two[2] - two[1] * one[2]) % _P == 0


def _encode(point: _Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | ((x & 1) << 255)).to_bytes(32, "little")


def _decode(data: bytes) -> Optional[_Point]:
    """None for what is no point, or not written in its one way."""
    both = int.from_bytes(data, "little")
    y, odd = both & ((1 << 255) - 1), both >> 255
    x = _x_of(y, odd) if y < _P else None
    return None if x is None else (x, y, 1, x * y % _P)


def _x_of(y: int, odd: int) -> Optional[int]:
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and odd):
        return None
    return _P - x if x & 1 != odd else x


def _base() -> _Point:
    y = 4 * pow(5, _P - 2, _P) % _P
    x = _x_of(y, 0)
    assert x is not None
    return x, y, 1, x * y % _P


_BASE = _base()
