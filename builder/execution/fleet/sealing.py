"""Messages as they travel: one line of JSON, and the signature of a key where there is one.

A broker moves messages between strangers. Whoever has a key to check by takes what is signed with it, and nothing else. What
is signed names its purpose, so that no message passes for one of another kind. Keys are files of minisign.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Sequence, Type, TypeVar

from builder.digest import Json
from builder.errors import Untrusted
from builder.records import RecordError, from_json, to_json
from builder.trust.minisign import PublicKey, SecretKey

T = TypeVar("T")
LARGEST = 8 << 20  # bytes of a message; results travel through the store


@dataclass(frozen=True)
class Seal:
    """`key` signs what is sent; only what one of `trusted` has signed is taken, anything where there is none."""

    key: "SecretKey | None" = None
    trusted: Sequence[PublicKey] = ()

    def close(self, record: object) -> str:
        body = json.dumps(to_json(record), ensure_ascii=False, allow_nan=False)
        body = body.encode("utf-8", "replace").decode()  # names of files may have bytes that are no text
        sealed: "dict[str, Json]" = {"body": body}
        if self.key is not None:
            signed = self.key.sign_bytes(_purpose(type(record), body))
            sealed.update(key=self.key.public.name, signature=base64.b64encode(signed).decode())
        return json.dumps(sealed, ensure_ascii=False)

    def open(self, cls: Type[T], text: object) -> T:
        """Raises Untrusted for what is no message of this kind, or not signed by anyone trusted."""
        if not isinstance(text, str) or len(text) > LARGEST:
            raise Untrusted("this is no message")
        try:
            sealed = json.loads(text)
            body = sealed["body"]
            if self.trusted:
                self._check(_purpose(cls, body), sealed.get("signature"))
            data = json.loads(body)
            json.dumps(data, ensure_ascii=False).encode()  # half a character has no bytes: nobody could show or hash it
            return from_json(cls, data)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise Untrusted("this is no message") from None
        except RecordError as problem:
            raise Untrusted(f"this is no message: {problem}") from None

    def _check(self, message: bytes, signature: object) -> None:
        if not isinstance(signature, str):
            raise Untrusted(
                "it is not signed", hint="who sends it needs a key: `fleet: {key: ...}`, build worker --key"
            )
        raw = base64.b64decode(signature, validate=True)
        if not any(key.verify_bytes(message, raw) for key in self.trusted):
            raise Untrusted("nobody who is trusted here has signed it")


def _purpose(cls: type, body: str) -> bytes:
    return f"deploymatrix fleet {cls.__name__}\n{body}".encode()
