"""`build inspect` on real artifacts: ONNX graphs, OpenVINO IRs and TensorRT-RTX engines, as the engine step makes them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Tuple

import pytest

onnx: Any = pytest.importorskip("onnx")
np: Any = pytest.importorskip("numpy")

from onnx import TensorProto, helper

from builder import cli
from builder.actions.action import Action
from builder.actions.recipes import Engine, Made
from builder.config.contract import Profile, ShapeRange
from builder.config.tensorrt import TensorRtOptions
from builder.errors import UsageError
from builder.execution import worker
from builder.execution.processes import worker_environment
from builder.inspection import onnx as onnx_graph
from builder.inspection.contents import Fact, Weights, flag
from builder.platforms.platform import Pinned, Platform, Tool
from builder.records import from_json, to_json
from builder.steps import engine
from tests import onnx_models
from tests.fakes import LAPTOP, SHA

SMALL = Profile("small", (ShapeRange("image", (1, 1, 16, 16), (1, 1, 32, 32), (1, 1, 64, 64)),))
Look = Callable[..., Tuple[int, str]]


def quantized(*, signed: bool, only: int = 2) -> Any:
    """The small network with Q/DQ before its first `only` convolutions, written by the int8 step's own writer."""
    lower_int8 = pytest.importorskip("builder.steps.quantization.int8")
    placement = pytest.importorskip("builder.steps.quantization.placement")
    calibrate = pytest.importorskip("builder.steps.quantization.calibration")
    made = onnx_models.convolutional()
    places = placement.places(made, "inputs", frozenset(["c2"] if only == 1 else []))
    grids = dict.fromkeys(places.pairs, calibrate.Grid(0.05, 0))
    return lower_int8.quantize(made, places, grids, signed=signed)


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Look:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)

    def run(*words: str) -> Tuple[int, str]:
        code = cli.main(["inspect", *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def build(folder: Path, model: Any, runtime: str, precision: str, version: str = "1.0") -> Made:
    """The engine step on `model`; leaves the artifact in `folder`."""
    folder.mkdir()
    given = folder.parent / "in"
    given.mkdir(exist_ok=True)
    onnx.save(model, str(given / "model.onnx"))
    recipe = Engine(precision, "f32", (SMALL,), 1 << 30, TensorRtOptions(), "")
    sm = "8.6" if runtime.startswith("tensorrt") else None
    platform = Platform(runtime, version, "linux", "x86_64", sm, None, ("avx2",))
    action = Action(recipe, (Pinned("model.onnx", SHA),), (Tool(runtime, version),), platform)
    made = _in_a_process(action, given, folder) if sm else engine.build_engine(action, given, folder, folder)
    assert isinstance(made, Made)
    return made


def _in_a_process(action: Action, given: Path, folder: Path) -> object:
    """As a run performs it. Polygraphy decides at its first import which TensorRT it drives."""
    order = folder.parent / "order.json"
    order.write_text(json.dumps(to_json(worker.Order(action, str(given), str(folder), str(folder)))), encoding="utf-8")
    command = [sys.executable, "-m", "builder.execution.worker", str(order)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=worker_environment()) as process:
        assert process.wait(timeout=300) == 0  # its standard input stays open: it ends when that does
    return from_json(worker.Outcome, json.loads(order.with_name("outcome.json").read_bytes())).facts


def masked(text: str) -> str:
    """Without what differs between builds of the runtimes: digests, versions, sizes of files."""
    text = re.sub(r"\n {22}", " ", text)  # where a line breaks depends on the length of a version
    text = re.sub(r"sha256:[0-9a-f]{64}", "DIGEST", text)
    text = re.sub(r"(as onnxruntime|as OpenVINO) [\w.+-]+", r"\1 VERSION", text)
    text = re.sub(r"(written by +OpenVINO) \S+", r"\1 VERSION", text)
    return re.sub(r"(OpenVINO IR|ONNX), [\d.]+ (KiB|MiB|bytes)", r"\1, SIZE", text)


# ------------------------------------------------------------------------------------------- ONNX


def test_an_onnx_graph_is_told(tmp_path: Path) -> None:
    onnx.save(onnx_models.convolutional(), str(tmp_path / "m.onnx"))
    told = onnx_graph.read(tmp_path / "m.onnx", {"image": (1, 1, 32, 32)}, "m.onnx")
    assert Fact("opset", "ai.onnx 20") in told.facts
    assert told.inputs[0].shape == ("batch", 1, "8*h8", "8*w8")
    assert told.weights == (Weights("float32", 36 + 4 + 12 + 1, 212), Weights("int64", 1, 8))
    assert told.declared is not None
    # 3x3 over one channel to four at 32x32; 1x1 over four channels to three at 16x16
    assert [(layer.name, layer.macs) for layer in told.declared.layers] == [("c1", 36 * 1024), ("c2", 12 * 256)]
    assert told.declared.at == "image 1x1x32x32"


def test_which_layers_are_quantized_and_which_not_by_name(tmp_path: Path) -> None:
    onnx.save(quantized(signed=True, only=1), str(tmp_path / "m.onnx"))
    told = onnx_graph.read(tmp_path / "m.onnx", {"image": (1, 1, 32, 32)}, "m.onnx")
    assert told.declared is not None
    assert [(one.name, one.precision, one.why) for one in told.declared.layers] == [
        ("c1", "int8", ""),
        ("c2", "fp32", "float activations and weights"),
    ]
    assert told.declared.shares() == pytest.approx({"int8": 12 / 13, "fp32": 1 / 13})


@pytest.mark.parametrize(
    ("nodes", "shape", "work"),
    [
        ([helper.make_node("MatMul", ["image", "w"], ["out"])], [2, 5, 4], 2 * 5 * 4 * 3),
        ([helper.make_node("Gemm", ["image", "w"], ["out"])], [5, 4], 5 * 4 * 3),
        ([helper.make_node("Gemm", ["image", "w"], ["out"], transA=1)], [4, 5], 5 * 4 * 3),
    ],
)
def test_the_work_of_a_matrix_product(nodes: Any, shape: Any, work: int, tmp_path: Path) -> None:
    out = [*shape[:-1], 3] if nodes[0].op_type == "MatMul" else [5, 3]
    onnx.save(onnx_models.model(nodes, {"w": np.ones((4, 3), np.float32)}, shape, out), str(tmp_path / "m.onnx"))
    told = onnx_graph.read(tmp_path / "m.onnx", {}, "m.onnx")
    assert told.declared is not None
    assert [layer.macs for layer in told.declared.layers] == [work]


def test_an_operator_nobody_knows_leaves_the_work_uncounted(tmp_path: Path) -> None:
    made = onnx_models.convolutional()
    made.graph.node[0].input[0] = "strange"
    made.graph.node.insert(0, helper.make_node("Strange", ["image"], ["strange"], domain="my.own"))
    made.opset_import.append(helper.make_opsetid("my.own", 1))
    onnx.save(made, str(tmp_path / "m.onnx"))
    told = onnx_graph.read(tmp_path / "m.onnx", {}, "m.onnx")
    assert told.declared is not None
    assert told.declared.unit == "compute layers"
    assert any(one.operator == "my.own.Strange" for one in told.operators)


def test_weights_in_another_file_and_nodes_in_branches_are_noted(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["o"])],
        "b",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )
    made = onnx_models.model(
        [helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)],
        {"yes": np.asarray(True)},
        [1, 2],
        [1, 2],
    )
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    notes = " ".join(onnx_graph.read(tmp_path / "m.onnx", {}, "m.onnx").notes)
    assert "weights are in another file" in notes
    assert "2 nodes lie inside the branches" in notes


def test_a_truncated_onnx_file_is_an_error(tmp_path: Path, look: Look) -> None:
    data = onnx_models.convolutional().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data[:-100])
    code, said = look("m.onnx")
    assert code == 2
    assert "is not an ONNX model, or is cut short" in said
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09")
    with pytest.raises(UsageError, match="it has no graph"):
        onnx_graph.read(tmp_path / "m.onnx", {}, "m.onnx")


def test_without_onnx_the_rest_of_the_report_stands(tmp_path: Path, look: Look, monkeypatch: Any) -> None:
    onnx.save(onnx_models.convolutional(), str(tmp_path / "m.onnx"))
    monkeypatch.setattr("builder.inspection.formats.util.find_spec", lambda name: None)
    code, said = look("m.onnx")
    assert code == 0
    assert "pip install onnx" in said


# ------------------------------------------------------------------------------------------- onnxruntime


def test_an_onnx_artifact(tmp_path: Path, look: Look, golden: Callable[[str, str], None]) -> None:
    pytest.importorskip("onnxruntime")
    build(tmp_path / "artifact", onnx_models.convolutional(), "onnxruntime", "fp32")
    code, said = look("artifact")
    assert code == 0
    golden("inspect_onnx.txt", masked(said))


def test_what_onnxruntime_runs_is_not_what_the_graph_asks_for(tmp_path: Path, look: Look) -> None:
    """Without a pair on its output, onnxruntime computes a convolution in float, whatever is on its inputs."""
    pytest.importorskip("onnxruntime")
    made = build(tmp_path / "artifact", quantized(signed=False), "onnxruntime", "int8")
    told = onnx_graph.read(tmp_path / "artifact" / "model.onnx", {}, "model.onnx")
    assert flag("int8", told.declared) is None
    _, said = look("artifact")
    words = " ".join(said.split())
    assert "asks for int8 100% (2 layers)" in words
    assert re.search(r"runs int8 92% \(1 layer\), fp32 8% \(1 layer\) of the multiply-accumulates", words), words
    assert made.remarks == ()


def test_an_int8_artifact_that_runs_in_fp32_is_remarked_when_it_is_built(tmp_path: Path, look: Look) -> None:
    """A signed grid before a Relu: onnxruntime keeps the Relu, and with it the convolution, in float."""
    pytest.importorskip("onnxruntime")
    made = build(tmp_path / "artifact", quantized(signed=True), "onnxruntime", "int8")
    assert len(made.remarks) == 1
    assert made.remarks[0].startswith("declared int8, but 0% of its multiply-accumulates run in int8 (as onnxruntime")
    _, said = look("artifact")
    assert "WARNING: declared int8, but 0%" in said


# ------------------------------------------------------------------------------------------- OpenVINO


def test_an_openvino_artifact(tmp_path: Path, look: Look, golden: Callable[[str, str], None]) -> None:
    pytest.importorskip("openvino")
    assert build(tmp_path / "artifact", quantized(signed=True), "openvino", "int8").remarks == ()
    code, said = look("artifact")
    assert code == 0
    golden("inspect_openvino.txt", masked(said))


def test_an_openvino_artifact_that_is_int8_in_name_only(tmp_path: Path, look: Look) -> None:
    pytest.importorskip("openvino")
    made = build(tmp_path / "artifact", onnx_models.convolutional(), "openvino", "int8")
    assert made.remarks[0].startswith("declared int8, but 0% of its multiply-accumulates run in int8 (as OpenVINO")
    assert "WARNING: declared int8, but 0%" in look("artifact/model.xml")[1]


@pytest.mark.parametrize(
    ("file", "keep", "said"),
    [
        ("model.xml", 3000, "is no OpenVINO IR, or is cut short"),
        ("model.bin", 5, "is no OpenVINO IR, or is cut short"),
        ("model.bin", None, "its weights, model.bin, are not beside it"),
    ],
)
def test_a_damaged_ir_is_said(tmp_path: Path, look: Look, file: str, keep: Any, said: str) -> None:
    pytest.importorskip("openvino")
    folder = tmp_path / "artifact"
    build(folder, onnx_models.convolutional(), "openvino", "fp32")
    damaged = folder / file
    if keep is None:
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:keep])
    code, text = look("artifact")
    assert code == 7
    assert said in " ".join(text.split())
    (folder / "artifact.json").unlink()
    code, text = look("artifact/model.xml")
    assert code == 2
    assert said in text


# ------------------------------------------------------------------------------------------- TensorRT-RTX


@pytest.mark.parametrize(("precision", "runs"), [("fp32", "fp32 100% (2 layers)"), ("int8", "int8 100% (2 layers)")])
def test_a_real_rtx_engine_tells_its_precisions_without_a_gpu(
    tmp_path: Path, look: Look, precision: str, runs: str
) -> None:
    rtx: Any = pytest.importorskip("tensorrt_rtx")
    pytest.importorskip("polygraphy")
    model = quantized(signed=True) if precision == "int8" else onnx_models.convolutional()
    made = build(tmp_path / "artifact", model, "tensorrt-rtx", precision, version="1.7")
    assert made.remarks == ()
    code, said = look("artifact")
    words = " ".join(said.split())
    assert code == 0
    assert f"built by TensorRT-RTX {rtx.__version__}" in words
    assert "compute capability 8.6" in words
    assert f"runs {runs} of the compute layers, by the plan's own text" in words
    whole = (tmp_path / "artifact" / "model.engine").read_bytes()
    (tmp_path / "cut.engine").write_bytes(whole[:-1])
    code, said = look("cut.engine")
    assert code == 7
    assert f"it has {len(whole) - 1} bytes, its header says {len(whole)}" in said
