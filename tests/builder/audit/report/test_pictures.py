"""Which cells get a picture, of what, and why not; and the real thing, drawn once and recalled."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Callable, Mapping

import pytest

from builder.actions.action import Action, Result
from builder.actions.measurements import OutputParity, WorstCase
from builder.audit.report import page
from builder.audit.report.worst_cases import worst_cases
from builder.audit.report_actions import chosen, pictures, worst_sample
from builder.errors import StepFailed
from builder.platforms.platform import Pinned
from builder.plugins import Store
from builder.store.layout import Layout
from builder.store.provenance import Chain, JobLink, Provenance, StepRecord
from tests import fakes
from tests.builder.audit.report.conftest import measured, version
from tests.e2e.conftest import Project, built, fresh  # noqa: F401  (fixtures)


def test_failed_cells_come_first_then_the_worst_of_each_precision() -> None:
    order = [entry.cell for entry in chosen(version(heads=("dense",)), 99)]
    assert order[0] == "tiny-dense-int8-cpu_b", "it failed"
    assert {cell.split("-")[2] for cell in order[1:3]} == {"fp16", "fp32"}
    assert len(order) == 6 and len(set(order)) == 6, "the GPU's cells were not measured"
    assert [entry.cell for entry in chosen(version(heads=("dense",)), 2)] == order[:2]


def test_the_sample_is_where_the_tightest_gate_is_worst() -> None:
    entry = measured("dense", "int8", "cpu_a")
    assert worst_sample(entry) == "a-32x32"
    ungated = dataclasses.replace(entry, verdict=dataclasses.replace(entry.verdict, checks=()))
    quiet = dataclasses.replace(ungated.parity[1], snr_db=1.0)
    assert worst_sample(dataclasses.replace(ungated, parity=(ungated.parity[0], quiet))) == "b-16x16"
    broken = OutputParity("scores", "c-8x8", "4 of 9 values are NaN or Inf")
    assert worst_sample(dataclasses.replace(entry, parity=(*entry.parity, broken))) == "c-8x8"


class Drawing:
    """An executor that draws nothing but a result."""

    def __init__(self, problem: str = "") -> None:
        self.performed, self._problem = 0, problem

    def perform(
        self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: Callable[[str], None]
    ) -> Result:
        self.performed += 1
        if self._problem:
            raise StepFailed(self._problem)
        assert sorted(files) == ["artifact/model.bin", "reference/a-32x32.npz"]
        with store.workspace() as work:
            (work / "photograph.jpg").write_bytes(b"a picture")
            blob = store.put(work / "photograph.jpg")
        facts = WorstCase((64, 48), True, ((1, 2, 3, 4),), ((5, 6),), ((7, 8), (9, 9)))
        return Result(action.key, (blob,), facts, 0.1, 1)

    def stop(self) -> None: ...


def traced(store: Layout) -> Provenance:
    """What the cells were measured with, as blobs that are in the store."""
    artifact, sample = (store.put_bytes(name, name.encode()).digest for name in ("artifact", "sample"))
    pins = (Pinned("artifact/model.bin", artifact), Pinned("reference/a-32x32.npz", sample))
    cells = [entry.cell for entry in version().entries]
    return Provenance(
        1,
        3,
        tuple(StepRecord(f"key of {cell}", "parity", inputs=pins) for cell in cells),
        tuple(Chain(cell, (JobLink(f"parity/{cell}", f"key of {cell}"),)) for cell in cells),
    )


def test_a_picture_is_drawn_once_and_recalled(store: Layout) -> None:
    executor, said = Drawing(), []
    first = pictures(version(), traced(store), store, fakes.LAPTOP, executor, said.append, 2)
    assert executor.performed == 1, "the two cells of equal artifacts are one action"
    assert [p.why_not for p in first] == ["", ""] and said == ["drawing tiny-dense-int8-cpu_b"]
    assert pictures(version(), traced(store), store, fakes.LAPTOP, executor, said.append, 2) == first
    assert executor.performed == 1
    cases = worst_cases(version(), first)
    assert len(cases.images) == 1, "the same photograph is on the page once"
    case = cases.cases[0]
    assert [p.said for p in case.panels] == ["2 keypoints", "3 keypoints"]
    assert (case.panels[0].rings, case.panels[1].rings) == ("M1,2h0", "M3,4h0")
    assert case.panels[0].crosses and not case.panels[0].pluses and case.panels[1].pluses.count("M") == 2


@pytest.mark.parametrize(
    ("machine", "known", "problem", "why"),
    [
        (fakes.ORIN, True, "", "drawing it runs the artifact: needs linux on x86_64"),
        (fakes.without(fakes.LAPTOP, "onnxruntime"), True, "", "onnxruntime is not installed here"),
        (fakes.with_version(fakes.LAPTOP, "onnxruntime", "1.99.0"), True, "", "1.99.0"),
        (fakes.LAPTOP, False, "", "publish another one with: build matrix"),
        (fakes.LAPTOP, True, "the disk is full", "it could not be drawn: the disk is full"),
    ],
    ids=["another architecture", "no runtime", "another version", "an old version", "a failure"],
)
def test_what_cannot_be_drawn_says_why(store: Layout, machine: object, known: bool, problem: str, why: str) -> None:
    executor = Drawing(problem)
    found = pictures(
        version(),
        traced(store) if known else None,
        store,
        machine,
        executor,
        print,
        1,  # type: ignore[arg-type]
    )
    assert why in found[0].why_not and found[0].facts is None
    assert executor.performed == bool(problem)
    assert worst_cases(version(), found).cases[0].why_not == found[0].why_not


def test_a_store_that_lacks_the_sample_or_is_held_says_so(store: Layout, tmp_path: Path) -> None:
    made_of = traced(store)
    lacking = pictures(version(), made_of, Layout(tmp_path / "copy"), fakes.LAPTOP, Drawing(), print, 1)
    assert "this store does not hold artifact/model.bin" in lacking[0].why_not
    with store.locked():
        held = pictures(version(), made_of, store, fakes.LAPTOP, Drawing(), print, 1)
    assert "another run holds this store" in held[0].why_not


def test_the_page_takes_fewer_pictures_when_it_is_large(store: Layout) -> None:
    found = pictures(version(), traced(store), store, fakes.LAPTOP, Drawing(), print, 9)
    assert len(page.report(version(), page.DETAILS[0], page.Beside(found)).worst.cases) == 9
    assert len(page.report(version(), page.DETAILS[2], page.Beside(found)).worst.cases) == 4


@pytest.mark.e2e
def test_for_real_every_picture_is_drawn_and_the_second_time_recalled(fresh: Project) -> None:  # noqa: F811
    pytest.importorskip("jinja2")
    first = fresh.build("report")
    assert first.stderr.count("drawing corners-map-") >= 4
    html = (fresh.folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in html and "No picture" not in html
    again = fresh.build("report", "-o", "again.html")
    assert "drawing" not in again.stderr
    assert (fresh.folder / "again.html").read_bytes() == (fresh.folder / "report.html").read_bytes()
    performed = json.loads(fresh.build("matrix", "--quiet", "--format", "json").stdout)["performed"]
    assert performed == [], "pictures are none of the matrix's business"
