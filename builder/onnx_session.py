"""An onnxruntime session on the CPU as a runner: what the onnxruntime artifact, calibration, the simplifier's check and
the naive yardstick share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Union

import numpy as np
import onnxruntime

from builder.errors import StepFailed, first_line
from builder.seams import Tensors


class Session:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, inputs: Tensors) -> Dict[str, "np.ndarray[Any, np.dtype[Any]]"]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs))))


def session_on(onnx: Path, threads: int, *, frugal: bool = False) -> Session:
    """A session on a file. `frugal`: without the arena, which keeps the most that any size ever needed, and more."""
    return _session(str(onnx), onnx.name, threads, frugal)


def session_of(model: bytes, threads: int = 0) -> Session:
    """A session on a serialized model that is not on disk."""
    return _session(model, "the model", threads, frugal=True)


def _session(model: Union[str, bytes], name: str, threads: int, frugal: bool) -> Session:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = not frugal
    if threads:
        options.intra_op_num_threads = threads
    try:
        return Session(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
    except Exception as problem:  # onnxruntime's exceptions share no base but Exception
        raise StepFailed(f"onnxruntime cannot open {name}: {first_line(problem)}") from problem
