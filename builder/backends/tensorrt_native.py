"""Native TensorRT, on the machine that has the GPU: strongly typed from 10 on, builder flags before.

Nobody has run this file on a GPU yet: no machine of the project has one. What it asks of Polygraphy is what the
TensorRT-RTX backend, which is tested, asks too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

from builder.action import Platform
from builder.recipes import Engine, Made
from builder.seams import OpenOptions, Runner

_FIRST_STRONGLY_TYPED = 10


class TensorRt:
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        from builder.backends import tensorrt_build

        strongly_typed = int(platform.version.split(".")[0]) >= _FIRST_STRONGLY_TYPED
        flags: Dict[str, Any] = {}
        if not strongly_typed:  # the graph is typed or carries Q/DQ; the flags permit what it says, and no more
            flags = {
                "fp16": recipe.precision == "fp16",
                "int8": recipe.precision == "int8",
                "precision_constraints": "obey",
            }
        layers = tensorrt_build.build(
            recipe, onnx, out, strongly_typed=strongly_typed, flags=flags, configure=lambda config: None
        )
        return Made(layers, ())

    def open(self, folder: Path, options: OpenOptions) -> Runner:
        from builder.backends import tensorrt_build

        return tensorrt_build.EngineRunner(folder)
