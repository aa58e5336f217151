"""A small project on this machine: its targets are the runtimes that are installed here, for the GPU that is here.

The product does all the work: its planner says what can be built, its workers build, open and compare. `Rig.made` gives
one cell, built and compared with the model in worker processes; where that cannot be, it skips in the planner's own words.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest

from builder import digest
from builder.actions.action import Result
from builder.actions.measurements import Parity
from builder.config.cells import Cell
from builder.config.contract import PACKAGE
from builder.config.loader import Loaded, load
from builder.errors import StepFailed
from builder.planning.planner import Plan, plan
from builder.platforms import requirements
from builder.platforms.machines import Machine
from builder.platforms.versions import first

GPU_RUNTIMES = ("tensorrt", "tensorrt-rtx", "onnxruntime-gpu")
# The same tests on a CPU: what fails there is wrong with the tests, not with a GPU.
CONTROL = "onnxruntime"
PRECISIONS = ("fp32", "fp16", "int8")
# At least this alike, at most this far apart (scores are probabilities), on every image.
LIMITS = {"fp32": (0.99999, 1e-3), "fp16": (0.999, 5e-2), "int8": (0.95, 0.3)}
TOGETHER = ("torch", "onnxscript")  # without them there is no PyTorch to compare with

MATRIX = """schema: 1
model:
  name: corners
  source: {source}
  inputs:
    image: {{shape: [batch, 1, 8*h8, 8*w8]}}
  preprocess: {{color: grayscale, multiple: 8}}
  heads:
    map:
      outputs: {outputs}
  profiles:
    small: {{image: {{min: [1, 1, 64, 64], opt: [1, 1, 96, 128], max: [2, 1, 128, 160]}}}}
    large: {{image: {{min: [1, 1, 128, 160], opt: [1, 1, 240, 320], max: [1, 1, 256, 320]}}}}
precisions: [fp32, fp16, int8]
targets:
{targets}
parity:
  photographs: {{folder: photographs, files: [a.png, b.png]}}
  sizes: [[64, 64], [72, 104], [96, 128], [128, 160], [256, 320]]
calibration:
  photographs: {{folder: photographs, files: [c.png, d.png]}}
  size: [96, 128]
  method: minmax
latency: {{seconds: 0.2}}
gates:
  - {{select: "*-fp32-*", outputs: {{"*": {{cosine: 0.99999}}}}}}
  - {{select: "*-fp16-*", outputs: {{"*": {{cosine: 0.999}}}}}}
  - {{select: "*-int8-*", outputs: {{"*": {{cosine: 0.95}}}}}}
defaults: {{profiles: [{profiles}], simplify: {simplify}, workspace: {workspace}}}
overrides:
  - {{select: "*", set: {{tensorrt: {options}, allow: {{fp16-rate: seen to run, cuda-int8: seen to run}}}}}}
  - {{select: "*-{control}", set: {{activations: asymmetric}}}}
"""


def why_not(runtime: str, machine: Machine) -> str:
    """Why nothing of `runtime` can be built and run on this machine: no driver, no package, the wrong chip. Empty when it can."""
    can = next(row for row in requirements.runtimes(machine) if row.what == runtime)
    return can.run or can.build


def target(runtime: str, machine: Machine) -> Optional[str]:
    """The lines of matrix.yaml for `runtime` as it is installed here; None where it cannot be used."""
    if why_not(runtime, machine):
        return None
    if runtime == CONTROL:
        return f"  {name(runtime)}: {{runtime: {runtime}, arch: {machine.arch}}}"
    version = first(machine.version(PACKAGE[runtime]) or "", 2)
    gpu = next(gpu for gpu in machine.gpus if gpu.sm)
    jetpack = f', jetpack: "{machine.jetpack}"' if machine.l4t and runtime == "tensorrt" else ""
    said = f'runtime: {runtime}, version: "{version}", sm: "{gpu.sm}", gpu: "{gpu.name}", arch: {machine.arch}{jetpack}'
    return f"  {name(runtime)}: {{{said}, machine: this one}}"


def name(runtime: str) -> str:
    return runtime.replace("-", "_")


@dataclass(frozen=True)
class Made:
    """One cell: its engine's result, where the engine's files lie, and how far it is from the model."""

    planned: Cell
    engine: Result
    files: Dict[str, Path]
    parity: Parity

    def worst(self, output: str) -> Tuple[float, float]:
        """(lowest cosine, largest difference) of an output over all images."""
        rows = [row for row in self.parity.outputs if row.output == output]
        assert rows and all(row.problem is None for row in rows), [row.problem for row in rows]
        return min(row.cosine or 0.0 for row in rows), max(row.max_abs or 0.0 for row in rows)


@dataclass
class Rig:
    folder: Path
    machine: Machine

    def write(self, *, options: str = "{}", profiles: str = "small", workspace: str = "1GiB") -> Loaded:
        """matrix.yaml with every runtime that can be used here."""
        lines = [target(runtime, self.machine) for runtime in (*GPU_RUNTIMES, CONTROL)]
        source, outputs, simplify = self._source()
        text = MATRIX.format(
            source=source, outputs=outputs, targets="\n".join(line for line in lines if line), options=options,
            profiles=profiles, workspace=workspace, simplify=simplify, control=name(CONTROL),
        )  # fmt: skip
        (self.folder / "matrix.yaml").write_text(text, encoding="utf-8")
        return load(self.folder / "matrix.yaml")

    def made(self, runtime: str, precision: str, *, measure: bool = True, **settings: str) -> Made:
        """Build the cell and compare it. Skips with the planner's reason; raises what a worker raised."""
        self.need(runtime)
        loaded = self.write(**settings)
        cell = f"corners-map-{precision}-{name(runtime)}"
        planned = plan(loaded.matrix, self.machine, only=(cell,))
        (one,) = planned.cells
        if one.fate != "build" or one.unverified:
            pytest.skip(f"{cell}: {one.reason or one.unverified}")
        results = self._run(loaded, planned, {one.engine, *([one.parity] if measure else [])})
        engine = results[one.engine]
        store = self._store()
        files = {blob.name: store.fetch(blob.digest) for blob in engine.outputs}
        parity = results[one.parity].facts if measure else Parity(())
        assert isinstance(parity, Parity)
        return Made(one, engine, files, parity)

    def graph(self, made: Made) -> Path:
        """The ONNX file that the engine was built from."""
        loaded = load(self.folder / "matrix.yaml")
        planned = plan(loaded.matrix, self.machine, only=(made.planned.id,))
        blob = self._run(loaded, planned, {made.planned.onnx})[made.planned.onnx].output("model.onnx")
        return self._store().fetch(blob.digest)

    def need(self, runtime: str) -> None:
        reason = why_not(runtime, self.machine)
        if reason:
            pytest.skip(f"{runtime}: {reason}")

    def keep(self, file: str, path: Path) -> str:
        """Copy a file beside matrix.yaml; its `{file, sha256}` as matrix.yaml wants it."""
        shutil.copyfile(path, self.folder / file)
        return f"file: {file}, sha256: {digest.of_file(path)[len('sha256:') :]}"

    def _run(self, loaded: Loaded, planned: Plan, wanted: "set[str]") -> Dict[str, Result]:
        """The wanted jobs and all that they need, each in a worker, or recalled."""
        from builder.execution.local import Local
        from builder.execution.scheduler import Silent, run
        from builder.planning.resolver import Pinner

        jobs: List[Any] = []

        def add(id: str) -> None:
            job = planned.job(id)
            for need in job.needs:
                add(need)
            jobs.extend([job] if job not in jobs else [])

        for id in sorted(wanted):
            add(id)
        store = self._store()
        pinner = Pinner(loaded.root, self.machine, store)
        with store.locked():
            outcome = run(dataclasses.replace(planned, jobs=tuple(jobs)), pinner, store, Local(), Silent())
        for problem in outcome.failures.values():
            raise problem
        return outcome.results

    def _store(self) -> Any:
        from builder.store.layout import Layout

        return Layout(self.folder / "artifacts")

    def _source(self) -> Tuple[str, str, str]:
        """(source, outputs, simplify): PyTorch where it is; else an ONNX file, compared with onnxruntime on the CPU."""
        if with_pytorch(self.machine):
            shutil.copyfile(Path(__file__).with_name("network.py"), self.folder / "network.py")
            wanted = "{scores: [batch, 8*h8, 8*w8], descriptors: [batch, 32, h8, w8]}"
            return '{factory: "network:corners", weights: {seed: 3}}', wanted, "true"
        from builder.models import onnx_files
        from tests import onnx_models

        path = self.folder / "source.onnx"
        if not path.exists():
            onnx_files.save(onnx_models.convolutional(), path)
        given = f"{{onnx: source.onnx, sha256: {digest.of_file(path)[len('sha256:') :]}}}"
        return given, "{out: [batch, 3, 4*h4, 4*w4]}", "false"


def with_pytorch(machine: Machine) -> bool:
    return all(machine.version(package) is not None for package in TOGETHER)


def photographs(folder: Path) -> None:
    """Four images with edges of every direction and scale; the same everywhere."""
    import cv2
    import numpy as np

    folder.mkdir(parents=True)
    for number, file in enumerate("abcd"):
        random = np.random.default_rng(number)
        image = np.zeros((256, 320), np.float32)
        for size in (4, 16, 64):
            grain = random.random((256 // size, 320 // size), dtype=np.float32)
            image += cv2.resize(grain, (320, 256), interpolation=cv2.INTER_NEAREST if size == 16 else cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{file}.png"), np.clip(image * 85, 0, 255).astype(np.uint8))


def attempted(rig: Rig, runtime: str, precision: str, **settings: str) -> "Made | StepFailed":
    """The cell, or the error that building it ended with, for what some TensorRTs take and others refuse."""
    try:
        return rig.made(runtime, precision, **settings)
    except StepFailed as problem:
        return problem
