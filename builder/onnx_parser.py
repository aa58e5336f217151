"""TensorRT's real ONNX parser on this machine, without a GPU: the one that comes with TensorRT-RTX.

It is the parser of today's TensorRT. A graph that it refuses no TensorRT of the last years takes; one that it takes may
still be refused by an older version.
"""

from __future__ import annotations

import os
from pathlib import Path

from builder.errors import StepFailed
from builder.tensorrt_words import Words


def parsed(onnx: Path) -> int:
    """The number of network layers that the parser makes of `onnx`. StepFailed in the parser's words when it refuses."""
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"  # before Polygraphy's first import of TensorRT
    from polygraphy.backend.trt import NetworkFromOnnxPath
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    G_LOGGER.module_severity = G_LOGGER.ERROR
    with Words() as words:
        try:
            _, network, _ = NetworkFromOnnxPath(str(onnx.resolve()), strongly_typed=True)()
        except PolygraphyException as problem:
            raise StepFailed(
                f"TensorRT's ONNX parser refuses the graph: {words.said(problem)}", hint=words.hint()
            ) from problem
    return int(network.num_layers)
