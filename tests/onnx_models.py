"""Tiny ONNX models made by hand, for the steps that rewrite graphs."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def convolutional(*, scale: float = 1.0) -> onnx.ModelProto:
    """image [batch, 1, 8*h8, 8*w8] -> Conv+bias, Relu, MaxPool, Conv, L2 norm (ReduceL2, Clip, Div) -> out; dynamic."""
    random = np.random.default_rng(3)
    arrays = {
        "w1": random.normal(size=(4, 1, 3, 3)).astype(np.float32) * scale,
        "b1": random.normal(size=(4,)).astype(np.float32),
        "w2": random.normal(size=(3, 4, 1, 1)).astype(np.float32),
        "axes": np.asarray([1], np.int64),
        "tiny": np.asarray(1e-12, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"]),
        helper.make_node("ReduceL2", ["c2", "axes"], ["n"]),
        helper.make_node("Clip", ["n", "tiny"], ["n1"]),
        helper.make_node("Div", ["c2", "n1"], ["out"]),
    ]
    return model(nodes, arrays, ["batch", 1, "8*h8", "8*w8"], ["batch", 3, "4*h8", "4*w8"])


def model(nodes: Any, arrays: Dict[str, Any], shape: Any, out: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "a graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(made: onnx.ModelProto, image: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]
