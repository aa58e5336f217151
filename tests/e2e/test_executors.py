"""What every executor owes its callers, wherever the work is done: here, over ssh, or by a worker of a fleet."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Iterator, List

import pytest

from builder import digest, plugins
from builder.actions.action import Action
from builder.actions.recipes import Made
from builder.config.remote_machines import FLEET, Reached, SshWorker
from builder.errors import DeployError, StepFailed
from builder.plugins import Executor
from builder.store.layout import Layout
from tests import brokers, steps
from tests.sshd import python_at, sshd

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["local", "ssh", "fleet"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    pytest.importorskip("onnxruntime")
    if request.param == "local":
        from builder.execution.local import Local

        yield Local()
    elif request.param == "ssh":
        from builder.execution.ssh.executor import Machines

        far = tmp_path / "far"
        worker = SshWorker(python=str(python_at(far, TMPDIR=str(far))), folder=str(far / "kept"))
        with sshd(tmp_path / "sshd") as server, Machines(server.environ) as machines:
            yield machines.at(Reached("ssh://there", worker))
    else:
        yield from _of_a_fleet(tmp_path)


def _of_a_fleet(folder: Path) -> Iterator[Executor]:
    pytest.importorskip("nats")
    from builder.config.remote_machines import FleetSettings
    from builder.execution.fleet.broker import Broker
    from builder.execution.fleet.executor import Fleet
    from builder.execution.fleet.messages import Signing

    place = folder / "exchange"
    with brokers.nats(folder / "nats") as server:
        words = ["worker", "--broker", server.url, "--store", str(place), "--folder", str(folder / "kept")]
        worker = subprocess.Popen(
            [sys.executable, "-m", "builder.cli", *words],
            env={**os.environ, "TMPDIR": str(folder)},
            stderr=(folder / "worker.log").open("wb"),
        )
        settings = FleetSettings(server.url, str(place))
        try:
            with Fleet(Broker(server.url), plugins.repository(str(place), {}), "0f", settings, Signing()) as fleet:
                yield fleet.at(Reached(FLEET))
        finally:
            worker.kill()
            worker.wait()


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "artifacts")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return steps.model(tmp_path)


def _perform(executor: Executor, action: Action, model: Path, store: Layout, said: List[str]) -> "object":
    return executor.perform(action, {pinned.name: model for pinned in action.inputs}, store.root, store, said.append)


def test_the_result_is_of_the_action_and_its_files_are_in_the_store(
    executor: Executor, model: Path, store: Layout
) -> None:
    action = steps.engine(model)
    result = executor.perform(action, {"model.onnx": model}, store.root, store, lambda line: None)
    assert result.key == action.key
    assert isinstance(result.facts, Made)
    assert {blob.name for blob in result.outputs} >= {"model.onnx", "artifact.json"}
    for blob in result.outputs:
        assert digest.of_file(store.fetch(blob.digest)) == blob.digest
    assert not list((store.root / ".deploymatrix").glob("work/*"))


def test_a_step_that_fails_says_what_and_where_and_the_next_one_goes_well(
    executor: Executor, model: Path, store: Layout, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model at all")
    with pytest.raises(StepFailed) as problem:
        _perform(executor, steps.engine(broken), broken, store, [])
    assert "onnxruntime cannot open" in problem.value.what
    assert problem.value.where == "engine"
    assert _perform(executor, steps.engine(model), model, store, [])


def test_stop_ends_what_is_being_performed_and_nothing_is_performed_after_it(
    executor: Executor, model: Path, store: Layout
) -> None:
    problems: List[DeployError] = []

    def perform() -> None:
        try:
            _perform(executor, steps.latency(model, 60.0), model, store, [])
        except DeployError as problem:
            problems.append(problem)

    thread = threading.Thread(target=perform)
    thread.start()
    time.sleep(4)  # wherever it is by then: starting, at work, or not yet there
    began = time.monotonic()
    executor.stop()
    thread.join(20)
    assert not thread.is_alive() and time.monotonic() - began < 20
    assert isinstance(problems[0], StepFailed)
    with pytest.raises(StepFailed, match="the run was stopped"):
        _perform(executor, steps.engine(model), model, store, [])
