"""onnxruntime on the CPU. Its artifact is the lowered ONNX file itself: portable, and optimised when opened."""

from __future__ import annotations

import shutil
from pathlib import Path

from builder import onnx_session
from builder.actions.recipes import Engine, Made
from builder.platforms.platform import Platform
from builder.plugins import OpenOptions, Runner


class OnnxRuntime:
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        onnx_session.session_on(onnx, threads=1)  # what cannot be opened is not an artifact
        shutil.copyfile(onnx, out / "model.onnx")
        return Made(nodes=0, remarks=())

    def open(self, folder: Path, options: OpenOptions) -> Runner:
        return onnx_session.session_on(folder / "model.onnx", options.threads, frugal=options.frugal)
