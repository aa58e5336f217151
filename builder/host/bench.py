"""Timing several artifacts on this host side by side: each in a process of its own, one run of each in turns.

An artifact that does not open, crashes or takes too long is told with its reason and takes nothing from the others.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple

from builder.actions.measurements import Latency
from builder.config.contract import Compute
from builder.errors import DeployError
from builder.execution.processes import worker_environment
from builder.platforms.platform import Platform
from builder.records import from_json, to_json
from validation import timing

# The process in which `build bench` runs one artifact: opens it, then runs it once for every line that it is sent.
#
# `python -m builder.host.bench ORDER.json`. It answers `ready`, then per run the milliseconds that it took; what a runtime
# prints goes to standard error. It ends when its standard input does.


@dataclass(frozen=True)
class Order:
    """`shape` of the input `input`, float32; `threads` 0 takes every core."""

    folder: str
    platform: Platform
    compute: Compute
    static: bool
    threads: int
    input: str
    shape: Tuple[int, ...]


def main(path: str) -> int:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = from_json(Order, json.loads(Path(path).read_bytes()))
    try:
        import numpy as np

        from builder import plugins

        options = plugins.OpenOptions(order.compute, order.static, order.threads)
        run = plugins.backend(order.platform.runtime).open(Path(order.folder), options)
        feed = {order.input: np.random.default_rng(0).random(order.shape, dtype=np.float32)}
        print("ready", file=answers, flush=True)
        for _ in sys.stdin:
            started = time.perf_counter()
            run(feed)
            print((time.perf_counter() - started) * 1000, file=answers, flush=True)
    except DeployError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    return 0


@dataclass(frozen=True)
class Found:
    """Of one order: its time, or why there is none."""

    latency: Optional[Latency]
    problem: str = ""


def side_by_side(
    orders: Sequence[Order], machine: str, seconds: float, patience: float, say: Callable[[str], None]
) -> Tuple[Found, ...]:
    """Time every order, `seconds` each. `patience`: seconds that opening, or one run, may take."""
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as folder, contextlib.ExitStack() as until:
        running = [_Running(order, Path(folder) / str(i), patience) for i, order in enumerate(orders)]
        for one in running:
            until.callback(one.end)
            one.open()
            say(f"{Path(one.order.folder).name}: {one.problem or 'opened'}")
        times = timing.in_turns([one.run for one in running], seconds * len(running)) if running else []
        how = timing.method(f"{len(running)} artifacts in turns, each in its own process, for {seconds:g} s each")
        return tuple(_found(one, kept, machine, how) for one, kept in zip(running, times))


def _found(one: "_Running", times: List[float], machine: str, how: str) -> Found:
    if one.problem:
        return Found(None, one.problem)
    measured, noise = timing.percentiles(times), timing.noise(times)
    return Found(Latency(measured, None, one.order.shape, one.order.threads, machine, how, noise))


class _Running:
    """A worker that has one artifact open. `problem` is empty as long as it works."""

    def __init__(self, order: Order, folder: Path, patience: float) -> None:
        self.order, self.problem = order, ""
        self._folder, self._patience = folder, patience
        self._process: "Optional[subprocess.Popen[bytes]]" = None
        self._kept = b""

    def open(self) -> None:
        self._folder.mkdir()
        path = self._folder / "order.json"
        path.write_text(json.dumps(to_json(self.order)), encoding="utf-8")
        with (self._folder / "said").open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "builder.host.bench", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=worker_environment(),
                start_new_session=True,
                bufsize=0,
            )
        self._line("opening")

    def run(self) -> float:
        """One run, ms; NaN once there is a problem."""
        if self.problem or self._process is None or self._process.stdin is None:
            return math.nan
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"run\n")
        line = self._line("a run")
        try:
            return float(line) if not self.problem else math.nan
        except ValueError:
            self.problem = f"the worker answered {line[:80]!r}"
            return math.nan

    def end(self) -> None:
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def _line(self, what: str) -> str:
        """The worker's next answer; sets `problem` when none comes."""
        assert self._process is not None and self._process.stdout is not None
        until = time.monotonic() + self._patience
        while b"\n" not in self._kept:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self.problem = f"{what} took longer than {self._patience:g} s"
                return ""
            piece = os.read(self._process.stdout.fileno(), 4096)
            if not piece:
                self.problem = self._last_words()
                return ""
            self._kept += piece
        line, _, self._kept = self._kept.partition(b"\n")
        return line.decode("utf-8", errors="replace")

    def _last_words(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        lines = (self._folder / "said").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"it {how}" + (f": {lines[-1][:200]}" if lines else "")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
