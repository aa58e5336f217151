"""The worker as a process of its own, on an order so light that it needs no package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from builder.action import Action
from builder.errors import StepFailed
from builder.executors.local import worker_environment
from builder.recipes import Engine
from builder.record import from_json, to_json
from builder.tensorrt_options import TensorRtOptions
from builder.worker import Order, Outcome


def test_it_ends_in_order_while_its_standard_input_is_open(tmp_path: Path) -> None:
    """A thread waits on standard input all the while; it must not abort the interpreter's shutdown."""
    action = Action(
        Engine("fp32", "f32", (), 0, TensorRtOptions(), ""), (), (), platform=None
    )  # refused by the step itself
    order = tmp_path / "order.json"
    order.write_text(json.dumps(to_json(Order(action, str(tmp_path), str(tmp_path), str(tmp_path)))))
    worker = subprocess.Popen(
        [sys.executable, "-m", "builder.worker", str(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=worker_environment(),
    )
    try:
        assert worker.wait(timeout=60) == StepFailed.exit_code
    finally:
        worker.kill()
        said = worker.communicate()[0]
    assert said == b""
    outcome = from_json(Outcome, json.loads((tmp_path / "outcome.json").read_bytes()))
    assert outcome.problem == "an engine action needs an engine recipe and a platform"
