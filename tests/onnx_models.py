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


def lopsided(*, spread: float = 1e4) -> onnx.ModelProto:
    """image -> first, Relu, second, mix, Relu, last -> out. The channels that `second` gives differ in range by `spread`,
    and `mix` weighs them so that each matters alike: one scale for all of them leaves nothing of the small ones."""
    random = np.random.default_rng(11)
    ranges = np.float32([1, 1, 1 / spread, 1 / spread, 1 / spread, 1 / spread]).reshape(6, 1, 1, 1)
    second = random.normal(size=(6, 4, 3, 3)).astype(np.float32) * ranges
    mix = np.abs(random.normal(size=(4, 6, 1, 1))).astype(np.float32) / ranges.reshape(1, 6, 1, 1)
    mix[:, :2] *= 0.05
    arrays = {
        "w1": random.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "w2": second,
        "w3": mix,
        "w4": random.normal(size=(3, 4, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c2", "w3"], ["c3"], "mix"),
        helper.make_node("Conv", ["c3", "w4"], ["out"], "last"),
    ]
    return model(nodes, arrays, ["batch", 1, "8*h8", "8*w8"], ["batch", 3, "8*h8", "8*w8"])


def overflowing(*, weight: float = 1e6) -> onnx.ModelProto:
    """image -> first, Relu, wild, Relu, tame, last -> out. `wild` multiplies by `weight`, `tame` divides by it again; no
    simplifier makes one of the two."""
    random = np.random.default_rng(12)
    arrays = {
        "w1": np.abs(random.normal(size=(4, 1, 3, 3))).astype(np.float32),
        "w2": np.abs(random.normal(size=(4, 4, 1, 1))).astype(np.float32) * np.float32(weight),
        "shrink": np.asarray(1 / weight, np.float32),
        "w4": random.normal(size=(3, 4, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "wild"),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Mul", ["r2", "shrink"], ["m2"], "tame"),
        helper.make_node("Conv", ["m2", "w4"], ["out"], "last"),
    ]
    return model(nodes, arrays, ["batch", 1, "8*h8", "8*w8"], ["batch", 3, "8*h8", "8*w8"])


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
