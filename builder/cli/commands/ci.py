"""`build ci github|gitlab`: the workflow whose jobs are the targets, each on the runner that the matrix names."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from builder import files
from builder.config.loader import load
from builder.errors import UsageError
from builder.execution import ci
from builder.execution.ci import Wishes, pipeline


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", choices=("github", "gitlab"), metavar="SERVICE", help="github or gitlab")
    parser.add_argument(
        "-m", "--matrix", type=Path, default=Path("matrix.yaml"), metavar="FILE", help="default: matrix.yaml"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it (default: print it)")
    parser.add_argument("--check", action="store_true", help="write nothing: is FILE what would be written?")
    parser.add_argument(
        "--package", default=".", metavar="SPEC", help="what pip installs deploymatrix from (.: the checkout itself)"
    )
    parser.add_argument("--publish", default="", metavar="DEST", help="publish there what is built on the main branch")
    parser.add_argument("--sign", action="store_true", help="sign with the key in the secret DEPLOYMATRIX_KEY")
    parser.add_argument(
        "--runner", action="append", metavar="LABEL", help="of the jobs that are of no target (ubuntu-latest)"
    )


def run(args: argparse.Namespace) -> int:
    loaded = load(args.matrix)
    wishes = Wishes(
        args.package, args.publish, args.sign, tuple(args.runner or ("ubuntu-latest",)), args.matrix.as_posix()
    )
    wanted = pipeline(loaded.matrix, wishes)
    text = ci.rendered(wanted, args.service)
    if args.check:
        return _checked(text, args.output or Path(ci.USUAL[args.service]), args.service)
    if args.output is None:
        print(text, end="")
    else:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        files.write(args.output, text.encode())
        print(f"{args.output}: {len(wanted.targets)} targets on runners of their own")
    if wanted.left:
        print(f"note: no `runner:` is named for {', '.join(wanted.left)}", file=sys.stderr)
    return 0


def _checked(text: str, file: Path, service: str) -> int:
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        raise UsageError(
            "is not what the matrix gives", where=str(file), hint=f"write it: build ci {service} --output {file}"
        )
    print(f"{file} is what the matrix gives")
    return 0
