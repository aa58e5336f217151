"""`build worker`: serve a fleet from this machine, until it is ended."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import Tuple

from builder import clock, digest, release
from builder.errors import NothingFits, SystemRefused, UsageError
from builder.files import bytes_of
from builder.platforms import machines
from builder.platforms.machines import Machine
from builder.plugins import Repository
from builder.store.oci import OCTETS, Descriptor

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_GREETING = b"A worker of a fleet was here.\n"
_FOLDER = Path("~/.cache/deploymatrix")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--broker", metavar="URL", help="tls://USER@HOST:4222 of a NATS server; DEPLOYMATRIX_BROKER wins"
    )
    parser.add_argument(
        "--store", default="", metavar="PLACE", help="the store of the fleet: a registry, a bucket, a folder"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="of this worker; default: the host's, and a few letters of its id"
    )
    parser.add_argument(
        "--machine", metavar="NAME", help="of the machine, which two workers on it share; default: as that of --name"
    )
    parser.add_argument(
        "--folder", type=Path, default=_FOLDER, metavar="DIR", help=f"where files are kept by digest ({_FOLDER})"
    )
    parser.add_argument(
        "--free", type=_size, default=512 << 20, metavar="SIZE", help="disk space that is left alone (512MiB)"
    )
    parser.add_argument(
        "--memory", type=_size, default=0, metavar="SIZE", help="a job that needs more is ended: '8GiB'"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="secret key that signs what this worker says")
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="KEY",
        help="take only orders signed with this key; may be repeated",
    )
    parser.add_argument("--queues", action="store_true", help="only say which queues this machine serves")


def run(args: argparse.Namespace) -> int:
    from builder.execution.fleet import queues  # here, and below: its help needs no NATS

    machine = machines.here()
    served = queues.served(machine)
    if args.queues:
        print("\n".join(queues.short(name) for name in served))
        return 0 if served else NothingFits.exit_code
    if not served:
        raise NothingFits(
            "this machine has no runtime that a fleet could use", where=machines.in_short(machine), hint="build doctor"
        )
    return _serve(args, machine, served)


def _serve(args: argparse.Namespace, machine: Machine, served: Tuple[str, ...]) -> int:
    try:
        from builder.execution.fleet import broker, messages, worker
    except ImportError as problem:
        raise UsageError(
            f"{problem.name or problem} is not installed here", hint=release.pip_install("fleet")
        ) from None
    from builder import plugins

    found = broker.found(args.broker, os.environ)
    signing = messages.signing(str(args.key) if args.key else None, tuple(args.trust))
    found.require_private(bool(signing.key and signing.trusted), "build worker --key FILE --trust KEY")
    host = f"{socket.gethostname()}-{_identity()}" if args.machine is None else args.machine
    name = host if args.name is None else args.name
    for word in (host, name):
        if not _NAME.fullmatch(word):
            raise UsageError(
                f"{word[:80]!r} is no name of a worker", hint="--name: up to 64 letters, digits, . _ and -"
            )
    settings = worker.WorkerSettings(f"{name}@{host}", machine, args.folder.expanduser(), args.memory, args.free)
    _must_be_writable(settings.folder)
    if not args.store:
        raise UsageError(
            "the store of the fleet is named by nothing", hint="--store PLACE, as in `fleet: {store: ...}`"
        )
    place = plugins.repository(args.store, os.environ)
    _must_take(place, settings.folder)
    make = lambda connection: [worker.Worker(settings, connection, place, signing, _tell)]  # noqa: E731
    asyncio.run(worker.serve(found, make, served, _tell))
    return 0


def _must_be_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        said = f"cannot be written to: {problem.strerror or problem}"
        raise SystemRefused(said, where=str(folder), hint="name another: --folder DIR") from None


def _must_take(place: Repository, folder: Path) -> None:
    """A store that does not answer, or only gives, is told now, and not when the first job is done."""
    there = Descriptor(OCTETS, digest.of_bytes(_GREETING), len(_GREETING))
    if not place.has(there):
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(_GREETING)
            file.flush()
            place.put(there, Path(file.name))


def _identity() -> str:
    """A few letters that tell machines of one name apart: fleets of Jetsons are all called `ubuntu`."""
    try:
        known = Path("/etc/machine-id").read_bytes()
    except OSError:
        known = str(os.stat("/").st_ino).encode()
    return digest.hex_part(digest.of_bytes(known))[:6]


def _tell(line: str) -> None:
    print(f"{clock.text(clock.now())} {line}", file=sys.stderr, flush=True)


def _size(word: str) -> int:
    try:
        return bytes_of(word)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
