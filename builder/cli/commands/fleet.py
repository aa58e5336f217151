"""`build fleet`: the workers that are there, what they serve and do, and what waits in the queues. Changes nothing."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional

from builder import release, terminal
from builder.digest import Json
from builder.errors import UsageError

if TYPE_CHECKING:
    from builder.execution.fleet.broker import Broker
    from builder.execution.fleet.messages import Status

_HERE = Path("matrix.yaml")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", metavar="URL", help="default: `fleet:` of the matrix; DEPLOYMATRIX_BROKER wins")
    parser.add_argument(
        "-m", "--matrix", type=Path, metavar="FILE", help="whose queues are shown too (matrix.yaml, if there)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    try:
        from builder.execution.fleet import broker
    except ImportError as problem:
        raise UsageError(
            f"{problem.name or problem} is not installed here", hint=release.pip_install("fleet")
        ) from None
    targets, named = _of_matrix(args)
    found = broker.found(args.broker or named, os.environ)
    shown = asyncio.run(_asked(found, targets))
    print(json.dumps(shown, indent=1) if args.format == "json" else _as_text(shown, found.name))
    return 0


def _of_matrix(args: argparse.Namespace) -> "tuple[Dict[str, str], Optional[str]]":
    """The queues of the targets that are left to the fleet, by target, and the broker, where there is a matrix."""
    path: Optional[Path] = args.matrix or (_HERE if _HERE.is_file() else None)
    if path is None:
        return {}, None
    from builder.config.loader import load
    from builder.execution.fleet import queues
    from builder.platforms import machines
    from builder.platforms.platform import platform_of

    matrix, machine = load(path).matrix, machines.here()
    left = [target for target in matrix.targets if any(place.many for place in target.reached)]
    wanted = {target.name: queues.name(platform_of(target, machine)) for target in left}
    return wanted, matrix.fleet.broker if matrix.fleet else None


async def _asked(found: "Broker", targets: Mapping[str, str]) -> "Dict[str, List[Dict[str, Json]]]":
    """Workers and queues, as `--format json` shows them. Raises Unreachable."""
    from builder.execution.fleet.broker import Connection
    from builder.execution.fleet.coordinator import status
    from builder.execution.fleet.messages import Signing

    connection = Connection(found, "build fleet")
    await connection.open()
    try:
        workers = await status(connection, Signing())  # it is only shown, so whoever answers is listed
        served = [queue for about in workers.values() for queue in about.queues]
        lines: List[Dict[str, Json]] = [
            {
                "name": queue,
                "targets": [*sorted(target for target, of in targets.items() if of == queue)],
                "waiting": await connection.waiting(queue),
                "workers": served.count(queue),
            }
            for queue in sorted({*targets.values(), *served})
        ]
    finally:
        await connection.close()
    return {"workers": [_worker(name, workers[name]) for name in sorted(workers)], "queues": lines}


def _worker(name: str, about: "Status") -> Dict[str, Json]:
    clean = [terminal.in_one_line(word) for word in (name, about.machine, *about.queues)]
    job = dict(zip(("step", "key", "run"), map(terminal.in_one_line, about.working)))
    return {
        "name": clean[0],
        "machine": clean[1],
        "queues": [*sorted(clean[2:])],
        "done": about.done,
        "job": {**job, "seconds": round(about.seconds, 1)} if len(job) == 3 else None,
    }


def _as_text(shown: "Mapping[str, List[Dict[str, Json]]]", broker: str) -> str:
    from builder.execution.fleet.queues import short

    start = f"build worker --broker {broker} --store PLACE"
    workers = shown["workers"]
    queues = [queue for queue in shown["queues"] if queue["targets"] or queue["waiting"]]
    if not workers and not queues:
        return f"Nobody serves {broker}. Next, on each machine: {start}"
    parts: List[str] = []
    if workers:
        rows = [(str(w["name"]), _job(w["job"]), str(w["done"]), str(w["machine"])) for w in workers]
        parts += [terminal.table(("worker", "at work on", "done", "machine"), rows, status=-1), ""]
    if queues:
        rows = [
            (short(str(q["name"])), ", ".join(map(str, q["targets"])), str(q["waiting"]), str(q["workers"]))  # type: ignore[arg-type]
            for q in queues
        ]
        parts += [terminal.table(("queue", "targets", "waiting", "workers"), rows, status=-1), ""]
    waiting = sum(int(str(queue["waiting"])) for queue in shown["queues"])
    parts.append(f"{terminal.counted(len(workers), 'worker')}; {terminal.counted(waiting, 'job')} waiting.")
    unserved = ", ".join(short(str(queue["name"])) for queue in queues if not queue["workers"])
    return "\n".join(parts + ([f"Nobody serves {unserved}. On such a machine: {start}"] if unserved else []))


def _job(job: Json) -> str:
    return (
        f"{job['step']} {job['key']} of run {job['run']} for {job['seconds']:.0f} s" if isinstance(job, dict) else "-"
    )
