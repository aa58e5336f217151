"""The command line: `build VERB ...` (`deploymatrix` is the same program).

Only the verb that was typed is imported, so that `--help` and the fast verbs stay fast.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import io
import os
import signal
import sys
from importlib import import_module
from typing import List, NoReturn, Optional, Protocol, cast

from builder.errors import DeployError, SystemRefused, UsageError
from builder.release import VERSION

VERBS = {
    "doctor": "say what this machine is, and what it can build and run",
    "plan": "show what every cell of the matrix would become, and why",
    "explain": "say of one cell what becomes of it, which rules were asked, and what works instead",
    "matrix": "build, check and publish every artifact of the matrix",
    "perform": "on a target's own machine: build and measure the cells that wait for it",
    "ci": "write the CI workflow whose jobs are the targets",
    "worker": "serve a fleet from this machine: take the jobs that it can do from a queue",
    "fleet": "show the workers of the fleet, what they do, and what waits",
    "merge": "bring together what several machines did for one matrix",
    "publish": "copy versions to a registry, a bucket or another folder, from where hosts pull",
    "bundle": "write a version as one file, for hosts that no network reaches",
    "promote": "let a channel such as stable or canary stand at a version",
    "rollback": "let a channel go back to the version where it stood before",
    "channels": "show which version each channel means, until when, and who says so",
    "pin": "keep a version, whatever is collected",
    "pull": "on a host: place the fastest artifact proven for this machine",
    "run": "on a host: run the pulled artifact on a photograph",
    "bench": "on a host: time what could run here, so that pull chooses by it",
    "diff": "say what changed between two versions, cell by cell, and why",
    "gc": "remove what nothing in a store needs any more",
    "sweep": "parity and latency of a cell over a grid of sizes, and what it does outside of its profile",
    "calibrate": "show int8 ranges; with --sweep, what methods and numbers of photographs do to accuracy",
    "inspect": "say what an artifact is, what is in it, and in which precision it computes",
    "audit": "say what drifted since the last release, by how much, since when and why",
    "report": "write one HTML file with all that is known of a version",
    "keys": "make a key, say whom this machine trusts, name and revoke keys for others",
    "sign": "sign a version of a store",
    "attest": "state what a version was made of, for others: in-toto (SLSA), CycloneDX",
    "verify": "is a version whole, and signed by someone trusted here?",
    "schema": "print the JSON Schema of matrix.yaml",
    "completion": "print a script that completes verbs, flags and files in bash, zsh or fish",
}
INTERRUPTED = 130


class Verb(Protocol):
    def arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """argparse's own message, in our form and with our exit code."""
        raise UsageError(message, hint=f"see: {self.prog} --help")


def main(argv: Optional[List[str]] = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a log, both streams keep their order
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        code = _dispatch(words)
        sys.stdout.flush()  # here, so that a reader who left is met below and not at interpreter exit
        return code
    except DeployError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("interrupted; the store is whole, and the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `build plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:  # a full disk, a folder that may not be written: not a bug of ours
        print(f"error: {problem.filename or 'the system'}: {problem.strerror or problem}", file=sys.stderr)
        return SystemRefused.exit_code


def _dispatch(words: List[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"deploymatrix {VERSION}")
        return 0
    name = words[0]
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1)
        raise UsageError(
            f"there is no command {name!r}", hint=f"did you mean: build {near[0]}?" if near else "see: build --help"
        )
    verb = _loaded(name)
    parser = Parser(prog=f"build {name}", description=VERBS[name][:1].upper() + VERBS[name][1:] + ".")
    verb.arguments(parser)
    return verb.run(parser.parse_args(words[1:]))


def _loaded(name: str) -> Verb:
    """The verb's module. Nothing that importing makes is garbage, and looking for some takes a tenth of the time."""
    gc.disable()
    try:
        return cast(Verb, import_module(f"builder.cli.commands.{name}"))
    finally:
        gc.enable()


def _overview() -> str:
    lines = [f"  {name:<10} {line}" for name, line in VERBS.items()]
    return "\n".join(
        [
            "usage: build VERB [options]",
            "",
            "One matrix.yaml, the right inference artifact for every machine.",
            "",
            *lines,
            "",
            "`build VERB --help` has the options of each. Exit codes: 0 done, 2 wrong input, 3 a gate was missed,",
            "4 drift beyond its limit, 5 a step failed, 6 nothing fits this machine, 7 the store is damaged, 8 the store is in use,",
            "9 the system refused (disk full, no permission), 10 not signed by anyone trusted here,",
            "11 a registry or server does not answer or refuses, 130 interrupted.",
        ]
    )


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
