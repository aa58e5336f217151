"""OpenVINO on the CPU.

Its artifact is the intermediate representation: model.xml and model.bin. The arithmetic is always set
(INFERENCE_PRECISION_HINT): by default, OpenVINO computes an fp32 model in bfloat16 on processors that can, which
silently loses accuracy. `static` compiles the model once per input shape.
"""

from __future__ import annotations

import collections
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np
import openvino

from builder.actions.recipes import Engine, Made
from builder.errors import StepFailed
from builder.platforms.platform import Platform
from builder.plugins import OpenOptions, Tensors

# --------------------------------------- precision of the layers that run, from the runtime graph; imports no OpenVINO


# Layers that multiply and add; all others are cheap beside them.
_RUN = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
_WORDS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}


@dataclass(frozen=True)
class Running:
    """A layer that runs.

    `made_of`: the layers of the model that it replaces, or its own name.
    """

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


# ------------------------------------------------------------------------------------------- building and running


_MOST_COMPILED = 4


class OpenVino:
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        try:
            model = openvino.convert_model(str(onnx))
        except Exception as problem:  # openvino raises bare RuntimeError and its own frontend errors
            raise StepFailed(f"OpenVINO cannot convert the model: {problem}") from problem
        openvino.save_model(model, str(out / "model.xml"), compress_to_fp16=recipe.precision == "fp16")
        return Made(nodes=len(model.get_ops()), remarks=())

    def open(self, folder: Path, options: OpenOptions) -> "Compiled":
        return Compiled(Models(folder / "model.xml", options), options.static)


class Models:
    """The model, compiled for each requested shape.

    Runners share it; it keeps the few most recently used.
    """

    def __init__(self, xml: Path, options: OpenOptions) -> None:
        self._core, self._xml, self._lock = openvino.Core(), str(xml), threading.Lock()
        self._compiled: "collections.OrderedDict[Tuple[int, ...], openvino.CompiledModel]" = collections.OrderedDict()
        self._config: Dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": options.compute,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        }
        if options.threads:
            self._config["INFERENCE_NUM_THREADS"] = options.threads

    def at(self, shape: Tuple[int, ...]) -> "openvino.CompiledModel":
        """The one for `shape`; () is the dynamic one."""
        with self._lock:
            if shape not in self._compiled:
                model = self._core.read_model(self._xml)
                if shape:
                    model.reshape({model.input(0).get_any_name(): list(shape)})
                self._compiled[shape] = self._core.compile_model(model, "CPU", self._config)
                if len(self._compiled) > _MOST_COMPILED:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(shape)
            return self._compiled[shape]


class Compiled:
    def __init__(self, models: Models, static: bool) -> None:
        self._models, self._static = models, static
        self._last: Optional[openvino.InferRequest] = None
        self._requests: "collections.OrderedDict[Tuple[int, ...], openvino.InferRequest]" = collections.OrderedDict()

    def __call__(self, inputs: Tensors) -> Dict[str, "np.ndarray[Any, np.dtype[Any]]"]:
        request = self._last = self._request(tuple(next(iter(inputs.values())).shape) if self._static else ())
        result = request.infer(dict(inputs), share_inputs=True)
        return {output.get_any_name(): np.array(value) for output, value in result.items()}

    def twin(self) -> "Compiled":
        """It shares the compiled models; a request of its own answers beside this one's."""
        return Compiled(self._models, self._static)

    def arithmetic(self) -> Dict[str, int]:
        """precision -> number of layers of the last run that compute in it.

        Empty before the first run.
        """
        if self._last is None:
            return {}
        return dict(collections.Counter(layer.precision for layer in running(self._last.get_compiled_model())))

    def _request(self, shape: Tuple[int, ...]) -> "openvino.InferRequest":
        if shape not in self._requests:
            self._requests[shape] = self._models.at(shape).create_infer_request()
            if len(self._requests) > _MOST_COMPILED:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shape)
        return self._requests[shape]
