"""The parse step: what TensorRT's parser says of a graph, before anyone carries it to a machine with the GPU."""

from __future__ import annotations

from pathlib import Path

from builder.actions.action import Action
from builder.actions.recipes import Facts, Made
from builder.runtimes import tensorrt


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    return Made(tensorrt.parsed(inputs / "model.onnx"), ())
