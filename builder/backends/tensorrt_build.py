"""What TensorRT and TensorRT-RTX share: Polygraphy's loaders from ONNX to engine bytes, with profiles.

Polygraphy drives either package; which one is decided by POLYGRAPHY_USE_TENSORRT_RTX before it is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List

from builder.errors import StepFailed
from builder.recipes import Engine

ENGINE = "model.engine"
Configure = Callable[[Any], None]


def build(
    recipe: Engine, onnx: Path, out: Path, *, strongly_typed: bool, flags: Dict[str, Any], configure: Configure
) -> int:
    """Write the engine into `out` and return its number of network layers. Raises StepFailed with TensorRT's own words."""
    from polygraphy import func
    from polygraphy.backend.trt import CreateConfig, EngineBytesFromNetwork, NetworkFromOnnxPath
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    said: List[str] = []
    layers: List[int] = []

    def count(builder: Any, parsed: Any, parser: Any) -> None:
        layers.append(parsed.num_layers)

    network = func.extend(NetworkFromOnnxPath(str(onnx.resolve()), strongly_typed=strongly_typed))(count)
    config = func.extend(CreateConfig(profiles=_profiles(recipe), memory_pool_limits=_workspace(recipe), **flags))(
        configure
    )
    G_LOGGER.module_severity = G_LOGGER.ERROR
    try:
        engine = EngineBytesFromNetwork(network, config=config)()
    except PolygraphyException as problem:
        said.extend(line.strip() for line in str(problem).splitlines() if line.strip())
        raise StepFailed(f"TensorRT refused: {' '.join(said[:3]) or 'no reason given'}") from problem
    (out / ENGINE).write_bytes(bytes(engine))
    return layers[0] if layers else 0


def _profiles(recipe: Engine) -> List[Any]:
    from polygraphy.backend.trt import Profile

    made = []
    for profile in recipe.profiles:
        one = Profile()
        for shape in profile.inputs:
            one.add(shape.name, min=shape.min, opt=shape.opt, max=shape.max)
        made.append(one)
    return made


def _workspace(recipe: Engine) -> Dict[Any, int]:
    from polygraphy.backend.trt.util import trt

    return {trt.MemoryPoolType.WORKSPACE: recipe.workspace}


class EngineRunner:
    """A deserialized engine behind Polygraphy's TrtRunner. It needs the GPU it was built for."""

    def __init__(self, folder: Path) -> None:
        from polygraphy.backend.common import BytesFromPath
        from polygraphy.backend.trt import EngineFromBytes, TrtRunner
        from polygraphy.exception import PolygraphyException

        try:
            self._runner = TrtRunner(EngineFromBytes(BytesFromPath(str((folder / ENGINE).resolve()))))
            self._runner.activate()
        except PolygraphyException as problem:
            raise StepFailed(f"the engine does not load on this machine: {problem}") from problem

    def __call__(self, inputs: Any) -> Dict[str, Any]:
        return dict(self._runner.infer(dict(inputs), check_inputs=False, copy_outputs_to_host=True))
