"""What TensorRT and TensorRT-RTX share: from ONNX to engine bytes, and running them, through Polygraphy's loaders.

What is asked of the builder was decided by `builder/compat/dialects.py`; this file says it to the real API. Polygraphy
drives either package; which one is decided by POLYGRAPHY_USE_TENSORRT_RTX before it is imported.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np

from builder.actions.recipes import Engine
from builder.compat.dialects import Calls
from builder.errors import StepFailed
from builder.tensorrt_words import Words

ENGINE, TIMING_CACHE, CALIBRATION_CACHE = "model.engine", "timing.cache", "calibration.cache"
Configure = Callable[[Any], None]


def build(recipe: Engine, calls: Calls, onnx: Path, out: Path, configure: Configure) -> Tuple[int, Tuple[str, ...]]:
    """Write the engine into `out`; returns its number of network layers, and remarks for the person.

    `configure` has the last word on the builder configuration. Raises StepFailed with TensorRT's own words.
    """
    from polygraphy import func
    from polygraphy.backend.trt import CreateConfig, EngineBytesFromNetwork, NetworkFromOnnxPath
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    layers: List[int] = []
    made: List[Any] = []
    remarks: List[str] = []

    def look(builder: Any, network: Any, parser: Any) -> None:
        layers.append(network.num_layers)
        remarks.extend(constrain(network, calls))

    def keep(builder: Any, network: Any, config: Any) -> None:
        remarks.extend(timings_refused(config, timing, calls.strict_timing_cache))
        configure(config)
        made.append(config)

    G_LOGGER.module_severity = G_LOGGER.ERROR
    timing = onnx.with_name(TIMING_CACHE)
    with Words() as words:
        network = func.extend(NetworkFromOnnxPath(str(onnx.resolve()), strongly_typed=calls.strongly_typed))(look)
        try:
            config = CreateConfig(
                profiles=_profiles(recipe),
                load_timing_cache=str(timing.resolve()) if timing.exists() else None,
                **config_arguments(recipe, calls, onnx, out),
            )
            engine = EngineBytesFromNetwork(network, config=_then(config, keep))()
        except PolygraphyException as problem:
            raise StepFailed(f"TensorRT refused: {words.said(problem)}", hint=words.hint()) from problem
    (out / ENGINE).write_bytes(bytes(engine))
    if calls.keep_timings:
        _save_timings(made[0], out)
    return layers[0], tuple(remarks)


def config_arguments(recipe: Engine, calls: Calls, onnx: Path, out: Path) -> Dict[str, Any]:
    """The keyword arguments of Polygraphy's CreateConfig, but for profiles and timing cache."""
    from polygraphy.backend.trt.util import trt

    arguments: Dict[str, Any] = {
        "memory_pool_limits": {trt.MemoryPoolType.WORKSPACE: recipe.workspace},
        "tf32": calls.tf32,
        "profiling_verbosity": getattr(trt.ProfilingVerbosity, calls.profiling_verbosity),
        "sparse_weights": calls.sparsity,
        "refittable": calls.refit,
        "strip_plan": calls.strip,
        "version_compatible": calls.version_compatible,
        "builder_optimization_level": calls.optimization_level,
        "error_on_timing_cache_miss": calls.strict_timing_cache,
    }
    if calls.hardware_compatibility is not None:
        level = getattr(trt.HardwareCompatibilityLevel, calls.hardware_compatibility)
        arguments["hardware_compatibility_level"] = level
    if calls.tactic_sources is not None:
        arguments["tactic_sources"] = [getattr(trt.TacticSource, source) for source in calls.tactic_sources]
    if not calls.strongly_typed:
        arguments.update(fp16=calls.fp16, int8=calls.int8, precision_constraints=calls.constraints)
    if calls.dla_core is not None:
        arguments.update(use_dla=True, allow_gpu_fallback=calls.gpu_fallback)
    if calls.calibrator is not None:
        arguments["calibrator"] = _calibrator(getattr(trt, calls.calibrator), recipe, onnx, out)
    return arguments


def constrain(network: Any, calls: Calls) -> Iterator[str]:
    """Set the precisions that were asked for by layer name. Yields a remark for each pattern that met no layer."""
    from polygraphy.backend.trt.util import trt

    for pattern, data_type in calls.layers:
        named = [network.get_layer(i) for i in range(network.num_layers)]
        chosen = [layer for layer in named if fnmatch.fnmatchcase(layer.name, pattern)]
        for layer in chosen:
            layer.precision = getattr(trt.DataType, data_type)
            for output in range(layer.num_outputs):
                layer.set_output_type(output, getattr(trt.DataType, data_type))
        if not chosen:
            yield f"no layer is named {pattern}"


def _then(config: Any, last: Callable[[Any, Any, Any], None]) -> Any:
    from polygraphy.backend.trt import PostprocessConfig

    return PostprocessConfig(config, last)


def _profiles(recipe: Engine) -> List[Any]:
    from polygraphy.backend.trt import Profile

    made = []
    for profile in recipe.profiles:
        one = Profile()
        for shape in profile.inputs:
            one.add(shape.name, min=shape.min, opt=shape.opt, max=shape.max)
        made.append(one)
    return made


def _calibrator(base: Any, recipe: Engine, onnx: Path, out: Path) -> Any:
    """Polygraphy's calibrator on the photographs that lie beside the ONNX; its cache becomes a by-product."""
    from polygraphy.backend.trt import Calibrator

    with np.load(onnx.with_name("calibration.npz"), allow_pickle=False) as file:
        images = file["images"]
    name = recipe.profiles[0].inputs[0].name
    return Calibrator([{name: image[None]} for image in images], cache=str(out / CALIBRATION_CACHE), BaseClass=base)


def timings_refused(config: Any, timing: Path, strict: bool) -> Iterator[str]:
    """Yields a remark when TensorRT does not take the timing cache: another version or another GPU wrote it. Polygraphy goes
    on without a word, and times anew; with `strict` that is a StepFailed, since nothing may be timed."""
    if not timing.exists():
        return
    cache = config.create_timing_cache(timing.read_bytes())
    if cache is not None and config.set_timing_cache(cache, False):
        return
    said = "the timing cache is none of this TensorRT on this GPU"
    if strict:
        raise StepFailed(said, hint="build once without `strict`, and keep the cache that comes out")
    config.set_timing_cache(config.create_timing_cache(b""), False)
    yield f"{said}: kernels were timed anew"


def _save_timings(config: Any, out: Path) -> None:
    """Keep what was timed, so that a later build can be pinned to it."""
    cache = config.get_timing_cache()
    data = bytes(cache.serialize()) if cache is not None else b""
    if data:
        (out / TIMING_CACHE).write_bytes(data)


class EngineRunner:
    """A deserialized engine behind Polygraphy's TrtRunner. It needs a GPU that the engine is for."""

    def __init__(self, folder: Path) -> None:
        from polygraphy.backend.common import BytesFromPath
        from polygraphy.backend.trt import EngineFromBytes, TrtRunner
        from polygraphy.exception import PolygraphyException

        with Words() as words:
            try:
                self._runner = TrtRunner(EngineFromBytes(BytesFromPath(str((folder / ENGINE).resolve()))))
                self._runner.activate()
            except PolygraphyException as problem:
                raise StepFailed(
                    f"the engine does not load on this machine: {words.said(problem)}",
                    hint="it was built for another GPU or TensorRT, or it is cut short: see `build inspect`",
                ) from problem

    def __call__(self, inputs: Any) -> Dict[str, Any]:
        return dict(self._runner.infer(dict(inputs), check_inputs=False, copy_outputs_to_host=True))
