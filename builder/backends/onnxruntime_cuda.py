"""onnxruntime on an NVIDIA GPU, through its CUDA provider. Its artifact is the lowered ONNX file itself.

Nobody has run this file on a GPU yet: no machine of the project has one. Building is a copy of a file that opens on the
CPU; opening never falls back to the CPU (`builder/onnx_session.py`), but single nodes without a CUDA kernel run there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from builder import onnx_session
from builder.actions.recipes import Engine, Made
from builder.platforms.platform import Platform
from builder.plugins import OpenOptions, Runner


class OnnxRuntimeCuda:
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        onnx_session.session_on(onnx, threads=1)  # what cannot be opened is not an artifact
        shutil.copyfile(onnx, out / "model.onnx")
        return Made(nodes=0, remarks=())

    def open(self, folder: Path, options: OpenOptions) -> Runner:
        return onnx_session.session_on_gpu(folder / "model.onnx", options.threads)
