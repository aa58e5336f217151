"""What must hold between the parts of matrix.yaml: names that exist, shapes that fit, units that parse.

Every check raises RecordError at the path of the offending value, so that `load` can give line and column.
Whether a machine can run a precision is not decided here but in `builder/compat/`.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import List, Optional, Sequence, Tuple

from builder import gpu_model, shapes
from builder.cells import all_cells, selects
from builder.compat import dialects
from builder.compat.precision import WAIVABLE
from builder.consistent import consistency_drift, consistency_gates, consistency_sweep, reachable
from builder.contract import Profile, ShapeRange
from builder.evidence import Calibration, Photographs, TaskSet
from builder.files import bytes_of
from builder.matrix import CellSettings, Head, Matrix, Target, TorchSource, WeightsFile
from builder.records import KeyPath, RecordError, declared, expect
from builder.tensorrt_options import TensorRtOptions

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
    reachable.check(matrix)
    _check_samples(matrix)
    for task in matrix.tasks:
        _check_task(matrix, task, ("tasks", task.name))
    _check_settings(matrix)
    _check_selectors(matrix)
    consistency_gates.check(matrix)
    consistency_drift.check(matrix)
    consistency_sweep.check(matrix)


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


def _check_shape(shape: Sequence[shapes.Dim], path: KeyPath) -> None:
    for i, dim in enumerate(shape):
        try:
            shapes.parse(dim)
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


def _check_range(shape: ShapeRange, symbolic: shapes.Shape, path: KeyPath) -> None:
    for which in ("min", "opt", "max"):
        try:
            shapes.bind(symbolic, getattr(shape, which))
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
    named = target.gpu is None or bool(gpu_model.canonical(target.gpu))
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
            shapes.with_size(image.shape, size)
        except ValueError as problem:
            raise RecordError(("parity", "sizes", i), str(problem)) from None
    for profile in matrix.model.profiles:
        inside = [s for s in matrix.parity.sizes if accepts(profile, image.name, shapes.with_size(image.shape, s))]
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
        shapes.with_size(matrix.model.inputs[0].shape, chosen.size)
    except ValueError as problem:
        raise RecordError((*path, "size"), str(problem)) from None


def _check_photographs(photographs: Photographs, path: KeyPath) -> None:
    """Samples are named after the file without its folder and ending, so that must tell them apart."""
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
        shape = shapes.with_size(image.shape, task.size)
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
    for said in dialects.contradictions(options):
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
