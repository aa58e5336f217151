"""`build fleet`: the workers that are there, what they serve and do, and what waits in the queues. Changes nothing."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Optional

from builder import release
from builder.errors import UsageError

_HERE = Path("matrix.yaml")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", metavar="URL", help="default: `fleet:` of the matrix; DEPLOYMATRIX_BROKER wins")
    parser.add_argument(
        "-m", "--matrix", type=Path, metavar="FILE", help="whose queues are shown too (matrix.yaml, if there)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    try:
        from builder.execution.fleet import broker, roll
    except ImportError as problem:
        raise UsageError(
            f"{problem.name or problem} is not installed here", hint=release.pip_install("fleet")
        ) from None
    wanted, named = _of_matrix(args)
    found = broker.found(args.broker or named, os.environ)
    seen = roll.call(found, wanted)
    print(json.dumps(roll.as_json(seen), indent=1) if args.format == "json" else roll.as_text(seen, found.name))
    return 0


def _of_matrix(args: argparse.Namespace) -> "tuple[dict[str, str], Optional[str]]":
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
