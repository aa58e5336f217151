"""All that is on the page, computed from manifests: records of text and places in drawings, ready for the templates.
Pure: the same manifests, the same page. No HTML is made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from builder.layer_tables import LayerTable
from builder.pictures import Picture
from builder.report.cells import CellRow, cell_rows
from builder.report.drift import Drift, drift
from builder.report.layers import Graph, graphs
from builder.report.overview import VERDICTS, Overview, overview
from builder.report.plot import HEIGHT, WIDTH
from builder.report.speed import Speed, speeds
from builder.report.worst import WorstCases, worst_cases
from builder.store.manifest import Manifest
from validation.history import Ledger

_MOST_DRIFT = 6  # metrics with a chart over the versions


@dataclass(frozen=True)
class Detail:
    """How much a page holds. A large matrix gets less, so that the page stays small; `left_out` says so on it."""

    accuracies: int = 12
    pictures: int = 1000
    cells: bool = True
    left_out: str = ""


# From all to the least, tried in turn until the page is small enough.
DETAILS = (
    Detail(),
    Detail(3, 8, left_out="Charts of more than three metrics and pictures of more than eight cells"),
    Detail(
        1,
        4,
        cells=False,
        left_out="Charts of more than one metric, pictures of more than four cells, and the numbers of what did not fail",
    ),
    Detail(
        0, 4, cells=False, left_out="Charts, pictures of more than four cells, and the numbers of what did not fail"
    ),
    Detail(0, 0, cells=False, left_out="Charts, pictures, and the numbers of what did not fail"),
)


@dataclass(frozen=True)
class Choice:
    """A filter: the attribute that it looks at, and the values it offers."""

    key: str
    label: str
    values: Tuple[str, ...]


@dataclass(frozen=True)
class Report:
    model: str
    version: int
    created: str
    machine: str
    made_by: str
    source: str
    weights: str
    overview: Overview
    choices: Tuple[Choice, ...]
    cells: Tuple[CellRow, ...]
    speeds: Tuple[Speed, ...]
    worst: WorstCases
    drift: Optional[Drift]
    graphs: Tuple[Graph, ...]
    chart_width: int
    chart_height: int
    left_out: str


@dataclass(frozen=True)
class Beside:
    """What is known of a version beside its manifest, as far as it is."""

    pictures: Tuple[Picture, ...] = ()
    ledger: Optional[Ledger] = None
    layers: Tuple[LayerTable, ...] = ()


def report(manifest: Manifest, detail: Detail, beside: Optional[Beside] = None) -> Report:
    known = beside or Beside()
    model, made = manifest.model, manifest.builder
    return Report(
        model=model.name,
        version=manifest.version,
        created=manifest.created,
        machine=made.machine,
        made_by=f"deploymatrix {made.deploymatrix}, Python {made.python}",
        source=model.source,
        weights=model.weights,
        overview=overview(manifest),
        choices=_choices(manifest),
        cells=cell_rows(manifest, detailed=detail.cells),
        speeds=speeds(manifest, detail.accuracies),
        worst=worst_cases(manifest, known.pictures[: detail.pictures]),
        drift=drift(known.ledger, min(detail.accuracies, _MOST_DRIFT)),
        graphs=graphs(manifest, known.layers[: detail.accuracies]),
        chart_width=WIDTH,
        chart_height=HEIGHT,
        left_out=detail.left_out,
    )


def _choices(manifest: Manifest) -> Tuple[Choice, ...]:
    entries = manifest.entries
    found = {e.verdict.status for e in entries}
    return (
        Choice("head", "Head", tuple(dict.fromkeys(e.head for e in entries))),
        Choice("precision", "Precision", tuple(dict.fromkeys(e.precision for e in entries))),
        Choice("target", "Target", tuple(dict.fromkeys(e.target for e in entries))),
        Choice("verdict", "Verdict", tuple(v for v in VERDICTS if v in found)),
    )
