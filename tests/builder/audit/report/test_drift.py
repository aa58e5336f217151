"""Drift on the page: the audit's judgement, drawn."""

from __future__ import annotations

import dataclasses

from builder.audit.drift_limits import Allowances
from builder.audit.history import Ledger, Version
from builder.audit.ledger import ledger
from builder.audit.report.drift import drift
from builder.store.manifest import Manifest
from tests.builder.audit.report.conftest import version


def worse(manifest: Manifest, cell: str, by: float) -> Manifest:
    """`cell` lost `by` of its task's value."""
    entries = tuple(
        dataclasses.replace(
            e, tasks=(dataclasses.replace(e.tasks[0], value=(e.tasks[0].value or 0.0) - by), *e.tasks[1:])
        )
        if e.cell == cell
        else e
        for e in manifest.entries
    )
    return dataclasses.replace(manifest, entries=entries)


def of(*manifests: Manifest) -> Ledger:
    numbered = tuple(Version(dataclasses.replace(m, version=i)) for i, m in enumerate(manifests, 1))
    return ledger(numbered, Allowances((), ()).of)


def test_one_version_has_no_drift() -> None:
    assert drift(of(version()), 6) is None
    assert drift(None, 6) is None


def test_what_got_worse_comes_first_and_its_line_says_so() -> None:
    made = drift(of(version(), version(), worse(version(), "tiny-dense-int8-cpu_a", 0.1)), 6)
    assert made is not None
    assert (made.versions, made.metrics[0].title, made.metrics[0].beyond) == (("v1", "v2", "v3"), "good value", 1)
    assert [(one.cell, one.metric, one.change) for one in made.drifted] == [
        ("tiny-dense-int8-cpu_a", "good.value", "0.7 to 0.6")
    ]
    chart = made.metrics[0].charts[0]
    assert (chart.head, chart.target, [t.label for t in chart.ticks]) == ("dense", "cpu_a", ["v1", "v2", "v3"])
    course = next(c for c in chart.courses if c.precision == "int8")
    assert course.values == ("0.7", "0.7", "0.6") and course.state == "beyond"
    assert course.dots[0].y == course.dots[1].y < course.dots[2].y, "worse is lower"
    assert course.path.count("L") == 2


def test_nothing_worse_and_a_cell_that_came_later() -> None:
    first = dataclasses.replace(version(), entries=version().entries[1:])
    made = drift(of(first, version()), 2)
    assert made is not None and made.drifted == () and len(made.metrics) == 2
    late = next(c for c in made.metrics[0].charts[0].courses if c.precision == "fp32")
    assert (len(late.dots), late.values[0]) == (1, "-")
