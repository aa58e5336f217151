"""Cells: one artifact wanted by the matrix, its id, and the selectors that pick cells by id.

An id reads `superpoint-dense-int8-cpu_openvino`: model, head, precision, target. Selectors are shell patterns with `*`, `?`
and `{a,b}`, several of them separated by spaces, as in cibuildwheel. Braces are expanded here: bracex 2.5, the newest for Python
3.8, takes 30 s for 20 open braces, and gives 147,456 patterns under a limit of 10,000.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterable, List, Optional, Tuple

from builder.config.contract import ON_CPU, Compute
from builder.config.matrix import Allowed, CellSettings, Matrix, Search, Target
from builder.config.remote_machines import Reached
from builder.config.tensorrt import TensorRtOptions
from builder.errors import UsageError

if TYPE_CHECKING:
    from builder.platforms.platform import Platform

_MOST_PATTERNS = 10_000  # of a word
_PARTS = re.compile(r"[{},]|[^{},]+")


@dataclass(frozen=True)
class TaskJobs:
    """Ids of the jobs that score an artifact, and the model itself, on the task `name`."""

    name: str
    job: str
    reference: str


@dataclass(frozen=True)
class Cell:
    """One artifact of the matrix: its id, its settings, and what the plan says of it.

    `resolve` reads the settings from matrix.yaml; until then they are the built-in ones. `builder/planning/planner.py`
    fills in the rest. A skipped cell has no platform and no jobs.

    `fate`: build (here), waiting (for its machine) or skipped (by `rule` or by matrix.yaml). A waiting cell is built by
    this run all the same when one of its machines can be `reached`. `elsewhere`: why it cannot be built here.
    `unrunnable`: why it cannot be run here. `note`: waived rules about speed. `emulated`: float16 is emulated, since
    `platform` stands in for the cell's own. From `onnx` to `sweep`: ids of jobs, "" where there is none.
    """

    model: str
    head: str
    precision: str
    target: str

    profiles: Tuple[str, ...] = ()
    simplify: bool = True
    activations: str = "symmetric"
    compute: Compute = "f32"
    static: bool = False
    workspace: str = "1GiB"
    tensorrt: TensorRtOptions = TensorRtOptions()
    allow: Tuple[Allowed, ...] = ()
    keep: Tuple[str, ...] = ()
    search: Optional[Search] = None

    fate: str = "build"
    reason: str = ""
    source: str = ""
    rule: str = ""
    remedies: Tuple[str, ...] = ()
    note: str = ""
    platform: Optional[Platform] = None
    elsewhere: Optional[str] = None
    unrunnable: Optional[str] = None
    reached: Tuple[Reached, ...] = ()
    emulated: bool = False

    onnx: str = ""
    parse: str = ""
    engine: str = ""
    parity: str = ""
    tasks: Tuple[TaskJobs, ...] = ()
    latency: str = ""
    sweep: str = ""

    @property
    def id(self) -> str:
        return f"{self.model}-{self.head}-{self.precision}-{self.target}"

    @property
    def unverified(self) -> str:
        """Why this run cannot measure it, "" when it can."""
        return "" if self.reached else self.unrunnable or ""

    @property
    def measurements(self) -> Tuple[str, ...]:
        """Jobs that run the artifact. They need its machine."""
        swept = (self.sweep,) if self.sweep else ()
        return (self.parity, *(task.job for task in self.tasks), self.latency, *swept)


def all_cells(matrix: Matrix) -> Tuple[Cell, ...]:
    """Every combination, in the order the file names them, before any selection."""
    return tuple(
        Cell(matrix.model.name, head.name, precision, target.name)
        for head in matrix.model.heads
        for target in matrix.targets
        for precision in matrix.precisions
    )


def expand(selector: str) -> Tuple[str, ...]:
    """`a-{b,c}-* d` -> (`a-b-*`, `a-c-*`, `d`). Raises UsageError for unbalanced braces, and too many patterns."""
    return tuple(pattern for word in selector.split() for pattern in _alternatives(word))


def _alternatives(word: str) -> List[str]:
    patterns, outer = [""], []  # type: List[str], List[Tuple[List[str], List[str]]]
    for part in _PARTS.findall(word):
        if part == "{":
            outer.append((patterns, []))
            patterns = [""]
        elif part == "," and outer:
            outer[-1][1].extend(patterns)
            patterns = [""]
        elif part == "}" and outer:
            before, choices = outer.pop()
            choices.extend(patterns)
            if len(before) * len(choices) > _MOST_PATTERNS:
                raise UsageError(f"the selector {word[:40]!r}... stands for more than {_MOST_PATTERNS} patterns")
            patterns = [start + choice for start in before for choice in choices]
        elif part == "}":
            raise _unbalanced(word)
        else:
            patterns = [start + part for start in patterns]
    if outer:
        raise _unbalanced(word)
    return patterns


def _unbalanced(word: str) -> UsageError:
    return UsageError(
        f"the selector {word[:40]!r} has an unbalanced brace",
        hint="spaces separate selectors: write {a,b}, not {a, b}",
    )


def selects(selector: str, cell: Cell) -> bool:
    return selects_id(selector, cell.id)


def selects_id(selector: str, cell: str) -> bool:
    """The same, of a cell that is known by its id alone: one of a manifest."""
    return any(fnmatch.fnmatchcase(cell, pattern) for pattern in expand(selector))


def any_selects(selectors: Iterable[str], cell: Cell) -> bool:
    return any(selects(selector, cell) for selector in selectors)


def settings_of(matrix: Matrix, cell: Cell) -> CellSettings:
    """The defaults with every matching override laid over them, the later winning."""
    merged = matrix.defaults
    for override in matrix.overrides:
        if selects(override.select, cell):
            given = {f.name: getattr(override.set, f.name) for f in dataclasses.fields(override.set)}
            if override.set.tensorrt is not None and merged.tensorrt is not None:
                given["tensorrt"] = _over(merged.tensorrt, override.set.tensorrt)
            given["allow"] = _all_allowed(merged.allow, override.set.allow)
            merged = dataclasses.replace(merged, **{k: v for k, v in given.items() if v is not None})
    return merged


def _all_allowed(under: Tuple[Allowed, ...], over: Tuple[Allowed, ...]) -> Tuple[Allowed, ...]:
    """Rule by rule, the later reason winning."""
    return tuple({allowed.rule: allowed for allowed in (*under, *over)}.values())


def _over(under: TensorRtOptions, over: TensorRtOptions) -> TensorRtOptions:
    """Key by key, the later winning."""
    given = {f.name: getattr(over, f.name) for f in dataclasses.fields(over)}
    return dataclasses.replace(under, **{k: v for k, v in given.items() if v is not None and v != ()})


def resolve(matrix: Matrix, cell: Cell) -> Cell:
    """The cell with its settings from matrix.yaml."""
    chosen, target = settings_of(matrix, cell), matrix.target(cell.target)
    return dataclasses.replace(
        cell,
        profiles=chosen.profiles or tuple(p.name for p in matrix.model.profiles[:1]),
        simplify=chosen.simplify is not False,
        activations=chosen.activations or ("asymmetric" if target.runtime in ON_CPU else "symmetric"),
        compute=chosen.compute or usual_compute(cell, target),
        static=bool(chosen.static),
        workspace=chosen.workspace or cell.workspace,
        tensorrt=(chosen.tensorrt if target.runtime.startswith("tensorrt") else None) or cell.tensorrt,
        allow=chosen.allow,
        keep=tuple(sorted(set(chosen.keep or ()))),
        search=chosen.search,
    )


def usual_compute(cell: Cell, target: Target) -> Compute:
    """The arithmetic a precision stands for. fp16 on a CPU is how weights are stored, not how they multiply."""
    if cell.precision == "bf16":
        return "bf16"
    if cell.precision == "fp16" and target.sm is not None:
        return "f16"
    return "f32"
