"""`build audit` on real stores: a project is built again and again with one thing changed, and the audit must find it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping
from xml.etree import ElementTree

import pytest

from builder import cli
from builder.actions.action import Action
from builder.audit import markdown
from builder.audit.history import Ledger
from builder.config import json_schema
from builder.platforms.machines import Machine
from builder.records import from_json
from builder.store import versions
from builder.store.manifest import Manifest
from tests.fakes import LAPTOP, REPOSITORY, TASK_MATRIX, FakeExecutor, Project, with_version


class Desk:
    """A person who builds versions of a project with a task, and audits them. `measures` is what the fake steps find."""

    def __init__(self, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.project, self._capsys = project, capsys
        self.machine: Machine = LAPTOP
        self.measures: Dict[str, Any] = {}
        monkeypatch.chdir(project.root)
        monkeypatch.setattr("builder.platforms.machines.here", lambda: self.machine)
        monkeypatch.setattr("builder.cli.commands.matrix.Local", lambda: FakeExecutor(**self.measures))

    def __call__(self, *words: str) -> int:
        code = cli.main(list(words))
        said = self._capsys.readouterr()
        self.out, self.err = said.out, said.err
        return code

    def build(self, *words: str) -> None:
        assert self("matrix", "--quiet", *words) in (0, 3), self.err

    @property
    def manifest(self) -> Manifest:
        made = versions.latest(self.project.store)
        assert made is not None
        return made

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
    assert "good.value lost 0.05" in desk.out
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


# ------------------------------------------------------------------------------------------- at length


def test_one_cell_at_length_is_a_bisect(desk: Desk, golden: Callable[[str, str], None]) -> None:
    """Three changes, each in its version; the page of the cell names each beside the step that it entered."""
    desk.project.edit("matrix.yaml", "seed: 7", "seed: 8")
    desk.measures = {"max_abs": 0.002}
    desk.build()
    (desk.project.root / "photos" / "e.png").write_bytes(b"photograph e")
    desk.project.edit("matrix.yaml", "[c.png, d.png]}", "[c.png, e.png]}\n  method: minmax")
    desk.measures = {"max_abs": 0.002, "value": 0.72}
    desk.build()
    desk.machine = with_version(LAPTOP, "onnxruntime", "1.24.1")
    desk.measures = {"max_abs": 0.009, "value": 0.69}
    desk.build()
    assert desk("audit", "tiny-dense-int8-ort") == 4
    golden("audit_cell.txt", _masked(desk.out))
    assert desk("audit", "--against", "1") == 4
    golden("audit.txt", _masked(desk.out))
    assert max(map(len, desk.out.splitlines())) <= 100
    assert desk("audit", "--against", "1", "--format", "markdown") == 4
    golden("audit.md", _masked(desk.out))


def _masked(said: str) -> str:
    """Keys hang on the bytes of this repository's recipes; that they are there is enough."""
    return re.sub(r"\b[0-9a-f]{8}\b", "KEYKEYKE", said)


def test_a_step_that_gave_the_same_explains_nothing(desk: Desk) -> None:
    """A new onnxsim whose graph is the old one: the int8 artifact moved for its photographs, not for onnxsim."""
    desk.measures = {"same": frozenset({"simplify"})}
    desk.build("--force")
    before = desk.manifest
    desk.machine = with_version(LAPTOP, "onnxsim", "0.9.0")
    (desk.project.root / "photos" / "c.png").write_bytes(b"another photograph")
    desk.measures = {"same": frozenset({"simplify"}), "value": 0.7}
    desk.build()
    assert desk.manifest != before
    made = desk.ledger()
    causes = desk.causes(made, desk.line(made, "int8-ort", "good.value"))
    assert [(c["what"], c.get("detail")) for c in causes] == [("calibration photographs", "c.png changed")]
    desk("audit", "tiny-dense-int8-ort")
    assert "onnxsim 0.8.0 -> 0.9.0; gave the same" in desk.out


def test_a_rebuild_that_gave_other_files_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT does that: the same action, other bytes."""
    whole = FakeExecutor._outputs

    def other(self: FakeExecutor, action: Action, files: Mapping[str, Path]) -> Dict[str, bytes]:
        made = whole(self, action, files)
        return {name: data + b" again" if name == "model.bin" else data for name, data in made.items()}

    monkeypatch.setattr(FakeExecutor, "_outputs", other)
    desk.measures = {"value": 0.7}
    desk.build("--force", "--only", "tiny-dense-fp32-ort")
    assert desk("audit", "--only", "tiny-dense-fp32-ort") == 4
    assert "engine was performed again by the same action, and gave other files" in desk.out


def test_another_machine_is_named_when_only_it_changed(desk: Desk) -> None:
    desk.machine = dataclasses.replace(LAPTOP, cpu="Another CPU")
    desk.measures = {"value": 0.7}
    desk.build("--force")
    made = desk.ledger()
    causes = desk.causes(made, desk.line(made, "fp32-ort", "good.value"))
    assert [c["kind"] for c in causes] == ["measured again", "site"]
    assert (causes[1]["before"], causes[1]["after"]) == ("Laptop CPU x2", "Another CPU x2")
    assert desk.line(made, "fp32-ort", "latency.speedup")["state"] == "unlike"


def test_versions_of_older_releases_audit_without_their_reasons(desk: Desk) -> None:
    first = desk.manifest
    versions.publish(desk.project.store, dataclasses.replace(first, version=2))
    desk.project.edit("matrix.yaml", "seed: 7", "seed: 8")
    desk.measures = {"value": 0.7}
    desk.build()
    assert desk("audit") == 4
    assert "weights seed 7 -> seed 8" in desk.out
    assert "v2 did not record the steps" in desk.out
    assert desk("audit", "tiny-dense-fp32-ort") == 4
    assert "v2 did not record its steps. What the manifests say:" in desk.out


def test_limits_of_the_matrix_hold(desk: Desk) -> None:
    text = desk.project.matrix.read_text(encoding="utf-8")
    desk.project.matrix.write_text(
        f"{text}drift:\n  - select: '*-int8-*'\n    limits: {{good.value: 0.1}}\n", encoding="utf-8"
    )
    desk.measures = {"value": 0.7}
    desk.build("--force")
    states = {n["cell"][11:]: n["state"] for n in desk.ledger("--metric", "good.value")["lines"]}
    assert (states["int8-ort"], states["fp32-ort"]) == ("worse", "beyond")
    assert desk("audit") == 4
    assert "(limits: matrix.yaml, then the defaults)" in desk.out


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("- {select: '*', limits: {scoers.cosine: 0.1}}", "did you mean 'scores'"),
        ("- {select: '*', limits: {good.value: much}}", "'much' is no limit"),
        ("- {select: '*-fp64-*', limits: {good.value: 0.1}}", "selects no cell"),
        ("- {select: '*', limits: {}}", "no limit is given"),
    ],
)
def test_a_wrong_drift_section_is_said_with_its_place(desk: Desk, section: str, said: str) -> None:
    text = desk.project.matrix.read_text(encoding="utf-8")
    desk.project.matrix.write_text(f"{text}drift:\n  {section}\n", encoding="utf-8")
    assert desk("audit") == 2
    assert said in desk.err
    assert f"matrix.yaml:{len(text.splitlines()) + 2}:" in desk.err


# ------------------------------------------------------------------------------------------- for programs


@pytest.fixture
def drifted(desk: Desk) -> Desk:
    """With v2, whose photographs have names that markup and commands would stumble over."""
    (desk.project.root / "photos" / "a|b %,c.png").write_bytes(b"a photograph")
    desk.project.edit("matrix.yaml", "[c.png, d.png]", "[c.png, 'a|b %,c.png']")
    desk.measures = {"value": 0.7}
    desk.build()
    return desk


def test_junit_has_a_case_for_every_number(drifted: Desk) -> None:
    assert drifted("audit", "--format", "junit") == 4
    root = ElementTree.fromstring(drifted.out)
    lines = drifted.ledger()["lines"]
    cases = {(c.get("classname"), c.get("name")): c for c in root.iter("testcase")}
    assert set(cases) == {(n["cell"], n["metric"]) for n in lines}
    failed = {name for name, case in cases.items() if case.find("failure") is not None}
    assert failed == {(n["cell"], n["metric"]) for n in lines if n["state"] == "beyond"} != set()
    failure = cases["tiny-dense-int8-ort", "good.value"].find("failure")
    assert failure is not None
    assert failure.get("message") == "worse by 0.05 (limit 0.02)"
    assert "calibration photographs: +a|b %,c.png -d.png" in (failure.text or "")
    for element in (root, *root.iter("testsuite")):
        inside = list(element.iter("testcase"))
        assert int(element.get("tests", "")) == len(inside)
        assert int(element.get("failures", "")) == sum(c.find("failure") is not None for c in inside)


def test_github_gets_annotations_and_a_summary(drifted: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert drifted("audit", "--format", "json") == 4
    json.loads(drifted.out)  # standard output is one document
    (command,) = drifted.err.splitlines()
    title, _, message = command[len("::error title=") :].partition("::")
    assert title == "Drift beyond its limit%3A 2 numbers"
    assert message.startswith("v1 -> v2: calibration photographs: +a|b %25,c.png -d.png%0A")
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n### tiny: v2 against v1\n")
    assert r"a\|b %,c.png" in text, "a bar in a name ends no cell"


def test_elsewhere_nothing_is_told_to_github(drifted: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert drifted("audit") == 4
    assert drifted.err == ""


def test_github_is_told_ten_errors_at_most(drifted: Desk) -> None:
    made = from_json(Ledger, drifted.ledger())
    (line, _) = made.beyond
    changes = tuple(dataclasses.replace(made.changes[0], since=n) for n in range(30))
    lines = tuple(
        dataclasses.replace(line, moves=(dataclasses.replace(line.moves[0], change=n),)) for n in range(len(changes))
    )
    said = markdown.commands(dataclasses.replace(made, lines=lines, changes=changes))
    assert len(said) == markdown.MOST
    assert said[-1].startswith("::error title=Drift beyond its limit%3A 21 more numbers::")


@pytest.mark.skipif(sys.version_info < (3, 9), reason="jsonschema of this test needs it")
def test_the_json_is_what_its_schema_says(drifted: Desk) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    file = REPOSITORY / "docs" / "reference" / "audit.schema.json"
    drawn = (
        json.dumps(json_schema.of(Ledger, "deploymatrix build audit --format json"), indent=2, ensure_ascii=False)
        + "\n"
    )
    if os.environ.get("UPDATE_DOCS") == "1":
        file.write_text(drawn, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == drawn, "run: UPDATE_DOCS=1 pytest tests/builder/audit/test_audit.py"
    jsonschema.Draft202012Validator(json.loads(drawn)).validate(drifted.ledger())


def test_a_damaged_version_is_named(drifted: Desk) -> None:
    (blob,) = [
        path for path in (drifted.project.root / "artifacts" / "blobs" / "sha256").iterdir()
        if b'"version": 1,\n "created"' in path.read_bytes()
    ]  # fmt: skip
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-9])
    assert drifted("audit") == 7
    assert "v1: " in drifted.err and "--since leaves older versions out" in drifted.err
    assert drifted("audit", "--since", "2", "--against", "1") == 7
    assert drifted("audit", "--since", "v2") == 7, "the release before is still what it is held against"


def test_a_version_of_a_newer_release_is_said_to_be_that(drifted: Desk) -> None:
    newer = dataclasses.replace(drifted.manifest, schema=99, version=3)  # type: ignore[arg-type]
    versions.publish(drifted.project.store, newer)
    assert drifted("audit") == 7
    assert "v3: " in drifted.err and "newer deploymatrix" in drifted.err


def test_the_sweep_is_audited_beside_parity(desk: Desk) -> None:
    desk.project.edit("matrix.yaml", "gates:", 'sweep: {select: "*-fp32-ort", points: 5}\ngates:')
    desk.build()
    desk.machine = with_version(LAPTOP, "polygraphy", "0.54.0")
    desk.measures = {"max_abs": 0.005}
    desk.build()
    made = desk.ledger("--fail-on", "sweep.scores.max_abs:0.001")
    assert desk.code == 4
    line = desk.line(made, "fp32-ort", "sweep.scores.max_abs")
    assert line["worse"] == pytest.approx(0.004)
    assert [(c["what"], c["after"], c["steps"]) for c in desk.causes(made, line)] == [
        ("polygraphy", "0.54.0", ["sweep"])
    ]
    assert [n["cell"] for n in made["lines"] if n["metric"] == "sweep.answered"] == ["tiny-dense-fp32-ort"]
