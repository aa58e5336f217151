"""What the fleet itself costs: many simulated workers and many actions that take no time, on one machine.

    python -m bench.fleet [--workers 200] [--actions 10000] [--kills 2]

Broker, store, leases and messages are real; only the step is not: it writes a few random bytes, as an engine that is
built twice differs, so that an action that was done twice to another result would be seen. Some worker processes are killed
with -9 on the way and started again. It prints the seconds of processor time and the memory of the run's own process.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, List

from builder import digest, plugins
from builder.actions.action import Action, Result
from builder.actions.recipes import Engine, Made
from builder.config.contract import Profile, ShapeRange
from builder.config.remote_machines import FleetSettings
from builder.config.tensorrt import TensorRtOptions
from builder.execution.cache import Cache
from builder.execution.fleet import queues
from builder.execution.fleet.broker import Broker, Connection
from builder.execution.fleet.executor import Fleet
from builder.execution.fleet.messages import Signing
from builder.execution.fleet.worker import Worker, WorkerSettings, serve
from builder.platforms import machines
from builder.platforms.platform import Pinned, Platform
from builder.store.layout import Layout
from tests import brokers

PROCESSES = 8
SHAPE = (1, 1, 32, 32)


def actions(count: int, model: Path) -> List[Action]:
    """So many engines of one model, each with a key of its own."""
    here = machines.here()
    platform = Platform("onnxruntime", "any", here.os, here.arch)
    pinned = (Pinned("model.onnx", digest.of_file(model)),)
    profile = Profile("small", (ShapeRange("image", SHAPE, SHAPE, SHAPE),))
    recipe = Engine("fp32", "f32", (profile,), 1, TensorRtOptions(), "")
    return [Action(dataclasses.replace(recipe, workspace=number), pinned, (), platform) for number in range(count)]


def seem_to_work(action: Action, cache: Cache, say: Callable[[str], None]) -> Result:
    made = cache.store.put_bytes("model.bin", action.key.encode() + os.urandom(16))
    return Result(action.key, (made,), Made(1, ()), 0.0, 1)


def _silent(line: str) -> None:
    """Ten thousand lines tell nobody anything."""


def worker(url: str, place: str, name: str, count: int) -> int:
    here, folder, store = machines.here(), Path(tempfile.mkdtemp(prefix="fleet-")), plugins.repository(place, {})
    served = [queues.name(actions(1, Path(__file__))[0].platform)]  # type: ignore[arg-type]

    def make(connection: Connection) -> List[Worker]:
        named = [WorkerSettings(f"{name}-{number}@{name}-{number}", here, folder) for number in range(count)]
        return [Worker(each, connection, store, Signing(), _silent, seem_to_work) for each in named]

    asyncio.run(serve(Broker(url), make, served, _silent))
    return 0


class Crowd:
    """Processes of simulated workers. `killed` of them die one after the other while the rest goes on."""

    def __init__(self, url: str, place: Path, workers: int) -> None:
        self._url, self._place = url, place
        processes = min(PROCESSES, workers)
        self._sizes = [workers // processes + (number < workers % processes) for number in range(processes)]
        self._running = [self._started(number) for number in range(processes)]

    def _started(self, number: int) -> "subprocess.Popen[bytes]":
        words = ["worker", self._url, str(self._place), f"p{number}", str(self._sizes[number])]
        return subprocess.Popen([sys.executable, "-m", "bench.fleet", *words], start_new_session=True)

    def kill(self, number: int) -> None:
        number %= len(self._running)
        os.killpg(self._running[number].pid, signal.SIGKILL)
        self._running[number].wait()
        self._running[number] = self._started(number)

    def end(self) -> None:
        for process in self._running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclasses.dataclass(frozen=True)
class Measured:
    """`cpu`: seconds of processor time of the run's own process for each action; `memory`: MiB that it grew by."""

    seconds: float
    cpu: float
    memory: float


def measure(url: str, workers: int, count: int, kills: int, folder: Path) -> Measured:
    """Raises AssertionError when an action was lost, or has not one result. `folder` is empty."""
    model = folder / "model.onnx"
    model.write_bytes(b"a model" * 1000)
    wanted, store, place = actions(count, model), Layout(folder / "artifacts"), folder / "exchange"
    crowd = Crowd(url, place, workers)
    settings = FleetSettings(url, str(place), patience=120.0, tries=10)
    before, began, started = _used(), _cpu(), time.monotonic()
    try:
        with Fleet(Broker(url), plugins.repository(str(place), {}), os.urandom(4).hex(), settings, Signing()) as fleet:
            first = threading.Event()

            def perform(action: Action) -> Result:
                made = fleet.perform(action, {"model.onnx": model}, folder, store, _silent)
                store.record(made)
                first.set()
                return made

            with ThreadPoolExecutor(workers + workers // 4) as pool:
                futures = [pool.submit(perform, action) for action in wanted]
                first.wait()
                for number in range(kills):
                    time.sleep(count / 200 / (kills + 1))
                    crowd.kill(number)
                results = [future.result() for future in futures]
            seconds, cpu = time.monotonic() - started, _cpu() - began
    finally:
        crowd.end()
    _check(wanted, results, store)
    return Measured(seconds, cpu / count, _used() - before)


def _check(wanted: List[Action], results: List[Result], store: Layout) -> None:
    """Nothing is lost, and each action has one result, which is the one that was recorded."""
    assert [result.key for result in results] == [action.key for action in wanted]
    for result in results:
        blob = result.outputs[0]
        assert store.fetch(blob.digest).read_bytes().startswith(result.key.encode())
        found = store.recall(result.key)
        assert found == result, "one action, one result"


def _used() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> int:
    if sys.argv[1:2] == ["worker"]:
        return worker(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--actions", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name)
        with brokers.nats(folder / "broker") as server:
            (folder / "run").mkdir()
            found = measure(server.url, args.workers, args.actions, args.kills, folder / "run")
    print(
        f"{args.actions:,} actions by {args.workers} workers, {args.kills} processes of theirs killed: "
        f"nothing lost, one result each\n"
        f"{found.seconds:.0f} s, {args.actions / found.seconds:.0f} actions a second; "
        f"the run itself: {1000 * found.cpu:.1f} ms of processor time an action, {found.memory:.0f} MiB"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
