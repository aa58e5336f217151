"""In which precision OpenVINO runs the layers of a compiled model, in the words of its runtime graph. Imports no OpenVINO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Tuple

# What multiplies and adds; everything else is cheap beside it.
_RUN = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
_WORDS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}


@dataclass(frozen=True)
class Running:
    """`made_of`: the layers of the model that this one stands for, or its own name."""

    kind: str
    precision: str
    made_of: Tuple[str, ...]


def running(compiled: Any) -> Iterator[Running]:
    """The convolutions and matrix products of `compiled` (openvino.CompiledModel)."""
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        kind = _text(info, "layerType")
        if kind in _RUN:
            precision = _text(info, "runtimePrecision")
            if precision == "f16" and _text(info, "primitiveType").endswith("_f32"):
                precision = "f32"  # only its weights are stored in f16: the kernel multiplies in f32
            originals = tuple(name for name in _text(info, "originalLayersNames").split(",") if name)
            yield Running(kind, precision_in_words(precision), (*originals, op.get_friendly_name()))


def precision_in_words(dtype: str) -> str:
    return _WORDS.get(dtype, dtype)


def _text(info: Any, key: str) -> str:
    value = info[key] if key in info else ""  # noqa: SIM401  (openvino's RTMap has no get)
    return str(getattr(value, "value", value))
