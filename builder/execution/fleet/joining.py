"""What both ends have before they speak to a broker: their keys, and a connection that nobody else listens to."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

from builder.errors import UsageError
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.sealing import Seal
from builder.store import trust


def sealed(key: Optional[str], trusted: Tuple[str, ...]) -> Seal:
    """`key`: a file with a secret key; `trusted`: public keys, or files with one. Raises UsageError."""
    secret = trust.secret_key(Path(key).expanduser()) if key else None
    owners = [owner.key for word in trusted for group in trust.these(word, {}).groups for owner in group.keys]
    return Seal(secret, tuple(owners))


def check_private(found: Broker, seal: Seal, how: str) -> None:
    """Who reaches a broker without TLS could order and answer what they like, unless all is signed. Raises UsageError."""
    if not found.private and not (seal.key and seal.trusted):
        raise UsageError(
            "messages would pass unprotected: the broker is on another machine, and its address is not one of TLS",
            where=found.name,
            hint=f"use {'amqps' if found.quorum else 'rediss'}://, or sign what is sent: {how}",
        )
