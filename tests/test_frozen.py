"""What a change of the code must keep: action keys, verdicts, exit codes, import paths and numbers.

The files are in tests/golden/frozen. Only `--update-frozen` writes them: for a change that is meant and that the changelog
names.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import inspect
import math
import sys
import typing
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from builder import digest, errors
from builder.actions.action import Action
from builder.actions.measurements import (
    Arithmetic,
    CaseScore,
    Latency,
    OutputParity,
    Parity,
    Percentiles,
    Score,
    TaskScores,
)
from builder.actions.recipes import Facts, MeasureLatency, MeasureParity, MeasureTask, Recipe, ScoreReference
from builder.audit import ledger
from builder.audit.drift_limits import Allowances
from builder.audit.history import MetricLine, Version
from builder.config.loader import Loaded
from builder.config.matrix import Matrix, TorchSource
from builder.errors import DeployError
from builder.execution.publish import judge
from builder.models import code_digest
from builder.planning.planner import Plan, plan
from builder.planning.resolver import Pinner
from builder.records import to_json
from builder.store.layout import Layout
from builder.store.manifest import Check, TaskResult
from tests.builder.cli.test_verbs import Shell
from tests.builder.store.test_trust import KEY
from tests.conftest import FROZEN
from tests.fact_machines import MACHINES, RECORDED
from tests.fakes import LAPTOP, ORIN, TASK_MATRIX, FakeExecutor, Project, Ran, entry, manifest, run_plan
from tests.ports import free_port
from validation import timing

Frozen = Callable[[str, str], None]


def text(lines: "List[str] | Iterator[str]") -> str:
    return "".join(f"{line}\n" for line in lines)


def number(value: Optional[float]) -> str:
    """Twelve significant digits; `-` for none."""
    return "-" if value is None else f"{float(value) + 0.0:.12g}"  # -0 is 0


# ------------------------------------------------------------------------------------------- keys and verdicts


class Measured(FakeExecutor):
    """Files that differ with every key, and numbers that do not: some on either side of the shipped gates."""

    def __init__(self, metrics: Tuple[str, ...]) -> None:
        super().__init__()
        self._metrics = metrics

    def _outputs(self, action: Action, files: Any) -> Dict[str, bytes]:
        return {name: f"{action.key} {name}".encode() for name in super()._outputs(action, files)}

    def _facts(self, action: Action) -> Facts:
        recipe, platform = action.recipe, action.platform
        where = f"{platform.runtime} {platform.sm}" if platform else ""
        exact = where == "tensorrt 6.1"  # what is just allowed
        if isinstance(recipe, MeasureParity):
            worst = 0.16 if recipe.compute == "f16" else 0.002
            rows = tuple(
                OutputParity(
                    name,
                    sample,
                    None,
                    max_abs=0.001 if exact else worst * share(where, name) * share(name, sample),
                    cosine=0.9999 if exact else 1 - share(where, name) * share(sample) / 9000,
                    matched=1 - share(where) * share(sample) / 5 if recipe.align else None,
                )
                for name in recipe.outputs
                for sample in recipe.samples
            )
            found = {"openvino None": ("fp32", "bf16"), "tensorrt-rtx 8.6": ("fp16", "int8")}.get(where, ())
            ran = found[: len(recipe.outputs) - 1]  # two outputs: one arithmetic, three: two
            return Parity(rows, tuple(Arithmetic(name, 7 * i + 2) for i, name in enumerate(ran)))
        if isinstance(recipe, MeasureLatency):
            times = Percentiles(6.0 + 4 * share(where), 9.0, 12.0, 7)
            return Latency(times, Percentiles(7.5, 9.0, 10.0, 7), recipe.shape, 0, recipe.machine, "fake", noise=0.05)
        if isinstance(recipe, (MeasureTask, ScoreReference)):
            lost = {name: 0.02 if exact else share(where) * share(where, name) / 90 for name in self._metrics}
            values = {name: 1 - share(name) / 200 - (lost[name] if platform else 0) for name in self._metrics}
            cases = [pin.name[len("cases/") : -len(".npz")] for pin in action.inputs if pin.name.startswith("cases/")]
            rows = tuple(CaseScore(case, m, values[m] - lost[m] * share(case)) for case in cases for m in self._metrics)
            return TaskScores(tuple(Score(name, value) for name, value in values.items()), rows)
        return super()._facts(action)


def share(*words: str) -> float:
    """A number from 0 to 1 in steps of 1/256, for the words."""
    return hashlib.sha256(" ".join(words).encode()).digest()[0] / 256


class ShippedMatrix:
    """The shipped matrix, with made-up photographs, and a digest of its code that is the same on every Python."""

    def __init__(self, loaded: Loaded, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded, self._folder = loaded, folder
        self.matrix: Matrix = loaded.matrix
        chosen = [self.matrix.parity.photographs, *(task.data for task in self.matrix.tasks)]
        if self.matrix.calibration and self.matrix.calibration.photographs:
            chosen.append(self.matrix.calibration.photographs)
        for photographs in chosen:
            package = folder / "installed" / str(photographs.package)
            (package / photographs.folder).mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
            for file in photographs.files:
                (package / photographs.folder / file).write_bytes(f"photograph {file}".encode())
            monkeypatch.delitem(sys.modules, str(photographs.package), raising=False)
        monkeypatch.setattr("os.fsync", lambda fd: None)
        monkeypatch.syspath_prepend(str(folder / "installed"))
        monkeypatch.setattr(code_digest, "of_factory", lambda factory, root: digest.of_bytes(factory.encode()))

    def plan(self, machine: str) -> Plan:
        return plan(self.matrix, MACHINES[machine])

    def run(self, planned: Plan, machine: str) -> Ran:
        """The jobs of this machine, performed or recalled."""
        metrics = tuple(
            dict.fromkeys(m.metric for gate in self.matrix.gates for task in gate.tasks for m in task.metrics)
        )
        store = Layout(self._folder / "store")
        pinner = Pinner(self.loaded.root, MACHINES[machine], store)
        return run_plan(planned, pinner, store, Measured(metrics), jobs=64)

    def run_all(self, planned: Plan, machine: str) -> Ran:
        """Every job, as if all were for this machine."""
        here = tuple(dataclasses.replace(job, elsewhere=None) for job in planned.jobs)
        return self.run(dataclasses.replace(planned, jobs=here), machine)


@pytest.fixture
def matrix(shipped: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShippedMatrix:
    return ShippedMatrix(shipped, tmp_path, monkeypatch)


@pytest.mark.parametrize("machine", RECORDED)
def test_every_job_keeps_its_key(machine: str, matrix: ShippedMatrix, tmp_path: Path, frozen: Frozen) -> None:
    """To see what changed in a key, compare actions.txt of two checkouts. pytest keeps the folder of a failed test."""
    ran = matrix.run_all(matrix.plan(machine), machine)
    actions = {job.id: ran.outcome.actions[job.id] for job in ran.plan.jobs}
    assert set(ran.outcome.results) == set(actions), "every job was performed"
    (tmp_path / "actions.txt").write_bytes(b"\n".join(digest.canonical(to_json(a)) for a in actions.values()))
    frozen(f"keys_{machine}.txt", text(f"{job} {action.key[7:]}" for job, action in actions.items()))


def test_the_digest_of_the_shipped_models_code(shipped: Loaded, frozen: Frozen) -> None:
    """One digest for each Python, since syntax trees differ. For another Python, add the line `3.14 ?`, then update."""
    held = dict(line.split() for line in (FROZEN / "code.txt").read_text(encoding="utf-8").splitlines())
    python = ".".join(map(str, sys.version_info[:2]))
    if python not in held:
        pytest.skip(f"no digest of Python {python} is kept")
    assert isinstance(shipped.matrix.model.source, TorchSource)
    held[python] = code_digest.of_factory(shipped.matrix.model.source.factory, shipped.root)
    frozen("code.txt", text(" ".join(row) for row in held.items()))


@pytest.mark.parametrize("machine", RECORDED)
def test_every_cell_keeps_its_fate(machine: str, matrix: ShippedMatrix, frozen: Frozen) -> None:
    """A skipped cell: its rule. Any other: its verdict and the job of its graph."""
    planned = matrix.plan(machine)
    outcome = matrix.run(planned, machine).outcome
    rows = []
    for cell in planned.cells:
        status = judge(matrix.matrix, cell, outcome).status
        words = [cell.id, cell.fate, *((cell.rule,) if cell.fate == "skipped" else (status, cell.onnx))]
        rows.append(" ".join(words))
    frozen(f"fates_{machine}.txt", text(rows))


def test_every_check_keeps_its_limit_and_its_number(matrix: ShippedMatrix, frozen: Frozen) -> None:
    """All cells are measured on one machine: no check depends on where."""
    planned = matrix.plan("this-kind")
    outcome = matrix.run_all(planned, "this-kind").outcome
    rows: List[str] = []
    for cell in planned.cells:
        if cell.fate != "skipped":
            found = judge(matrix.matrix, cell, outcome)
            rows += [f"{cell.id} {found.status}", *map(_check_line, found.checks)]
    frozen("checks.txt", text(rows))
    assert {row.split()[-1] for row in rows} >= {"kept", "missed", "reported", "passed", "failed"}


def _check_line(check: Check) -> str:
    sign = "<=" if check.at_most else ">="
    words = [check.level, check.subject, check.metric, *((check.bound,) if check.bound != "value" else ())]
    words += [number(check.found), sign, number(check.limit)]
    words += [f"(+{number(check.slack)})"] if check.slack else []
    words += [f"at {check.worst}"] if check.worst and check.level != "arithmetic" else []
    judged = "kept" if check.kept else "reported" if check.report_only else "missed"
    return " ".join([" ", *words, judged])


# ------------------------------------------------------------------------------------------- what a key is made of


def test_every_field_of_an_action_keeps_its_name_and_its_default(frozen: Frozen) -> None:
    """The plan of one matrix does not use every field. A field at its default is left out of a key."""
    rows = {line for cls in typing.get_args(Recipe) for line in _fields(cls, cls.__dataclass_fields__["step"].default)}
    rows.update(line for line in _fields(Action, "action") if not line.startswith("action.recipe."))
    frozen("recipes.txt", text(sorted(rows)))


def _fields(cls: Any, path: str) -> Iterator[str]:
    """`path.field = default` of every field and its records; `{}` marks a mapping."""
    for name, hint in typing.get_type_hints(cls).items():
        field = cls.__dataclass_fields__[name]
        made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        named = f"{path}.{name}" + ("{}" if field.metadata.get("keyed") else "")
        plain = not dataclasses.is_dataclass(made)
        yield named + (f" = {made!r}" if plain and made is not dataclasses.MISSING else "")
        for inner in _records(hint):
            yield from _fields(inner, named)


def _records(hint: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from _records(inner)


# ------------------------------------------------------------------------------------------- exit codes


def test_every_situation_keeps_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], frozen: Frozen
) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    monkeypatch.setenv("DEPLOYMATRIX_TRUSTED", str(tmp_path / "trusted"))
    build = Shell(Project(tmp_path / "p", TASK_MATRIX), monkeypatch, capsys)
    store, codes = build.project.store, {}  # type: Layout, Dict[str, int]

    def tried(situation: str, *words: str) -> None:
        codes[situation] = build(*words)

    def interrupt(action: Action) -> bool:
        raise KeyboardInterrupt

    tried("help", "--help")
    tried("a plan", "plan")
    tried("no such command", "matrx")
    tried("no such flag", "plan", "--onyl", "x")
    tried("a flag without its value", "plan", "-m")
    tried("no matrix", "plan", "-m", "none.yaml")
    tried("no such cell", "explain", "tiny-*-fp46-*")
    tried("cells that select nothing", "plan", "--only", "*-fp46-*")
    tried("no facts of a machine", "plan", "--facts", "none.json")
    tried("nothing was built", "pull")
    tried("nothing waits", "perform", "*")
    tried("a gate that is none", "matrix", "--gate", "outputs.scores.cosine=high")
    tried("a file where a store is to be", "matrix", "--quiet", "--store", "model.py")

    build.executor = lambda: FakeExecutor(fails=interrupt)
    tried("an interrupt", "matrix", "--quiet")
    build.executor = lambda: FakeExecutor(fails=lambda action: action.recipe.step == "lower-int8")
    tried("a step failed", "matrix", "--quiet")
    build.executor = FakeExecutor
    tried("a gate was missed", "matrix", "--quiet", "--gate", "*-fp16-ov:outputs.scores.max_abs=0.0001")
    with store.locked():
        tried("another run holds the store", "matrix", "--quiet")
    tried("every gate was kept", "matrix", "--quiet")

    tried("no such version", "pull", "--version", "9")
    tried("no such head", "pull", "--head", "lines")
    tried("what waits is for another machine", "perform", "*-trt")
    tried("nobody signed it, and nobody is trusted", "verify")
    tried("the one who is trusted did not sign it", "verify", "--key", KEY.public.text)
    tried("a pull of what the one who is trusted did not sign", "pull", "--key", KEY.public.text)
    tried("a server that does not answer", "pull", f"http://127.0.0.1:{free_port()}/", "--timeout", "1")
    tried("no drift", "audit")
    tried("a pull", "pull", "--no-self-test")
    build.machine = ORIN
    tried("nothing fits this machine", "pull")
    build.machine = LAPTOP
    build.executor = lambda: FakeExecutor(value=0.7)
    tried("the same again, measured worse", "matrix", "--quiet", "--force")
    tried("drift beyond its limit", "audit")

    build.project.edit("matrix.yaml", "opset: 20", "opest: 20")
    tried("a key in the matrix that is none", "plan")
    for blob in (store.root / "blobs" / "sha256").iterdir():
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes()[:-1])
    tried("a file of the store is cut short", "verify")

    frozen("exit_codes.txt", text(f"{code} {situation}" for situation, code in codes.items()))
    kinds = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, DeployError)}
    assert kinds - set(codes.values()) == {DeployError.exit_code}, "a situation of each kind of error is tried above"


# ------------------------------------------------------------------------------------------- import paths


def _imports() -> Dict[str, List[str]]:
    """The lines of imports.txt by module. The file names the modules, so that renaming them here changes nothing."""
    found: Dict[str, List[str]] = {}
    for line in (FROZEN / "imports.txt").read_text(encoding="utf-8").splitlines():
        found.setdefault(line.partition(":")[0], []).append(line)
    return found


def test_every_import_path_of_a_user_is_there_and_is_called_as_before(frozen: Frozen) -> None:
    """Each line is `module:name`, with a signature if it is called. To add one, write `module:name()`, then update."""
    rows: List[str] = []
    for module, lines in _imports().items():
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as problem:
            if problem.name not in ("numpy", "cv2"):
                raise
            rows += lines  # it needs more than this environment has
            continue
        for name, called, _ in (line.partition(":")[2].partition("(") for line in lines):
            value = functools.reduce(getattr, name.split("."), found)
            rows.append(f"{module}:{name}" + (str(inspect.signature(value)) if called else ""))
    frozen("imports.txt", text(rows))
    kept = {"builder.cli", "builder.host", "validation.homography", "validation.keypoint_tasks", "validation.task"}
    assert set(_imports()) == kept


# ------------------------------------------------------------------------------------------- numbers

# Most inputs are fractions of powers of two, so that no order of addition changes a digit.


def test_times_keep_their_numbers(frozen: Frozen) -> None:
    rows = []
    for times in ([5.0], [3.0, 1.0, 2.0], [7 + (i * i * 37 % 101) / 64 for i in range(31)], [4.0] * 7, [1.0, 2.0] * 50):
        found = timing.percentiles(times)
        noise = timing.noise(times)
        rows.append(" ".join([number(found.p50), number(found.p90), number(found.p99), str(found.runs), number(noise)]))
    frozen("times.txt", text(rows))


def test_drift_keeps_its_numbers(frozen: Frozen) -> None:
    """Five versions of two cells: small steps that pile up, a jump, and a loss; the second is timed on other machines."""
    largest = [0.001, 0.00104, 0.0011, 0.002, 0.0021]
    cosines = [1, 0.9999, 0.9999, 0.999, 0.95]
    decibels = [120, 99, 99, 80, 40]
    times, values = [2.0, 2.125, 2.1875, 2.25, 3.0], [0.8, 0.796, 0.79, 0.785, 0.74]
    versions = []
    for n in range(5):
        row = OutputParity("scores", "camera", None, max_abs=largest[n], cosine=cosines[n], snr_db=decibels[n])
        one = entry(p50=times[n], naive=8.0)
        tasks = (
            TaskResult("views", "m", values[n], 0.8, False, "camera"),
            TaskResult("views", "e", 1 - values[n], 0.2, True),
        )
        assert one.latency is not None
        one = dataclasses.replace(
            one, parity=(row,), tasks=tasks, latency=dataclasses.replace(one.latency, noise=0.03125)
        )
        two = entry("tiny-dense-fp32-ov", p50=times[n], naive=None, measured_on="here" if n < 3 else "there")
        two = dataclasses.replace(two, tasks=(TaskResult("views", "m", values[n] if n < 4 else None, 0.8),))
        versions.append(Version(manifest(one, two, version=n + 1)))
    rows = [
        f"v{against} v{count} {_drift_line(line)}"
        for count, against in ((2, 1), (4, 3), (5, 4), (5, 1))
        for line in ledger.ledger(versions[:count], Allowances().of, against=against).lines
    ]
    frozen("drift.txt", text(rows))
    assert {row.split()[4] for row in rows} >= {"same", "worse", "beyond", "unlike"}


def _drift_line(line: MetricLine) -> str:
    moves = ",".join(f"v{move.since}>v{move.version}:{number(move.worse)}" for move in line.moves)
    numbers = {name: getattr(line, name) for name in ("worse", "percent", "noise", "slope", "creep", "lost")}
    said = [f"{name}={number(value)}" for name, value in numbers.items() if value is not None]
    return " ".join([line.cell, line.metric, line.state, *said, *((f"moves={moves}",) if moves else ())])


def _tensors(np: Any) -> "Dict[str, Tuple[Any, Any]]":
    """(reference, candidate) for each kind of tensor."""
    i = np.arange(48).reshape(1, 6, 8)
    maps = (i * 7 % 13 - 6) / 4
    halves = np.where(maps == 0, 0.5, np.sign(maps) * 2.0 ** (i % 3))
    apart = (i * 5 % 9 - 4) / 64
    return {
        "map": (maps.astype(np.float32), (maps + apart).astype(np.float32)),
        "nonzero": (halves.astype(np.float32), (halves + apart).astype(np.float32)),
        "half": (halves.astype(np.float16), (halves + apart).astype(np.float16)),
        "double": (halves, halves + apart),
        "equal": (halves.astype(np.float32), halves.astype(np.float32)),
        "zero": (np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)),
        "bytes": ((i * 11 % 251).astype(np.uint8), (i * 11 % 251 + i % 2).astype(np.uint8)),
        "classes": ((i % 5).astype(np.int64), (i * i % 5).astype(np.int64)),
        "broken": (maps.astype(np.float32), np.where(i == 5, np.inf, maps).astype(np.float32)),
    }


def test_parity_keeps_its_numbers(frozen: Frozen) -> None:
    """The numbers of a host, and the same from Polygraphy where it is installed."""
    np: Any = pytest.importorskip("numpy")
    from builder.config.contract import Agreement, Align
    from validation import comparison
    from validation.comparison import compared
    from validation.samples import Sample

    agreement = tuple(Agreement(name, axis) for name, axis in (("map", 1), ("nonzero", -1), ("classes", 1)))
    points = np.asarray([[[1, 1], [5, 5], [9, 9], [0, 0]], [[2, 2], [4, 4], [8, 8], [0, 0]]], np.float32)
    ranked = np.asarray([[0.75, 0.5, 0.25, 0], [0.75, 0.5, 0.5, 0]], np.float32)
    away = {0.75: 0.25, 0.5: 1, 0.25: 3, 0: 0}  # pixels, by rank; 1 is just near enough
    moved = points[:, ::-1].copy()
    moved[..., 0] += np.vectorize(away.__getitem__)(ranked[:, ::-1]).astype(np.float32)
    row = {"points": points, "scores": ranked, "descriptors": points[..., :1] / 8}
    other = {"points": moved, "scores": ranked[:, ::-1], "descriptors": moved[..., :1] / 8}
    wanted, found = ({name: pair[n] for name, pair in _tensors(np).items()} for n in (0, 1))
    samples: List[Tuple[Any, Any, Any]] = [
        (Sample("all", {}, wanted), found, None),
        (Sample("rows", {}, row), other, Align("points", "scores", at_least=0.125, within=1.0)),
        (Sample("none", {}, {**row, "scores": ranked * 0}), other, Align("points", "scores", at_least=0.125)),
    ]

    flags = np.arange(48) % 2 == 0, np.arange(48) % 3 == 0  # Polygraphy has no numbers for them

    def numbers(compare: Callable[..., Any]) -> str:
        rows = [one for sample, answer, align in samples for one in compare(sample, answer, align)]
        rows.append(comparison.of("flags", "all", *flags))
        return text(f"{one.sample} {one.output} {_parity_line(one)}" for one in rows)

    def on_a_host(sample: Any, answer: Any, align: Any) -> Any:
        return compared(sample, answer, tuple(sample.outputs), align, agreement, comparison.of)

    def by_polygraphy(sample: Any, answer: Any, align: Any) -> Any:
        return parity.compare(lambda inputs: answer, sample, tuple(sample.outputs), align, agreement)

    frozen("parity.txt", numbers(on_a_host))
    pytest.importorskip("polygraphy")
    from validation import parity

    frozen("parity.txt", numbers(by_polygraphy))


def _parity_line(found: OutputParity) -> str:
    if found.problem is not None:
        return "problem"
    statistics = [f for f in OutputParity.__dataclass_fields__ if f not in ("output", "sample", "problem")]
    return " ".join(f"{n}={number(getattr(found, n))}" for n in statistics if getattr(found, n) is not None)


def test_keypoints_keep_their_numbers(frozen: Frozen) -> None:
    np: Any = pytest.importorskip("numpy")
    pytest.importorskip("cv2")
    from validation import keypoint_metrics as metrics
    from validation.homography import shift

    size, rows = (96, 128), []  # type: Tuple[int, int], List[str]
    y, x = np.divmod(np.arange(48), 8)
    first = np.stack([8 + 15.0 * x, 8 + 15.0 * y], 1).astype(np.float32)
    off = np.zeros_like(first)
    off[::7, 0], off[3::11, 1], off[5::13, 0] = 3, 4.5, 1  # pixels
    tilted = np.asarray([[1, 0.125, 4], [-0.125, 1, 8], [0, 0.0009765625, 1]])
    for name, homography in (("still", np.eye(3)), ("shifted", shift(7, -5)), ("tilted", tilted)):
        beside = off * np.float32(0.9375 if name == "tilted" else 1)  # on a limit only where no digit is rounded
        there = metrics.warp_points(first, homography) + beside
        own = metrics.Features(first, np.eye(48, dtype=np.float32))
        wrong = np.roll(np.arange(48), 2)
        mixed = np.where(np.arange(48) % 6 == 1, wrong, np.arange(48))
        second = metrics.Features(there[::-1], np.eye(48, dtype=np.float32)[mixed][::-1] * np.float32(0.75))
        fewer = metrics.Features(second.points[:40], second.descriptors[:40] + np.float32(0.25))
        disparity = np.where(np.arange(128) % 5 == 0, np.nan, np.arange(96)[:, None] % 8).astype(np.float32)
        kept = metrics.Features(first + beside, second.descriptors[::-1])
        found: Dict[str, Dict[str, float]] = {
            "scores": metrics.scores(own, second, homography, size),
            "sameness": metrics.sameness(own, fewer, size),
            "nearly": metrics.sameness(own, kept, size),
            "stereo": metrics.stereo_scores(own, second, disparity),
            "corners": {
                "still": metrics.corner_error(np.eye(3), homography, size),
                "none": metrics.corner_error(None, homography, size),
            },
        }
        for pixels in (1, 3, 5):
            found[f"within {pixels}"] = {
                "repeatability": metrics.repeatability(first, second.points, homography, size, pixels),
                "matching_score": metrics.matching_score(own, second, homography, size, pixels),
                "stereo": metrics.stereo_scores(own, kept, disparity * 0 + 1, pixels)[f"precision_{pixels}px"],
            }
        rows += [f"{name} {what} {m} {number(value)}" for what, some in found.items() for m, value in some.items()]
    frozen("keypoints.txt", text([f"robust within {metrics.RANSAC_PIXELS:g}", *rows]))


def test_homographies_keep_their_numbers(tmp_path: Path, frozen: Frozen) -> None:
    np: Any = pytest.importorskip("numpy")
    cv2: Any = pytest.importorskip("cv2")
    from validation import homography, keypoint_tasks
    from validation.task import mean

    points = np.asarray([[0, 0], [63.5, 47.5], [130, 20], [-0.5, 95.4375]], np.float32)
    rows = []
    for seed in range(3):
        drawn = homography.random_homography(np.random.default_rng(seed), (120, 160), (96, 128))
        rows.append(f"drawn {_numbers(drawn)}")
        rows.append(f"points {_numbers(homography.warp_points(points, drawn))}")
    for margin in (0, 0.5, 4):
        rows.append(f"inside {margin} {_numbers(homography.inside(points, (96, 128), margin))}")
    image = (np.arange(48).reshape(6, 8) * 4).astype(np.uint8)
    rows.append(f"image {_numbers(homography.warp_image(image, homography.shift(2, -1), (5, 7)))}")
    rows.append(f"image {_numbers(homography.warp_image(image, np.diag([2.0, 2.0, 1.0]), (4, 6)))}")

    assert cv2.imwrite(str(tmp_path / "photo.png"), np.tile(image, (20, 20)))
    (case,) = keypoint_tasks.Homographies().cases({"photo.png": tmp_path / "photo.png"}, (64, 80))
    rows += [f"{kind} {_numbers(m)}" for kind, m in zip(keypoint_tasks.KINDS, case.truth["homographies"])]
    given = [{"a": 0.25, "b": 1.0}, {"a": math.nan, "b": 0.5}, {"a": 0.75}]
    rows.append(f"mean {_numbers(np.asarray(list(mean(given).values())))}")
    frozen("homographies.txt", text(rows))


def _numbers(array: Any) -> str:
    return " ".join(number(value) for value in array.ravel())
