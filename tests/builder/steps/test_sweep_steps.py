"""The sweep's steps on a small real model: what it answers, what it refuses, in whose words, and how it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

np: Any = pytest.importorskip("numpy")
cv2: Any = pytest.importorskip("cv2")
onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("polygraphy")

from builder import plugins
from builder.actions.action import Action
from builder.actions.measurements import SweepPoint, SweepRow, Swept
from builder.actions.recipes import MeasureSweep, Sampled, SweepReference
from builder.config.contract import Input, Preprocess
from builder.config.matrix import OnnxSource
from builder.platforms.platform import Platform
from builder.steps import sweep
from tests import onnx_models

INPUT = Input("image", ("batch", 1, "8*h8", "8*w8"))
CPU = Platform("onnxruntime", "1", "linux", "x86_64")
POINTS = (
    SweepPoint((16, 24), "opt"),
    SweepPoint((8, 8), "corner"),
    SweepPoint((16, 32), "wider than max", inside=False),
    SweepPoint((15, 24), "no multiple of 8", inside=False),
)


def reshaping() -> Any:
    """Halves height and width by a reshape to four channels, so that an odd height has no answer."""
    nodes = [
        onnx.helper.make_node("Shape", ["image"], ["size"], start=2, end=4),
        onnx.helper.make_node("Div", ["size", "two"], ["half"]),
        onnx.helper.make_node("Concat", ["first", "half"], ["shape"], axis=0),
        onnx.helper.make_node("Reshape", ["image", "shape"], ["out"]),
    ]
    arrays = {"two": np.asarray([2, 2], np.int64), "first": np.asarray([1, 4], np.int64)}
    return onnx_models.model(nodes, arrays, ["batch", 1, "8*h8", "8*w8"], ["batch", 4, "4*h8", "4*w8"])


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    (tmp_path / "in" / "photographs").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in" / "photographs" / "a.png"), rng.integers(0, 255, (40, 50, 3), dtype=np.uint8))
    return tmp_path / "in"


def reference(inputs: Path, model: Any) -> Sampled:
    onnx.save(model, str(inputs / "source.onnx"))
    (inputs / "reference").mkdir(exist_ok=True)
    sizes = tuple(point.size for point in POINTS)
    source = OnnxSource("m.onnx", "0" * 64)
    recipe = SweepReference(source, "main", (), INPUT, ("out",), "photographs/a.png", sizes, Preprocess(multiple=8))
    found = sweep.sweep_reference(Action(recipe, (), (), None), inputs, inputs / "reference", inputs)
    assert isinstance(found, Sampled)
    return found


def swept(inputs: Path, artifact: Any) -> Dict[Tuple[int, int], SweepRow]:
    (inputs / "artifact").mkdir(exist_ok=True)
    onnx.save(artifact, str(inputs / "artifact" / "model.onnx"))
    recipe = MeasureSweep("a.png", POINTS, ("out",), None, (), 0.01, 1, "f32", False, "a laptop")
    found = sweep.sweep_artifact(Action(recipe, (), (), CPU), inputs, inputs, inputs)
    assert isinstance(found, Swept)
    assert (found.photograph, found.threads, found.machine) == ("a.png", 1, "a laptop")
    return {row.point.size: row for row in found.rows}


def test_every_size_is_compared_and_those_inside_are_timed(inputs: Path) -> None:
    model = onnx_models.convolutional()
    assert reference(inputs, model).samples == ("a-16x24", "a-8x8", "a-16x32", "a-15x24")
    rows = swept(inputs, model)
    assert list(rows) == [point.size for point in POINTS]
    for row in rows.values():
        assert [parity.problem for parity in row.parity] == [None]
        assert row.parity[0].max_abs == 0
        assert (row.time is not None) == row.point.inside
    time = rows[16, 24].time
    assert time is not None
    assert time.runs >= 3
    assert rows[16, 24].ms_per_megapixel == pytest.approx(time.p50 / (16 * 24) * 1e6, rel=1e-3)
    assert rows[16, 32].ms_per_megapixel is None


def test_another_model_differs_at_every_size(inputs: Path) -> None:
    reference(inputs, onnx_models.convolutional())
    rows = swept(inputs, onnx_models.convolutional(scale=2.0))
    assert all(row.parity[0].max_abs > 0.01 for row in rows.values())


def test_what_the_artifact_refuses_is_told_in_its_words(inputs: Path) -> None:
    reference(inputs, onnx_models.convolutional())
    row = swept(inputs, reshaping())[15, 24]
    assert "Reshape" in row.refused or "reshape" in row.refused.lower()
    assert (row.parity, row.time, row.model_refused) == ((), None, "")
    assert "\n" not in row.refused


def test_what_the_model_itself_refuses_is_no_error_of_the_step(inputs: Path) -> None:
    reference(inputs, reshaping())
    rows = swept(inputs, onnx_models.convolutional())
    assert "reshape" in rows[15, 24].model_refused.lower()
    assert rows[15, 24].refused == ""
    assert rows[16, 24].model_refused == ""
    assert rows[16, 24].parity[0].problem is not None, "three channels where the model has four"


def test_it_is_opened_anew_for_every_size_as_a_host_opens_it(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference(inputs, onnx_models.convolutional())
    opened: List[plugins.OpenOptions] = []
    real = plugins.backend("onnxruntime")

    class Backend:
        def open(self, folder: Path, options: plugins.OpenOptions) -> plugins.Runner:
            opened.append(options)
            return real.open(folder, options)

    monkeypatch.setattr(plugins, "backend", lambda name: Backend())
    swept(inputs, onnx_models.convolutional())
    assert opened == [plugins.OpenOptions("f32", static=False, threads=1, frugal=False)] * len(POINTS)
