"""Sessions: on the GPU never silently on the CPU. No machine here has a GPU, so the provider is a fake."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import pytest

np: Any = pytest.importorskip("numpy")
onnx: Any = pytest.importorskip("onnx")
onnxruntime: Any = pytest.importorskip("onnxruntime")

from builder import plugins
from builder.actions.recipes import Engine
from builder.config.tensorrt import TensorRtOptions
from builder.errors import StepFailed
from builder.models import onnx_files
from builder.platforms.platform import Platform
from builder.runtimes import onnxruntime as onnx_session
from tests import onnx_models

IMAGE = np.ones((1, 1, 16, 24), np.float32)
CUDA = "CUDAExecutionProvider"
BACKEND = "onnxruntime-gpu"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx_files.save(onnx_models.convolutional(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


class Gpu:
    """onnxruntime as it is where a GPU is, but for the arithmetic. `gives` are the providers that a session ends with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gives: List[str]) -> None:
        self.asked: Dict[str, Any] = {}
        real = onnxruntime.InferenceSession

        def session(path: str, options: Any, providers: Any, enable_fallback: int) -> Any:
            self.asked = {"providers": providers, "enable_fallback": enable_fallback}
            made = real(path, options, providers=["CPUExecutionProvider"])
            made.get_providers = lambda: gives
            return made

        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("loaded libcudart"))


def test_the_gpu_backend_builds_the_onnx_file_itself(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    recipe = Engine("fp32", "f32", (), 1 << 30, TensorRtOptions(), "")
    plugins.backend(BACKEND).build(recipe, Platform(BACKEND, "1.26", "linux", "x86_64", "6.1"), model, out)
    assert (out / "model.onnx").read_bytes() == model.read_bytes()
    model.write_bytes(b"not a model")
    with pytest.raises(StepFailed):
        plugins.backend(BACKEND).build(recipe, Platform(BACKEND, "1.26", "linux", "x86_64", "6.1"), model, out)


def test_a_wheel_without_the_provider_is_an_error(model: Path) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is onnxruntime-gpu")
    with pytest.raises(StepFailed, match="has no CUDAExecutionProvider") as problem:
        plugins.backend(BACKEND).open(model.parent, plugins.OpenOptions())
    assert "onnxruntime-gpu alone" in (problem.value.hint or "")


def test_a_session_that_landed_on_the_cpu_is_an_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch, ["CPUExecutionProvider"])
    with pytest.raises(StepFailed, match="on the CPU instead of the GPU"):
        onnx_session.session_on_gpu(model, 0)
    assert gpu.asked["enable_fallback"] == 0


def test_a_session_on_the_gpu_runs_in_fp32(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = Gpu(monkeypatch, [CUDA, "CPUExecutionProvider"])
    runner = plugins.backend(BACKEND).open(model.parent, plugins.OpenOptions(threads=1))
    assert set(runner({"image": IMAGE})) == {"out"}
    assert gpu.asked["providers"] == [(CUDA, {"use_tf32": "0"})]
    said = capsys.readouterr()
    assert said.out == "", "what is printed may be JSON"
    assert "libcudart" in said.err


def test_onnxruntimes_own_words_are_kept(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Gpu(monkeypatch, [CUDA])
    model.write_bytes(b"not a model")
    with pytest.raises(StepFailed, match=r"cannot open model\.onnx on the GPU: "):
        onnx_session.session_on_gpu(model, 0)
