"""int8 for onnxruntime's CPU provider: norms folded, pairs around convolutions, and what the runtime makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import pytest

np: Any = pytest.importorskip("numpy")
onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import helper, numpy_helper

from builder.actions.action import Action
from builder.actions.recipes import LowerInt8
from builder.errors import StepFailed
from builder.inspection import onnx as session_graph
from builder.models import onnx_files
from builder.steps.quantization import calibration, fold_norms, int8, placement
from tests import onnx_models

IMAGES = [np.random.default_rng(i).random((1, 1, 16, 24), dtype=np.float32) for i in range(3)]
node = helper.make_node


class Network:
    """Nodes and constants of a small network, one layer after another."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.nodes: List[Any] = []
        self.arrays: Dict[str, Any] = {}

    def conv(self, source: str, to: str, shape: Any, *, bias: bool = True, relu: bool = True, **options: int) -> None:
        self.arrays[f"{to}_w"] = self.random.normal(0, 0.4, size=shape).astype(np.float32)
        names = [source, f"{to}_w"]
        if bias:
            self.arrays[f"{to}_b"] = self.random.normal(size=shape[:1]).astype(np.float32)
            names.append(f"{to}_b")
        made = f"{to}_conv" if relu else to
        self.nodes.append(node("Conv", names, [made], f"{to}_node", pads=[shape[2] // 2] * 4, **options))
        if relu:
            self.nodes.append(node("Relu", [made], [to]))

    def norm(self, source: str, to: str, channels: int, sign: float = 1.0) -> None:
        names = [f"{to}_{part}" for part in ("gamma", "beta", "mean", "variance")]
        for name in names:
            self.arrays[name] = self.random.uniform(0.5, 1.5, size=channels).astype(np.float32)
        self.arrays[f"{to}_gamma"][0] *= sign
        self.nodes.append(node("BatchNormalization", [source, *names], [to], f"{to}_norm", epsilon=1e-3))

    def pool(self, source: str, to: str) -> None:
        self.nodes.append(node("MaxPool", [source], [to], kernel_shape=[2, 2], strides=[2, 2]))

    def model(self, channels: int, down: int = 1) -> Any:
        size = ["h", "w"] if down == 1 else [f"h{down}", f"w{down}"]
        return onnx_models.model(self.nodes, self.arrays, ["batch", 1, "h", "w"], ["batch", channels, *size])


def like_superpoint(sign: float = 1.0) -> Any:
    """Conv, ReLU, norm, twice, a pool, once more, and a last convolution without any."""
    made = Network()
    made.conv("image", "r1", (4, 1, 3, 3))
    made.norm("r1", "n1", 4, sign)
    made.conv("n1", "r2", (6, 4, 3, 3), bias=False)
    made.norm("r2", "n2", 6)
    made.pool("n2", "p2")
    made.conv("p2", "r3", (6, 3, 3, 3), group=2)
    made.norm("r3", "n3", 6, sign)
    made.conv("n3", "out", (3, 6, 1, 1), relu=False)
    return made.model(3, down=2)


def residual() -> Any:
    made = Network()
    made.conv("image", "r1", (4, 1, 3, 3))
    made.conv("r1", "c2", (4, 4, 3, 3), relu=False)
    made.nodes += [node("Add", ["r1", "c2"], ["sum"]), node("Relu", ["sum"], ["r2"])]
    made.conv("r2", "r3", (4, 4, 3, 3))
    made.conv("r3", "out", (3, 4, 1, 1), relu=False)
    return made.model(3)


def kinds(model: Any) -> List[str]:
    return [n.op_type for n in model.graph.node]


def lowered(model: Any, *keep: str, activations: str = "asymmetric") -> Any:
    labels = onnx_files.labelled(model, keep)
    folded = fold_norms.fold(model, labels)
    places = placement.places(folded, "around", labels)
    recipe = LowerInt8("mse", 99.0, activations, "around")
    grids = calibration.grids(folded, places.pairs, IMAGES, recipe) if places.pairs else {}
    return int8.quantize(folded, places, grids, signed=activations == "symmetric")


def run_by_onnxruntime(model: Any, folder: Path) -> Dict[str, str]:
    """Layer -> the precision in which onnxruntime computes it here."""
    onnx_files.save(model, folder / "m.onnx")
    return {
        layer.name: layer.precision for layer in session_graph.session_layers(folder / "m.onnx", {}, "m.onnx").layers
    }


# ------------------------------------------------------------------------------------------- norms


@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
def test_folding_changes_no_number(sign: float) -> None:
    model = like_superpoint(sign)
    before = model.SerializeToString()
    folded = fold_norms.fold(model)
    assert model.SerializeToString() == before, "a copy"
    assert "BatchNormalization" not in kinds(folded)
    for image in (*IMAGES, np.random.default_rng(9).normal(0, 9, size=(2, 1, 40, 8)).astype(np.float32)):
        wanted, found = onnx_models.run(model, image), onnx_models.run(folded, image)
        assert np.abs(wanted - found).max() < 2e-6 * np.abs(wanted).max()
    assert np.abs(onnx_models.run(model, IMAGES[0])).max() > 1


def test_the_shift_moves_behind_the_pool() -> None:
    found = kinds(fold_norms.fold(like_superpoint()))
    assert found == ["Conv", "Relu", "Add", "Conv", "Relu", "MaxPool", "Add", "Conv", "Relu", "Add", "Conv"]


def test_a_negative_norm_before_a_pool_stays() -> None:
    """The greatest of negated values is not the negated greatest."""
    made = Network()
    made.conv("image", "r1", (4, 1, 3, 3))
    made.norm("r1", "n1", 4, -1.0)
    made.pool("n1", "p1")
    made.conv("p1", "out", (3, 4, 1, 1), relu=False)
    model = made.model(3, down=2)
    assert fold_norms.fold(model).graph == model.graph


@pytest.mark.parametrize("reader", ["r1", "r1_conv", "n1"])
def test_what_something_else_reads_keeps_its_value(reader: str) -> None:
    made = Network()
    made.conv("image", "r1", (4, 1, 3, 3))
    made.norm("r1", "n1", 4, -1.0)
    made.conv("n1", "c2", (4, 4, 3, 3), relu=False)
    made.nodes.append(node("Add", ["c2", reader], ["out"]))
    model = made.model(4)
    assert "BatchNormalization" in kinds(fold_norms.fold(model))
    assert onnx_models.run(fold_norms.fold(model), IMAGES[0]) == pytest.approx(onnx_models.run(model, IMAGES[0]))


def test_weights_that_two_convolutions_read_are_scaled_for_one() -> None:
    made = Network()
    made.conv("image", "r1", (4, 1, 3, 3))
    made.norm("r1", "n1", 4)
    made.nodes.append(node("Conv", ["image", "r1_w", "r1_b"], ["other"], pads=[1] * 4))
    made.nodes.append(node("Add", ["n1", "other"], ["out"]))
    model = made.model(4)
    folded = fold_norms.fold(model)
    assert "BatchNormalization" not in kinds(folded)
    assert np.abs(onnx_models.run(folded, IMAGES[0]) - onnx_models.run(model, IMAGES[0])).max() < 1e-5


def test_a_norm_that_is_kept_stays() -> None:
    assert kinds(fold_norms.fold(like_superpoint(), frozenset(["n1_norm"]))).count("BatchNormalization") == 1


# ------------------------------------------------------------------------------------------- placement


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_onnxruntime_runs_all_but_the_last_convolution_in_int8(sign: float, tmp_path: Path) -> None:
    model = like_superpoint(sign)
    made = lowered(model)
    assert run_by_onnxruntime(made, tmp_path) == {
        "r1_node": "int8",
        "r2_node": "int8",
        "r3_node": "int8",
        "out_node": "fp32",
    }
    wanted, found = onnx_models.run(model, IMAGES[0]), onnx_models.run(made, IMAGES[0])
    assert float((wanted * found).sum() / np.linalg.norm(wanted) / np.linalg.norm(found)) > 0.999
    assert np.abs(wanted - found).max() > 0
    dims = [[onnx_files.dimensions(v) for v in (*m.graph.input, *m.graph.output)] for m in (model, made)]
    assert dims[0] == dims[1]


def test_pairs_on_inputs_alone_leave_them_all_in_float(tmp_path: Path) -> None:
    """Why `around` is: the same network with the placement of the other runtimes."""
    model = like_superpoint()
    places = placement.places(model, "inputs")
    grids = calibration.grids(model, places.pairs, IMAGES, LowerInt8("mse", 99.0, "asymmetric", "inputs"))
    found = run_by_onnxruntime(int8.quantize(model, places, grids, signed=False), tmp_path)
    assert set(found.values()) == {"fp32"}


def test_a_convolution_that_stays_in_float_gets_no_pair() -> None:
    made = lowered(like_superpoint())
    last = made.graph.node[-1]
    assert list(last.input[1:]) == ["out_w", "out_b"]
    arrays = {i.name: numpy_helper.to_array(i) for i in made.graph.initializer}
    assert arrays["out_w"].dtype == np.float32
    assert "n3_q" not in {name for n in made.graph.node for name in n.output}


def test_a_residual_addition_runs_in_int8_too(tmp_path: Path) -> None:
    import onnxruntime

    made = lowered(residual())
    assert list(run_by_onnxruntime(made, tmp_path).values()) == ["int8", "int8", "int8", "fp32"]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "ran.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), options, providers=["CPUExecutionProvider"])
    found = kinds(onnx.load(str(tmp_path / "ran.onnx")))
    assert "QLinearAdd" in found
    assert "Relu" not in found, "the codes of what follows hold nothing below zero"


def test_a_model_of_one_convolution_is_still_quantized(tmp_path: Path) -> None:
    made = Network()
    made.conv("image", "r1", (4, 1, 3, 3))
    made.nodes.append(node("Sqrt", ["r1"], ["out"]))
    assert list(run_by_onnxruntime(lowered(made.model(4)), tmp_path).values()) == ["int8"]


def test_a_convolution_that_is_the_output_gets_a_pair_when_there_is_no_other(tmp_path: Path) -> None:
    made = Network()
    made.conv("image", "out", (4, 1, 3, 3), relu=False)
    found = lowered(made.model(4))
    assert kinds(found).count("QuantizeLinear") == 1
    onnx_files.save(found, tmp_path / "m.onnx")


def test_a_kept_convolution_computes_in_float_and_the_others_do_not(tmp_path: Path) -> None:
    found = run_by_onnxruntime(lowered(like_superpoint(), "r2_node"), tmp_path)
    assert found == {"r1_node": "int8", "r2_node": "fp32", "r3_node": "int8", "out_node": "fp32"}


def test_with_every_node_kept_nothing_is_rounded() -> None:
    assert lowered(like_superpoint(), "*").graph == like_superpoint().graph


def test_symmetric_codes_are_written_too(tmp_path: Path) -> None:
    model = like_superpoint()
    made = lowered(model, activations="symmetric")
    onnx_files.save(made, tmp_path / "m.onnx")
    wanted, found = onnx_models.run(model, IMAGES[0]), onnx_models.run(made, IMAGES[0])
    assert float((wanted * found).sum() / np.linalg.norm(wanted) / np.linalg.norm(found)) > 0.998
    assert not [i for i in made.graph.initializer if i.data_type == onnx.TensorProto.UINT8]


# ------------------------------------------------------------------------------------------- TensorRT


@pytest.mark.parametrize(
    ("shape", "group", "first", "int8"),
    [
        ((64, 64, 3, 3), 1, False, True),
        ((65, 256, 1, 1), 1, False, True),  # SuperPoint's detector
        ((64, 1, 3, 3), 1, True, True),  # and its first layer
        ((64, 1, 3, 3), 1, False, True),
        ((8, 1, 3, 3), 1, True, True),
        ((8, 8, 3, 3), 1, False, False),
        ((5, 16, 3, 3), 1, False, True),
        ((5, 12, 3, 3), 1, False, False),
        ((20, 12, 3, 3), 1, False, False),  # no width is a multiple of 8
        ((64, 8, 1, 3), 1, False, False),
        ((16, 16, 1, 3), 1, False, True),  # wide on both sides: any kernel,
        ((17, 17, 3, 3), 1, False, True),  # and any width
        ((15, 16, 1, 3), 1, False, False),
        ((16, 15, 1, 3), 1, False, False),
        ((40, 1, 3, 3), 40, False, True),  # depthwise
        ((40, 1, 1, 1), 40, False, False),
        ((42, 1, 3, 3), 42, False, False),
    ],
)
def test_what_tensorrt_has_kernels_for_gets_pairs(shape: Any, group: int, first: bool, int8: bool) -> None:
    made = Network()
    channels = shape[1] * group
    made.conv("image", "r1", (32, 1, 3, 3))
    made.conv("r1", "r2", (channels, 32, 3, 3))
    made.conv("image" if first else "r2", "c3", shape, relu=False, group=group)
    made.nodes.append(node("Sqrt", ["c3"], ["out"]))
    if shape[2] != shape[3]:
        next(a for a in made.nodes[-2].attribute if a.name == "pads").ints[:] = [0, 1, 0, 1]
    found = placement.places(made.model(shape[0]), "tensorrt")
    assert ("c3" in found.convolutions) is int8
    assert "r1_conv" in found.convolutions
    assert ("r2" in found.pairs) is (int8 and not first), "what stays in float reads what was never rounded"


def test_a_model_of_small_convolutions_is_still_quantized_for_tensorrt() -> None:
    made = Network()
    made.conv("image", "r1", (3, 1, 3, 3))
    made.conv("r1", "out", (3, 3, 3, 3), relu=False)
    assert len(placement.places(made.model(3), "tensorrt").convolutions) == 2


# ------------------------------------------------------------------------------------------- shifts


def test_a_shift_shares_the_scale_of_its_sum() -> None:
    made = lowered(like_superpoint())
    arrays = {i.name: numpy_helper.to_array(i) for i in made.graph.initializer}
    assert arrays["r1_scale"] == arrays["n1_scale"] == arrays["n1_shift_scale"]
    assert arrays["r2_scale"] == arrays["p2_scale"] == arrays["n2_shift_scale"], "through the pool"
    assert arrays["r1_zero"] == 0, "all codes for what a ReLU leaves"


@pytest.mark.parametrize(
    ("read_twice", "output", "alone"),
    [("", "", True), ("r1", "", False), ("p1", "", False), ("n1", "", True), ("", "p1", False), ("", "n1", True)],
)
def test_a_shift_moves_only_what_nothing_else_reads(read_twice: str, output: str, alone: bool) -> None:
    made = Network()
    made.conv("image", "r1", (4, 1, 3, 3))
    made.pool("r1", "p1")
    made.arrays["k"] = np.ones((1, 4, 1, 1), np.float32)
    made.nodes.append(node("Add", ["p1", "k"], ["n1"]))
    made.conv("n1", "r2", (4, 4, 3, 3))
    made.conv("r2", "out", (3, 4, 1, 1), relu=False)
    if read_twice:
        made.nodes.append(node("Neg", [read_twice], ["other"]))
    model = made.model(3, down=2)
    if output:
        shape = ["batch", 4, "h2", "w2"]
        model.graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, shape))
    shift = placement.Shift("r1", "k", "n1")
    assert placement.places(model, "around").shifts == ((shift,) if alone else ())


@pytest.mark.parametrize("before", [[], [("Neg", "n"), ("Relu", "r")]], ids=["no relu", "relu of no convolution"])
def test_a_shift_stands_behind_the_relu_of_a_convolution(before: Any) -> None:
    """Without it there are codes below zero; what is no convolution has no pair."""
    made = Network()
    made.conv("image", "c1", (4, 1, 3, 3), relu=False)
    source = "c1"
    for kind, to in before:
        made.nodes.append(node(kind, [source], [to]))
        source = to
    made.arrays["k"] = np.ones((1, 4, 1, 1), np.float32)
    made.nodes.append(node("Add", [source, "k"], ["n1"]))
    made.conv("n1", "r2", (4, 4, 3, 3))
    made.conv("r2", "out", (3, 4, 1, 1), relu=False)
    assert placement.places(made.model(3), "around").shifts == ()


def test_what_rounding_a_shift_lost_comes_back_in_the_bias() -> None:
    """Away from the edges, where padding does not know of the constant, the sums are those of the exact constant."""
    model = fold_norms.fold(like_superpoint())
    places = placement.places(model, "around")
    grids = dict.fromkeys(places.pairs, calibration.Grid(0.3, 40))  # coarse: much is lost
    aligned, _ = int8.align(model, places.shifts, grids, signed=False)
    before, after = ({i.name: numpy_helper.to_array(i) for i in m.graph.initializer} for m in (model, aligned))
    assert np.abs(before["n1_shift"] - after["n1_shift"]).max() > 0.05
    assert after["n1_shift"] / np.float32(0.3) == pytest.approx(np.round(after["n1_shift"] / 0.3))
    wanted, found = onnx_models.run(model, IMAGES[0]), onnx_models.run(aligned, IMAGES[0])
    assert np.abs(wanted - found)[..., 3:-3, 3:-3].max() < 1e-4
    assert np.abs(wanted - found).max() > 1e-2, "at the edges it is not exact"


def test_constants_that_no_code_holds_are_left_in_float() -> None:
    model = fold_norms.fold(like_superpoint())
    places = placement.places(model, "around")
    fine = dict.fromkeys(places.pairs, calibration.Grid(1e-4, 0))
    aligned, grids = int8.align(model, places.shifts, fine, signed=False)
    assert grids == fine
    assert onnx_models.run(aligned, IMAGES[0]) == pytest.approx(onnx_models.run(model, IMAGES[0]))


# ------------------------------------------------------------------------------------------- the step


def test_the_step_folds_and_places_as_the_recipe_says(tmp_path: Path) -> None:
    onnx_files.save(like_superpoint(), tmp_path / "model.onnx")
    np.savez(tmp_path / "images.npz", images=np.concatenate(IMAGES))
    for how, norms in (("around", 0), ("inputs", 3)):
        (tmp_path / how).mkdir()
        action = Action(LowerInt8("minmax", 99.0, "asymmetric", how), (), ())
        int8.lower_int8(action, tmp_path, tmp_path / how, tmp_path)
        assert kinds(onnx_files.load(tmp_path / how / "model.onnx")).count("BatchNormalization") == norms


def test_a_model_without_convolutions_is_refused(tmp_path: Path) -> None:
    onnx_files.save(
        onnx_models.model([node("Relu", ["image"], ["out"])], {}, ["n", 1, 8, 8], ["n", 1, 8, 8]),
        tmp_path / "model.onnx",
    )
    with pytest.raises(StepFailed, match="no convolution to quantize"):
        int8.lower_int8(Action(LowerInt8("minmax", 99.0, "asymmetric", "around"), (), ()), tmp_path, tmp_path, tmp_path)


def test_to_keep_a_convolution_never_quantizes_another() -> None:
    """A model whose last convolutions are left in float: with those before them kept too, nothing is quantized."""
    model = onnx_models.convolutional()
    before = placement.places(model, "around").convolutions
    names = [onnx_files.label(n) for n in model.graph.node if n.op_type == "Conv"]
    for kept in (frozenset(names[:1]), frozenset(names[1:]), frozenset(names)):
        after = placement.places(model, "around", kept)
        assert after.convolutions <= before
        assert bool(after.pairs) == bool(after.convolutions)
    assert before
    assert not placement.places(model, "around", frozenset(n for n in names if n in _labels(model, before))).pairs


def _labels(model: Any, outputs: Any) -> Any:
    return {onnx_files.label(n) for n in model.graph.node if n.output[0] in outputs}
