"""What detection may touch: files below a root, the environment, Python's path, libraries, commands. Nothing else
of the machine is read, so a test gives a folder of files and stand-ins and gets the machine that they describe."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple

TIMED_OUT = 124  # as the program `timeout` says it
_PATIENCE = 10.0  # seconds; nvidia-smi takes one or two while a driver wakes up, and for ever when it hangs


@dataclass(frozen=True)
class Answer:
    """What a command said. `code` is None when there is no such command."""

    code: Optional[int]
    text: str


@dataclass(frozen=True)
class Probe:
    root: Path
    environ: Mapping[str, str]
    path: Tuple[str, ...]
    library: Callable[[str], Any]
    module: Callable[[str], Any]
    command: Callable[[Sequence[str]], Answer]

    def text(self, path: str) -> str:
        """The file, or nothing. Read whole; what is asked for here is small, but for the package list of Debian."""
        try:
            with open(self._at(path), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return os.path.exists(self._at(path))

    def link(self, path: str) -> str:
        """Where a symbolic link leads in the end; the path itself when it is none."""
        return os.path.realpath(self._at(path))

    def _at(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))


def real() -> Probe:
    """This machine."""
    return Probe(Path("/"), os.environ, tuple(sys.path), _library, _module, _command)


def _library(name: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


def _command(words: Sequence[str]) -> Answer:
    import subprocess  # only where a command is run: it costs as much as all the rest of detection

    try:
        done = subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return Answer(TIMED_OUT, f"no answer in {_PATIENCE:.0f} seconds")
    except OSError as problem:
        return Answer(None, problem.strerror or str(problem))
    return Answer(done.returncode, done.stdout)
