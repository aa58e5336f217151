"""DSSE envelopes: a payload with its type, and signatures over both. Ed25519, with the keys that sign versions.

https://github.com/secure-systems-lab/dsse/blob/master/protocol.md. What is signed begins with `DSSEv1`; what minisign signs is
a digest of 64 bytes or a signature with its comment. So no signature of one kind is one of the other.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import List, Sequence, Tuple

from builder import digest
from builder.digest import Json
from builder.errors import StoreDamaged
from builder.trust import minisign
from builder.trust.keyring import Trusted

IN_TOTO = "application/vnd.in-toto+json"
KIND = "application/vnd.dsse.envelope.v1+json"


def wrapped(payload: Json, kind: str, keys: Sequence[minisign.SecretKey]) -> bytes:
    """The envelope, signed by each of `keys`. DSSE knows no envelope without a signature; ours may have none."""
    body = digest.canonical(payload)
    signed = _what_is_signed(kind, body)
    signatures: List[Json] = [{"keyid": key.public.name, "sig": _encoded(key.sign_bytes(signed))} for key in keys]
    whole: Json = {"payloadType": kind, "payload": _encoded(body), "signatures": signatures}
    return (json.dumps(whole, indent=1) + "\n").encode()


def opened(data: bytes, keys: Sequence[Trusted], where: str) -> Tuple[Json, str, Tuple[Trusted, ...]]:
    """(payload, its type, those of `keys` that signed it). Raises StoreDamaged for what is no envelope."""
    try:
        whole = digest.loads(data)
        listed = whole.get("signatures") if isinstance(whole, dict) else None
        if not isinstance(whole, dict) or not isinstance(listed, list):
            raise StoreDamaged("this is no envelope of DSSE", where=where)
        kind, body = str(whole.get("payloadType")), base64.b64decode(str(whole.get("payload")), validate=True)
        texts = [str(one.get("sig")) for one in listed if isinstance(one, dict)]
        found = [base64.b64decode(text, validate=True) for text in texts[:8]]
        signed = _what_is_signed(kind, body)
        by = tuple(one for one in keys if any(one.key.verify_bytes(signed, text) for text in found))
        return digest.loads(body), kind, by
    except (ValueError, binascii.Error) as problem:
        raise StoreDamaged(f"this is no envelope of DSSE: {problem}", where=where) from None


def _what_is_signed(kind: str, body: bytes) -> bytes:
    """PAE of the specification: each part with its length, so that no byte can move from one to the other."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(body), body)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
