"""Native TensorRT 8 to 11, on the machine that has the GPU.

Nobody has run this file on a GPU yet: no machine of the project has one. Every name that it asks TensorRT for is held
against the real Python bindings of 8.6, 10.16 and 11.4 (`tests/conformance/`), and what it asks of Polygraphy is what
the TensorRT-RTX backend, which builds real engines, asks too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder.actions.recipes import Engine, Made
from builder.compat import dialects
from builder.platforms.platform import Platform
from builder.plugins import OpenOptions, Runner


class TensorRt:
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        from builder.backends import tensorrt_build

        calls = dialects.compiled(
            recipe.tensorrt, recipe.precision, recipe.calibration, platform.runtime, platform.version
        )

        def for_the_core(config: Any) -> None:
            if calls.dla_core is not None:  # Polygraphy always takes core 0
                config.DLA_core = calls.dla_core

        return Made(*tensorrt_build.build(recipe, calls, onnx, out, for_the_core))

    def open(self, folder: Path, options: OpenOptions) -> Runner:
        from builder.backends import tensorrt_build

        return tensorrt_build.EngineRunner(folder)
