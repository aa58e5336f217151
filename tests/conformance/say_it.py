"""Says every declaration to the real bindings of one TensorRT: `python -m tests.conformance.say_it FOLDER`.

The builder cannot run without its library, so `create_builder_config` gives a recorder that accepts only the attributes
and methods which the real IBuilderConfig has, and flags which the real enum has. The code under test is the product's
own, with Polygraphy's loaders. Prints one JSON object: for each declaration what was recorded, or the error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Tuple

from tests.conformance import stub_tensorrt


class Recorder:
    """Stands for an IBuilderConfig: whatever the real class lacks is an AttributeError, as it would be there."""

    def __init__(self, real: type) -> None:
        self.__dict__.update(real=real, said=[])

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self.real, name):
            raise AttributeError(f"{self.real.__name__} has no {name}")
        if name in ("num_optimization_profiles", "flags"):
            return 0

        def call(*arguments: Any, **keywords: Any) -> Any:
            self.said.append((name, [_plain(a) for a in arguments]))
            return SimpleNamespace(serialize=lambda: b"") if name.endswith("timing_cache") else 0

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(self.real, name):
            raise AttributeError(f"{self.real.__name__} has no {name}")
        self.said.append((name, [_plain(value)]))


def _plain(value: Any) -> Any:
    if hasattr(value, "name"):
        return value.name
    return value if isinstance(value, (int, float, str, bool)) else type(value).__name__


def say(trt: Any, options: Any, precision: str, method: str, version: str, folder: Path) -> List[Tuple[str, List[Any]]]:
    """What the configuration of one engine was told."""
    from polygraphy.backend.trt import CreateConfig

    from builder.actions.recipes import Engine
    from builder.config.contract import Profile, ShapeRange
    from builder.platforms import dialects
    from builder.runtimes import tensorrt

    image = ShapeRange("image", (1, 1, 8, 8), (1, 1, 8, 8), (2, 1, 8, 8))
    recipe = Engine(precision, "f32", (Profile("p", (image,)),), 1 << 30, options, method)
    calls = dialects.compiled(options, precision, method, "tensorrt", version)
    config = Recorder(trt.IBuilderConfig)
    builder = SimpleNamespace(create_builder_config=lambda: config, num_DLA_cores=2)
    if calls.strongly_typed:
        trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED  # noqa: B018  # what NetworkFromOnnxPath sets
    timing = folder / "timing.cache"
    create = CreateConfig(
        load_timing_cache=str(timing) if options.timing_cache else None,
        **tensorrt.config_arguments(recipe, calls, folder / "model.onnx", folder),
    )
    create(builder, None)
    if calls.dla_core is not None:
        config.DLA_core = calls.dla_core
    said: List[Tuple[str, List[Any]]] = config.said
    return said


def declarations() -> Dict[str, Tuple[Any, str, str]]:
    """Name -> (options, precision, calibration method). Every option, one at a time."""
    from builder.config.tensorrt import LayerPrecision, TensorRtOptions, TimingCache

    none = TensorRtOptions()
    cache = TimingCache("timing.cache", 64 * "0")
    strict = TimingCache("timing.cache", 64 * "0", strict=True)
    found: Dict[str, Tuple[Any, str, str]] = {p: (none, p, "") for p in ("fp32", "fp16", "int8")}
    one: Dict[str, Any] = {
        "weak": TensorRtOptions(typing="weak"),
        "strong": TensorRtOptions(typing="strong"),
        "prefer": TensorRtOptions(constraints="prefer"),
        "layers": TensorRtOptions(layers=(LayerPrecision("*", "fp32"),)),
        "level": TensorRtOptions(optimization_level=5),
        "version_compatible": TensorRtOptions(version_compatible=True),
        "ampere_plus": TensorRtOptions(hardware_compatible="ampere_plus"),
        "same_compute_capability": TensorRtOptions(hardware_compatible="same_compute_capability"),
        "refit": TensorRtOptions(refit=True),
        "strip": TensorRtOptions(strip=True),
        "dla": TensorRtOptions(dla_core=1),
        "dla_only": TensorRtOptions(dla_core=0, gpu_fallback=False),
        "sparsity": TensorRtOptions(sparsity=True),
        "tf32": TensorRtOptions(tf32=True),
        "cudnn": TensorRtOptions(tactic_sources=("cublas", "cublas_lt", "cudnn")),
        "jit": TensorRtOptions(tactic_sources=("edge_mask_convolutions", "jit_convolutions")),
        "layer_names": TensorRtOptions(profiling="layer_names_only"),
        "no_profiling": TensorRtOptions(profiling="none"),
        "timing_cache": TensorRtOptions(timing_cache=cache),
        "strict_timing_cache": TensorRtOptions(timing_cache=strict),
    }
    found.update({name: (options, "fp16", "") for name, options in one.items()})
    for method in ("minmax", "percentile", "mse"):
        found[f"calibrator_{method}"] = (TensorRtOptions(int8="calibrator"), "int8", method)
    return found


_TYPED = ("precision", "set_output_type")  # layer by layer, in weakly typed networks


def main(folder: Path) -> None:
    import numpy as np

    trt = stub_tensorrt.load(folder)
    from builder.platforms import dialects

    version = ".".join(str(trt.__version__).split(".")[:2])
    (folder / "timing.cache").write_bytes(b"")
    np.savez(folder / "calibration.npz", images=np.zeros((1, 1, 8, 8), np.float32))
    out: Dict[str, Any] = {"version": trt.__version__, "cases": {}}
    for name, (options, precision, method) in declarations().items():
        row: Dict[str, Any] = {"refused": [r.option for r in dialects.refused(options, "tensorrt", version)]}
        try:
            row["said"] = say(trt, options, precision, method, version, folder)
        except Exception as problem:  # the test tells a refusal that was foreseen from one that was not
            row["error"] = f"{type(problem).__name__}: {problem}"
        out["cases"][name] = row
    # What `builder/runtimes/tensorrt.py` asks of the network and its layers, which exist only where a graph is parsed.
    asked = {"INetworkDefinition": ("num_layers", "get_layer"), "ILayer": ("name", "num_outputs", *_TYPED)}
    out["cases"]["layers_of_the_network"] = {
        "refused": [],
        "said": [],
        "lacking": [
            f"{kind}.{name}" for kind, names in asked.items() for name in names if not hasattr(getattr(trt, kind), name)
        ],
    }
    print("RESULT " + json.dumps(out))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
