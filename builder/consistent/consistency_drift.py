"""What must hold of the `drift:` section of matrix.yaml: cells and metrics that exist, limits that read."""

from __future__ import annotations

from typing import Iterator, Tuple

from builder.cells import all_cells, expand, selects
from builder.drift_limits import parse
from builder.errors import UsageError
from builder.matrix import Matrix
from builder.records import KeyPath, RecordError

OTHERS = ("verdict", "latency", "size", "sweep")  # metrics that are no output's and no task's


def check(matrix: Matrix) -> None:
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
                parse(limited.limit, "")
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
