"""`build audit` on real stores: a project is built again and again with one thing changed, and the audit must find it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

from builder import cli
from builder.facts import Machine
from tests.fakes import LAPTOP, TASK_MATRIX, FakeExecutor, Project, with_version


class Desk:
    """A person who builds versions of a project with a task, and audits them. `measures` is what the fake steps find."""

    def __init__(self, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.project, self._capsys = project, capsys
        self.machine: Machine = LAPTOP
        self.measures: Dict[str, Any] = {}
        monkeypatch.chdir(project.root)
        monkeypatch.setattr("builder.facts.here", lambda: self.machine)
        monkeypatch.setattr("builder.verbs.matrix.Local", lambda: FakeExecutor(**self.measures))

    def __call__(self, *words: str) -> int:
        code = cli.main(list(words))
        said = self._capsys.readouterr()
        self.out, self.err = said.out, said.err
        return code

    def build(self, *words: str) -> None:
        assert self("matrix", "--quiet", *words) in (0, 3), self.err

    def ledger(self, *words: str) -> Any:
        self.code = self("audit", *words, "--format", "json")
        return json.loads(self.out)

    def line(self, ledger: Any, cell: str, metric: str) -> Any:
        (found,) = [n for n in ledger["lines"] if (n["cell"], n["metric"]) == (f"tiny-dense-{cell}", metric)]
        return found

    def causes(self, ledger: Any, line: Any) -> List[Any]:
        """Of the last move of a line."""
        return list(ledger["changes"][line["moves"][-1]["change"]]["causes"])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    """With v1 built: every artifact has 0.75 of the task, the model 0.8, and 0.001 at most between tensors."""
    made = Desk(Project(tmp_path / "p", TASK_MATRIX), monkeypatch, capsys)
    made.build()
    return made


def test_one_version_is_held_against_the_model_only(desk: Desk) -> None:
    assert desk("audit") == 0
    assert "v1 is the only version here" in desk.out
    assert "good.value 0.05" in desk.out
    assert desk.ledger()["against"] is None


def test_other_weights_are_named(desk: Desk) -> None:
    desk.project.edit("matrix.yaml", "seed: 7", "seed: 8")
    desk.measures = {"value": 0.7}
    desk.build()
    assert desk("audit") == 4
    assert "v1 -> v2: weights: seed 7 -> 8" in desk.out
    assert "good.value  0.75 0.7  worse by 0.05 (limit 0.02)" in desk.out
    made = desk.ledger()
    assert desk.code == 4
    line = desk.line(made, "fp32-ort", "good.value")
    assert (line["state"], line["moved"], line["limit"]) == ("beyond", 2, "0.02")
    assert line["worse"] == pytest.approx(0.05)
    assert line["lost"] == pytest.approx(0.1), "against the model itself"
    (cause,) = desk.causes(made, line)
    assert cause == {"kind": "weights", "what": "weights: seed", "before": "7", "after": "8", "steps": ["export", "task-reference"]}  # fmt: skip


def test_other_calibration_photographs_move_only_int8(desk: Desk) -> None:
    (desk.project.root / "photos" / "e.png").write_bytes(b"photograph e")
    desk.project.edit("matrix.yaml", "[c.png, d.png]", "[c.png, e.png]")
    desk.measures = {"value": 0.7}
    desk.build()
    assert desk("audit", "--metric", "good") == 4
    assert "calibration photographs: +e.png -d.png" in desk.out
    states = {n["cell"][11:]: n["state"] for n in desk.ledger("--metric", "good.value")["lines"]}
    assert states == {"fp32-ort": "same", "fp16-ort": "same", "int8-ort": "beyond", "fp32-ov": "same", "fp16-ov": "same", "int8-ov": "beyond"}  # fmt: skip


def test_a_tool_moves_the_cells_that_use_it(desk: Desk) -> None:
    desk.machine = with_version(LAPTOP, "openvino", "2026.1.0")
    desk.measures = {"max_abs": 0.009}
    desk.build()
    made = desk.ledger("--fail-on", "scores.max_abs:0.001")
    assert desk.code == 4
    line = desk.line(made, "fp32-ov", "scores.max_abs")
    (cause,) = desk.causes(made, line)
    assert (cause["what"], cause["before"], cause["after"]) == ("openvino", "2026.0.0", "2026.1.0")
    assert desk.line(made, "fp32-ort", "scores.max_abs")["state"] == "same"


def test_a_tighter_gate_is_told_from_a_worse_number(desk: Desk) -> None:
    desk.project.edit("matrix.yaml", "max_abs: 0.01", "max_abs: 0.0001")
    desk.build()
    assert desk("audit", "--fail-on", "verdict") == 4
    assert "gate scores max_abs 0.01 -> 0.0001" in desk.out
    made = desk.ledger("--fail-on", "scores")
    assert desk.code == 0, "no number moved"
    assert desk.line(made, "fp32-ort", "verdict")["state"] == "worse"


def test_measured_again_is_said_to_be_that(desk: Desk) -> None:
    desk.machine = LAPTOP
    desk.measures = {"value": 0.7}
    desk.build("--force")
    assert desk("audit") == 4
    assert "measured again by the same action, from the same artifact" in desk.out
    assert {c["artifact"] for c in desk.ledger()["cells"].values()} == {"same", "none"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--store", "nowhere"], "nowhere holds no version"),
        (["--against", "v9"], "--against v9: there is no such version"),
        (["--against", "1"], "cannot be held against itself"),
        (["--fail-on", "good.valeu:0.1"], "did you mean good.value"),
        (["--fail-on", "good.value:much"], "'much' is no limit"),
        (["--metric", "scoers"], "did you mean scores"),
        (["--only", "*-fp64-*"], "selects no cell"),
        (["nothing"], "selects no cell"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_audited_is_said(desk: Desk, words: List[str], said: str) -> None:
    assert desk("audit", *words) == 2
    assert said in desk.err


def test_it_needs_no_matrix(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert desk("audit", "--store", str(desk.project.root / "artifacts")) == 0
    assert "fp32" in desk.out
