"""Both heads of the example through the real exporter, onnxruntime, and TensorRT-RTX's ahead-of-time builder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

np: Any = pytest.importorskip("numpy")
torch: Any = pytest.importorskip("torch")
onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")
from builder import digest
from builder.actions.action import Action, Result
from builder.actions.recipes import Export, Made
from builder.config import loader as matrix_file
from builder.errors import StepFailed
from builder.execution.local import Local
from builder.models import onnx_files, pytorch
from builder.planning.jobs import FilePin
from builder.planning.planner import Plan, plan
from builder.platforms.platform import Pinned
from builder.runtimes import onnxruntime
from builder.store.layout import Layout
from tests import fakes
from tests.examples import keypoint_rows

pytestmark = pytest.mark.e2e

HEADS = ("dense", "keypoints")
TOLERANCE = 1e-4
SHAPES = [(1, 40, 72), (2, 40, 72), (1, 96, 64), (2, 96, 64)]


def planned() -> Plan:
    """The plan of the shipped matrix for a machine with the RTX 3090 and every package."""
    return plan(matrix_file.load(fakes.REPOSITORY / "matrix.yaml").matrix, fakes.RTX3090)


@dataclass(frozen=True)
class Exported:
    """A head's ONNX file, and the module that it was made from."""

    recipe: Export
    onnx: Path
    nodes: int
    module: Any


@pytest.fixture(scope="module", params=HEADS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp(request.param)
    job = planned().job(f"export/{request.param}")
    assert isinstance(job.recipe, Export)
    files, out = folder / "in", folder / "out"
    files.mkdir()
    out.mkdir()
    for pin in job.pins:
        if isinstance(pin, FilePin):
            (files / pin.name).symlink_to(fakes.REPOSITORY / pin.path)
    assert [path.name for path in files.iterdir()] == ["weights.safetensors"]
    done = pytorch.TorchModule().export(job.recipe, files, fakes.REPOSITORY, out)
    assert [path.name for path in out.iterdir()] == ["model.onnx"]
    module = pytorch.make(job.recipe, files, fakes.REPOSITORY)
    return Exported(job.recipe, out / "model.onnx", done.nodes, module)


def picture(shape: Tuple[int, int, int]) -> Any:
    """Overlapping rectangles of random grey: corners to find, on no regular grid. [B,1,H,W] in 0..1."""
    generator = np.random.default_rng([*shape, 2])
    batch, height, width = shape
    made = np.full((batch, 1, height, width), 0.5)
    for one in made[:, 0]:
        for _ in range(25):
            y, x = generator.integers(0, height), generator.integers(0, width)
            one[y : y + generator.integers(6, 30), x : x + generator.integers(6, 30)] = generator.random()
        one += generator.normal(0, 0.01, one.shape)
    return made.clip(0, 1).astype(np.float32)


# ------------------------------------------------------------------------------------------- ONNX


def test_the_file_declares_what_the_matrix_does(exported: Exported) -> None:
    model = onnx_files.load(exported.onnx)
    recipe = exported.recipe
    assert [(v.name, onnx_files.dimensions(v)) for v in model.graph.input] == [(t.name, t.shape) for t in recipe.inputs]
    assert [(v.name, onnx_files.dimensions(v)) for v in model.graph.output] == [
        (o.name, o.shape) for o in recipe.outputs
    ]
    assert [(o.domain, o.version) for o in model.opset_import if o.domain == ""] == [("", 20)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert len(model.graph.node) == exported.nodes


def test_batch_height_and_width_are_dynamic(exported: Exported) -> None:
    (image,) = onnx_files.load(exported.onnx).graph.input
    assert onnx_files.dimensions(image) == ("batch", 1, "8*h8", "8*w8")


def test_the_file_holds_the_shipped_weights(exported: Exported) -> None:
    """One convolution's kernel, found bit by bit: the exporter folds batch norms, but none into the first one."""
    wanted = exported.module.state_dict()["backbone.0.0.conv.weight"].numpy()
    stored = onnx_files.load(exported.onnx).graph.initializer
    kernels = [onnx.numpy_helper.to_array(tensor) for tensor in stored if tuple(tensor.dims) == wanted.shape]
    assert any(np.array_equal(kernel, wanted) for kernel in kernels)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_onnxruntime_gives_what_torch_gives(exported: Exported, shape: Tuple[int, int, int]) -> None:
    image = picture(shape)
    with torch.inference_mode():
        wanted = [tensor.numpy() for tensor in exported.module(torch.from_numpy(image))]
    names = [output.name for output in exported.recipe.outputs]
    given: Dict[str, Any] = onnxruntime.session_on(exported.onnx, 1)({exported.recipe.inputs[0].name: image})
    assert list(given) == names
    found = [given[name] for name in names]
    assert [part.dtype for part in found] == [np.float32] * len(names)
    assert [part.shape for part in found] == [part.shape for part in wanted]
    if exported.recipe.head == "keypoints":
        assert np.all((wanted[1] > 0.015).sum(axis=1) > 5), "there is something to compare"
        keypoint_rows.assert_same(found, wanted, TOLERANCE)
        return
    for one, other in zip(found, wanted):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE)


# ------------------------------------------------------------------------------------------- TensorRT-RTX


def built(head: str, onnx_path: Path, store: Layout) -> Result:
    """The engine of the shipped matrix's fp32 cell for the RTX 3090, built as a run builds it: in a worker process."""
    pytest.importorskip("tensorrt_rtx")
    pytest.importorskip("polygraphy")
    job = planned().job(f"engine/superpoint-{head}-fp32-rtx3090_rtx")
    assert job.elsewhere is None, "it is built on this very machine"
    assert job.platform is not None
    assert (job.platform.runtime, job.platform.sm) == ("tensorrt-rtx", "8.6")
    pinned = Pinned("model.onnx", digest.of_file(onnx_path))
    action = Action(job.recipe, (pinned,), (), job.platform)
    with store.locked():
        return Local().perform(action, {"model.onnx": onnx_path}, fakes.REPOSITORY, store, lambda line: None)


def test_an_engine_for_compute_capability_8_6_is_built_without_a_gpu(exported: Exported, store: Layout) -> None:
    result = built(exported.recipe.head, exported.onnx, store)
    assert isinstance(result.facts, Made)
    assert result.facts.nodes > 0
    assert result.facts.remarks == ()
    weights = sum(parameter.numel() * parameter.element_size() for parameter in exported.module.parameters())
    engine = store.fetch(result.output("model.engine").digest).read_bytes()
    assert len(engine) > 0.9 * weights
    # No GPU here opens it; that it is for this one and no other is in its plain text (TensorRT-RTX 1.7).
    assert re.findall(rb"accelerators={(sm\d+)", engine) == [b"sm86"]


def test_what_is_no_onnx_file_is_refused_in_tensorrts_words(tmp_path: Path, store: Layout) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(StepFailed, match="TensorRT refused: "):
        built("dense", tmp_path / "model.onnx", store)
