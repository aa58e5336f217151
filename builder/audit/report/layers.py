"""Error by layer: the layers of each lowered graph, those with most noise first.

Pure. Noise powers of single layers add up approximately. So the share of a layer is its power, 10 ** (-dB / 10) of the
signal's, divided by the sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from builder.actions.measurements import LayerError
from builder.audit.report.charts import short
from builder.audit.report_actions import LayerTable
from builder.store.manifest import Manifest

_MOST = 15  # layers of a graph that are listed


@dataclass(frozen=True)
class LayerRow:
    """`bar` is its share of the noise, 0 to 100 for drawing."""

    name: str
    operator: str
    share: str
    bar: float
    alone: str
    output: str
    through: str
    largest: str
    problem: str


@dataclass(frozen=True)
class Graph:
    """A lowered graph.

    `head`, `precision` and `target` are for the filters; `target` only for a single one.
    """

    title: str
    cells: Tuple[str, ...]
    head: str
    precision: str
    target: str
    layers: Tuple[LayerRow, ...]
    more: int
    said: str
    why_not: str


def graphs(manifest: Manifest, tables: Sequence[LayerTable]) -> Tuple[Graph, ...]:
    return tuple(_graph(manifest, table) for table in tables)


def _graph(manifest: Manifest, table: LayerTable) -> Graph:
    entries = [entry for entry in manifest.entries if entry.cell in table.cells]
    targets = tuple(dict.fromkeys(entry.target for entry in entries))
    powers = [_power(layer) for layer in table.layers]
    whole = sum(power for power in powers if power is not None)
    layers = tuple(_layer(layer, power, whole) for layer, power in zip(table.layers, powers))
    return Graph(
        title=f"{entries[0].head} {entries[0].precision} for {', '.join(targets)}",
        cells=table.cells,
        head=entries[0].head,
        precision=entries[0].precision,
        target=targets[0] if len(targets) == 1 else "",
        layers=layers[:_MOST],
        more=max(0, len(layers) - _MOST),
        said=_said(layers),
        why_not=table.why_not,
    )


def _power(layer: LayerError) -> Optional[float]:
    """The noise power as a fraction of the signal's.

    0 above 300 dB, where tensors are equal.
    """
    if layer.alone_db is None:
        return None
    return 10 ** (-layer.alone_db / 10) if layer.alone_db < 300 else 0.0


def _layer(layer: LayerError, power: Optional[float], whole: float) -> LayerRow:
    share = power / whole if power is not None and whole > 0 else None
    return LayerRow(
        name=layer.name,
        operator=layer.operator,
        share="-" if share is None else _percent(share),
        bar=0.0 if share is None else round(100 * share, 1),
        alone=_decibels(layer.alone_db),
        output=layer.output,
        through=_decibels(layer.through_db),
        largest="-" if layer.max_abs is None else short(layer.max_abs),
        problem=layer.problem,
    )


def _percent(share: float) -> str:
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _decibels(value: Optional[float]) -> str:
    return "-" if value is None else ("equal" if value >= 300 else f"{value:.1f} dB")


def _said(layers: Sequence[LayerRow]) -> str:
    """How few layers make half of the noise."""
    total = 0.0
    for count, layer in enumerate(layers, 1):
        total += layer.bar
        if total >= 50:
            which = f"{layers[0].name} makes" if count == 1 else f"{count} of {len(layers)} layers make"
            return f"{which} half of the noise or more."
    return ""
