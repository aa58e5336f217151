"""The runtimes send nothing to their makers from a process of ours; alone they would, where they are new enough."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import REPOSITORY

_USE = """
import onnxruntime, openvino
from onnx import helper, TensorProto
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "private", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": [1.0]})
openvino.Core().read_model(model)
"""
# Both runtimes keep an identifier of the machine below the home folder as soon as they mean to send something.
_KEPT = {"onnxruntime": ".cache/Microsoft/DeveloperTools", "OpenVINO": "intel"}


def _kept(home: Path, code: str) -> "set[str]":
    """Which runtimes have written their identifier after `code`, in a process that knows nothing of CI."""
    home.mkdir()
    environ = {"HOME": str(home), "PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
    # What is sent is not to leave this machine, should a runtime send it.
    environ.update(http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9")
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=120)
    return {name for name, folder in _KEPT.items() if (home / folder).exists()}


@pytest.fixture(autouse=True)
def _runtimes() -> None:
    for name in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(name)


@pytest.mark.parametrize("first", ["builder.cli", "builder.execution.worker", "builder.host"])
def test_a_process_of_ours_sends_nothing(tmp_path: Path, first: str) -> None:
    assert _kept(tmp_path / "home", f"import {first}\n{_USE}") == set()


def test_alone_they_would(tmp_path: Path) -> None:
    """Or the test above says nothing."""
    import onnxruntime

    new = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) >= (1, 29)
    assert _kept(tmp_path / "home", _USE) == ({"onnxruntime", "OpenVINO"} if new else {"OpenVINO"})


def test_who_wants_it_may_have_it(tmp_path: Path) -> None:
    code = "import os; import builder; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environ = {"PYTHONPATH": str(REPOSITORY), "ORT_DISABLE_TELEMETRY": "0"}
    assert subprocess.check_output([sys.executable, "-c", code], env=environ, text=True) == "0\n"
