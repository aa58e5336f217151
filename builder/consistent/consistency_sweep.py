"""What must hold of `sweep:`, in matrix.yaml or from the command line. Raises RecordError at the offending value."""

from __future__ import annotations

from builder.cells import all_cells, selects
from builder.matrix import Matrix
from builder.records import RecordError, declared, expect

MOST_POINTS, MOST_SECONDS = 200, 60.0


def check(matrix: Matrix) -> None:
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
