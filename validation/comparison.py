"""What an artifact answered beside what the model answered, output by output. Needs NumPy alone.

Tensors that cannot be compared (another shape, NaN, Inf) give a `problem` instead of numbers. The numbers of those that
can are made by a function that the caller chooses: Polygraphy's where artifacts are built (`validation/parity.py`), the
same formulas without it where they run (`validation/statistics.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple

import numpy as np

from builder.actions.measurements import OutputParity
from builder.config.contract import Agreement, Align
from builder.errors import StepFailed
from validation.align import paired
from validation.samples import Arrays, Sample

# (output, sample, reference, candidate) -> its numbers
Statistics = Callable[[str, str, Any, Any], OutputParity]


def compared(
    sample: Sample,
    candidate: Arrays,
    outputs: Tuple[str, ...],
    align: Optional[Align],
    agreement: Iterable[Agreement],
    statistics: Statistics,
) -> Iterator[OutputParity]:
    """One OutputParity per name in `outputs`, in that order. Raises StepFailed for an axis that a tensor lacks."""
    axes: Dict[str, int] = {agreed.output: agreed.axis for agreed in agreement}
    problems = {name: _problem(name, sample.outputs, candidate) for name in outputs}
    reference, matched = sample.outputs, None
    if align is not None and not any(problems.values()):
        reference, candidate, matched = paired(reference, candidate, align)
    for name in outputs:
        if problems[name] is not None:
            yield OutputParity(name, sample.name, problems[name])
        elif reference[name].size == 0:
            yield OutputParity(name, sample.name, None, matched=matched)
        else:
            measured = statistics(name, sample.name, reference[name], candidate[name])
            agreed = _agreement(reference[name], candidate[name], axes[name]) if name in axes else None
            yield dataclasses.replace(measured, matched=matched, agreement=agreed)


def _problem(name: str, reference: Arrays, candidate: Arrays) -> Optional[str]:
    if name not in candidate:
        return f"the artifact has no output {name!r}, only {', '.join(sorted(candidate))}"
    wanted, found = reference[name], candidate[name]
    if wanted.shape != found.shape:
        return f"shape {list(found.shape)} where the reference has {list(wanted.shape)}"
    bad = np.count_nonzero(~np.isfinite(found))
    return f"{bad} of {found.size} values are NaN or Inf" if bad else None


def _agreement(reference: Any, candidate: Any, axis: int) -> float:
    """Fraction of places where the largest element along `axis` has the same index. Raises StepFailed."""
    if not -reference.ndim <= axis < reference.ndim:
        raise StepFailed(f"`parity.agreement`: there is no axis {axis} in a tensor of shape {list(reference.shape)}")
    return float(f"{np.mean(reference.argmax(axis) == candidate.argmax(axis)):.7g}")
