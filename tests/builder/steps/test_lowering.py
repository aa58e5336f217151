"""Lowering a hand-made model to fp16 and int8: the numbers, the shapes, the rules of TensorRT."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import helper, numpy_helper

from builder.actions.recipes import LowerFp16, LowerInt8
from builder.errors import StepFailed
from builder.models import onnx_files
from builder.steps import fp16
from builder.steps.quantization import calibration, int8, placement
from tests import onnx_models

IMAGES = [np.random.default_rng(i).random((1, 1, 16, 24), dtype=np.float32) for i in range(3)]


def dims(model: Any) -> Any:
    return [onnx_files.dimensions(v) for v in (*model.graph.input, *model.graph.output)]


def cosine(a: Any, b: Any) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


# ------------------------------------------------------------------------------------------- fp16


def test_fp16_is_near_and_keeps_the_outside(tmp_path: Path) -> None:
    model = onnx_models.convolutional()
    lowered = fp16.to_float16(model)
    onnx_files.save(lowered, tmp_path / "m.onnx")  # checked with full type inference
    wanted, found = onnx_models.run(model, IMAGES[0]), onnx_models.run(lowered, IMAGES[0])
    assert found.dtype == np.float32
    assert 0 < np.abs(wanted - found).max() < 5e-3
    assert dims(lowered) == dims(model), "dynamic dimensions stay"


def test_fp16_halves_the_weights_and_spares_the_norm() -> None:
    model = onnx_models.convolutional()
    before = model.SerializeToString()
    lowered = fp16.to_float16(model)
    assert model.SerializeToString() == before, "a copy"
    kinds = {i.name: i.data_type for i in lowered.graph.initializer}
    assert kinds["w1_f16"] == kinds["w2_f16"] == kinds["b1_f16"] == onnx.TensorProto.FLOAT16
    assert kinds["tiny"] == onnx.TensorProto.FLOAT, "1e-12 is 0 in float16"
    assert "w1" not in kinds
    types = onnx.shape_inference.infer_shapes(lowered, strict_mode=True).graph.value_info
    found = {v.name: v.type.tensor_type.elem_type for v in types}
    assert found["n"] == found["n1"] == onnx.TensorProto.FLOAT
    assert found["c1"] == found["p1"] == onnx.TensorProto.FLOAT16


def test_fp16_keeps_the_scales_of_a_resize(tmp_path: Path) -> None:
    """ONNX fixes their type to float32; a resize by scales is what every upsampling network has."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c", "", "scales"], ["up"], mode="linear"),
        helper.make_node("Mul", ["up", "half"], ["out"]),
    ]
    weights = np.random.default_rng(1).normal(size=(2, 1, 3, 3)).astype(np.float32)
    arrays = {"w": weights, "scales": np.float32([1, 1, 2, 2]), "half": np.float32(0.5)}
    model = onnx_models.model(nodes, arrays, ["batch", 1, "h", "w"], ["batch", 2, "2*h", "2*w"])
    lowered = fp16.to_float16(model)
    onnx_files.save(lowered, tmp_path / "m.onnx")
    kinds = {i.name: i.data_type for i in lowered.graph.initializer}
    assert kinds["scales"] == onnx.TensorProto.FLOAT
    assert kinds["half_f16"] == onnx.TensorProto.FLOAT16, "the resize itself is float16, and what follows"
    image = np.random.default_rng(2).random((1, 1, 8, 8), dtype=np.float32)
    assert np.abs(onnx_models.run(model, image) - onnx_models.run(lowered, image)).max() < 1e-2


def test_fp16_works_at_another_size() -> None:
    model = onnx_models.convolutional()
    image = np.random.default_rng(9).random((2, 1, 40, 8), dtype=np.float32)
    assert onnx_models.run(fp16.to_float16(model), image).shape == onnx_models.run(model, image).shape


def test_a_weight_beyond_float16_is_refused() -> None:
    with pytest.raises(StepFailed, match=r"the weight w1 reaches .* beyond float16's 65504"):
        fp16.to_float16(onnx_models.convolutional(scale=1e6))


# ------------------------------------------------------------------------------------------- int8


def recipe(activations: str = "symmetric", method: str = "minmax", percentile: float = 99.0) -> LowerInt8:
    return LowerInt8(method, percentile, activations, "inputs")


def quantized(activations: str, method: str = "minmax") -> Any:
    model = onnx_models.convolutional()
    places = placement.places(model, "inputs")
    grids = calibration.grids(model, places.pairs, IMAGES, recipe(activations, method))
    return int8.quantize(model, places, grids, signed=activations == "symmetric")


@pytest.mark.parametrize("activations", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_int8_is_near(activations: str, method: str, tmp_path: Path) -> None:
    model, lowered = onnx_models.convolutional(), quantized(activations, method)
    onnx_files.save(lowered, tmp_path / "m.onnx")
    wanted, found = onnx_models.run(model, IMAGES[0]), onnx_models.run(lowered, IMAGES[0])
    assert cosine(wanted, found) > 0.99
    assert np.abs(wanted - found).max() > 0, "something was quantized"
    assert dims(lowered) == dims(model)


@pytest.mark.parametrize(("activations", "kind"), [("symmetric", np.int8), ("asymmetric", np.uint8)])
def test_int8_pairs(activations: str, kind: Any) -> None:
    lowered = quantized(activations)
    arrays = {i.name: numpy_helper.to_array(i) for i in lowered.graph.initializer}
    nodes = lowered.graph.node
    quantizers = [n for n in nodes if n.op_type == "QuantizeLinear"]
    assert [n.input[0] for n in quantizers] == ["image", "r1"], "in front of the pool, not behind it"
    for node in quantizers:
        assert arrays[node.input[2]].dtype == kind
        assert activations == "asymmetric" or not arrays[node.input[2]].any(), "TensorRT takes zero point 0 only"
    for node in nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays:
            assert arrays[node.input[0]].dtype == np.int8
            assert not arrays[node.input[2]].any(), "weights are symmetric"
            assert arrays[node.input[1]].shape == (len(arrays[node.input[0]]),), "a scale per output channel"
    convolution = next(n for n in nodes if n.op_type == "Conv")
    assert convolution.input[2] == "b1"
    assert arrays["b1"].dtype == np.float32, "no int32 bias: TensorRT's parser refuses it"
    assert not [a for a in arrays.values() if a.dtype == np.int32]


def test_weights_round_to_the_nearest_code() -> None:
    weight = np.random.default_rng(0).normal(size=(5, 2, 3, 3)).astype(np.float32)
    weight[3] = 0
    made = int8.quantize_weight(weight)
    back = made.values.astype(np.float32) * made.scale[:, None, None, None]
    assert np.abs(back - weight).max() <= made.scale.max() / 2 + 1e-7
    assert made.scale[3] == 1
    assert made.values.min() >= -127


def test_a_model_without_convolutions_is_refused(tmp_path: Path) -> None:
    from builder.actions.action import Action

    nodes = [onnx.helper.make_node("Relu", ["image"], ["out"])]
    onnx_files.save(onnx_models.model(nodes, {}, ["n", 1, 8, 8], ["n", 1, 8, 8]), tmp_path / "model.onnx")
    with pytest.raises(StepFailed, match="no convolution to quantize"):
        int8.lower_int8(Action(recipe(), (), ()), tmp_path, tmp_path, tmp_path)


@pytest.mark.parametrize("activations", ["symmetric", "asymmetric"])
def test_a_grid_covers_the_range_and_holds_zero(activations: str) -> None:
    model = onnx_models.convolutional()
    found = calibration.grids(model, ["image", "c1", "r1"], IMAGES, recipe(activations))
    for grid in found.values():
        assert grid.scale > 0
        assert 0 <= grid.zero <= 255
        assert activations == "asymmetric" or grid.zero == 0
    histogram = calibration.histograms(model, ["c1"], IMAGES)["c1"]
    assert histogram.counts.sum() == 3 * 4 * 16 * 24
    low, high = histogram.edges[0], histogram.edges[-1]
    top = max(-low, high) if activations == "symmetric" else high - low
    assert found["c1"].scale == pytest.approx(top / (127 if activations == "symmetric" else 255), rel=1e-6)


def test_mse_is_no_worse_than_minmax_by_its_own_measure() -> None:
    model = onnx_models.convolutional()
    histogram = calibration.histograms(model, ["c1"], IMAGES)["c1"]
    for signed in (True, False):
        kind = "symmetric" if signed else "asymmetric"
        mse = calibration.grids(model, ["c1"], IMAGES, recipe(kind, "mse"))["c1"]
        extremes = calibration.grids(model, ["c1"], IMAGES, recipe(kind))["c1"]
        assert calibration._error(histogram, mse, signed) <= calibration._error(histogram, extremes, signed)


def test_a_percentile_cuts_an_outlier() -> None:
    model = onnx_models.convolutional()
    wild = IMAGES[0].copy()
    wild[0, 0, 0, 0] = 1000
    cut = calibration.grids(model, ["image"], [wild], recipe(method="percentile"))["image"]
    kept = calibration.grids(model, ["image"], [wild], recipe())["image"]
    assert cut.scale < kept.scale / 10


def test_entropy_cuts_a_thin_tail_and_keeps_a_thick_one() -> None:
    """Migacz 2017: range is given up where the codes say more with a finer grid."""
    centres = np.linspace(0, 10, 2049)
    bell = 1e6 * np.exp(-0.5 * ((centres[:-1] - 1) / 0.4) ** 2)
    tail = np.where(centres[:-1] > 9.9, 3.0, 0.0)
    thin = calibration._choose(calibration.Histogram(np.round(bell) + tail, centres), recipe(method="entropy"), True)
    flat = calibration._choose(calibration.Histogram(np.full(2048, 1e4), centres), recipe(method="entropy"), True)
    assert thin.scale * 127 < 5, "three values of a million are clipped"
    assert flat.scale * 127 > 9.5, "nothing is clipped where every value is as likely"


# ------------------------------------------------------------------------------------------- kept nodes


def branching() -> Any:
    """Two convolutions read one pool, and one of them is followed by a third; only some nodes have names."""
    random = np.random.default_rng(5)
    arrays = {
        "w1": random.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "b1": random.normal(size=(4,)).astype(np.float32),
        "w2": random.normal(size=(3, 4, 1, 1)).astype(np.float32),
        "w4": random.normal(size=(3, 3, 1, 1)).astype(np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Constant", [], ["third"], value=numpy_helper.from_array(np.float32(1 / 3), "third")),
        node("Conv", ["image", "w1", "b1"], ["c1"], "first", pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"], "relu"),
        node("MaxPool", ["r1"], ["p1"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2"], ["c2"], "left"),
        node("Conv", ["p1", "w2"], ["c3"]),
        node("Mul", ["c3", "third"], ["m3"], "scale"),
        node("Conv", ["m3", "w4"], ["c4"], "last"),
        node("Add", ["c2", "c4"], ["out"], "join"),
    ]
    return onnx_models.model(nodes, arrays, ["batch", 1, "2*h", "2*w"], ["batch", 3, "h", "w"])


def lowered(model: Any, precision: str, *keep: str) -> Any:
    labels = onnx_files.labelled(model, keep)
    if precision == "fp16":
        return fp16.to_float16(model, labels)
    places = placement.places(model, "inputs", labels)
    grids = calibration.grids(model, places.pairs, IMAGES, recipe(precision)) if places.pairs else {}
    return int8.quantize(model, places, grids, signed=precision == "symmetric")


PRECISIONS = ("fp16", "symmetric", "asymmetric")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("make", [branching, onnx_models.convolutional])
def test_with_every_node_kept_the_numbers_are_those_of_float32(precision: str, make: Any, tmp_path: Path) -> None:
    model = make()
    same = lowered(model, precision, "*")
    onnx_files.save(same, tmp_path / "m.onnx")
    assert (onnx_models.run(model, IMAGES[0]) == onnx_models.run(same, IMAGES[0])).all()
    assert [n.op_type for n in same.graph.node] == [n.op_type for n in model.graph.node], "not one node was added"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["first", "relu", "pool", "left", "c3", "scale", "last", "join"])
def test_a_kept_node_reads_and_writes_float32(precision: str, name: str, tmp_path: Path) -> None:
    """It computes exactly what the float32 model computes from the same tensors."""
    model = branching()
    made = lowered(model, precision, name)
    onnx_files.save(made, tmp_path / "m.onnx")
    assert np.abs(onnx_models.run(made, IMAGES[0]) - onnx_models.run(model, IMAGES[0])).max() < 0.3
    original = next(n for n in model.graph.node if onnx_files.label(n) == name)
    kept = next(n for n in made.graph.node if onnx_files.label(n) in (name, f"{name}_half"))
    producer = {out: n for n in made.graph.node for out in n.output}
    for before, after in zip(original.input, kept.input):
        assert producer.get(after, onnx.NodeProto()).op_type != "DequantizeLinear", "no rounding on its way in"
        assert after in (before, f"{before}_f32")
    types = onnx.shape_inference.infer_shapes(made, strict_mode=True).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*types.value_info, *types.output)}
    assert kinds[kept.output[0]] == onnx.TensorProto.FLOAT
    weights = {i.name: i.data_type for i in made.graph.initializer}
    assert all(weights.get(i, onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT for i in kept.input)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_not_kept_is_still_lowered(precision: str) -> None:
    found = {n.op_type for n in lowered(branching(), precision, "first", "last").graph.node}
    assert ("Cast" if precision == "fp16" else "QuantizeLinear") in found


def test_a_weight_beyond_float16_may_be_kept() -> None:
    model = onnx_models.convolutional(scale=1e6)
    lowered_model = lowered(model, "fp16", "c1")  # a node without a name goes by what it makes
    assert {i.name for i in lowered_model.graph.initializer} >= {"w1", "b1", "w2_f16"}


def test_a_constant_of_a_kept_node_keeps_its_digits() -> None:
    made = lowered(branching(), "fp16", "scale")
    assert numpy_helper.to_array(made.graph.node[0].attribute[0].t) == np.float32(1 / 3)


@pytest.mark.parametrize(
    ("keep", "float16"),
    [
        ([], ["first", "relu", "double", "last"]),
        (["first"], ["relu", "double", "last"]),
        (["softmax"], ["first", "relu", "double", "last"]),
        (["first", "relu", "double"], ["last"]),
    ],
)
def test_what_follows_a_kept_node_is_float16_and_what_follows_a_softmax_is_not(
    keep: "list[str]", float16: "list[str]"
) -> None:
    """What is computed from a graph output alone stays in float32, too: that exists in float32."""
    random = np.random.default_rng(6)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], "first"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Softmax", ["r"], ["s"], "softmax", axis=1),
        helper.make_node("Mul", ["s", "two"], ["m"], "scale"),
        helper.make_node("Mul", ["r", "two"], ["d"], "double"),
        helper.make_node("Add", ["m", "d"], ["out"], "last"),
        helper.make_node("Mul", ["out", "two"], ["again"], "after"),
    ]
    arrays = {"w": random.normal(size=(4, 1, 1, 1)).astype(np.float32), "two": np.float32(2)}
    model = onnx_models.model(nodes, arrays, [1, 1, 8, 8], [1, 4, 8, 8])
    model.graph.output.append(helper.make_tensor_value_info("again", onnx.TensorProto.FLOAT, [1, 4, 8, 8]))
    assert fp16.halved(model, frozenset(keep)) == float16


def test_a_keep_that_names_nothing_names_the_nearest() -> None:
    with pytest.raises(StepFailed, match="no node 'frist'") as caught:
        onnx_files.labelled(branching(), ("first", "frist"))
    assert "first" in str(caught.value.hint)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_steps_keep_what_the_recipe_says(precision: str, tmp_path: Path) -> None:
    from builder.actions.action import Action

    onnx_files.save(branching(), tmp_path / "model.onnx")
    np.savez(tmp_path / "images.npz", images=np.concatenate(IMAGES))
    (tmp_path / "out").mkdir()
    keeping = LowerFp16(("*",)) if precision == "fp16" else dataclasses.replace(recipe(), keep=("*",))
    step = fp16.lower_fp16 if precision == "fp16" else int8.lower_int8
    step(Action(keeping, (), ()), tmp_path, tmp_path / "out", tmp_path)
    assert len(onnx_files.load(tmp_path / "out" / "model.onnx").graph.node) == 9
