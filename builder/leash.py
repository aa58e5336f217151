"""A process that must not outlive the one that started it: it ends when its standard input closes."""

from __future__ import annotations

import os
import threading


def hold() -> None:
    """Watch standard input from here on."""
    threading.Thread(target=_end_with_standard_input, daemon=True).start()


def _end_with_standard_input() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would abort the interpreter's shutdown
        pass
    os._exit(130)
