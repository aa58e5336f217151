"""The parity step opens artifacts so that memory is given back between image sizes."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest

pytest.importorskip("numpy")
pytest.importorskip("polygraphy")

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import MeasureParity
from builder.platforms.platform import Platform
from builder.steps import measure


class Backend:
    def __init__(self) -> None:
        self.opened: List[plugins.OpenOptions] = []

    def open(self, folder: Path, options: plugins.OpenOptions) -> None:
        self.opened.append(options)


def test_it_opens_the_artifact_frugally(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend = Backend()
    monkeypatch.setattr(plugins, "backend", lambda name: backend)
    recipe = MeasureParity(samples=(), outputs=("scores",), align=None, agreement=(), compute="f32", static=True)
    measure.measure_parity(
        Action(recipe, (), (), Platform("openvino", "1", "linux", "x86_64")), tmp_path, tmp_path, tmp_path
    )
    assert backend.opened == [plugins.OpenOptions("f32", static=True, threads=0, frugal=True)]


@pytest.mark.parametrize("frugal", [True, False])
def test_a_frugal_session_has_no_arena(frugal: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, str(tmp_path / "model.onnx"))
    from builder.runtimes import onnxruntime

    session = onnxruntime.session_on(tmp_path / "model.onnx", threads=1, frugal=frugal)
    assert session._session.get_session_options().enable_cpu_mem_arena is not frugal
