"""Graphs in the words of an older opset: the same numbers, or an error that names the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import helper

from builder.actions.action import Action
from builder.actions.recipes import LowerOpset, Parse
from builder.errors import StepFailed
from builder.models import onnx_files
from builder.steps import fp16, lower_opset
from tests import onnx_models

IMAGE = np.random.default_rng(0).random((1, 1, 16, 24), dtype=np.float32)
ANY = ["batch", 1, "h", "w"]


def opset(model: Any) -> int:
    return int(model.opset_import[0].version)


def node(model: Any, kind: str) -> Any:
    return next(n for n in model.graph.node if n.op_type == kind)


def attributes(found: Any) -> Any:
    return {a.name: helper.get_attribute_value(a) for a in found.attribute}


def test_a_reduction_keeps_its_axes(tmp_path: Path) -> None:
    """TensorRT 8 reads a reduction with axes in an input as one over every axis."""
    model = onnx_models.convolutional()
    before = model.SerializeToString()
    older = lower_opset.to_opset(model, 17)
    assert model.SerializeToString() == before, "a copy"
    onnx_files.save(older, tmp_path / "m.onnx")  # checked with full type inference
    assert (opset(older), older.ir_version) == (17, 8)
    assert attributes(node(older, "ReduceL2")) == {"axes": [1]}
    assert list(node(older, "ReduceL2").input) == ["c2"]
    assert "axes" not in [tensor.name for tensor in older.graph.initializer]
    assert np.array_equal(onnx_models.run(model, IMAGE), onnx_models.run(older, IMAGE))


def test_the_fp16_graph_too() -> None:
    model = fp16.to_float16(onnx_models.convolutional())
    older = lower_opset.to_opset(model, 17)
    onnx.checker.check_model(older, full_check=True)
    assert np.array_equal(onnx_models.run(model, IMAGE), onnx_models.run(older, IMAGE))


def test_sampling_modes_have_their_older_names() -> None:
    grid = np.random.default_rng(1).uniform(-1, 1, (1, 5, 7, 2)).astype(np.float32)
    nodes = [helper.make_node("GridSample", ["image", "grid"], ["out"], mode="linear", align_corners=1)]
    model = onnx_models.model(nodes, {"grid": grid}, [1, 1, 16, 24], [1, 1, 5, 7])
    older = lower_opset.to_opset(model, 17)
    onnx.checker.check_model(older, full_check=True)
    assert attributes(node(older, "GridSample"))["mode"] == b"bilinear"
    assert np.allclose(onnx_models.run(model, IMAGE), onnx_models.run(older, IMAGE))


def test_attributes_that_say_the_default_are_dropped_and_others_refused() -> None:
    def cast(saturate: int) -> Any:
        nodes = [
            helper.make_node("Cast", ["image"], ["i"], to=onnx.TensorProto.INT32, saturate=saturate),
            helper.make_node("Cast", ["i"], ["out"], to=onnx.TensorProto.FLOAT),
        ]
        return onnx_models.model(nodes, {}, ANY, ANY)

    older = lower_opset.to_opset(cast(1), 17)
    onnx.checker.check_model(older, full_check=True)
    assert attributes(node(older, "Cast")) == {"to": onnx.TensorProto.INT32}
    with pytest.raises(StepFailed, match="Cast: opset 17 has no saturate"):
        lower_opset.to_opset(cast(0), 17)


def test_what_no_older_opset_can_say_names_the_node() -> None:
    gelu = onnx_models.model([helper.make_node("Gelu", ["image"], ["out"], name="act")], {}, ANY, ANY)
    with pytest.raises(StepFailed, match="Gelu 'act' does not exist in opset 17"):
        lower_opset.to_opset(gelu, 17)
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Slice", ["shape", "start", "end"], ["axes"]),
        helper.make_node("ReduceMax", ["image", "axes"], ["out"]),
    ]
    arrays = {"start": np.asarray([1], np.int64), "end": np.asarray([2], np.int64)}
    computed = onnx_models.model(nodes, arrays, ANY, ["a", "b", "c", "d"])
    with pytest.raises(StepFailed, match="its axes are not constant"):
        lower_opset.to_opset(computed, 17)
    grid = [helper.make_node("GridSample", ["image", "grid"], ["out"])]
    sampled = onnx_models.model(grid, {"grid": np.zeros((1, 5, 7, 2), np.float32)}, [1, 1, 16, 24], [1, 1, 5, 7])
    with pytest.raises(StepFailed, match="GridSample does not exist in opset 13"):
        lower_opset.to_opset(sampled, 13)


def test_an_older_graph_stays_as_it_is() -> None:
    older = lower_opset.to_opset(onnx_models.convolutional(), 17)
    assert lower_opset.to_opset(older, 20) == older


def test_the_step(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    onnx_files.save(onnx_models.convolutional(), tmp_path / "model.onnx")
    action = Action(LowerOpset(17), (), ())
    made: Any = lower_opset.lower_opset(action, tmp_path, tmp_path / "out", tmp_path)
    assert made.nodes == 7
    assert opset(onnx_files.load(tmp_path / "out" / "model.onnx")) == 17
    with pytest.raises(StepFailed, match="opset recipe"):
        lower_opset.lower_opset(Action(Parse(), (), ()), tmp_path, tmp_path / "out", tmp_path)
