"""The worker as a process of its own, on an order so light that it needs no package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builder import facts
from builder.action import Action, Platform
from builder.errors import StepFailed
from builder.executors.local import Local, worker_environment
from builder.facts import Gpu
from builder.recipes import Engine
from builder.record import from_json, to_json
from builder.stores.layout import Layout
from builder.tensorrt_options import TensorRtOptions
from builder.worker import Order, Outcome
from tests.fakes import RTX3090, _with


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


@pytest.mark.parametrize(
    ("model", "sees"), [("RTX 3090", "GPU-2"), ("RTX 3080", "GPU-1"), (None, "GPU-1"), ("RTX 9999", None)]
)
def test_of_several_gpus_it_sees_the_one_that_the_action_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: "str | None", sees: "str | None"
) -> None:
    gpus = (Gpu("NVIDIA GeForce RTX 3080", "8.6", uuid="GPU-1"), Gpu("NVIDIA GeForce RTX 3090", "8.6", uuid="GPU-2"))
    monkeypatch.setattr(facts, "here", lambda: _with(RTX3090, gpus=gpus))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    # A backend that does not exist here, in a package that only the worker finds: it tells what it sees.
    (tmp_path / "sitecustomize.py").write_text("import os; print('sees', os.environ.get('CUDA_VISIBLE_DEVICES'))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    platform = Platform("tensorrt", "10.16", "linux", "x86_64", "8.6", gpu=model)
    action = Action(Engine("fp32", "f32", (), 0, TensorRtOptions(), ""), (), (), platform)
    said: "list[str]" = []
    with pytest.raises(StepFailed):
        Local().perform(action, {}, tmp_path, Layout(tmp_path / "store"), said.append)
    assert f"sees {sees}" in said
