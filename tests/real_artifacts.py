"""Versions with artifacts that really run: a tiny model for onnxruntime or OpenVINO, and its golden sample."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

from builder import plugins
from builder.actions.measurements import Latency, Percentiles
from builder.actions.recipes import Engine
from builder.config.contract import PACKAGE, Output, Profile, ShapeRange
from builder.config.gates import Limit
from builder.config.tensorrt import TensorRtOptions
from builder.platforms import machines
from builder.platforms.platform import Platform
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import Check, Entry, Golden, Manifest, Verdict
from tests.fakes import entry, manifest

LIMIT = 1e-3


@dataclasses.dataclass(frozen=True)
class Made:
    """An artifact to make. `wrong`: its golden sample is of another model; `batch` the largest it accepts."""

    cell: str = "tiny-dense-fp32-ort"
    p50: float = 1.0
    scale: float = 1.0
    wrong: bool = False
    runtime: str = "onnxruntime"
    sizes: Tuple[int, int] = (8, 64)
    batch: int = 1
    static: bool = False
    verified: bool = True
    golden: bool = True


def publish(store: Layout, *wanted: Made, version: int = 1) -> Manifest:
    """A version of `wanted`, which this machine can run."""
    made = manifest(*(_entry(store, one) for one in wanted), version=version)
    head = dataclasses.replace(made.model.heads[0], outputs=(Output("out", ("batch", 3, "4*h8", "4*w8")),))
    made = dataclasses.replace(made, model=dataclasses.replace(made.model, heads=(head,)))
    versions.publish(store, made)
    return made


def answer(scale: float, image: Any) -> Any:
    """What the model of that scale says of a float32 [B, 1, H, W]."""
    from tests import onnx_models

    return onnx_models.run(onnx_models.convolutional(scale=scale), image)


def _entry(store: Layout, wanted: Made) -> Entry:
    machine = machines.here()
    version = machine.version(PACKAGE[wanted.runtime]) or "0"
    platform = Platform(wanted.runtime, version, machine.os, machine.arch, None)
    profile = Profile("p", (_range(wanted),))
    files = tuple(store.put_bytes(name, data) for name, data in _files(wanted, platform, profile).items())
    fake = entry(wanted.cell, files=files)
    assert fake.artifact is not None
    artifact = dataclasses.replace(
        fake.artifact, digest=versions.put_artifact(store, wanted.cell, files).digest, static=wanted.static
    )
    check = Check("tensor", "out", "max_abs", 1e-7, LIMIT, True, "*", "golden")
    unjudged = () if wanted.verified else (Limit("tensor", "out", "max_abs", "value", LIMIT, "*"),)
    times = Percentiles(wanted.p50, wanted.p50, wanted.p50, 7)
    return dataclasses.replace(
        fake,
        platform=platform,
        profiles=(profile,),
        artifact=artifact,
        verdict=Verdict("passed", checks=(check,)) if wanted.verified else Verdict("unverified", "never ran"),
        latency=Latency(times, Percentiles(8.0, 8.0, 8.0, 7), (1, 1, 32, 32), 0, machine.kind, "fake"),
        golden=Golden(store.put_bytes("golden-16x16.npz", _sample(wanted)), limits=unjudged) if wanted.golden else None,
    )


def _range(wanted: Made) -> ShapeRange:
    low, high = wanted.sizes
    return ShapeRange("image", (1, 1, low, low), (1, 1, high, high), (wanted.batch, 1, high, high))


def _files(wanted: Made, platform: Platform, profile: Profile) -> Dict[str, bytes]:
    from tests import onnx_models

    recipe = Engine("fp32", "f32", (profile,), 1 << 30, TensorRtOptions(), "")
    with tempfile.TemporaryDirectory() as work:
        onnx, out = Path(work) / "in.onnx", Path(work) / "out"
        onnx.write_bytes(onnx_models.convolutional(scale=wanted.scale).SerializeToString())
        out.mkdir()
        plugins.backend(wanted.runtime).build(recipe, platform, onnx, out)
        return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def _sample(wanted: Made) -> bytes:
    import numpy as np

    from validation import samples

    size = max(16, wanted.sizes[0])
    image = np.random.default_rng(1).random((1, 1, size, size), dtype=np.float32)
    said = answer(wanted.scale + (0.5 if wanted.wrong else 0.0), image)
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "s.npz"
        samples.save(path, samples.Sample("golden", {"image": image}, {"out": said}))
        return path.read_bytes()


def cells(manifest: Manifest) -> Sequence[str]:
    return [entry.cell for entry in manifest.entries]
