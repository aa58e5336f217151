"""The worker as a process of its own, on an order so light that it needs no package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import List, Optional

import pytest

from builder.actions.action import Action
from builder.actions.recipes import Engine
from builder.config.tensorrt import TensorRtOptions
from builder.errors import StepFailed
from builder.execution import local as site_lock
from builder.execution.local import Local
from builder.execution.processes import worker_environment
from builder.execution.worker import Order, Outcome, perform
from builder.platforms import machines
from builder.platforms.gpus import Gpu
from builder.platforms.platform import Platform
from builder.platforms.versions import release
from builder.records import from_json, to_json
from builder.store.layout import Layout
from tests.fakes import RTX3090, _with


def test_it_ends_in_order_while_its_standard_input_is_open(tmp_path: Path) -> None:
    """A thread waits on standard input all the while; it must not abort the interpreter's shutdown."""
    action = Action(
        Engine("fp32", "f32", (), 0, TensorRtOptions(), ""), (), (), platform=None
    )  # refused by the step itself
    order = tmp_path / "order.json"
    order.write_text(json.dumps(to_json(Order(action, str(tmp_path), str(tmp_path), str(tmp_path)))))
    worker = subprocess.Popen(
        [sys.executable, "-m", "builder.execution.worker", str(order)],
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


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was sent over SSH needs one package beside those that measuring needs."""
    pytest.importorskip("numpy")
    monkeypatch.delitem(sys.modules, "packaging.version", raising=False)
    monkeypatch.setitem(sys.modules, "packaging", None)
    release.cache_clear()
    platform = Platform("tensorrt", "10.3", "linux", "x86_64", "8.6")
    action = Action(Engine("fp32", "f32", (), 0, TensorRtOptions(), ""), (), (), platform)
    outcome = perform(Order(action, str(tmp_path), str(tmp_path), str(tmp_path)))
    assert "packaging" in (outcome.problem or "")
    assert outcome.hint == "pip install packaging"


def test_a_projects_folder_never_stands_for_a_package_of_this_program(tmp_path: Path) -> None:
    """Steps search the project's folder for modules first, for the person's model and metrics."""
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "__init__.py").write_text("raise SystemExit('not ours')\n")
    script = f"import sys, builder.execution.worker; sys.path.insert(0, {str(tmp_path)!r}); import validation.task"
    ran = subprocess.run([sys.executable, "-c", script], env=worker_environment(), capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


ONE = Gpu("NVIDIA GeForce RTX 3080", "8.6", uuid="GPU-1")
TWO = Gpu("NVIDIA GeForce RTX 3090", "8.6", uuid="GPU-2")


def _for_a_gpu(model: Optional[str] = None) -> Action:
    platform = Platform("tensorrt", "10.16", "linux", "x86_64", "8.6", gpu=model)
    return Action(Engine("fp32", "f32", (), 0, TensorRtOptions(), ""), (), (), platform)


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """Two GPUs, locks of their own, and a worker that tells what it sees before it fails for want of TensorRT."""
    monkeypatch.setattr(machines, "here", lambda: _with(RTX3090, gpus=(ONE, TWO)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "sitecustomize.py").write_text("import os; print('sees', os.environ.get('CUDA_VISIBLE_DEVICES'))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return []


@pytest.mark.parametrize(("model", "sees"), [("RTX 3090", "GPU-2"), ("RTX 3080", "GPU-1"), (None, "GPU-1")])
def test_of_several_gpus_it_sees_the_one_that_the_action_is_for(
    tmp_path: Path, said: List[str], model: Optional[str], sees: str
) -> None:
    with pytest.raises(StepFailed):
        Local().perform(_for_a_gpu(model), {}, tmp_path, Layout(tmp_path / "store"), said.append)
    assert f"sees {sees}" in said


def test_a_gpu_that_another_job_has_is_waited_for(tmp_path: Path, said: List[str]) -> None:
    with site_lock.alone((TWO,), list, list):
        local = Local()

        def wait(line: str) -> None:
            said.append(line)
            local.stop()

        with pytest.raises(StepFailed, match="the run was stopped"):
            local.perform(_for_a_gpu("RTX 3090"), {}, tmp_path, Layout(tmp_path / "store"), wait)
        assert said == ["another job holds this machine or its GPU"]
        with pytest.raises(StepFailed):
            Local().perform(_for_a_gpu(), {}, tmp_path, Layout(tmp_path / "store"), said.append)
        assert "sees GPU-1" in said, "another one of that compute capability is free"
        with pytest.raises(StepFailed):
            Local({"SEEN": "1"}).perform(_for_a_gpu("RTX 3090"), {}, tmp_path, Layout(tmp_path / "store"), said.append)
        assert said[-1] != "another job holds this machine or its GPU", "whoever says what it sees has the lock"
