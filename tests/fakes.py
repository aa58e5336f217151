"""What the tests use in place of machines, runtimes and the network."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Set, Tuple

from builder import digest
from builder.actions.action import SIDECAR, Action, Result
from builder.actions.measurements import (
    CaseScore,
    Latency,
    OutputParity,
    Parity,
    Percentiles,
    Score,
    SweepPoint,
    SweepRow,
    Swept,
    TaskScores,
)
from builder.actions.recipes import (
    CalibrationData,
    Facts,
    Made,
    MeasureLatency,
    MeasureParity,
    MeasureSweep,
    MeasureTask,
    Parse,
    Reference,
    Sampled,
    ScoreReference,
    SweepReference,
    TaskCases,
)
from builder.config.contract import Input, Keypoints, Output, Preprocess, Profile, ShapeRange
from builder.config.loader import Loaded, load
from builder.errors import StepFailed
from builder.execution.scheduler import Outcome, run
from builder.planning.planner import Plan, plan
from builder.planning.resolver import Pinner
from builder.platforms.gpus import Gpu
from builder.platforms.machines import Machine
from builder.platforms.packages import Package
from builder.platforms.platform import Blob, Platform
from builder.plugins import Store
from builder.records import to_json
from builder.store import sidecar
from builder.store.layout import Layout
from builder.store.manifest import Artifact, Builder, Entry, HeadContract, Manifest, ModelIdentity, Verdict

REPOSITORY = Path(__file__).parent.parent

# ------------------------------------------------------------------------------------------- machines

_BUILD = (
    Package("torch", "2.9.1"),
    Package("onnx", "1.21.0"),
    Package("onnxscript", "0.7.0"),
    Package("onnxsim", "0.8.0"),
    Package("onnxruntime", "1.23.2"),
    Package("openvino", "2026.0.0"),
    Package("polygraphy", "0.53.0"),
    Package("tensorrt_rtx", "1.7.0.11"),
    Package("numpy", "2.4.0"),
    Package("opencv-python-headless", "4.12.0"),
)
_AVX = ("avx2", "avx512f", "avx512_vnni")

LAPTOP = Machine("linux", "x86_64", "Laptop CPU", 2, _AVX, "3.12.1", (), _BUILD)
RTX3090 = Machine(
    "linux",
    "x86_64",
    "Ryzen 9",
    16,
    ("avx2",),
    "3.12.1",
    (Gpu("NVIDIA GeForce RTX 3090", "8.6"),),
    (*_BUILD, Package("tensorrt", "10.16.1.11")),
)
GTX1060 = Machine(
    "linux",
    "x86_64",
    "Core i5",
    4,
    ("avx2",),
    "3.10.4",
    (Gpu("NVIDIA GeForce GTX 1060 6GB", "6.1"),),
    (Package("tensorrt", "8.6.1"), Package("onnxruntime", "1.18.0"), Package("numpy", "1.26.4")),
)
ORIN = Machine(
    "linux",
    "aarch64",
    "Cortex-A78AE",
    12,
    ("asimd", "asimddp"),
    "3.10.12",
    (Gpu("Orin", "8.7"),),
    (Package("tensorrt", "10.3.0"), Package("polygraphy", "0.49.9"), Package("numpy", "1.26.4")),
)
RASPBERRY = Machine(
    "linux", "aarch64", "Cortex-A76", 4, ("asimd", "asimddp"), "3.11.2", (), (Package("onnxruntime", "1.23.2"),)
)
MACHINES = {"laptop": LAPTOP, "rtx3090": RTX3090, "gtx1060": GTX1060, "orin": ORIN, "raspberry": RASPBERRY}


def without(machine: Machine, package: str) -> Machine:
    return _with(machine, packages=tuple(p for p in machine.packages if p.name != package))


def with_version(machine: Machine, package: str, version: str) -> Machine:
    kept = tuple(p for p in machine.packages if p.name != package)
    return _with(machine, packages=(*kept, Package(package, version)))


def _with(machine: Machine, **changes: Any) -> Machine:
    import dataclasses

    return dataclasses.replace(machine, **changes)


# ------------------------------------------------------------------------------------------- a project

MATRIX = """\
schema: 1
model:
  name: tiny
  source: {factory: "model:make", weights: {seed: 7}}
  opset: 20
  inputs:
    image: {shape: [batch, 1, 8*h8, 8*w8]}
  preprocess: {multiple: 8}
  heads:
    dense:
      outputs:
        scores: [batch, 8*h8, 8*w8]
        descriptors: [batch, 4, h8, w8]
  profiles:
    small:
      image: {min: [1, 1, 16, 16], opt: [1, 1, 32, 32], max: [1, 1, 64, 64]}
    large:
      image: {min: [1, 1, 8, 8], opt: [1, 1, 32, 32], max: [1, 1, 128, 128]}
precisions: [fp32, fp16, int8]
targets:
  ort: {runtime: onnxruntime}
  ov: {runtime: openvino}
  rtx: {runtime: tensorrt-rtx, version: "1.7", sm: "8.6", machine: RTX 3090}
  trt: {runtime: tensorrt, version: "10.16", sm: "8.6", machine: RTX 3090}
parity:
  photographs: {folder: photos, files: [a.png, b.png]}
  sizes: [[16, 16], [32, 32]]
calibration:
  photographs: {folder: photos, files: [c.png, d.png]}
  size: [32, 32]
gates:
  - select: "*"
    outputs:
      "*": {max_abs: 0.01, cosine: 0.99}
"""

MODEL = '''\
"""The model."""

from layers import width


def make(head: str) -> object:  # called by the exporter
    return width()
'''
LAYERS = '''\
"""The model's layers."""


def width() -> int:
    return 64
'''


# The same project with a task, whose metric lies in two modules beside the matrix.
TASK_MATRIX = (
    MATRIX.replace(
        "calibration:",
        """\
tasks:
  good:
    metric: score:Score
    options: {strict: true}
    data: {folder: photos, files: [a.png, b.png]}
    size: [32, 32]
calibration:""",
    )
    + """\
    tasks:
      good:
        value: {threshold: 0.5, max_degradation: 0.1}
"""
)
METRIC = '''\
"""How good the model is."""

from answers import best


class Score:  # scored on every artifact
    limit = best()
'''
ANSWERS = '''\
"""What the metric compares with."""


def best() -> int:
    return 9
'''


class Project:
    """A folder with matrix.yaml and what it names. `edit` replaces text in a file."""

    def __init__(self, root: Path, matrix: str = MATRIX) -> None:
        self.root, self.matrix = root, root / "matrix.yaml"
        (root / "photos").mkdir(parents=True)
        self.matrix.write_text(matrix, encoding="utf-8")
        (root / "model.py").write_text(MODEL, encoding="utf-8")
        (root / "layers.py").write_text(LAYERS, encoding="utf-8")
        if matrix != MATRIX:
            (root / "score.py").write_text(METRIC, encoding="utf-8")
            (root / "answers.py").write_text(ANSWERS, encoding="utf-8")
        for name in "abcd":
            (root / "photos" / f"{name}.png").write_bytes(f"photograph {name}".encode())

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def load(self) -> Loaded:
        return load(self.matrix)

    @property
    def store(self) -> Layout:
        return Layout(self.root / "artifacts")


# ------------------------------------------------------------------------------------------- an executor


class FakeExecutor:
    """Makes outputs that are a function of the action's inputs and parameters, as the real steps do.

    `same` names steps whose output never changes; `failing` names jobs by `step` or `step/precision`-like
    predicates on the action; `max_abs` is the parity number that it measures, `value` the task metric of an artifact,
    where the model itself has 0.8. A sweep finds `at` other sizes another max_abs, and `refused` ones.
    """

    def __init__(
        self,
        *,
        same: FrozenSet[str] = frozenset(),
        fails: Callable[[Action], bool] = lambda action: False,
        max_abs: float = 0.001,
        value: Optional[float] = 0.75,
        seconds: float = 0.0,
        at: Optional[Mapping[Tuple[int, int], float]] = None,
        refused: FrozenSet[Tuple[int, int]] = frozenset(),
    ) -> None:
        self.performed: List[Action] = []
        self.overlaps: Set[Tuple[str, str]] = set()
        self.stopped = False
        self._same, self._fails, self._max_abs, self._seconds = same, fails, max_abs, seconds
        self._value, self._at, self._refused = value, at or {}, refused
        self._running: List[str] = []
        self._lock = threading.Lock()

    @property
    def steps(self) -> List[str]:
        return [action.recipe.step for action in self.performed]

    def perform(
        self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: Callable[[str], None]
    ) -> Result:
        step = action.recipe.step
        with self._lock:
            self.overlaps.update((step, other) for other in self._running)
            self.overlaps.update((other, step) for other in self._running)
            self._running.append(step)
            self.performed.append(action)
        try:
            time.sleep(self._seconds)
            say(f"working on {step}")
            if self._fails(action):
                raise StepFailed("made to fail", where=step, hint="do not make it fail")
            return self._result(action, files, store)
        finally:
            with self._lock:
                self._running.remove(step)

    def stop(self) -> None:
        self.stopped = True

    def _result(self, action: Action, files: Mapping[str, Path], store: Store) -> Result:
        with store.workspace() as work:
            blobs = []
            for name, data in self._outputs(action, files).items():
                (work / name).write_bytes(data)
                blobs.append(store.put(work / name))
        return Result(action.key, tuple(blobs), self._facts(action), 0.25, 100)

    def _outputs(self, action: Action, files: Mapping[str, Path]) -> Dict[str, bytes]:
        recipe = action.recipe
        given = {name: path.read_bytes() for name, path in sorted(files.items())}
        if isinstance(recipe, Reference):
            return {
                f"{Path(photo).stem}-{h}x{w}.npz": _digest(given[photo], recipe.head, _code(action))
                + f"{h}x{w}".encode().ljust(h * w)
                for photo in recipe.photographs
                for h, w in recipe.sizes
            }
        if isinstance(recipe, SweepReference):
            photo = recipe.photograph
            return {
                f"{Path(photo).stem}-{h}x{w}.npz": _digest(given[photo], recipe.head, _code(action), h, w)
                for h, w in recipe.sizes
            }
        if isinstance(recipe, TaskCases):
            code = [data for name, data in given.items() if name.startswith("code/")]
            return {f"{Path(file).stem}.npz": _digest(given[file], recipe.size, *code) for file in recipe.data}
        if isinstance(recipe, (MeasureParity, MeasureLatency, MeasureTask, MeasureSweep, ScoreReference, Parse)):
            return {}
        if isinstance(recipe, CalibrationData):
            return {"images.npz": _digest(recipe.size, *given.values())}
        name = "model.bin" if recipe.step == "engine" else "model.onnx"
        made = b"always the same"
        if recipe.step not in self._same:
            made = _digest(json.dumps(to_json(recipe)), action.platform, _code(action), *given.values())
        if recipe.step != "engine":
            return {name: made}
        beside = sidecar.described(action, (Blob(name, digest.of_bytes(made), len(made)),))
        return {name: made, SIDECAR: sidecar.text(beside).encode()}

    def _sweep_row(self, recipe: MeasureSweep, point: SweepPoint) -> SweepRow:
        if point.size in self._refused:
            return SweepRow(point, refused="it is too much for me")
        max_abs = self._at.get(point.size, self._max_abs)
        rows = tuple(OutputParity(name, point.named, None, max_abs=max_abs, cosine=0.999) for name in recipe.outputs)
        return SweepRow(point, rows, Percentiles(2.0, 3.0, 4.0, 3) if point.inside else None)

    def _facts(self, action: Action) -> Facts:
        recipe = action.recipe
        if isinstance(recipe, MeasureParity):
            return Parity(
                tuple(
                    OutputParity(output, sample, None, max_abs=self._max_abs, cosine=0.999)
                    for output in recipe.outputs
                    for sample in recipe.samples
                )
            )
        if isinstance(recipe, MeasureLatency):
            times = Percentiles(2.0, 3.0, 4.0, 7)
            return Latency(times, Percentiles(8.0, 9.0, 10.0, 7), recipe.shape, recipe.threads, recipe.machine, "fake")
        if isinstance(recipe, Reference):
            return Sampled(recipe.photographs)
        if isinstance(recipe, SweepReference):
            return Sampled((recipe.photograph,))
        if isinstance(recipe, MeasureSweep):
            rows = tuple(self._sweep_row(recipe, point) for point in recipe.points)
            return Swept(rows, recipe.photograph, recipe.seconds, recipe.threads, recipe.machine)
        if isinstance(recipe, CalibrationData):
            return Sampled(recipe.photographs)
        if isinstance(recipe, TaskCases):
            return Sampled(tuple(Path(file).stem for file in recipe.data))
        if isinstance(recipe, (MeasureTask, ScoreReference)):
            value = 0.8 if isinstance(recipe, ScoreReference) else self._value
            cases = sorted(pin.name[len("cases/") : -len(".npz")] for pin in action.inputs if pin.name[:6] == "cases/")
            rows = tuple(CaseScore(case, "value", value) for case in cases)
            return TaskScores((Score("value", value), Score("error", 0.0, lower_is_better=True)), rows)
        return Made(3, ())


def _digest(*parts: object) -> bytes:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else str(part).encode())
        sha.update(b"|")
    return sha.hexdigest().encode()


def _code(action: Action) -> str:
    return next((pinned.digest for pinned in action.inputs if pinned.name == "code"), "")


class Recorder:
    """A reporter that remembers how each job ended."""

    def __init__(self) -> None:
        self.ends: Dict[str, str] = {}

    def begin(self, plan: Plan) -> None: ...

    def started(self, job: str) -> None: ...

    def said(self, job: str, line: str) -> None: ...

    def ended(self, job: str, how: str, seconds: float) -> None:
        assert job not in self.ends, f"{job} ended twice"
        self.ends[job] = how

    def told(self, line: str) -> None: ...

    def close(self) -> None: ...


class Ran:
    """One run of a project with a fake executor."""

    def __init__(self, planned: Plan, outcome: Outcome, executor: FakeExecutor, reporter: Recorder) -> None:
        self.plan, self.outcome, self.executor, self.reporter = planned, outcome, executor, reporter

    @property
    def performed(self) -> List[str]:
        return sorted(self.outcome.performed)


def run_project(
    project: Project,
    executor: Optional[FakeExecutor] = None,
    *,
    machine: Machine = LAPTOP,
    jobs: int = 1,
    force: bool = False,
    only: Tuple[str, ...] = (),
) -> Ran:
    loaded = project.load()
    pinner = Pinner(loaded.root, machine, project.store)
    return run_plan(plan(loaded.matrix, machine, only=only), pinner, project.store, executor, jobs=jobs, force=force)


def run_plan(
    planned: Plan,
    pinner: Pinner,
    store: Layout,
    executor: Optional[FakeExecutor] = None,
    *,
    jobs: int = 1,
    force: bool = False,
) -> Ran:
    used, reporter = executor or FakeExecutor(), Recorder()
    with store.locked():
        outcome = run(planned, pinner, store, used, reporter, jobs=jobs, force=force)
    return Ran(planned, outcome, used, reporter)


# ------------------------------------------------------------------------------------------- manifests

SHA = "sha256:" + 64 * "0"


def profile(name: str, low: int, high: int) -> Profile:
    shapes = tuple((1, 1, side, side) for side in (low, high, high))
    return Profile(name, (ShapeRange("image", shapes[0], shapes[1], shapes[2]),))


def entry(
    cell: str = "tiny-dense-fp32-ort",
    *,
    status: str = "passed",
    runtime: str = "onnxruntime",
    version: str = "1.23.2",
    arch: str = "x86_64",
    sm: Optional[str] = None,
    compute: str = "f32",
    p50: Optional[float] = 2.0,
    naive: Optional[float] = 8.0,
    measured_on: str = LAPTOP.kind,
    sizes: Tuple[Tuple[int, int], ...] = ((16, 64),),
    files: Tuple[Blob, ...] = (),
    head: str = "dense",
    artifact: bool = True,
) -> Entry:
    """An entry of a manifest that passed on the laptop, but for what is said otherwise."""
    times = None
    if p50 is not None:
        yardstick = Percentiles(naive, naive, naive, 7) if naive is not None else None
        times = Latency(Percentiles(p50, p50, p50, 7), yardstick, (1, 1, 32, 32), 0, measured_on, "fake")
    made: Any = Artifact(SHA, sum(b.size for b in files), files, SHA, SHA, compute, False, 1.0)  # type: ignore[arg-type]
    return Entry(
        cell=cell,
        head=head,
        precision=cell.split("-")[2],
        target=cell.split("-")[3],
        machine="any",
        verdict=Verdict(status, "" if status == "passed" else f"why it is {status}"),  # type: ignore[arg-type]
        platform=Platform(runtime, version, "linux", arch, sm),
        profiles=tuple(profile(f"p{i}", low, high) for i, (low, high) in enumerate(sizes)),
        artifact=made if artifact else None,
        latency=times,
    )


def manifest(*entries: Entry, version: int = 1, postprocess: Optional[Keypoints] = None) -> Manifest:
    outputs = (Output("scores", ("batch", "8*h8", "8*w8")),)
    identity = ModelIdentity(
        "tiny",
        "model:make",
        "seed 7",
        (Input("image", ("batch", 1, "8*h8", "8*w8")),),
        (HeadContract("dense", outputs, postprocess),),
        Preprocess(multiple=8),
    )
    return Manifest(2, version, "2026-11-21T00:00:00+00:00", SHA, identity, Builder("0", "m", "3.12"), tuple(entries))


def stored(store: Layout, name: str, data: bytes) -> Blob:
    return store.put_bytes(name, data)
