"""`build completion`: a script that completes verbs, flags and file names in a shell.

The script is static, so pressing TAB starts no Python. argcomplete starts it each time, for 0.1 to 0.5 s of processor time.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Iterator

from builder.cli import VERBS
from builder.errors import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        shtab = None  # type: ignore[assignment]
    if shtab is None or args.shell not in shtab.SUPPORTED_SHELLS:
        raise UsageError("this needs shtab 1.10 or newer", hint="pip install 'shtab>=1.10'")
    whole = argparse.ArgumentParser(prog="build")
    verbs = whole.add_subparsers()
    for name, line in VERBS.items():
        import_module(f"builder.cli.commands.{name}").arguments(verbs.add_parser(name, help=line))
    for action in _actions(whole):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # an attribute that shtab looks for
    print(shtab.complete(whole, args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of the parser and of those below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)
