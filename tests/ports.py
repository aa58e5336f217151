"""Ports for the servers that tests start."""

from __future__ import annotations

import contextlib
import random
import socket

# Below those that Linux gives to outgoing connections (net.ipv4.ip_local_port_range), which other tests make by the thousand:
# one of those would be somebody else's before the server has it.
_FROM, _TO = 20_000, 32_000
_CHANCE = random.SystemRandom()  # not the one that is the same in every run


def free_port() -> int:
    """A port on which nobody listens."""
    for _ in range(100):
        port = _CHANCE.randrange(_FROM, _TO)
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port from {_FROM} to {_TO} is free")
