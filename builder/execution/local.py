"""The local executor: each action in a worker process of its own on this machine.

A process of its own gives memory back, cannot take the run down with it, and can be ended whole: it leads its
own process group, and it ends by itself when its standard input closes.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Deque, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from builder.actions.action import Action, Result
from builder.errors import StepFailed
from builder.execution.processes import worker_environment
from builder.execution.worker import Order, Outcome
from builder.platforms import gpu_models, machines
from builder.platforms.gpus import Gpu
from builder.platforms.machines import Machine
from builder.platforms.platform import Platform
from builder.plugins import Store
from builder.records import from_json, to_json

# One job at a time on a GPU, and none beside a job that needs the processor: locks that die with the process that holds
# them, shared by all users of the machine.
#
# A job for a GPU holds that GPU alone and the machine together with jobs of other GPUs; any other job holds the machine
# alone. They are files in the system's temporary folder, and advisory: they order workers of this program, and nothing else.


_NAME = "deploymatrix"
_PAUSE = 0.2  # seconds between tries


@dataclass(frozen=True)
class Seat:
    """What a job holds; `gpu` is None for the whole machine."""

    gpu: Optional[Gpu] = None

    @property
    def environ(self) -> Dict[str, str]:
        """What the job has to see of the machine. A GPU without a UUID (Jetson, simulated) is the only one."""
        return {"CUDA_VISIBLE_DEVICES": self.gpu.uuid} if self.gpu and self.gpu.uuid else {}


def fitting(platform: Optional[Platform], machine: Machine) -> Tuple[Gpu, ...]:
    """The GPUs of which a job of this platform needs one; none when it needs the processor."""
    if platform is None or platform.sm is None:
        return ()
    return gpu_models.fitting(machine, platform.sm, platform.gpu)


@contextlib.contextmanager
def alone(gpus: Sequence[Gpu], told: Callable[[], None], gone: Callable[[], None]) -> Iterator[Seat]:
    """Hold one of `gpus`, or the machine. `told` is called once when another job has it, `gone` at every try: it raises to
    give up."""
    waited = False
    held: Optional[Tuple[Seat, List[int]]] = None
    try:
        while held is None:
            held = _tried(gpus)
            if held is None:
                if not waited:
                    told()
                waited = True
                gone()
                time.sleep(_PAUSE)
        yield held[0]
    finally:
        for file in held[1] if held else ():
            os.close(file)


def _tried(gpus: Sequence[Gpu]) -> Optional[Tuple[Seat, List[int]]]:
    machine = _locked("", shared=bool(gpus))
    if machine is None:
        return None
    if not gpus:
        return Seat(), [machine]
    for gpu in gpus:
        own = _locked("-" + re.sub(r"[^A-Za-z0-9]", "_", gpu.uuid or gpu.name))
        if own is not None:
            return Seat(gpu), [machine, own]
    os.close(machine)
    return None


def _locked(suffix: str, *, shared: bool = False) -> Optional[int]:
    file = _opened(Path(tempfile.gettempdir()) / f"{_NAME}{suffix}.lock")
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _opened(path: Path) -> int:
    """Open for reading: that is enough to lock, and possible when another user made the file. Follows no link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another worker was faster
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    return os.open(path, flags)


_KEPT_LINES = 12


class Local:
    def __init__(self, environ: Optional[Mapping[str, str]] = None) -> None:
        """`environ`: what workers see beside this process's environment, from whoever holds the machine for them. When
        left out, an action for a GPU waits until no other job has it."""
        self._environ = environ
        self._workers: Set["subprocess.Popen[str]"] = set()
        self._stopped = False

    def perform(
        self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: Callable[[str], None]
    ) -> Result:
        with self._seat(action.platform, say) as environ, store.workspace() as work:
            outcome = self._run(lay_out(action, files, root, work), environ, say)
            if outcome.facts is None:
                raise StepFailed(
                    outcome.problem or "no reason given",
                    where=action.recipe.step,
                    hint=outcome.hint,
                    killed=outcome.killed,
                )
            blobs = tuple(store.put(file) for file in sorted((work / "out").iterdir()))
            return Result(action.key, blobs, outcome.facts, outcome.seconds, outcome.peak_mib)

    def stop(self) -> None:
        self._stopped = True
        for worker in list(self._workers):
            _kill(worker)

    def pids(self) -> Tuple[int, ...]:
        """The processes at work."""
        return tuple(worker.pid for worker in list(self._workers))

    @contextlib.contextmanager
    def _seat(self, platform: Optional[Platform], say: Callable[[str], None]) -> Iterator[Mapping[str, str]]:
        """What a worker is to see, while it may use what it sees."""
        if self._environ is not None or platform is None or platform.sm is None:
            yield self._environ or {}
            return
        machine = machines.here()
        gpus = fitting(platform, machine)
        if not gpus:  # built ahead of time, or never
            yield {}
            return
        with alone(gpus, lambda: say("another job holds this machine or its GPU"), self._must_go_on) as seat:
            yield seat.environ if len(machine.gpus) > 1 else {}  # of several, a runtime would take the first

    def _must_go_on(self) -> None:
        if self._stopped:
            raise StepFailed("the run was stopped")

    def _run(self, order: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> Outcome:
        self._must_go_on()
        last: Deque[str] = collections.deque(maxlen=_KEPT_LINES)
        worker = subprocess.Popen(
            [sys.executable, "-m", "builder.execution.worker", str(order.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=str(order.parent),
            env={**worker_environment(), **environ},
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._workers.add(worker)
        try:
            assert worker.stdout is not None
            for line in worker.stdout:
                last.append(line.rstrip())
                say(line.rstrip())
            worker.wait()
        finally:
            self._workers.discard(worker)
            _kill(worker)
        try:
            return from_json(Outcome, json.loads(order.with_name("outcome.json").read_bytes()))
        except FileNotFoundError:
            killed = worker.returncode == -signal.SIGKILL
            return Outcome(0.0, 0, problem=_last_words(worker.returncode, last), killed=killed)


def lay_out(action: Action, files: Mapping[str, Path], root: Path, work: Path) -> Path:
    """Prepare a work folder; returns the order that `python -m builder.execution.worker` takes."""
    inputs, out = work / "in", work / "out"
    out.mkdir()
    for name, path in files.items():
        place = inputs / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path.absolute())
    order = Order(action, str(inputs.absolute()), str(out.absolute()), str(root.absolute()))
    (work / "order.json").write_text(json.dumps(to_json(order), indent=1), encoding="utf-8")
    return work / "order.json"


def _kill(worker: "subprocess.Popen[str]") -> None:
    """End the worker and whatever it started."""
    if worker.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    if worker.stdin is not None:
        worker.stdin.close()


def _last_words(code: int, last: Deque[str]) -> str:
    """What a worker that wrote no outcome left behind: how it ended, and its last lines."""
    how = f"the worker ended with code {code}"
    if code < 0:
        how = f"the worker was ended by {signal.Signals(-code).name}"
        how += " (out of memory?)" if -code == signal.SIGKILL else ""
    return "\n    ".join([how, *last])
