"""Which golden sample travels with an artifact: the smallest of those that its parity with the model was measured on.

It is a file of the reference step's that is in the store already, so nothing is computed or stored for it. Running it is
`builder/hosting/selftest.py`.
"""

from __future__ import annotations

from typing import Mapping, Optional

from builder.actions.recipes import MeasureParity
from builder.config.matrix import Matrix
from builder.planning.jobs import Job, OutputPin
from builder.planning.planner import PlannedCell
from builder.run import Outcome
from builder.store.manifest import Golden, Verdict
from validation.verdict import limits_of


def of(
    matrix: Matrix, planned: PlannedCell, jobs: Mapping[str, Job], outcome: Outcome, verdict: Verdict
) -> Optional[Golden]:
    """None where the model itself was never run: there is nothing to compare with."""
    job = jobs.get(planned.parity)
    if job is None or not isinstance(job.recipe, MeasureParity):
        return None
    wanted = {f"reference/{name}.npz" for name in job.recipe.samples}
    pins = [pin for pin in job.pins if isinstance(pin, OutputPin) and pin.name in wanted]
    made = [(outcome.results[pin.job], pin.output) for pin in pins if pin.job in outcome.results]
    if not made:
        return None
    sample = min((result.output(name) for result, name in made), key=lambda blob: blob.size)
    outputs = [output.name for output in matrix.head(planned.cell.head).outputs]
    unjudged = () if verdict.checks else limits_of(matrix.gates, planned.cell, outputs, ())
    return Golden(
        sample,
        job.recipe.align,
        job.recipe.agreement,
        tuple(limit for limit in unjudged if limit.level == "tensor" and not limit.report_only),
    )
