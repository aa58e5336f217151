"""Checks between the parts of matrix.yaml: names, shapes, units.

Every check raises RecordError at the path of the invalid value, so that `load` can give line and column.
Whether a machine can run a precision is decided in `builder/platforms/`.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Iterator, List, Optional, Sequence, Tuple

from builder.config import contract, machine_checks
from builder.config.cells import all_cells, expand, selects
from builder.config.contract import Profile, ShapeRange
from builder.config.gates import SPEED, Gate, MetricGate, parse_drift_limit
from builder.config.matrix import (
    WAIVABLE,
    Calibration,
    CellSettings,
    Head,
    Matrix,
    Photographs,
    Target,
    TaskSet,
    TorchSource,
    WeightsFile,
    gpu_model,
)
from builder.config.tensorrt import TensorRtOptions, contradictions
from builder.errors import UsageError
from builder.files import bytes_of
from builder.records import KeyPath, RecordError, declared, expect

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]*")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,3}")
_SM = re.compile(r"[0-9]{1,2}\.[0-9]")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def check(matrix: Matrix) -> None:
    _check_model(matrix)
    _check_precisions(matrix)
    for target in matrix.targets:
        _check_target(target)
    machine_checks.check(matrix)
    _check_samples(matrix)
    for task in matrix.tasks:
        _check_task(matrix, task, ("tasks", task.name))
    _check_settings(matrix)
    _check_selectors(matrix)
    check_gates(matrix)
    check_drift(matrix)
    check_sweep(matrix)


def _check_model(matrix: Matrix) -> None:
    model, at = matrix.model, ("model",)
    _name(model.name, (*at, "name"))
    _check_source(matrix)
    expect(len(model.inputs) == 1, (*at, "inputs"), "exactly one input tensor (an image) is supported")
    expect(bool(model.heads), (*at, "heads"), "at least one head is needed")
    expect(bool(model.profiles), (*at, "profiles"), "at least one optimization profile is needed")
    expect(9 <= model.opset <= 25, (*at, "opset"), f"{model.opset} is not an opset between 9 and 25")
    for tensor in model.inputs:
        _check_shape(tensor.shape, (*at, "inputs", tensor.name, "shape"))
        expect(len(tensor.shape) == 4, (*at, "inputs", tensor.name, "shape"), "an image input is NCHW: four dimensions")
    _check_preprocess(matrix)
    for head in model.heads:
        _check_head(head, (*at, "heads", head.name))
    for profile in model.profiles:
        _check_profile(matrix, profile, (*at, "profiles", profile.name))


def _check_preprocess(matrix: Matrix) -> None:
    contract, at = matrix.model.preprocess, ("model", "preprocess")
    channels = {"grayscale": 1, "rgb": 3}[contract.color]
    expect(contract.multiple >= 1, (*at, "multiple"), "must be at least 1")
    for key in ("mean", "std"):
        numbers = getattr(contract, key)
        expect(
            len(numbers) in (0, channels), (*at, key), f"{contract.color} needs {channels} numbers, not {len(numbers)}"
        )
    expect(0 not in contract.std, (*at, "std"), "a standard deviation of 0 divides by zero")
    image = matrix.model.inputs[0]
    if isinstance(image.shape[1], int):
        expect(
            image.shape[1] == channels,
            (*at, "color"),
            f"{contract.color} has {channels} channels, input {image.name!r} {image.shape[1]}",
        )


def _check_source(matrix: Matrix) -> None:
    source, at = matrix.model.source, ("model", "source")
    if isinstance(source, TorchSource):
        expect(
            bool(_FACTORY.fullmatch(source.factory)),
            (*at, "factory"),
            f"{source.factory!r} is not of the form module:attr",
        )
        if isinstance(source.weights, WeightsFile):
            _check_sha256(source.weights.sha256, (*at, "weights", "sha256"))
    else:
        _check_sha256(source.sha256, (*at, "sha256"))


def _check_sha256(text: str, path: KeyPath) -> None:
    expect(
        bool(_HEX64.fullmatch(text)),
        path,
        f"{text!r} is not a SHA-256 (64 lower-case hex digits; see `sha256sum FILE`)",
    )


def _check_shape(shape: Sequence[contract.Dim], path: KeyPath) -> None:
    for i, dim in enumerate(shape):
        try:
            contract.parse(dim)
        except ValueError as problem:
            raise RecordError((*path, i), str(problem)) from None


def _check_head(head: Head, path: KeyPath) -> None:
    _name(head.name, path, at_key=True)
    expect(bool(head.outputs), (*path, "outputs"), "at least one output is needed")
    for output in head.outputs:
        _check_shape(output.shape, (*path, "outputs", output.name))
    if head.align is not None:
        for key in ("points", "scores"):
            declared(getattr(head.align, key), (o.name for o in head.outputs), (*path, "align", key), "output")
    if head.postprocess is not None:
        expect(head.postprocess.nms_radius >= 0, (*path, "postprocess", "nms_radius"), "must not be negative")
        expect(head.postprocess.top_k >= 1, (*path, "postprocess", "top_k"), "must be at least 1")
        for key in ("scores", "descriptors", "points"):
            named: Optional[str] = getattr(head.postprocess, key)
            if named is not None:
                declared(named, (o.name for o in head.outputs), (*path, "postprocess"), "output")


def _check_profile(matrix: Matrix, profile: Profile, path: KeyPath) -> None:
    _name(profile.name, path, at_key=True)
    inputs = {tensor.name: tensor for tensor in matrix.model.inputs}
    for missing in sorted(set(inputs) - {r.name for r in profile.inputs}):
        raise RecordError(path, f"input {missing!r} has no min, opt and max here")
    for shape in profile.inputs:
        declared(shape.name, inputs, (*path, shape.name), "input")
        _check_range(shape, inputs[shape.name].shape, (*path, shape.name))


def _check_range(shape: ShapeRange, symbolic: contract.Shape, path: KeyPath) -> None:
    for which in ("min", "opt", "max"):
        try:
            contract.bind(symbolic, getattr(shape, which))
        except ValueError as problem:
            raise RecordError((*path, which), str(problem)) from None
    for i, (low, usual, high) in enumerate(zip(shape.min, shape.opt, shape.max)):
        expect(
            low <= usual <= high, (*path, "opt", i), f"dimension {i} is not min <= opt <= max ({low}, {usual}, {high})"
        )


def _check_precisions(matrix: Matrix) -> None:
    expect(bool(matrix.precisions), ("precisions",), "at least one precision is needed")
    for i, precision in enumerate(matrix.precisions):
        expect(precision not in matrix.precisions[:i], ("precisions", i), f"{precision} is listed twice")
    if "int8" in matrix.precisions:
        expect(matrix.calibration is not None, ("precisions",), "int8 needs a `calibration:` section with photographs")


def _check_target(target: Target) -> None:
    path: KeyPath = ("targets", target.name)
    _name(target.name, path, at_key=True)
    if target.runtime in ("tensorrt", "tensorrt-rtx", "onnxruntime-gpu"):
        expect(target.sm is not None, path, f"{target.runtime} needs `sm`, the GPU's compute capability")
        versioned = target.version is not None or target.runtime == "onnxruntime-gpu"
        expect(versioned, path, f"{target.runtime} needs `version`, in quotes")
    else:
        for key in ("sm", "gpu"):
            unsaid = getattr(target, key) is None
            expect(unsaid, (*path, key), f"{target.runtime} here runs on the CPU; `{key}` has no meaning for it")
    named = target.gpu is None or bool(gpu_model(target.gpu))
    expect(named, (*path, "gpu"), f"{target.gpu!r} is no GPU model, such as RTX 3090")
    for key in ("version", "cuda", "cudnn", "driver", "jetpack", "python", "sm"):
        form = _SM if key == "sm" else _VERSION
        text: Optional[str] = getattr(target, key)
        expect(text is None or bool(form.fullmatch(text)), (*path, key), f"{text!r} is not a version number")


def _check_samples(matrix: Matrix) -> None:
    _check_photographs(matrix.parity.photographs, ("parity", "photographs"))
    for i, size in enumerate(matrix.parity.sizes):
        expect(size not in matrix.parity.sizes[:i], ("parity", "sizes", i), f"{list(size)} is listed twice")
    image = matrix.model.inputs[0]
    for i, size in enumerate(matrix.parity.sizes):
        try:
            contract.with_size(image.shape, size)
        except ValueError as problem:
            raise RecordError(("parity", "sizes", i), str(problem)) from None
    for profile in matrix.model.profiles:
        inside = [s for s in matrix.parity.sizes if accepts(profile, image.name, contract.with_size(image.shape, s))]
        expect(
            bool(inside),
            ("parity", "sizes"),
            f"no size lies inside the profile {profile.name!r}, so it could not be checked",
        )
    if matrix.calibration is not None:
        _check_calibration(matrix, matrix.calibration, ("calibration",))
    expect(matrix.latency.seconds > 0, ("latency", "seconds"), "must be positive")
    expect(matrix.latency.threads >= 0, ("latency", "threads"), "must not be negative")


def _check_calibration(matrix: Matrix, chosen: Calibration, path: KeyPath) -> None:
    expect(
        (chosen.photographs is None) != (chosen.source is None), path, "needs `photographs` or `source`, one of them"
    )
    if chosen.photographs is not None:
        _check_photographs(chosen.photographs, (*path, "photographs"))
    if chosen.source is not None:
        expect(
            bool(_FACTORY.fullmatch(chosen.source)),
            (*path, "source"),
            f"{chosen.source!r} is not of the form module:attr",
        )
        expect(chosen.count is None, (*path, "count"), "is for photographs; the source says how many it gives")
    expect(chosen.count is None or chosen.count >= 1, (*path, "count"), "must be at least 1")
    expect(0 < chosen.percentile <= 100, (*path, "percentile"), "must be above 0 and at most 100")
    try:
        contract.with_size(matrix.model.inputs[0].shape, chosen.size)
    except ValueError as problem:
        raise RecordError((*path, "size"), str(problem)) from None


def _check_photographs(photographs: Photographs, path: KeyPath) -> None:
    """Samples are named after the file without folder and suffix, so these names must differ."""
    expect(bool(photographs.files), (*path, "files"), "at least one photograph is needed")
    stems = [PurePosixPath(file).stem for file in photographs.files]
    for i, stem in enumerate(stems):
        expect(bool(stem), (*path, "files", i), "an empty file name")
        expect(stem not in stems[:i], (*path, "files", i), f"a second photograph named {stem!r}")


def _check_task(matrix: Matrix, task: TaskSet, path: KeyPath) -> None:
    _name(task.name, path, at_key=True)
    expect(bool(_FACTORY.fullmatch(task.metric)), (*path, "metric"), f"{task.metric!r} is not of the form module:attr")
    expect(bool(task.data.files), (*path, "data", "files"), "at least one file is needed")
    places = [PurePosixPath(file) for file in task.data.files]
    for i, place in enumerate(places):
        expect(place not in places[:i], (*path, "data", "files", i), f"{str(place)!r} is listed twice")
    for i, head in enumerate(task.heads):
        declared(head, (h.name for h in matrix.model.heads), (*path, "heads", i), "head")
    image = matrix.model.inputs[0]
    try:
        shape = contract.with_size(image.shape, task.size)
    except ValueError as problem:
        raise RecordError((*path, "size"), str(problem)) from None
    expect(
        any(accepts(profile, image.name, shape) for profile in matrix.model.profiles),
        (*path, "size"),
        f"{task.size[0]}x{task.size[1]} lies inside no profile, so no artifact could be scored",
    )


def accepts(profile: Profile, name: str, shape: Tuple[int, ...]) -> bool:
    """Is `shape` of input `name` inside the profile?"""
    return any(
        r.name == name and all(low <= size <= high for low, size, high in zip(r.min, shape, r.max))
        for r in profile.inputs
    )


def _check_settings(matrix: Matrix) -> None:
    known = [p.name for p in matrix.model.profiles]
    places: List[Tuple[KeyPath, CellSettings]] = [(("defaults",), matrix.defaults)]
    places += [(("overrides", i, "set"), o.set) for i, o in enumerate(matrix.overrides)]
    for path, chosen in places:
        for i, name in enumerate(chosen.profiles or ()):
            declared(name, known, (*path, "profiles", i), "profile")
        for allowed in chosen.allow:
            at = (*path, "allow", allowed.rule)
            declared(allowed.rule, WAIVABLE, at, "only rules about speed can be waived;", at_key=True)
            expect(bool(allowed.reason.strip()), at, "say why it is wanted all the same")
        if chosen.tensorrt is not None:
            _check_tensorrt(chosen.tensorrt, (*path, "tensorrt"))
        if chosen.search is not None:
            expect(chosen.search.trials >= 0, (*path, "search", "trials"), "must not be negative; 0 means no search")
            expect(chosen.search.minutes > 0, (*path, "search", "minutes"), "must be positive")
        workspace = chosen.workspace
        if workspace is not None:
            try:
                bytes_of(workspace)
            except ValueError as problem:
                raise RecordError((*path, "workspace"), str(problem)) from None


def _check_tensorrt(options: TensorRtOptions, path: KeyPath) -> None:
    for said in contradictions(options):
        raise RecordError(path, said)
    level = options.optimization_level
    expect(level is None or 0 <= level <= 5, (*path, "optimization_level"), f"{level} is not a level from 0 to 5")
    expect(options.dla_core is None or options.dla_core >= 0, (*path, "dla_core"), "must not be negative")
    if options.timing_cache is not None:
        _check_sha256(options.timing_cache.sha256, (*path, "timing_cache", "sha256"))


def _check_selectors(matrix: Matrix) -> None:
    cells = all_cells(matrix)
    places: List[Tuple[KeyPath, str]] = [(("build", i), s) for i, s in enumerate(matrix.build)]
    places += [(("skip", i), s) for i, s in enumerate(matrix.skip)]
    places += [(("overrides", i, "select"), o.select) for i, o in enumerate(matrix.overrides)]
    places += [(("gates", i, "select"), g.select) for i, g in enumerate(matrix.gates)]
    for path, selector in places:
        if not any(selects(selector, cell) for cell in cells):
            raise RecordError(path, f"{selector!r} selects no cell", wrong=selector, known=tuple(c.id for c in cells))


def _name(text: str, path: KeyPath, *, at_key: bool = False) -> None:
    if not _NAME.fullmatch(text):
        problem = f"{text!r} is not a name: letters, digits, _ and . (cell ids join names with -)"
        raise RecordError(path, problem, at_key=at_key)


# ------------------------------------------------------------------------------------------- drift


OTHERS = ("verdict", "latency", "size", "sweep")  # metrics that are no output's and no task's


def check_drift(matrix: Matrix) -> None:
    cells = all_cells(matrix)
    known = tuple(dict.fromkeys(_subjects(matrix)))
    for i, section in enumerate(matrix.drift):
        if not any(selects(section.select, cell) for cell in cells):
            ids = tuple(cell.id for cell in cells)
            problem = f"{section.select!r} selects no cell"
            raise RecordError(("drift", i, "select"), problem, wrong=section.select, known=ids)
        if not section.limits:
            raise RecordError(("drift", i), "no limit is given")
        for limited in section.limits:
            at: KeyPath = ("drift", i, "limits", limited.metric)
            _check_metric(limited.metric, known, at)
            try:
                parse_drift_limit(limited.limit, "")
            except UsageError as problem:
                raise RecordError(at, f"{problem.what}: {problem.hint}") from None


def _subjects(matrix: Matrix) -> Iterator[str]:
    """The first parts of metric names."""
    for head in matrix.model.heads:
        for output in head.outputs:
            yield output.name
    for task in matrix.tasks:
        yield task.name
    yield from OTHERS


def _check_metric(pattern: str, known: Tuple[str, ...], at: KeyPath) -> None:
    """A first part without a * must be the name of something."""
    for one in expand(pattern):
        first = one.partition(".")[0]
        if not set(first) & set("*?[") and first not in known:
            problem = f"{first!r} is no output, no task and none of {', '.join(OTHERS)}"
            raise RecordError(at, problem, wrong=first, known=known, at_key=True)


# --------------------------------------------------------------------------------- gates, those of the command line too


def check_gates(matrix: Matrix) -> None:
    outputs = {o.name for head in matrix.model.heads for o in head.outputs}
    for agreed in matrix.parity.agreement:
        declared(agreed.output, sorted(outputs), ("parity", "agreement", agreed.output), "output", at_key=True)
    for i, gate in enumerate(matrix.gates):
        check_gate(matrix, gate, ("gates", i))


def check_gate(matrix: Matrix, gate: Gate, path: KeyPath) -> None:
    """Check that the names in a gate exist, and that it limits something.

    Raises RecordError.
    """
    outputs = {o.name for head in matrix.model.heads for o in head.outputs}
    agreed = {a.output for a in matrix.parity.agreement}
    for limits in gate.outputs:
        at = (*path, "outputs", limits.output)
        declared(limits.output, sorted(outputs | {"*"}), at, "output", at_key=True)
        measured = limits.agreement is None or limits.output in agreed or (limits.output == "*" and agreed == outputs)
        expect(measured, (*at, "agreement"), "is measured where `parity.agreement` names the output and its axis")
    for gated in gate.tasks:
        at = (*path, "tasks", gated.task)
        declared(gated.task, (t.name for t in matrix.tasks), at, "task", at_key=True)
        for limit in gated.metrics:
            _limited(limit, (*at, limit.metric))
    for limit in gate.speed:
        at = (*path, "speed", limit.metric)
        declared(limit.metric, SPEED, at, "speed metric", at_key=True)
        _limited(limit, at)
        lost = limit.max_degradation is not None or limit.percent_max_degradation is not None
        expect(limit.metric != "speedup" or not lost, at, "is a comparison already: it takes only `threshold`")
    expect(bool(gate.outputs or gate.tasks or gate.speed), path, "a gate limits `outputs`, `tasks` or `speed`")


def _limited(limit: MetricGate, path: KeyPath) -> None:
    given = (limit.threshold, limit.max_degradation, limit.percent_max_degradation)
    expect(any(v is not None for v in given), path, "no limit is given")


# ---------------------------------------------------------------------------------- sweep, that of the command line too


MOST_POINTS, MOST_SECONDS = 200, 60.0


def check_sweep(matrix: Matrix) -> None:
    chosen = matrix.sweep
    if chosen is None:
        return
    cells = all_cells(matrix)
    if not any(selects(chosen.select, cell) for cell in cells):
        raise RecordError(
            ("sweep", "select"),
            f"{chosen.select!r} selects no cell",
            wrong=chosen.select,
            known=tuple(cell.id for cell in cells),
        )
    if chosen.photograph is not None:
        declared(chosen.photograph, matrix.parity.photographs.files, ("sweep", "photograph"), "parity photograph")
    expect(1 <= chosen.points <= MOST_POINTS, ("sweep", "points"), f"must be from 1 to {MOST_POINTS}")
    expect(0 < chosen.seconds <= MOST_SECONDS, ("sweep", "seconds"), f"must be above 0 and at most {MOST_SECONDS:g}")
