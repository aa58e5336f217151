"""onnxruntime on the CPU, and on an NVIDIA GPU through its CUDA provider.

The artifact is the lowered ONNX file itself. A CPU session also serves calibration, the simplifier's check and the
naive baseline of latency. No GPU of the project has run the CUDA backend yet. It never falls back to the CPU when it
opens a file, but single nodes without a CUDA kernel run there.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, Union

import numpy as np
import onnxruntime

from builder.actions.recipes import Engine, Made
from builder.errors import StepFailed, first_line
from builder.platforms.platform import Platform
from builder.platforms.versions import at_least
from builder.plugins import OpenOptions, Runner, Tensors

_CUDA = "CUDAExecutionProvider"
_FIRST_WITH_TF32 = "1.18"


class OnnxSession:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, inputs: Tensors) -> Dict[str, "np.ndarray[Any, np.dtype[Any]]"]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs))))

    def twin(self) -> "OnnxSession":
        return self  # onnxruntime allows "Run" of one session from several threads


def session_on(onnx: Path, threads: int, *, frugal: bool = False) -> OnnxSession:
    """A session on a file.

    `frugal`: without the arena, which keeps at least the memory of the largest size.
    """
    return _session(str(onnx), onnx.name, threads, frugal)


def session_of(model: bytes, threads: int = 0) -> OnnxSession:
    """A session on a serialized model that is not on disk."""
    return _session(model, "the model", threads, frugal=True)


def _session(model: Union[str, bytes], name: str, threads: int, frugal: bool) -> OnnxSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = not frugal
    if threads:
        options.intra_op_num_threads = threads
    try:
        return OnnxSession(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
    except Exception as problem:  # onnxruntime's exceptions share no base but Exception
        raise StepFailed(f"onnxruntime cannot open {name}: {first_line(problem)}") from problem


def session_on_gpu(onnx: Path, threads: int) -> OnnxSession:
    """A session on the CUDA provider, in fp32 where the graph has fp32 (never TF32).

    Raises StepFailed when a library is missing; the provider itself would log a line and use the CPU.
    """
    name = onnx.name
    if _CUDA not in onnxruntime.get_available_providers():
        raise StepFailed(
            f"the onnxruntime that is installed here has no {_CUDA}",
            hint="pip uninstall onnxruntime onnxruntime-gpu, then install onnxruntime-gpu alone: both fill one folder",
        )
    preload = getattr(onnxruntime, "preload_dlls", None)  # from 1.21 on: CUDA and cuDNN from the nvidia-* packages
    if preload is not None:
        with contextlib.redirect_stdout(sys.stderr):
            preload()
    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    settings = {"use_tf32": "0"} if at_least(onnxruntime.__version__, _FIRST_WITH_TF32) else {}
    try:
        session = onnxruntime.InferenceSession(str(onnx), options, providers=[(_CUDA, settings)], enable_fallback=0)
        session.disable_fallback()
    except Exception as problem:  # onnxruntime's exceptions share no base but Exception
        raise StepFailed(f"onnxruntime cannot open {name} on the GPU: {first_line(problem)}") from problem
    if session.get_providers()[:1] != [_CUDA]:
        raise StepFailed(
            f"onnxruntime opened {name} on the CPU instead of the GPU",
            hint="its log above says which library it missed; `build explain CELL` has the versions that fit together",
        )
    return OnnxSession(session)


class OnnxRuntime:
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        session_on(onnx, threads=1)  # fail now if the file cannot be opened
        shutil.copyfile(onnx, out / "model.onnx")
        return Made(nodes=0, remarks=())

    def open(self, folder: Path, options: OpenOptions) -> Runner:
        return session_on(folder / "model.onnx", options.threads, frugal=options.frugal)


class OnnxRuntimeCuda(OnnxRuntime):
    def open(self, folder: Path, options: OpenOptions) -> Runner:
        return session_on_gpu(folder / "model.onnx", options.threads)
