"""A placed artifact is asked in a process of its own, with a time limit. What runs there is `builder/hosting/prove.py`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from builder.execution.processes import worker_environment
from builder.hosting.proof import Answer
from builder.records import RecordError, from_json


def ask(folder: Path, cell: str, seconds: float) -> Answer:
    """The answer of a placed artifact, from a process of its own that is given `seconds`."""
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as work:
        out = Path(work) / "answer.json"
        command = [sys.executable, "-m", "builder.hosting.prove", str(folder.absolute()), cell, str(out)]
        with open(Path(work) / "said", "w+b") as said:
            # in an empty folder: `-m` looks for modules where it is started
            with subprocess.Popen(
                command, cwd=work, env=worker_environment(), stdin=subprocess.PIPE, stdout=said, stderr=said
            ) as process:
                try:
                    code = process.wait(seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                    return Answer(f"no answer within {seconds:g} s")
            said.seek(0)
            last = said.read()[-4096:].decode(errors="replace").strip().splitlines()
        try:
            return from_json(Answer, json.loads(out.read_bytes()))
        except (OSError, ValueError, RecordError):
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            return Answer(f"the process that ran it {how}" + (f": {last[-1][:200]}" if last else ""))
