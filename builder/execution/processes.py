"""A process that this one starts: it finds this program's own modules, and ends when its standard input closes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Dict

import builder


def worker_environment() -> Dict[str, str]:
    """This process's environment, in which another one finds this very `builder`, and no folder of the same name that the
    person's project may have."""
    ours, inherited = str(Path(builder.__file__).absolute().parent.parent), os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([ours, inherited] if inherited else [ours])}


def hold() -> None:
    """Watch standard input from here on."""
    threading.Thread(target=_end_with_standard_input, daemon=True).start()


def _end_with_standard_input() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would abort the interpreter's shutdown
        pass
    os._exit(130)
