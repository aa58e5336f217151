"""A study of int8 calibration: other methods, fewer photographs.

The same cells are measured and judged alike. Variants, their measurements, and the best one. Pure: `build calibrate`
runs them, `builder/cli/calibration_table.py` shows them. Ranges do not change speed, so speed is not measured.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from builder.actions.measurements import AT_LEAST, OutputParity
from builder.config import datasets
from builder.config.matrix import Calibration, Matrix, Method, Photographs
from builder.store.manifest import Check, TaskResult


@dataclass(frozen=True)
class Variant:
    """One calibration.

    `files`: the photographs that `seed` draws; none for a source with its own images.
    """

    method: Method
    count: int
    seed: int
    files: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A cell under one variant.

    `problems`: tensors that could not be compared; `failed`: a step that failed.
    """

    variant: Variant
    parity: Tuple[OutputParity, ...] = ()
    tasks: Tuple[TaskResult, ...] = ()
    checks: Tuple[Check, ...] = ()
    problems: Tuple[str, ...] = ()
    failed: str = ""

    @property
    def passed(self) -> bool:
        return not self.problems and not self.failed and not any(not c.kept and not c.report_only for c in self.checks)

    def worst(self, output: str, metric: str) -> Optional[float]:
        """Over all samples; None when one has no number."""
        values = [getattr(row, metric) for row in self.parity if row.output == output]
        if not values or any(value is None for value in values):
            return None
        worst: float = min(values) if metric in AT_LEAST else max(values)
        return worst

    def snr(self) -> float:
        """Decibels, of the worst output on its worst sample."""
        found = [self.worst(output, "snr_db") for output in dict.fromkeys(row.output for row in self.parity)]
        return min((-math.inf if value is None else value for value in found), default=-math.inf)


@dataclass(frozen=True)
class CalibrationChoice:
    """A method and a number of photographs, with one measurement per distinct draw."""

    method: str
    count: int
    measured: Tuple[Measured, ...]

    @property
    def passed(self) -> bool:
        return all(one.passed for one in self.measured)

    def snr(self) -> float:
        """Of the unluckiest draw."""
        return min(one.snr() for one in self.measured)


@dataclass(frozen=True)
class Study:
    """The measured choices.

    `there_are`: photographs to draw from, 0 for a source; `declared`: (method, count) of the matrix.
    """

    cell: str
    outputs: Tuple[str, ...]
    there_are: int
    size: Tuple[int, int]
    declared: Tuple[str, int]
    choices: Tuple[CalibrationChoice, ...]

    def best(self) -> Optional[CalibrationChoice]:
        """The choice that passes with every seed and has the highest worst signal-to-noise ratio; None for none.

        Ties go to fewer photographs, then to the declared choice.
        """
        passing = [choice for choice in self.choices if choice.passed]
        return max(passing, key=lambda c: (c.snr(), -c.count, self.is_declared(c)), default=None)

    def failed_steps(self) -> Tuple[str, ...]:
        return tuple(one.failed for choice in self.choices for one in choice.measured if one.failed)

    def is_declared(self, choice: CalibrationChoice) -> bool:
        return (choice.method, choice.count) == self.declared


def variants(
    chosen: Calibration,
    all_of: Optional[Photographs],
    methods: Sequence[Method],
    counts: Sequence[Optional[int]],
    seeds: int,
) -> Tuple[Variant, ...]:
    """The variants to measure, always including the declared one.

    A count of None is all; a count beyond the number of photographs gives no variant. Seeds with the same draw count
    once.
    """
    declared = len(chosen.photographs.files) if chosen.photographs else 0
    there_are = len(all_of.files) if all_of else 0
    wanted = dict.fromkeys(there_are if count is None else count for count in counts)
    pairs = {(method, count): None for method in methods for count in sorted(wanted) if count <= there_are}
    pairs.setdefault((chosen.method, declared))
    found: List[Variant] = []
    for method, count in sorted(pairs, key=lambda pair: ([*methods, chosen.method].index(pair[0]), pair[1])):
        drawn: Dict[Tuple[str, ...], Variant] = {}
        for seed in range(chosen.seed, chosen.seed + max(seeds, 1)):
            files = datasets.draw(all_of, count, seed).files if all_of else ()
            drawn.setdefault(files, Variant(method, count, seed, files))
        found += drawn.values()
    return tuple(found)


def with_calibration(matrix: Matrix, variant: Variant) -> Matrix:
    """The matrix as if it declared the variant."""
    chosen = matrix.calibration
    assert chosen is not None
    drawn = dataclasses.replace(chosen.photographs, files=variant.files) if chosen.photographs else None
    return dataclasses.replace(
        matrix, calibration=dataclasses.replace(chosen, method=variant.method, photographs=drawn)
    )


def choices(measured: Iterable[Measured]) -> Tuple[CalibrationChoice, ...]:
    """Grouped by method and count, in the order of the variants."""
    grouped: Dict[Tuple[str, int], List[Measured]] = {}
    for one in measured:
        grouped.setdefault((one.variant.method, one.variant.count), []).append(one)
    return tuple(CalibrationChoice(method, count, tuple(group)) for (method, count), group in grouped.items())
