"""Error by layer: shares of the noise, and where the tables come from."""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest

from builder.actions.measurements import LayerError
from builder.audit import report_actions
from builder.audit.report.layers import graphs
from builder.audit.report_actions import LayerTable
from builder.config.loader import load
from builder.execution.local import Local
from builder.platforms import machines
from builder.store import versions
from builder.store.layout import Layout
from tests.builder.audit.report.conftest import version
from tests.e2e.conftest import Project, built, fresh  # noqa: F401  (fixtures)


def layer(name: str, alone: "float | None", problem: str = "") -> LayerError:
    return LayerError((name, "relu"), "Conv", alone, "scores", 40.0, 0.25, problem)


def test_shares_are_of_the_power_of_the_noise() -> None:
    cells = ("tiny-dense-int8-cpu_a",)
    table = LayerTable(cells, (layer("a", 20.0), layer("b", 23.0103), layer("c", 23.0103), layer("d", 999.0)))
    graph = graphs(version(), (table,))[0]
    assert [one.share for one in graph.layers] == ["50 %", "25 %", "25 %", "0 %"]  # 3 dB less is half the power
    assert [one.alone for one in graph.layers] == ["20.0 dB", "23.0 dB", "23.0 dB", "equal"]
    assert (graph.title, graph.target, graph.said) == (
        "dense int8 for cpu_a",
        "cpu_a",
        "a makes half of the noise or more.",
    )


def test_a_layer_without_a_number_and_a_graph_without_layers() -> None:
    cells = ("tiny-dense-int8-cpu_a", "tiny-dense-int8-cpu_b")
    made = graphs(version(), (LayerTable(cells, (layer("a", None, "no"),)), LayerTable(cells, why_not="it is gone")))
    assert (made[0].layers[0].share, made[0].layers[0].problem, made[0].target) == ("-", "no", "")
    assert made[1].why_not == "it is gone" and made[1].layers == ()


@pytest.mark.e2e
def test_for_real_they_are_measured_once_and_recalled(fresh: Project, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.chdir(fresh.folder)
    loaded, store, machine = load(Path("matrix.yaml")), Layout(Path("artifacts")), machines.here()
    manifest, said = versions.latest(store), []  # type: ignore[var-annotated]
    assert manifest is not None
    assert report_actions.layer_tables(loaded, manifest, store, machine, None, said.append) == ()
    first = report_actions.layer_tables(loaded, manifest, store, machine, Local(), said.append)
    assert said and all(table.layers for table in first), first
    again: List[str] = []
    assert report_actions.layer_tables(loaded, manifest, store, machine, None, again.append) == first
    assert again == []
    fresh.edit("matrix.yaml", "method: minmax", "method: percentile")
    changed = report_actions.layer_tables(load(Path("matrix.yaml")), manifest, store, machine, Local(), again.append)
    lowered = {"int8" if "-int8-" in table.cells[0] else "fp16": table for table in changed}
    assert lowered["fp16"].layers and "not the graph of this version" in lowered["int8"].why_not
    assert again == [], "nothing of another graph is measured"
