"""Checks of the machines in matrix.yaml: addresses, workers, fleet.

Raise RecordError.
"""

from __future__ import annotations

import fnmatch
from typing import Optional, Sequence, Tuple
from urllib.parse import urlsplit

from builder.config.cells import expand
from builder.config.matrix import Matrix, Target
from builder.config.remote_machines import FLEET, SCHEMES, Listed, SshWorker, parsed
from builder.files import bytes_of
from builder.records import KeyPath, RecordError, expect


def check(matrix: Matrix) -> None:
    for target in matrix.targets:
        _check_target(target, matrix.fleet is not None)
    check_listed(matrix.machines, matrix.targets)
    if matrix.fleet is not None:
        _check_broker(matrix.fleet.broker)
        _check_store(matrix.fleet.store)
        for key in ("minutes", "patience"):
            expect(getattr(matrix.fleet, key) > 0, ("fleet", key), "must be more than 0")
        expect(matrix.fleet.minutes <= 24 * 60, ("fleet", "minutes"), "must be at most 1440: a day")
        expect(0 < matrix.fleet.tries <= 100, ("fleet", "tries"), "must be from 1 to 100")


def check_listed(machines: Sequence[Listed], targets: Sequence[Target]) -> None:
    """Check the machines of a matrix, or of an inventory, for the targets of that matrix."""
    for machine in machines:
        path: KeyPath = ("machines", machine.name)
        _address(machine.reached.where, (*path, "where") if machine.where else path)
        _check_worker(machine.worker, path)
        expect(bool(machine.targets), (*path, "targets"), "names no target")
        for i, word in enumerate(machine.targets):
            chosen = [t for t in targets if any(fnmatch.fnmatchcase(t.name, p) for p in expand(word))]
            if not chosen:
                known = tuple(target.name for target in targets)
                raise RecordError((*path, "targets", i), f"{word!r} selects no target", wrong=word, known=known)
            for target in chosen:
                expect(target.os == "linux", (*path, "targets", i), f"nobody can work on {target.os} over SSH yet")


def _check_target(target: Target, fleet: bool) -> None:
    path: KeyPath = ("targets", target.name)
    expect(
        target.where is not None or target.worker == SshWorker(),
        (*path, "worker"),
        "has no meaning without `where`",
    )
    places: Tuple[str, ...] = (target.where,) if isinstance(target.where, str) else target.where or ()
    expect(target.where is None or bool(places), (*path, "where"), "names no machine")
    for place in places:
        if place == FLEET:
            expect(fleet, (*path, "where"), "there is no `fleet:` in this matrix, which says where its broker is")
        else:
            _address(place, (*path, "where"))
        expect(target.os == "linux", (*path, "where"), f"nobody can work on {target.os} yet")
    _check_worker(target.worker, path)


def _address(where: str, path: KeyPath) -> None:
    try:
        parsed(where)
    except ValueError as problem:
        raise RecordError(path, str(problem)) from None


def _check_worker(worker: SshWorker, path: KeyPath) -> None:
    expect(worker.minutes > 0, (*path, "worker", "minutes"), "must be more than 0")
    for key in ("python", "folder"):
        text = getattr(worker, key)
        expect(bool(text) and text.isprintable() and text[0] != "-", (*path, "worker", key), f"{text!r} is no path")
    for key in ("memory", "free"):
        size: Optional[str] = getattr(worker, key)
        try:
            bytes_of(size or "0MiB")
        except ValueError as problem:
            raise RecordError((*path, "worker", key), str(problem)) from None


def _check_store(store: str) -> None:
    path: KeyPath = ("fleet", "store")
    expect(bool(store), path, "names no place")
    read_only = store.startswith(("http://", "https://")) or ("://" not in store and store.endswith(".tar"))
    expect(not read_only, path, f"workers cannot bring anything to {store!r}: name a registry, a bucket or a folder")


def _check_broker(broker: str) -> None:
    path: KeyPath = ("fleet", "broker")
    try:
        url = urlsplit(broker)
        known = url.scheme in SCHEMES and bool(url.hostname)
        secret = url.password
    except ValueError:
        known, secret = False, None
    shown = repr(broker) if "@" not in broker else "this"  # the part before the @ may be a password
    expect(known, path, f"{shown} is no address of a broker: tls://HOST:4222 (NATS)")
    expect(
        secret is None, path, "a password does not belong into a file: export DEPLOYMATRIX_BROKER with the whole URL"
    )
