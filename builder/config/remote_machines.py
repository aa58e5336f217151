"""Remote machines in matrix.yaml: addresses, workers over SSH, and the fleet. Opens no connection."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional, Tuple

from builder.records import described

# No part may begin with `-`, which ssh would read as a flag, or contain what a shell or ssh's `%` expands.
_FORM = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][\w.+-]*)@)?"
    r"(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?"
)
FORM = "ssh://HOST, where HOST is a name of ~/.ssh/config, or ssh://USER@HOST:PORT"
FLEET = "fleet"  # any registered worker; builder/execution/fleet/queues.py finds it


@dataclass(frozen=True)
class SshWorker:
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
class SshAddress:
    host: str
    user: Optional[str] = None
    port: Optional[int] = None

    @property
    def flags(self) -> Tuple[str, ...]:
        """The arguments of ssh; the host comes last, after `--`."""
        user = ("-l", self.user) if self.user else ()
        port = ("-p", str(self.port)) if self.port else ()
        return (*user, *port)


@dataclass(frozen=True)
class Reached:
    """A machine, as matrix.yaml writes it, and how to work there; or the fleet, which is many."""

    where: str
    worker: SshWorker = SshWorker()

    @property
    def address(self) -> SshAddress:
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
    worker: SshWorker = SshWorker()

    @property
    def reached(self) -> Reached:
        return Reached(self.where or f"ssh://{self.name}", self.worker)


def parsed(where: str) -> SshAddress:
    """ValueError when it is not of the form."""
    match = _FORM.fullmatch(where)
    port = int(match.group("port") or 22) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(f"{where!r} is not of the form {FORM}")
    return SshAddress(
        match.group("host").strip("[]"), match.group("user"), int(match.group("port")) if match.group("port") else None
    )


# ------------------------------------------------------------------------------------------- fleet


SCHEMES = ("nats", "tls")  # as NATS itself names them


@dataclass(frozen=True)
class FleetSettings:
    """Where jobs for workers are left, and where their files are. Part of no key."""

    broker: str = field(
        metadata=described("tls://USER@HOST:4222 (NATS), without the password: DEPLOYMATRIX_BROKER has it.")
    )
    store: str = field(
        metadata=described("A registry, a bucket, or a folder on a shared disk: inputs and outputs pass through it.")
    )
    key: Optional[str] = field(
        default=None, metadata=described("File with the secret key that signs orders; `build keys new` makes one.")
    )
    workers: Tuple[str, ...] = field(
        default=(),
        metadata=described(
            "Public keys of the workers that are believed, or files with one; all that the broker lets in, if none."
        ),
    )
    minutes: float = field(default=120.0, metadata=described("An action that takes longer is ended, and has failed."))
    tries: int = field(default=3, metadata=described("How often an action is begun before it has failed."))
    patience: float = field(
        default=30.0, metadata=described("Seconds that a job waits for the first worker that serves its queue.")
    )

    def beside(self, root: Path) -> "FleetSettings":
        """With relative paths resolved against the folder of matrix.yaml."""
        key = str(root / Path(self.key).expanduser()) if self.key else None
        store = self.store if "://" in self.store else str(root / self.store)
        workers = tuple(str(root / word) if (root / word).is_file() else word for word in self.workers)
        return replace(self, key=key, store=store, workers=workers)
