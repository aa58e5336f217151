"""What the runtime says its layers computed in, held against what the cell declares."""

from __future__ import annotations

from typing import Any, Dict, Optional

import pytest

from builder.actions.measurements import Arithmetic
from validation import verdict


@pytest.mark.parametrize(
    ("precision", "compute", "layers", "share", "said"),
    [
        ("fp32", "f32", {"fp32": 9}, 1.0, ""),
        ("fp32", "f32", {"bf16": 9}, 0.0, "9 of 9 layers ran in bf16"),
        (
            "fp32",
            "f32",
            {"fp32": 6, "bf16": 2, "fp16": 1},
            0.666667,
            "2 of 9 layers ran in bf16 and 1 of 9 layers ran in fp16",
        ),
        ("bf16", "bf16", {"bf16": 7, "fp32": 2}, 1.0, ""),
        ("bf16", "bf16", {"fp16": 1, "bf16": 1}, 0.5, "1 of 2 layers ran in fp16"),
        ("fp16", "f32", {"fp32": 3}, 1.0, ""),
        ("int8", "f32", {"int8": 8, "fp32": 1}, 1.0, ""),
        ("int8", "f32", {"int8": 8, "bf16": 1}, 0.888889, "1 of 9 layers ran in bf16"),
        ("fp32", "f32", {"int8": 1, "fp32": 1}, 0.5, "1 of 2 layers ran in int8"),
        ("fp32", "f32", {}, None, ""),
    ],
)
def test_finer_than_declared_is_right_and_coarser_is_told(
    precision: str, compute: Any, layers: Dict[str, int], share: Optional[float], said: str
) -> None:
    found = verdict.arithmetic_checks(precision, compute, [Arithmetic(*item) for item in layers.items()])
    if share is None:
        assert found == (), "a runtime that does not tell is not judged"
        return
    (check,) = found
    assert (check.found, check.worst, check.kept) == (share, said, not said)
    words = f"but {said}" if said else "and every layer keeps to it"
    assert verdict.describe(check) == f"declared compute {compute}, {words}, says the runtime"


@pytest.mark.parametrize("stored_in_fp16", [False, True])
def test_openvino_tells_what_it_runs_in(stored_in_fp16: bool, tmp_path: Any) -> None:
    openvino = pytest.importorskip("openvino")
    onnx = pytest.importorskip("onnx")
    np = pytest.importorskip("numpy")
    from builder.plugins import OpenOptions, Telling
    from builder.runtimes.openvino import OpenVino
    from tests import onnx_models

    onnx.save(onnx_models.convolutional(), str(tmp_path / "model.onnx"))
    model = openvino.convert_model(str(tmp_path / "model.onnx"))
    openvino.save_model(model, str(tmp_path / "model.xml"), compress_to_fp16=stored_in_fp16)
    image = {"image": np.ones((1, 1, 16, 16), np.float32)}
    runner = OpenVino().open(tmp_path, OpenOptions("f32"))
    assert isinstance(runner, Telling)
    assert runner.arithmetic() == {}, "nothing ran yet"
    runner(image)
    assert runner.arithmetic() == {"fp32": 2}
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bf16")
    lowered = OpenVino().open(tmp_path, OpenOptions("bf16"))
    lowered(image)
    assert "bf16" in lowered.arithmetic()
