"""TensorRT-RTX's real builder and parser, driven by the product's own steps in worker processes. No GPU is needed.

What is seen here: which graphs, profiles and options it takes, for which compute capability the engine is, and in which
words it refuses. What is not: whether the engine runs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Tuple

import pytest

pytestmark = pytest.mark.e2e
np: Any = pytest.importorskip("numpy")
onnx: Any = pytest.importorskip("onnx")
for package in ("tensorrt_rtx", "polygraphy", "onnxruntime"):
    pytest.importorskip(package)
from onnx import TensorProto, helper

from builder import digest
from builder.actions.action import Action, Result
from builder.actions.recipes import Engine, Made, Parse, Recipe
from builder.config.contract import Profile, ShapeRange
from builder.config.tensorrt import TensorRtOptions
from builder.errors import StepFailed
from builder.execution.local import Local
from builder.platforms.platform import Pinned, Platform
from builder.steps import fp16
from builder.steps.quantization import int8, placement
from builder.steps.quantization.calibration import Grid
from builder.store.layout import Layout
from tests import onnx_models
from tests.fakes import REPOSITORY

SMALL = Profile("small", (ShapeRange("image", (1, 1, 16, 16), (1, 1, 32, 32), (2, 1, 64, 64)),))
LARGE = Profile("large", (ShapeRange("image", (1, 1, 64, 64), (1, 1, 240, 320), (1, 1, 480, 640)),))


def performed(
    model: Any,
    tmp_path: Path,
    *,
    profiles: Tuple[Profile, ...] = (SMALL,),
    sm: str = "8.6",
    options: TensorRtOptions = TensorRtOptions(),  # noqa: B008  # frozen
    workspace: int = 1 << 30,
    recipe: "Recipe | None" = None,
) -> "tuple[Result, Layout]":
    path = tmp_path / "given.onnx"
    onnx.save(model, str(path))
    store = Layout(tmp_path / "store")
    platform = Platform("tensorrt-rtx", "1.7", "linux", "x86_64", sm)
    step = recipe or Engine("fp32", "f32", profiles, workspace, options, "")
    action = Action(step, (Pinned("model.onnx", digest.of_file(path)),), (), platform)
    with store.locked():
        return Local().perform(action, {"model.onnx": path}, REPOSITORY, store, lambda line: None), store


def engine(made: "tuple[Result, Layout]") -> bytes:
    result, store = made
    return store.fetch(result.output("model.engine").digest).read_bytes()


def one(operator: str, **attributes: Any) -> Any:
    """image -> one node called suspect -> out."""
    nodes = [helper.make_node(operator, ["image"], ["out"], name="suspect", **attributes)]
    return onnx_models.model(nodes, {}, ["batch", 1, "h", "w"], ["batch", 1])


@pytest.mark.parametrize("sm", ["7.5", "8.0", "8.6", "8.9", "12.0"])
def test_an_engine_is_for_the_compute_capability_that_was_named(sm: str, tmp_path: Path) -> None:
    made = performed(onnx_models.convolutional(), tmp_path, sm=sm)
    assert re.findall(rb"accelerators={(sm\d+)", engine(made)) == [f"sm{sm.replace('.', '')}".encode()]
    assert {blob.name for blob in made[0].outputs} >= {"model.engine"}
    assert "timing.cache" not in {blob.name for blob in made[0].outputs}, "nothing is timed without a GPU"


def test_a_float16_graph_makes_a_smaller_engine(tmp_path: Path) -> None:
    """Weights large enough to outweigh what every engine holds."""
    weights = np.random.default_rng(0).normal(size=(256, 1, 3, 3)).astype(np.float32)
    wide = np.random.default_rng(1).normal(0, 0.02, size=(256, 256, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "v"], ["out"], pads=[1, 1, 1, 1]),
    ]
    model = onnx_models.model(nodes, {"w": weights, "v": wide}, ["batch", 1, "h", "w"], ["batch", 256, "h", "w"])
    (tmp_path / "half").mkdir()
    full, half = performed(model, tmp_path), performed(fp16.to_float16(model), tmp_path / "half")
    assert len(engine(half)) < 0.7 * len(engine(full))


def test_a_symmetric_qdq_graph_is_taken(tmp_path: Path) -> None:
    model = onnx_models.convolutional()
    places = placement.places(model, "inputs")
    grids = {name: Grid(0.05, 0) for name in places.pairs}
    made = performed(int8.quantize(model, places, grids, signed=True), tmp_path)
    assert isinstance(made[0].facts, Made) and made[0].facts.nodes > 10


def test_several_profiles_go_into_one_engine(tmp_path: Path) -> None:
    made = performed(onnx_models.convolutional(), tmp_path, profiles=(SMALL, LARGE))
    assert len(engine(made)) > 0


@pytest.mark.parametrize(
    "options",
    [
        TensorRtOptions(optimization_level=1),
        TensorRtOptions(sparsity=True),
        TensorRtOptions(tf32=True),
        TensorRtOptions(tactic_sources=("jit_convolutions",)),
        TensorRtOptions(profiling="layer_names_only"),
        TensorRtOptions(typing="strong"),
    ],
    ids=lambda options: " ".join(k for k, v in vars(options).items() if v),
)
def test_the_options_that_rtx_is_said_to_have_are_taken(options: TensorRtOptions, tmp_path: Path) -> None:
    assert engine(performed(onnx_models.convolutional(), tmp_path, options=options))


@pytest.mark.parametrize("options", [TensorRtOptions(refit=True), TensorRtOptions(strip=True)], ids=["refit", "strip"])
def test_a_refittable_engine_wants_a_gpu(options: TensorRtOptions, tmp_path: Path) -> None:
    """Why the planner refuses these for RTX. If it passes one day, builder/platforms/dialects.py can allow them."""
    with pytest.raises(StepFailed, match="CUDA"):
        performed(onnx_models.convolutional(), tmp_path, options=options)


# ------------------------------------------------------------------------------------------- refusals


def refusal(*arguments: Any, **keywords: Any) -> StepFailed:
    with pytest.raises(StepFailed) as caught:
        performed(*arguments, **keywords)
    said = str(caught.value)
    assert not re.search(r"/_?src/|\.cpp", said), "no source positions of TensorRT's own"
    return caught.value


def test_an_unsupported_operator_is_named_with_its_node(tmp_path: Path) -> None:
    problem = refusal(one("Det"), tmp_path)
    assert "suspect" in problem.what and "Det" in problem.what
    assert problem.hint is not None and "node" in problem.hint


def test_the_parse_step_names_it_too(tmp_path: Path) -> None:
    problem = refusal(one("Det"), tmp_path, recipe=Parse())
    assert "parser refuses" in problem.what and "suspect" in problem.what
    result, _ = performed(onnx_models.convolutional(), tmp_path, recipe=Parse())
    assert isinstance(result.facts, Made) and result.facts.nodes > 3 and not result.outputs


def test_a_profile_that_does_not_fit_names_the_tensor(tmp_path: Path) -> None:
    three = Profile("p", (ShapeRange("image", (1, 3, 16, 16), (1, 3, 32, 32), (1, 3, 64, 64)),))
    problem = refusal(onnx_models.convolutional(), tmp_path, profiles=(three,))
    assert "image" in problem.what
    assert problem.hint is not None and "profiles" in problem.hint


@pytest.mark.parametrize("workspace", [0, 1, 1 << 20])
def test_a_workspace_that_is_too_small_names_what_is_large_and_what_to_raise(workspace: int, tmp_path: Path) -> None:
    """RTX itself names no node; the graph does, at the largest shapes of the profile."""
    problem = refusal(onnx_models.convolutional(), tmp_path, workspace=workspace)
    assert re.search(r"workspace|OutOfMemory", problem.what)
    assert problem.hint is not None
    assert (
        "raise `workspace:`" in problem.hint and "largest tensor is c1 of node c1, 0.1 MiB (2x4x64x64)" in problem.hint
    )


def test_a_graph_too_large_for_its_workspace_says_by_how_much_it_is(tmp_path: Path) -> None:
    """An intermediate tensor of 600 MiB does not fit 1 GiB of workspace, GPU or not; 4 GiB hold it."""
    arrays = {
        "f": np.ones((512, 1, 1, 1), np.float32),
        "w": np.random.default_rng(0).normal(0, 0.02, size=(8, 512, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "f"], ["many"], name="suspect"),
        helper.make_node("Relu", ["many"], ["some"]),
        helper.make_node("Conv", ["some", "w"], ["out"]),
    ]
    model = onnx_models.model(nodes, arrays, ["batch", 1, "h", "w"], ["batch", 8, "h", "w"])
    problem = refusal(model, tmp_path, profiles=(LARGE,), workspace=1 << 29)
    assert problem.hint is not None and "many of node suspect, 600.0 MiB (1x512x480x640)" in problem.hint
    assert "for image 1x1x480x640" in problem.hint
    assert engine(performed(model, tmp_path, profiles=(LARGE,), workspace=4 << 30))


def test_an_int32_bias_is_refused_as_on_the_page(tmp_path: Path) -> None:
    """docs/decisions/0003: TensorRT takes no DequantizeLinear of int32, so biases stay float32."""
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "scale"], ["bias"], name="suspect"),
        helper.make_node("Conv", ["image", "w", "bias"], ["out"], pads=[1, 1, 1, 1]),
    ]
    arrays = {
        "w": np.ones((2, 1, 3, 3), np.float32),
        "b": np.asarray([3, 4], np.int32),
        "scale": np.float32(0.5),
    }
    model = onnx_models.model(nodes, arrays, ["batch", 1, "h", "w"], ["batch", 2, "h", "w"])
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    problem = refusal(model, tmp_path)
    assert "suspect" in problem.what or "DequantizeLinear" in problem.what
