"""The report page: contents from manifests, and HTML without network access.

Templates are filled with a `ReportPage`; style and script are inline. A policy in the page forbids every request, and
every script and style but its own two, by their digests. The templates' engine escapes all names. The page stays below
`LIMIT` bytes by showing less.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Tuple

from builder import release
from builder.audit.history import Ledger
from builder.audit.report.cells import VERDICTS, CellRow, Overview, cell_rows, overview
from builder.audit.report.charts import HEIGHT, WIDTH
from builder.audit.report.drift import Drift, drift
from builder.audit.report.layers import Graph, graphs
from builder.audit.report.speed import Speed, speeds
from builder.audit.report.worst_cases import WorstCases, worst_cases
from builder.audit.report_actions import LayerTable, Picture
from builder.errors import UsageError
from builder.store.manifest import Manifest

# --------------------------------------------------------- contents: records of text and positions from manifests, pure


_MOST_DRIFT = 6  # metrics with a chart over the versions


@dataclass(frozen=True)
class Detail:
    """How much a page shows.

    A large matrix gets less; `left_out` is the note about it on the page.
    """

    accuracies: int = 12
    pictures: int = 1000
    cells: bool = True
    left_out: str = ""


# From everything to the least, tried in turn until the page is small enough.
DETAILS = (
    Detail(),
    Detail(3, 8, left_out="Charts of more than three metrics and pictures of more than eight cells"),
    Detail(
        1,
        4,
        cells=False,
        left_out="Charts of more than one metric, pictures of more than four cells, "
        "and the numbers of what did not fail",
    ),
    Detail(
        0, 4, cells=False, left_out="Charts, pictures of more than four cells, and the numbers of what did not fail"
    ),
    Detail(0, 0, cells=False, left_out="Charts, pictures, and the numbers of what did not fail"),
)


@dataclass(frozen=True)
class Filter:
    """A filter: the attribute that it looks at, and the values it offers."""

    key: str
    label: str
    values: Tuple[str, ...]


@dataclass(frozen=True)
class ReportPage:
    model: str
    version: int
    created: str
    machine: str
    made_by: str
    source: str
    weights: str
    overview: Overview
    choices: Tuple[Filter, ...]
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
    """Data of a version beside its manifest, as far as it exists."""

    pictures: Tuple[Picture, ...] = ()
    ledger: Optional[Ledger] = None
    layers: Tuple[LayerTable, ...] = ()


def report(manifest: Manifest, detail: Detail, beside: Optional[Beside] = None) -> ReportPage:
    known = beside or Beside()
    model, made = manifest.model, manifest.builder
    return ReportPage(
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


def _choices(manifest: Manifest) -> Tuple[Filter, ...]:
    entries = manifest.entries
    found = {e.verdict.status for e in entries}
    return (
        Filter("head", "Head", tuple(dict.fromkeys(e.head for e in entries))),
        Filter("precision", "Precision", tuple(dict.fromkeys(e.precision for e in entries))),
        Filter("target", "Target", tuple(dict.fromkeys(e.target for e in entries))),
        Filter("verdict", "Verdict", tuple(v for v in VERDICTS if v in found)),
    )


# ------------------------------------------------------------------------------------------- HTML


LIMIT = 2_000_000
_FOLDER = Path(__file__).parent / "templates"


def render(report: ReportPage) -> str:
    """The whole page. UsageError where jinja2 is not installed."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("the report needs jinja2", hint=release.pip_install("report")) from None
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(_FOLDER)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    style, script = (_inline(name) for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # Built in and the same for every page: the only unescaped text.
    safe = engine.filters["safe"]
    return engine.get_template("page.html.j2").render(
        report=report, style=safe(style), script=safe(script), policy=policy
    )


def fitted(make: Callable[[Detail], ReportPage]) -> str:
    """The page with as much as fits into `LIMIT` bytes.

    Raises UsageError when even the least does not.
    """
    for detail in DETAILS:
        page = render(make(detail))
        if len(page.encode()) < LIMIT:
            return page
    raise UsageError(
        f"a page of this version would be larger than {LIMIT // 1_000_000} MB", hint="build fewer cells in one matrix"
    )


def _inline(name: str) -> str:
    text = (_FOLDER / name).read_text(encoding="utf-8")
    assert "</" not in text, f"{name} would end its element"
    return text


def _hash(text: str) -> str:
    """The source expression of Content Security Policy level 3 for an inline element with this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
