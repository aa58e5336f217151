"""TensorRT 8 to 11, and TensorRT-RTX.

The native backend needs the machine with the GPU; TensorRT-RTX builds engines without one.
`builder/platforms/dialects.py` decides how to configure the builder; Polygraphy drives either package, selected by
POLYGRAPHY_USE_TENSORRT_RTX before it is imported.

No GPU of the project has run the native backend yet. Every name that it uses is checked against the real Python
bindings of 8.6, 10.16 and 11.4 (`tests/conformance/`). Its calls of Polygraphy are those of the TensorRT-RTX backend,
which builds real engines.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import os
import re
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np

from builder.actions.recipes import Engine, Made
from builder.errors import StepFailed, first_line
from builder.platforms import dialects
from builder.platforms.dialects import Calls
from builder.platforms.platform import Platform
from builder.plugins import OpenOptions, Runner

# ------------------------------------------------------------------------------------------- engines


ENGINE, TIMING_CACHE, CALIBRATION_CACHE = "model.engine", "timing.cache", "calibration.cache"
Configure = Callable[[Any], None]


def build(recipe: Engine, calls: Calls, onnx: Path, out: Path, configure: Configure) -> Tuple[int, Tuple[str, ...]]:
    """Write the engine into `out`.

    Returns its number of network layers, and remarks for the user. `configure` changes the builder configuration last.
    Raises StepFailed with TensorRT's own message.
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
    """The keyword arguments of Polygraphy's CreateConfig, except profiles and timing cache."""
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
    """Set precisions by layer name.

    Yields a remark for each pattern without a matching layer.
    """
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
    """Polygraphy's calibrator on the photographs beside the ONNX file.

    Its cache becomes a by-product.
    """
    from polygraphy.backend.trt import Calibrator

    with np.load(onnx.with_name("calibration.npz"), allow_pickle=False) as file:
        images = file["images"]
    name = recipe.profiles[0].inputs[0].name
    return Calibrator([{name: image[None]} for image in images], cache=str(out / CALIBRATION_CACHE), BaseClass=base)


def timings_refused(config: Any, timing: Path, strict: bool) -> Iterator[str]:
    """Yields a remark when TensorRT refuses the timing cache of another version or GPU.

    Polygraphy would silently time kernels again; with `strict` that is a StepFailed, since timing is not allowed.
    """
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
    """Save the timings, so that a later build can be pinned to them."""
    cache = config.get_timing_cache()
    data = bytes(cache.serialize()) if cache is not None else b""
    if data:
        (out / TIMING_CACHE).write_bytes(data)


class EngineRunner:
    """A deserialized engine in Polygraphy's TrtRunner.

    It needs a GPU that the engine supports.
    """

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


class TensorRt:
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:

        calls = dialects.compiled(
            recipe.tensorrt, recipe.precision, recipe.calibration, platform.runtime, platform.version
        )

        def for_the_core(config: Any) -> None:
            if calls.dla_core is not None:  # Polygraphy always takes core 0
                config.DLA_core = calls.dla_core

        return Made(*build(recipe, calls, onnx, out, for_the_core))

    def open(self, folder: Path, options: OpenOptions) -> Runner:

        return EngineRunner(folder)


# --------------------------- TensorRT-RTX: engines for a named compute capability; building needs no GPU, running does


class TensorRtRtx:
    def __init__(self) -> None:
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"  # before Polygraphy's first import of TensorRT

    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:

        def for_the_gpu(config: Any) -> None:
            import tensorrt_rtx

            named = f"SM{(platform.sm or '').replace('.', '')}"
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(tensorrt_rtx.ComputeCapability, named), 0)

        calls = dialects.compiled(
            recipe.tensorrt, recipe.precision, recipe.calibration, platform.runtime, platform.version
        )
        return Made(*build(recipe, calls, onnx, out, for_the_gpu))

    def open(self, folder: Path, options: OpenOptions) -> Runner:

        return EngineRunner(folder)


# -------------------------------------------------------------------------------------- the parser, which needs no GPU


def parsed(onnx: Path) -> int:
    """The number of network layers that TensorRT-RTX's parser makes of `onnx`.

    Raises StepFailed. It is the parser of the current TensorRT. No TensorRT of the last years accepts a graph that it
    refuses; an older version may refuse one that it accepts.
    """
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


# ------------------------------------------------------------------------------------------- messages


_NOISE = re.compile(
    r"(Begin node|End node|Runtime \(In catchCudaError|^ModelImporter\.cpp|^ERROR: \S+ In function|"
    r"^\[\d+\] |^\s*Node name)"
)
_PREFIX = re.compile(
    r"^(\[[EW!]\]\s*)?(\[\w+\.cpp::\w+::\d+\] )?(I?[A-Z]\w+::\w+: )?(Error Code \d+: )?((API Usage|Internal) Error )?"
)
_POSITION = re.compile(r"\.? In \w+ at /_?src\S*|\[\w+\.cpp:\d+: \w+\] ")
_HINTS: Tuple[Tuple[str, str], ...] = (
    (
        r"UNSUPPORTED_NODE|[Nn]o importer|not supported|unsupported",
        "replace that node in the model, or keep it on a CPU target",
    ),
    (r"[Pp]rofile", "correct `profiles:` in matrix.yaml"),
    (
        r"[Ww]orkspace|[Oo]ut of memory|OutOfMemory|find any implementation",
        "raise `workspace:` for this cell, such as 4GiB, or lower `max` of its profile",
    ),
    (r"[Tt]iming cache", "drop `timing_cache:`, or build once without `strict` and keep the cache that comes out"),
    (r"TopK", "ask for at most 3840 points"),
)


class Words:
    """Collect what is printed inside the `with` block, to standard output or standard error.

    Polygraphy's logger prints TensorRT's messages, several lines deep, with their own source positions.
    """

    def __init__(self) -> None:
        self._text = io.StringIO()
        self._redirects = contextlib.ExitStack()

    def __enter__(self) -> "Words":
        self._redirects.enter_context(contextlib.redirect_stdout(self._text))
        self._redirects.enter_context(contextlib.redirect_stderr(self._text))
        return self

    def __exit__(self, *exception: object) -> None:
        self._redirects.close()

    def said(self, problem: Exception) -> str:
        """TensorRT's own reason, or, when it gave none, Polygraphy's."""
        return readable(self._text.getvalue()) or first_line(problem)

    def hint(self) -> Optional[str]:
        return next((hint for pattern, hint in _HINTS if re.search(pattern, self._text.getvalue())), None)


def readable(text: str) -> str:
    """The telling lines of a log, at most two, without prefixes and source positions."""
    lines: List[str] = []
    for line in text.splitlines():
        plain = _PREFIX.sub("", line.strip())
        if not plain or _NOISE.search(plain) or _is_polygraphys(line):
            continue
        plain = _POSITION.sub("", plain.replace("UNSUPPORTED_NODE: ", "unsupported: ")).strip("() ")
        if plain not in lines:
            lines.append(plain)
    return "; ".join(lines[-2:])


def _is_polygraphys(line: str) -> bool:
    """`[!]` is Polygraphy's summary of an earlier message, `[W]` and `[I]` are not the reason of a refusal."""
    return line.startswith(("[!]", "[W]", "[I]"))
