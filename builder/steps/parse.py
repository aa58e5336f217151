"""The parse step: what TensorRT's parser says of a graph, before anyone carries it to a machine with the GPU."""

from __future__ import annotations

from pathlib import Path

from builder import onnx_parser
from builder.actions.action import Action
from builder.actions.recipes import Facts, Made


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    return Made(onnx_parser.parsed(inputs / "model.onnx"), ())
