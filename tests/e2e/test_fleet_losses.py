"""Connections that are cut while an action is asked for, performed and told: it ends with one result."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

pytest.importorskip("nats")

from builder import plugins
from builder.actions.action import Action, Result
from builder.config.remote_machines import FleetSettings
from builder.digest import of_bytes
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.executor import Fleet
from builder.execution.fleet.messages import Signing
from builder.platforms.platform import Pinned
from builder.store.layout import Layout
from tests import brokers, fleets
from tests.fakes import REPOSITORY
from tests.fleets import Proxy, until

pytestmark = pytest.mark.e2e
_WORKER = """
import asyncio, os, sys, time
from pathlib import Path
from builder import plugins as seams
from builder.actions.action import Result
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.messages import Signing
from builder.execution.fleet.worker import Worker, WorkerSettings, serve
from builder.actions.recipes import Made
from tests import fleets
from tests.fakes import LAPTOP

def perform(what, cache, say):
    '''To another result each time.'''
    found = cache.recall(what.key)
    if found is not None:
        return found
    say("at it")
    time.sleep(2)
    made = Result(what.key, (cache.store.put_bytes("model.bin", os.urandom(16)),), Made(1, ()), 0.1, 1)
    cache.record(made)
    print("performed", flush=True)
    return made

url, folder = sys.argv[1], Path(sys.argv[2])
place, tell = seams.repository(str(folder / "exchange"), {}), lambda line: print(line, flush=True)
settings = WorkerSettings("one@one", LAPTOP, folder / "kept")
make = lambda connection: [Worker(settings, connection, place, Signing(), tell, perform)]
asyncio.run(serve(Broker(url), make, [fleets.QUEUE], tell))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Server]:
    with brokers.nats(tmp_path_factory.mktemp("broker") / "nats") as running:
        yield running


class Lab:
    """A run and a worker, each with a line of its own to the broker."""

    def __init__(self, server: brokers.Server, folder: Path) -> None:
        self.lines: Dict[str, Proxy] = {"run": Proxy(server.port), "worker": Proxy(server.port)}
        self._folder, self._log, self.said = folder, folder / "log", []  # type: Path, Path, List[str]
        self.store = Layout(folder / "artifacts")
        (folder / "given").write_bytes(fleets.MODEL)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, self.lines["worker"].url(server.url), str(folder)],
            stdout=self._log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,
        )
        until(lambda: "serves" in self.log or self.process.poll() is not None, 60, "to start")
        url = self.lines["run"].url(server.url)
        place = plugins.repository(str(folder / "exchange"), {})
        settings = FleetSettings(url, str(folder / "exchange"), patience=60.0)
        self.fleet = Fleet(Broker(url), place, os.urandom(4).hex(), settings, Signing())
        self.results: List[Result] = []
        self.problems: List[BaseException] = []

    @property
    def log(self) -> str:
        return self._log.read_text()

    def begin(self, what: Action) -> threading.Thread:
        thread = threading.Thread(target=self._perform, args=(what,), daemon=True)
        thread.start()
        return thread

    def _perform(self, what: Action) -> None:
        try:
            files = {pinned.name: self._folder / "given" for pinned in what.inputs}
            self.results.append(self.fleet.perform(what, files, self._folder, self.store, self.said.append))
        except BaseException as problem:  # for the test to see
            self.problems.append(problem)

    def end(self) -> None:
        # In order, as long as its line lets it: what a run leaves in queues is the next test's.
        leaving = threading.Thread(target=self.fleet.__exit__, args=(None, None, None), daemon=True)
        leaving.start()
        leaving.join(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for line in self.lines.values():
            line.end()


@pytest.fixture
def lab(server: brokers.Server, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(server, tmp_path)
    yield made
    made.end()


def _ends_with_one_result(lab: Lab, thread: threading.Thread) -> None:
    thread.join(90)
    assert not thread.is_alive(), "\n".join(["it never ends", *lab.said, lab.log])
    assert lab.problems == [] and len(lab.results) == 1, lab.problems
    made = lab.results[0].outputs[0]
    assert lab.store.fetch(made.digest).stat().st_size == 16
    assert lab.process.poll() is None and "Traceback" not in lab.log
    again = lab.begin(fleets.action(Pinned("another.onnx", of_bytes(fleets.MODEL))))
    again.join(60)
    assert len(lab.results) == 2, "the next one is performed"


# When to cut, as is seen from outside.
MOMENTS: Dict[str, Callable[[Lab], object]] = {
    "while it is ordered": lambda lab: lab.said,
    "while it is asked for": lambda lab: any(line == "one@one begins" for line in lab.said),
    "while it is performed": lambda lab: "at it" in lab.said,
    "while it is told": lambda lab: "performed" in lab.log,
}


@pytest.mark.parametrize(
    ("moment", "who", "seconds"),
    [
        ("while it is ordered", "run", 4.0),
        ("while it is ordered", "worker", 0.0),
        ("while it is asked for", "worker", 0.0),
        ("while it is performed", "run", 4.0),
        ("while it is performed", "worker", 4.0),
        ("while it is told", "run", 0.0),
        ("while it is told", "worker", 4.0),
    ],
)
def test_a_line_that_is_cut_costs_time_and_no_result(lab: Lab, moment: str, who: str, seconds: float) -> None:
    thread = lab.begin(fleets.action())
    until(lambda: MOMENTS[moment](lab), 30, moment)
    line = lab.lines[who]
    line.closed = seconds > 0
    line.cut()
    time.sleep(seconds)
    line.closed = False
    _ends_with_one_result(lab, thread)


def test_connections_that_are_ended_again_and_again(lab: Lab) -> None:
    thread = lab.begin(fleets.action())
    until(lambda: lab.said, 30)
    for _ in range(12):
        for line in lab.lines.values():
            line.cut()
        time.sleep(0.4)
    _ends_with_one_result(lab, thread)


def test_orders_of_a_run_that_was_killed_hold_nobody_up(lab: Lab, server: brokers.Server) -> None:
    dead = os.urandom(4).hex()
    with fleets.Link(server.url) as link:
        for _ in range(4):
            link.do(link.connection.add(fleets.QUEUE, Signing().close(fleets.order(run=dead))))
    began = time.monotonic()
    _ends_with_one_result(lab, lab.begin(fleets.action()))
    assert lab.log.count("left: its run does not answer") >= 4
    assert time.monotonic() - began < 35, "not ten seconds for each"


def test_an_order_that_is_lost_is_given_again(lab: Lab, server: brokers.Server) -> None:
    """As a broker loses what was not on its disk yet when the power went."""
    os.killpg(lab.process.pid, signal.SIGSTOP)
    thread = lab.begin(fleets.action())
    with fleets.Link(server.url) as link:
        until(lambda: link.do(link.jobs()), 20, "the order")
        for number in link.do(link.jobs()):
            link.do(link.connection.remove(number))
    os.killpg(lab.process.pid, signal.SIGCONT)
    _ends_with_one_result(lab, thread)


def test_a_broker_that_has_lost_everything_is_given_it_again(lab: Lab, server: brokers.Server) -> None:
    os.killpg(lab.process.pid, signal.SIGSTOP)
    thread = lab.begin(fleets.action())
    with fleets.Link(server.url) as link:
        until(lambda: link.do(link.jobs()), 20, "the order")
    server.stop()
    shutil.rmtree(server.folder / "jetstream")
    server.start()
    os.killpg(lab.process.pid, signal.SIGCONT)
    _ends_with_one_result(lab, thread)
