"""Machines that are worked on from here: how matrix.yaml names one, and how a worker is run there. Opens no connection."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional, Tuple

from builder.records import described

# No part may begin with `-`, which ssh would read as a flag, nor hold what a shell or ssh's own `%` would expand.
_FORM = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][\w.+-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?"
)
FORM = "ssh://HOST, where HOST is a name of ~/.ssh/config, or ssh://USER@HOST:PORT"
FLEET = "fleet"  # any worker that has said what it is; builder/fleet/queues.py finds it


@dataclass(frozen=True)
class Worker:
    """How work is done on a machine over SSH. Part of no key."""

    python: str = field(
        default="python3",
        metadata=described("The Python there that has the runtime; a path counts from the home folder."),
    )
    folder: str = field(
        default="~/.cache/deploymatrix", metadata=described("Where inputs and outputs are kept there, by digest.")
    )
    minutes: float = field(default=120.0, metadata=described("An action that takes longer is ended, and has failed."))
    memory: Optional[str] = field(
        default=None, metadata=described("An action that needs more memory is ended, and has failed: '8GiB'.")
    )
    free: str = field(default="512MiB", metadata=described("Disk space that is left alone there."))


@dataclass(frozen=True)
class Address:
    host: str
    user: Optional[str] = None
    port: Optional[int] = None

    @property
    def flags(self) -> Tuple[str, ...]:
        """What ssh is called with; the host comes last, after `--`."""
        user = ("-l", self.user) if self.user else ()
        port = ("-p", str(self.port)) if self.port else ()
        return (*user, *port)


@dataclass(frozen=True)
class Reached:
    """A machine, as matrix.yaml writes it, and how to work there; or the fleet, which is many."""

    where: str
    worker: Worker = Worker()

    @property
    def address(self) -> Address:
        return parsed(self.where)

    @property
    def many(self) -> bool:
        """Does it take more than one job at a time?"""
        return self.where == FLEET


@dataclass(frozen=True)
class Listed:
    """A machine that may do the work of several targets."""

    name: str
    targets: Tuple[str, ...] = field(metadata=described("Names of targets, with * and {a,b}."))
    where: Optional[str] = field(default=None, metadata=described("ssh://HOST; ssh:// and its name when left out."))
    worker: Worker = Worker()

    @property
    def reached(self) -> Reached:
        return Reached(self.where or f"ssh://{self.name}", self.worker)


def parsed(where: str) -> Address:
    """ValueError when it is not of the form."""
    match = _FORM.fullmatch(where)
    port = int(match.group("port") or 22) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(f"{where!r} is not of the form {FORM}")
    return Address(
        match.group("host").strip("[]"), match.group("user"), int(match.group("port")) if match.group("port") else None
    )
