"""TensorRT-RTX: engines built ahead of time for a named compute capability. Building needs no GPU, running does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from builder.actions.recipes import Engine, Made
from builder.compat import dialects
from builder.platforms.platform import Platform
from builder.plugins import OpenOptions, Runner


class TensorRtRtx:
    def __init__(self) -> None:
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"  # before Polygraphy's first import of TensorRT

    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        from builder.backends import tensorrt_build

        def for_the_gpu(config: Any) -> None:
            import tensorrt_rtx

            named = f"SM{(platform.sm or '').replace('.', '')}"
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(tensorrt_rtx.ComputeCapability, named), 0)

        calls = dialects.compiled(
            recipe.tensorrt, recipe.precision, recipe.calibration, platform.runtime, platform.version
        )
        return Made(*tensorrt_build.build(recipe, calls, onnx, out, for_the_gpu))

    def open(self, folder: Path, options: OpenOptions) -> Runner:
        from builder.backends import tensorrt_build

        return tensorrt_build.EngineRunner(folder)
