"""Provenance: every version says, cell by cell, which actions made and measured it, and on what."""

from __future__ import annotations

import json
import sys
from typing import Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import cli, digest
from builder.errors import StoreDamaged
from builder.execution import publish
from builder.platforms.platform import Pinned, Tool
from builder.records import from_json, to_json
from builder.store import provenance, versions
from builder.store.layout import Layout
from builder.store.provenance import Provenance
from tests.fakes import ANSWERS, LAPTOP, METRIC, TASK_MATRIX, FakeExecutor, Project, entry, manifest


@pytest.fixture
def recorded(project: Project, monkeypatch: pytest.MonkeyPatch) -> Provenance:
    """The provenance of v1 of the tiny project with a task."""
    project.matrix.write_text(TASK_MATRIX, encoding="utf-8")
    (project.root / "score.py").write_text(METRIC, encoding="utf-8")
    (project.root / "answers.py").write_text(ANSWERS, encoding="utf-8")
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)
    monkeypatch.setattr("builder.cli.commands.matrix.Local", FakeExecutor)
    assert cli.main(["matrix", "--quiet"]) == 0
    found = versions.read_provenance(project.store, versions.read(project.store, 1))
    assert found is not None
    return found


def _steps(found: Provenance, cell: str) -> Dict[str, str]:
    """job -> step, in order."""
    by_key = found.by_key
    return {link.job: by_key[link.key].step for link in found.chain(cell)}


def test_a_chain_has_every_job_of_a_cell_after_what_it_needs(recorded: Provenance) -> None:
    assert _steps(recorded, "tiny-dense-int8-ort") == {
        "calibration-data": "calibration-data",
        "export/dense": "export",
        "simplify/dense": "simplify",
        "lower-int8/dense/asymmetric/around": "lower-int8",
        "engine/tiny-dense-int8-ort": "engine",
        "task-cases/good": "task-cases",
        "task-reference/good/dense": "task-reference",
        "reference/dense": "reference",
        "parity/tiny-dense-int8-ort": "parity",
        "task/tiny-dense-int8-ort/good": "task",
        "latency/tiny-dense-int8-ort": "latency",
    }
    for chain in recorded.cells:
        seen = set()
        for link in chain.links:
            assert seen >= set(link.needs)
            seen.add(link.job)


def test_a_step_says_what_decided_its_output_and_where_it_ran(recorded: Provenance) -> None:
    steps = {step.step: step for step in recorded.steps}
    lowered = steps["lower-int8"]
    assert {s.name: s.value for s in lowered.settings} == {
        "method": "mse",
        "percentile": 99.999,
        "activations": "symmetric",
        "placement": "tensorrt",
        "version": 2,
    }
    assert [pinned.name for pinned in lowered.inputs] == ["model.onnx", "images.npz"]
    assert lowered.inputs[1] == Pinned("images.npz", steps["calibration-data"].outputs[0].digest)
    assert Tool("onnxruntime", "1.23.2") in lowered.tools
    assert [p.name for p in steps["calibration-data"].inputs] == ["photographs/c.png", "photographs/d.png"]
    assert steps["parity"].platform is not None and lowered.site is not None
    assert (lowered.site.machine, lowered.site.python) == ("Laptop CPU x2", "3.12.1")
    assert {s.name: s.value for s in steps["reference"].settings}["sizes"] == "16x16, 32x32"


def test_an_action_that_cells_share_is_kept_once(recorded: Provenance) -> None:
    keys = [step.key for step in recorded.steps]
    assert len(keys) == len(set(keys))
    assert [step.step for step in recorded.steps].count("export") == 1


def test_what_waits_for_another_machine_is_there_without_outputs(recorded: Provenance) -> None:
    (engine,) = [link for link in recorded.chain("tiny-dense-fp32-trt") if link.job.startswith("engine/")]
    waiting = recorded.by_key[engine.key]
    assert (waiting.done, waiting.outputs, waiting.site) == (False, (), None)


def test_it_reads_as_it_was_written(recorded: Provenance) -> None:
    assert from_json(Provenance, json.loads(provenance.text(recorded))) == recorded


def test_a_version_without_provenance_still_reads(store: Layout) -> None:
    versions.publish(store, manifest(entry(artifact=False)))
    assert versions.read_provenance(store, versions.read(store, 1)) is None
    assert versions.numbers(store) == (1,)


def test_the_manifest_names_it_so_that_a_signature_covers_it(recorded: Provenance, project: Project) -> None:
    manifest_ = versions.read(project.store, 1)
    assert manifest_.provenance == digest.of_bytes(provenance.text(recorded))
    (project.store.fetch(manifest_.provenance)).chmod(0o644)
    project.store.fetch(manifest_.provenance).write_bytes(provenance.text(recorded).replace(b"torch", b"tarch"))
    with pytest.raises(StoreDamaged, match="other content"):
        versions.read_provenance(project.store, manifest_)


def test_provenance_of_a_newer_release_is_said_to_be_that(store: Layout, recorded: Provenance) -> None:
    class Newer:
        @staticmethod
        def text(made: Provenance) -> bytes:
            body = to_json(made)
            assert isinstance(body, dict)
            return json.dumps({**body, "schema": 2}).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "text", Newer.text)
        versions.publish(store, manifest(entry(artifact=False)), recorded)
    assert versions.read(store, 1).version == 1, "a host that pulls is not kept from it"
    with pytest.raises(StoreDamaged, match="the provenance of v1 does not read") as caught:
        versions.read_provenance(store, versions.read(store, 1))
    assert "newer deploymatrix" in (caught.value.hint or "")


_LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))
_VALUE = st.recursive(_LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3))  # fmt: skip


@given(_VALUE)
def test_flat_settings_have_each_path_once(value: object) -> None:
    names = [setting.name for setting in publish.flat({"recipe": value})]  # type: ignore[dict-item]
    assert len(names) == len(set(names))


def test_a_run_with_nothing_to_say_traces_nothing(recorded: Provenance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "builder.execution.publish")
    assert cli.main(["matrix", "--quiet"]) == 0
    assert "builder.execution.publish" not in sys.modules
