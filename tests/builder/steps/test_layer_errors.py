"""What lowering does to single layers, on small models in which it is known which layer suffers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import helper

from builder.actions.action import Action
from builder.actions.measurements import LayerErrors
from builder.actions.recipes import EmulateFp16, LowerFp16, LowerInt8, MeasureLayers, Parse
from builder.errors import StepFailed
from builder.models import onnx_files
from builder.steps import fp16, layer_errors
from tests import onnx_models
from validation.samples import Sample, save

IMAGES = [np.random.default_rng(i).random((1, 1, 16, 24), dtype=np.float32) for i in range(3)]
INT8, FP16 = LowerInt8("minmax", 99.9, "symmetric", "inputs"), LowerFp16()


def measured(model: Any, lowering: Any, folder: Path, *, unordered: bool = False) -> LayerErrors:
    onnx_files.save(model, folder / "model.onnx")
    np.savez(folder / "images.npz", images=np.concatenate(IMAGES))
    (folder / "reference").mkdir(exist_ok=True)
    for number, image in enumerate(IMAGES[:2]):
        save(folder / "reference" / f"s{number}.npz", Sample(f"s{number}", {"image": image}, {}))
    action = Action(MeasureLayers(lowering, ("s0", "s1"), unordered), (), ())
    found = layer_errors.measure_layer_errors(action, folder, folder, folder)
    assert isinstance(found, LayerErrors)
    return found


def test_the_convolution_whose_channels_differ_ten_thousandfold_is_first(tmp_path: Path) -> None:
    found = measured(onnx_models.lopsided(), INT8, tmp_path)
    assert found.layers[0].name == "mix"
    assert {row.name for row in found.layers} == {"first", "second", "mix", "last"}
    worst, *others = found.layers
    assert worst.alone_db is not None
    assert worst.alone_db < 10, "its output is mostly noise"
    assert all(row.alone_db is not None and row.alone_db > worst.alone_db + 15 for row in others)
    last = next(row for row in others if row.name == "last")
    assert last.through_db is not None
    assert last.through_db < 12, "what comes after it is ruined when all are lowered,"
    assert last.alone_db is not None
    assert last.alone_db > 25, "but is not to blame"


def test_the_work_of_a_layer_is_counted(tmp_path: Path) -> None:
    """Multiply-accumulates on 16x24 pixels: output channels x input channels x kernel x pixels."""
    work = {row.name: row.work for row in measured(onnx_models.lopsided(), INT8, tmp_path).layers}
    pixels = 16 * 24
    assert work == {
        "first": 4 * 9 * pixels,
        "second": 6 * 4 * 9 * pixels,
        "mix": 4 * 6 * pixels,
        "last": 3 * 4 * pixels,
    }


def test_what_is_kept_by_hand_is_no_layer_and_is_not_lowered(tmp_path: Path) -> None:
    found = measured(onnx_models.lopsided(), dataclasses.replace(INT8, keep=("mix",)), tmp_path)
    assert {row.name for row in found.layers} == {"first", "second", "last"}
    assert all(row.through_db is not None and row.through_db > 20 for row in found.layers)


def test_a_weight_beyond_float16_is_a_problem_of_its_layer_alone(tmp_path: Path) -> None:
    found = measured(onnx_models.overflowing(), FP16, tmp_path)
    worst, *others = found.layers
    assert worst.name == "wild"
    assert "beyond float16" in worst.problem
    assert worst.alone_db is None
    assert all(not row.problem and row.alone_db is not None and row.alone_db > 40 for row in others)
    assert all(row.through_db is not None and row.through_db > 40 for row in others), "measured with `wild` kept"


def test_an_activation_beyond_float16_has_no_number(tmp_path: Path) -> None:
    """The weights fit; what they make of the image does not."""
    found = measured(onnx_models.overflowing(weight=2e4), FP16, tmp_path)
    assert found.layers[0].name == "wild"
    assert found.layers[0].alone_db is None
    assert found.layers[0].max_abs is None
    assert not found.layers[0].problem


def test_layers_of_fp16_are_convolutions_with_what_follows(tmp_path: Path) -> None:
    found = measured(onnx_models.overflowing(), FP16, tmp_path)
    assert {row.nodes for row in found.layers} == {("first", "relu"), ("wild", "relu2", "tame"), ("last",)}
    assert {row.operator for row in found.layers} == {"Conv"}


def test_a_joint_begins_a_layer() -> None:
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], "a"),
        helper.make_node("Relu", ["a"], ["b"], "b"),
        helper.make_node("Sigmoid", ["a"], ["c"], "c"),
        helper.make_node("Mul", ["b", "c"], ["d"], "d"),
        helper.make_node("Mul", ["d", "half"], ["e"], "e"),
        helper.make_node("Identity", ["e"], ["out"], "f"),
    ]
    arrays = {"w": random.normal(size=(2, 1, 1, 1)).astype(np.float32), "half": np.float32(0.5)}
    model = onnx_models.model(nodes, arrays, ["n", 1, "h", "w"], ["n", 2, "h", "w"])
    names = [node.name for node in model.graph.node]
    assert layer_errors._grouped(model, names) == [("a", "b", "c"), ("d", "e", "f")]


def test_rows_that_may_swap_are_not_compared(tmp_path: Path) -> None:
    """A top-k with a tie broken otherwise has other rows and the same meaning: what comes before it is compared."""
    random = np.random.default_rng(0)
    arrays = {
        "w": random.normal(size=(1, 1, 3, 3)).astype(np.float32),
        "v": random.normal(size=(1, 1, 1, 1)).astype(np.float32),
        "k": np.int64([40]),
        "flat": np.int64([0, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], "a", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["a", "v"], ["b"], "b"),
        helper.make_node("Reshape", ["b", "flat"], ["c"], "c"),
        helper.make_node("TopK", ["c", "k"], ["out", "index"], "top"),
    ]
    model = onnx_models.model(nodes, arrays, ["n", 1, "h", "w"], ["n", 40])
    assert {row.output for row in measured(model, INT8, tmp_path).layers} == {"out"}
    assert {row.output for row in measured(model, INT8, tmp_path, unordered=True).layers} == {"b"}


def test_equal_models_have_no_noise(tmp_path: Path) -> None:
    found = layer_errors.measure(onnx_models.lopsided(), [("mix",)], lambda keep: onnx_models.lopsided(), [{"image": IMAGES[0]}])  # fmt: skip
    assert found.layers[0].alone_db == found.layers[0].through_db == 999
    assert found.layers[0].max_abs == 0


def test_the_step_refuses_another_recipe(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="needs a layer-errors recipe"):
        layer_errors.measure_layer_errors(Action(Parse(), (), ()), tmp_path, tmp_path, tmp_path)


def test_noise_by_hand() -> None:
    assert layer_errors._decibels([np.float32([3, 4])], [np.float32([3, 4.5])]) == 20
    assert layer_errors._decibels([np.float32([1])], [np.float32([np.inf])]) is None
    assert layer_errors._decibels([np.float32([0])], [np.float32([1])]) == -999


# ------------------------------------------------------------------------------------------- emulated float16


def test_an_emulated_graph_rounds_every_tensor_that_was_float16(tmp_path: Path) -> None:
    model = onnx_models.convolutional()
    emulated = fp16.emulated(fp16.to_float16(model))
    onnx_files.save(emulated, tmp_path / "m.onnx")
    found = layer_errors._run(emulated, ["c1", "c2", "n", "out"], [{"image": IMAGES[0]}])
    for name in ("c1", "c2"):
        assert (found[name][0] == found[name][0].astype(np.float16)).all(), f"{name} was float16"
    assert (found["n"][0] != found["n"][0].astype(np.float16)).any(), "the norm was float32"
    wanted = onnx_models.run(model, IMAGES[0])
    assert 0 < np.abs(wanted - found["out"][0]).max() < 5e-3
    kinds = {i.data_type for i in emulated.graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in kinds


def test_an_overflow_that_the_next_node_would_undo_is_seen() -> None:
    """onnxruntime's CPU provider never makes this infinity; a GPU does."""
    half = fp16.to_float16(onnx_models.overflowing(weight=2e4))
    assert np.isfinite(onnx_models.run(half, IMAGES[0])).all()
    assert not np.isfinite(onnx_models.run(fp16.emulated(half), IMAGES[0])).all()


def test_the_emulating_step(tmp_path: Path) -> None:
    onnx_files.save(fp16.to_float16(onnx_models.convolutional()), tmp_path / "model.onnx")
    (tmp_path / "out").mkdir()
    fp16.emulate_fp16(Action(EmulateFp16(), (), ()), tmp_path, tmp_path / "out", tmp_path)
    assert onnx_files.load(tmp_path / "out" / "model.onnx").graph.node
    with pytest.raises(StepFailed, match="needs an emulate-fp16 recipe"):
        fp16.emulate_fp16(Action(Parse(), (), ()), tmp_path, tmp_path / "out", tmp_path)


# ------------------------------------------------------------------------------------------- pairs around


def test_layers_with_pairs_around_them_are_measured_as_they_will_be(tmp_path: Path) -> None:
    """The last convolution stays in float there, so it is no layer."""
    around = dataclasses.replace(INT8, activations="asymmetric", placement="around")
    found = measured(onnx_models.lopsided(), around, tmp_path)
    assert found.layers[0].name == "mix"
    assert {row.name for row in found.layers} == {"first", "second", "mix"}
    assert all(row.alone_db is not None and row.alone_db < 60 for row in found.layers), "each is rounded"
