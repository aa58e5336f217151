"""Reading, cleaning and writing ONNX; simplifying only when it does no harm."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")
onnx: Any = pytest.importorskip("onnx")
from builder.actions.action import Action
from builder.actions.recipes import Made, Simplify
from builder.config.contract import Input, Output
from builder.errors import StepFailed
from builder.models import onnx_files
from tests import onnx_models

INPUTS = (Input("image", ("batch", 1, "8*h8", "8*w8")),)
OUTPUTS = (Output("out", ("batch", 3, "4*h8", "4*w8")),)


def saved(path: Path, model: Any = None) -> Path:
    onnx_files.save(model or onnx_models.convolutional(), path)
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved(tmp_path / "a.onnx")
    onnx_files.save(onnx_files.load(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("data", [b"\xff\xff not protobuf", b"PK\x03\x04", b"\x89PNG"])
def test_what_is_no_onnx_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(StepFailed, match=r"m.onnx is not an ONNX model"):
        onnx_files.load(tmp_path / "m.onnx")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(StepFailed):
        onnx_files.save(onnx_files.load(tmp_path / "m.onnx"), tmp_path / "n.onnx")


def _external(tensor: Any) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph"])
def test_external_data_is_refused_wherever_it_hides(tmp_path: Path, place: str) -> None:
    model = onnx_models.convolutional()
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "t")
    _external(tensor)
    if place == "initializer":
        model.graph.initializer.append(tensor)
    elif place == "constant":
        model.graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=tensor))
    else:
        body = onnx.helper.make_graph([], "body", [], [], [tensor])
        model.graph.node.append(onnx.helper.make_node("If", ["c"], ["i"], then_branch=body, else_branch=body))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StepFailed, match="another file"):
        onnx_files.load(tmp_path / "m.onnx")


def test_a_model_that_the_checker_refuses_is_not_written(tmp_path: Path) -> None:
    model = onnx_models.convolutional()
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(StepFailed, match="checker refuses"):
        onnx_files.save(model, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_strip_drops_what_depends_on_the_checkout() -> None:
    one, two = onnx_models.convolutional(), onnx_models.convolutional()
    two.producer_name, two.doc_string, two.graph.name = "pytorch", "at /home/me", "torch_jit"
    two.metadata_props.add(key="path", value="/home/me")
    two.graph.node[0].doc_string = "model.py:12"
    two.graph.node[1].metadata_props.add(key="stack", value="model.py:13")
    two.graph.initializer[0].doc_string = "weights"
    two.graph.value_info.add(name="c1")
    onnx_files.strip(one)
    onnx_files.strip(two)
    assert one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True)


def test_names_are_given_as_declared() -> None:
    model = onnx_models.convolutional()
    onnx_files.name_dimensions(model, (Input("image", ("n", 1, "8 * a", "8*b")),), OUTPUTS)
    assert onnx_files.dimensions(model.graph.input[0]) == ("n", 1, "8*a", "8*b")


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ((Input("photo", INPUTS[0].shape),), OUTPUTS, "the model has no input 'photo'"),
        (INPUTS, (Output("scores", ("n",)),), "the model has no output 'scores'"),
        (INPUTS, (Output("out", ("n", 3)),), "has 4 dimensions"),
        (INPUTS, (Output("out", ("n", 4, "h", "w")),), "has 3 in dimension 1, matrix.yaml declares 4"),
        (INPUTS, (Output("out", ("n", "c", "h", "w")),), "dimension 1 is frozen at 3, matrix.yaml declares c"),
    ],
)
def test_what_differs_from_the_declaration_is_refused(inputs: Any, outputs: Any, said: str) -> None:
    with pytest.raises(StepFailed, match=said):
        onnx_files.name_dimensions(onnx_models.convolutional(), inputs, outputs)


def freeze(model: Any) -> Any:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 16
    return model


def test_frozen_tells_what_was_lost() -> None:
    before = onnx_models.convolutional()
    assert onnx_files.frozen(before, onnx_models.convolutional()) == []
    assert onnx_files.frozen(before, freeze(onnx_models.convolutional())) == [
        "input image: dimension 2 (8*h8) became 16"
    ]
    lost = onnx_models.convolutional()
    del lost.graph.output[:]
    assert len(onnx_files.frozen(before, lost)) == 3


# ------------------------------------------------------------------------------------------- simplify


def simplified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simplify: Any, **options: Any) -> Made:
    """What the step says when onnxsim is `simplify`."""
    pytest.importorskip("onnxruntime")
    from builder.steps import export as step

    fake: Any = types.ModuleType("onnxsim")
    fake.simplify = simplify
    monkeypatch.setitem(sys.modules, "onnxsim", fake)
    (tmp_path / "out").mkdir()
    saved(tmp_path / "model.onnx")
    recipe = Simplify(INPUTS, OUTPUTS, ((1, 1, 16, 16), (2, 1, 24, 16)), options.get("unordered", False))
    made = step.simplify(Action(recipe, (), ()), tmp_path, tmp_path / "out", tmp_path)
    assert isinstance(made, Made)
    return made


def _kept(tmp_path: Path) -> bool:
    return (tmp_path / "out" / "model.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def _broken(model: Any) -> Any:
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros((4, 1, 3, 3), np.float32), "w1"))
    return model


def _no_longer_runs(model: Any) -> Any:
    model.graph.node[0].input[0] = "nowhere"
    return model


def _raising(error: Exception) -> Any:
    def raising(model: Any) -> Any:
        raise error

    return raising


@pytest.mark.parametrize(
    ("simplify", "said"),
    [
        (
            lambda model: (freeze(model), True),
            "kept unsimplified: onnxsim froze input image: dimension 2 (8*h8) became 16",
        ),
        (lambda model: (model, False), "kept unsimplified: onnxsim's own check found other outputs"),
        (lambda model: (_broken(model), True), "kept unsimplified: output out differs by"),
        (lambda model: (_no_longer_runs(model), True), "kept unsimplified: the simplified model does not run"),
        (_raising(RuntimeError("core dumped\nmore")), "kept unsimplified: onnxsim failed: core dumped"),
        (_raising(RuntimeError("")), "kept unsimplified: onnxsim failed: RuntimeError"),
    ],
    ids=["frozen", "unsure", "wrong", "broken", "raises", "raises-silently"],
)
def test_a_harmful_simplification_is_not_taken(
    simplify: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = simplified(tmp_path, monkeypatch, simplify)
    assert made.remarks[0].startswith(said)
    assert _kept(tmp_path)


def test_a_good_simplification_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shorter(model: Any) -> Any:
        for initializer in model.graph.initializer:
            if initializer.name == "b1":  # the same function with other bytes
                initializer.ClearField("raw_data")
                initializer.CopyFrom(onnx.numpy_helper.from_array(_bias() + np.float32(1e-7), "b1"))
        return model, True

    made = simplified(tmp_path, monkeypatch, shorter)
    assert made == Made(7, ())
    assert not _kept(tmp_path)


def _bias() -> Any:
    return next(onnx.numpy_helper.to_array(i) for i in onnx_models.convolutional().graph.initializer if i.name == "b1")
