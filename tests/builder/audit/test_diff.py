"""build diff: what changed per cell between two versions, said with its noise and its reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, List, Optional

import pytest

from builder.actions.measurements import OutputParity
from builder.audit import diff
from builder.audit.diff import CellDifference
from builder.audit.history import Version
from builder.cli import diff_text
from builder.config.matrix import Search
from builder.store import versions
from builder.store.manifest import Entry, Searched, TaskResult
from builder.store.remotes.folder import Folder
from tests.builder.audit.test_audit import Desk
from tests.fakes import TASK_MATRIX, Project, entry, manifest


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(Project(tmp_path / "p", TASK_MATRIX), monkeypatch, capsys)


def compared(old: List[Entry], new: List[Entry]) -> diff.Difference:
    return diff.between(Version(manifest(*old, version=1)), Version(manifest(*new, version=2)))


def only(old: Entry, new: Entry) -> CellDifference:
    (cell,) = compared([old], [new]).cells
    return cell


def timed(p50: float, noise: Optional[float]) -> Entry:
    made = entry(p50=p50, naive=None)
    assert made.latency is not None
    return dataclasses.replace(made, latency=dataclasses.replace(made.latency, noise=noise))


def test_what_came_and_went() -> None:
    kept, gone, came = (entry(f"tiny-dense-fp32-{name}") for name in ("kept", "gone", "came"))
    found = compared([kept, gone], [kept, came])
    assert [(cell.cell, cell.how) for cell in found.cells] == [
        (kept.cell, "same"),
        (came.cell, "added"),
        (gone.cell, "removed"),
    ]
    said = diff_text.as_text(found)
    assert "tiny v1 -> v2: 1 added, 1 removed, 1 as before" in said
    assert "+ tiny-dense-fp32-came  passed, 0 KiB, 2 ms" in said
    assert "- tiny-dense-fp32-gone" in said


def test_a_time_within_its_noise_is_no_change() -> None:
    assert only(timed(10.0, 0.1), timed(11.0, 0.1)).how == "same"
    slower = only(timed(10.0, 0.03), timed(11.0, 0.03))
    assert slower.how == "changed"
    assert "10 ms -> 11 ms, worse (10.0% more)" in diff_text.as_text(compared([timed(10.0, 0.03)], [timed(11.0, 0.03)]))


def test_beside_another_change_a_time_within_its_noise_is_said_to_be_that() -> None:
    old, new = timed(10.0, 0.1), timed(10.5, 0.1)
    new = dataclasses.replace(new, verdict=dataclasses.replace(new.verdict, status="failed", reason="scores max_abs"))
    said = diff_text.as_text(compared([old], [new]))
    assert "passed -> failed: scores max_abs" in said
    assert "10 ms -> 10.5 ms, within its noise of 2.05 ms" in said


def test_times_of_two_machines_do_not_compare() -> None:
    old, new = entry(p50=5.0), entry(p50=50.0, measured_on="another")
    (number, *_) = [n for n in only(old, new).numbers if n.metric == "latency.p50_ms"]
    assert (number.moved, number.worse) == (False, None)
    assert number.said.startswith("not comparable")


def test_accuracy_at_its_worst_and_layers_that_are_kept() -> None:
    def made(cosine: float, value: float, *kept: str) -> Entry:
        searched = Searched("found", "said", Search(), 3, kept)
        rows = tuple(
            OutputParity("scores", f"s{i}", None, cosine=c, snr_db=9.0) for i, c in enumerate((0.99999, cosine))
        )
        task = TaskResult("views", "repeatability_1px", value, 0.96)
        return dataclasses.replace(entry(), search=searched, parity=rows, tasks=(task,))

    found = only(made(0.999, 0.95, "a", "b"), made(0.99, 0.94, "b", "c"))
    numbers = {n.metric: n for n in found.numbers if n.moved}
    assert (numbers["scores.cosine"].before, numbers["scores.cosine"].after) == (0.999, 0.99)
    assert numbers["views.repeatability_1px"].worse == pytest.approx(0.01)
    assert "scores.snr_db" not in numbers
    assert (found.kept, found.lowered) == (("c",), ("a",))
    said = diff_text.as_text(compared([made(0.999, 0.95, "a", "b")], [made(0.99, 0.94, "b", "c")]))
    assert "kept in float32" in said
    assert "lowered again" in said


# ---------------------------------------------------------------------------------------------- the command


def test_it_names_what_changed_and_why(desk: Desk) -> None:
    desk.build()
    desk.project.edit("matrix.yaml", "seed: 7", "seed: 8")
    desk.measures = {"value": 0.6}
    desk.build()
    assert desk("diff", "1", "2") == 0
    assert desk.out.startswith("tiny v1 -> v2: ")
    assert "0.75 -> 0.6, worse (20.0% less)" in desk.out
    assert "weights" in desk.out.partition("why")[2]
    assert desk("diff", "--format", "json") == 0
    told: Any = json.loads(desk.out)
    assert (told["old"], told["new"], told["recorded"]) == (1, 2, True)
    assert told["cells"]["tiny-dense-fp32-ort"]["how"] == "changed"
    assert told["cells"]["tiny-dense-fp32-trt"]["how"] == "same", "it waits, then as now"
    assert desk("diff", "--format", "markdown") == 0
    assert "| `tiny-dense-fp32-ort` | ~ |" in desk.out


def test_a_pushed_copy_compares_by_its_manifests(desk: Desk, tmp_path: Path) -> None:
    desk.build()
    desk.project.edit("layers.py", "return 64", "return 65")
    desk.build()
    for number in ("1", "2"):
        assert desk("publish", f"file://{tmp_path / 'copy'}", "--version", number) == 0
    before = sorted((tmp_path / "copy").rglob("*"))
    assert desk("diff", "--store", f"file://{tmp_path / 'copy'}") == 0
    assert "ONNX graph that it is built from" in desk.out
    assert "from the manifests alone" in desk.out
    assert sorted((tmp_path / "copy").rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["1"], "both are v1"),
        ([], "v1 is the first version"),
        (["1", "7"], "there is no version 7"),
        (["1", "vv"], "'vv' is no version and no channel"),
        (["1", "../x"], "is no version and no channel"),
        (["1", "99999999999999999999"], "is no version and no channel"),
        (["1", "2", "--store", "nowhere"], "nowhere holds no version"),
    ],
)
def test_what_cannot_be_compared_is_said(desk: Desk, words: List[str], said: str) -> None:
    desk.build()
    assert desk("diff", *words) == 2
    assert said in desk.err


def test_versions_without_a_record_of_their_steps(desk: Desk) -> None:
    desk.build()
    store = desk.project.store
    first = versions.read(store, 1)
    with store.locked():
        versions.publish(store, dataclasses.replace(first, version=2, entries=first.entries[:1], provenance=""))
    assert desk("diff") == 0
    assert "11 removed, 1 as before" in desk.out
    assert sorted(Folder(str(store.root), {}).tags()) == ["v1", "v2"]
