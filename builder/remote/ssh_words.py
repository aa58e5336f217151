"""What the OpenSSH client says when it cannot connect, as an error with the next line to type. Pure."""

from __future__ import annotations

from typing import Sequence, Tuple

from builder.config.remote_machines import Address, Reached
from builder.errors import Unreachable

# What the client or the other machine's shell said, what it means, and what to do; {host} as the person would type it.
_CHANGED = "the machine shows another host key than the one that is known: it was set up anew, or it is another machine"
_WORDS: Tuple[Tuple[str, str, str], ...] = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        _CHANGED,
        "ask whoever runs it; then, and only then: ssh-keygen -R {known}",
    ),
    (
        "Host key verification failed",
        "its host key is not known here, and is never accepted unseen",
        "look at the key and accept it once by hand: ssh {host}   (or: ssh-keyscan {scan} >> ~/.ssh/known_hosts, once the"
        " fingerprint is compared)",
    ),
    ("Permission denied", "it does not let us in", "a key that needs no typing must open it: ssh-copy-id {host}"),
    (
        "Too many authentication failures",
        "it does not let us in",
        "name the key in ~/.ssh/config: IdentityFile, IdentitiesOnly",
    ),
    (
        "Could not resolve hostname",
        "nobody knows a machine of this name",
        "add it to ~/.ssh/config, or correct `where:`",
    ),
    ("Bad configuration option", "ssh does not understand its configuration", "correct ~/.ssh/config"),
)


def unreachable(reached: Reached, said: Sequence[str], code: int) -> Unreachable:
    """The client ended with `code`, and `said` these lines."""
    text = "\n".join(said)
    for mark, what, hint in _WORDS:
        if mark in text:
            return Unreachable(what, where=reached.where, hint=_filled(hint, reached.address))
    if code == 127 or ("not found" in text and code != 255):
        return Unreachable(
            f"there is no {reached.worker.python} on it",
            where=reached.where,
            hint="say which Python has its runtime: `worker: {python: ...}` of the target in matrix.yaml",
        )
    last = next((line.strip() for line in reversed(said) if line.strip()), f"ssh ended with code {code}")
    return Unreachable(last, where=reached.where, hint=_filled("look for yourself: ssh {host}", reached.address))


def _filled(hint: str, address: Address) -> str:
    host = " ".join([*address.flags, address.host])
    known = f"'[{address.host}]:{address.port}'" if address.port not in (None, 22) else address.host
    scan = " ".join([*(("-p", str(address.port)) if address.port else ()), address.host])
    return hint.format(host=host, known=known, scan=scan)
