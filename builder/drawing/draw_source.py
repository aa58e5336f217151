"""What every job that opens the model itself needs: its files, its options and the package that runs it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import List, Tuple

from builder.config.matrix import Head, Matrix, OnnxSource, TorchSource, WeightsFile
from builder.jobs import CodePin, FilePin, Pin
from builder.records import Setting


def source_pins(matrix: Matrix) -> Tuple[Pin, ...]:
    source = matrix.model.source
    if isinstance(source, OnnxSource):
        return (FilePin("source.onnx", source.onnx, source.sha256),)
    pins: List[Pin] = [CodePin("code", source.factory)]
    if isinstance(source.weights, WeightsFile):
        suffix = PurePosixPath(source.weights.file).suffix or ".pth"
        pins.append(FilePin(f"weights{suffix}", source.weights.file, source.weights.sha256))
    return tuple(pins)


def options(matrix: Matrix, head: Head) -> Tuple[Setting, ...]:
    """The factory's options with the head's laid over them."""
    own = matrix.model.source.options if isinstance(matrix.model.source, TorchSource) else ()
    merged = {s.name: s for s in (*own, *head.options)}
    return tuple(merged.values())


def source_runtime(matrix: Matrix) -> str:
    return "torch" if isinstance(matrix.model.source, TorchSource) else "onnxruntime"
