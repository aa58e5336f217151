"""Messages between a run and its workers: records, and their signatures.

Each message names run, job, attempt and sender. It travels as one JSON object: the body as text, and a signature of
that text by a minisign key where the sender has one. The signature covers the kind of the message.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional, Sequence, Tuple, Type, TypeVar, Union

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from builder import digest
from builder.actions.action import Action
from builder.digest import Json
from builder.errors import Untrusted
from builder.execution.messages import File
from builder.records import RecordError, from_json, to_json
from builder.store import trust
from builder.trust.minisign import PublicKey, SecretKey

LARGEST = 8 << 20  # bytes of a message; files travel through the store
LONGEST = 24 * 3600.0  # seconds that an action may take
_PURPOSE = b"deploymatrix fleet message\n"
_HEX = re.compile(r"[0-9a-f]{1,96}|")
_NAME = re.compile(r"[ -~]{1,200}")  # logs take it as it is


@dataclass(frozen=True)
class Order:
    """Job for a worker: perform `action` on `files` of the store in at most so many `seconds`."""

    action: Action
    files: Tuple[File, ...]
    seconds: float
    kind: Literal["order"] = "order"

    def __post_init__(self) -> None:
        if not all(digest.is_one(file.digest) and 0 <= file.size < 1 << 62 for file in self.files):
            raise ValueError("a file has a digest and a size")
        if not 0 < self.seconds <= LONGEST:
            raise ValueError(f"an action takes more than 0 seconds, and at most {LONGEST:.0f}")


@dataclass(frozen=True)
class Begin:
    """Request to begin a job. A worker does nothing before the answer."""

    kind: Literal["begin"] = "begin"


@dataclass(frozen=True)
class Working:
    """Progress of a job: the lines that the step has printed since the last one."""

    lines: Tuple[str, ...] = ()
    kind: Literal["working"] = "working"


@dataclass(frozen=True)
class Done:
    """End of a job: the outputs and `result`, the record of it, are in the store."""

    result: File
    kind: Literal["done"] = "done"


@dataclass(frozen=True)
class Failed:
    """End of a job with an error. `away`: caused by the machine's state, such as a full disk."""

    what: str
    where: Optional[str] = None
    hint: Optional[str] = None
    away: bool = False
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True)
class Answer:
    """Answer of a run to a report, with its `number`. `later`: the broker is to deliver the job again."""

    go: Literal["yes", "later", "no"]
    why: str = ""
    kind: Literal["answer"] = "answer"


@dataclass(frozen=True)
class Stop:
    """End of a run: its workers stop."""

    kind: Literal["stop"] = "stop"


@dataclass(frozen=True)
class AskStatus:
    """Question to all workers. `attempt` is a random number, which the answers repeat."""

    kind: Literal["ask"] = "ask"


@dataclass(frozen=True)
class Status:
    """Status of a worker. `working`: step, key and run of its job, and `seconds` since its start."""

    machine: str
    queues: Tuple[str, ...]
    done: int
    working: Tuple[str, ...] = ()
    seconds: float = 0.0
    kind: Literal["status"] = "status"


Body = Union[Order, Begin, Working, Done, Failed, Answer, Stop, AskStatus, Status]
T = TypeVar("T", Order, Begin, Working, Done, Failed, Answer, Stop, AskStatus, Status)


@dataclass(frozen=True)
class Message:
    """`job` is the key of an action, `attempt` names one delivery of it. `number` grows with each report of an attempt."""

    run: str
    job: str
    attempt: str
    sender: str
    body: Body
    number: int = 0

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.run) or not _HEX.fullmatch(self.attempt):
            raise ValueError("run and attempt are hexadecimal digits")
        if self.job and not digest.is_one(self.job):
            raise ValueError("a job is named by the key of its action")
        if not _NAME.fullmatch(self.sender):
            raise ValueError(f"{self.sender[:200]!r} is no name of a worker")

    def is_a(self, *kinds: Type[object]) -> bool:
        return isinstance(self.body, kinds)


@dataclass(frozen=True)
class Signing:
    """`key` signs what is sent; only messages signed by one of `trusted` are read, or all where there is none."""

    key: Optional[SecretKey] = None
    trusted: Sequence[PublicKey] = ()

    def close(self, message: Message) -> bytes:
        text = json.dumps(to_json(message), ensure_ascii=False, allow_nan=False)
        body = text.encode("utf-8", "replace")  # names of files may have bytes that are no text
        sealed: "dict[str, Json]" = {"body": body.decode()}
        if self.key is not None:
            signature = SigningKey(self.key.seed).sign(_PURPOSE + body).signature
            sealed.update(key=self.key.public.name, signature=base64.b64encode(signature).decode())
        return json.dumps(sealed, ensure_ascii=False).encode()

    def open(self, data: bytes) -> Message:
        """Raises Untrusted for data that is no message, or not signed by a trusted key."""
        if len(data) > LARGEST:
            raise Untrusted("this is no message")
        try:
            sealed = json.loads(data)
            body = sealed["body"]
            if self.trusted:
                self._check(_PURPOSE + body.encode(), sealed.get("signature"))
            record = json.loads(body)
            json.dumps(record, ensure_ascii=False).encode()  # half a character has no bytes
            return from_json(Message, record)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise Untrusted("this is no message") from None
        except RecordError as problem:
            raise Untrusted(f"this is no message: {problem}") from None

    def _check(self, text: bytes, signature: object) -> None:
        if not isinstance(signature, str):
            raise Untrusted("it is not signed", hint="its sender needs a key: `fleet: {key: ...}`, build worker --key")
        raw = base64.b64decode(signature, validate=True)
        for key in self.trusted:
            try:
                VerifyKey(key.key).verify(text, raw)  # libsodium refuses keys of small order
                return
            except CryptoError:
                continue
        raise Untrusted("no key that is trusted here has signed it")


def signing(key: Optional[str], trusted: Tuple[str, ...]) -> Signing:
    """From a file with a secret key, and public keys or files with one. Raises UsageError."""
    secret = trust.secret_key(Path(key).expanduser()) if key else None
    owners = [owner.key for word in trusted for group in trust.these(word, {}).groups for owner in group.keys]
    return Signing(secret, tuple(owners))
