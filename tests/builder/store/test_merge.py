"""Merging what several machines did: cell by cell, conflicts named, nothing half-written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import cli
from builder.actions.action import Result
from builder.actions.measurements import Parity
from builder.errors import UsageError
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest
from builder.store.merge import StorePart, merged
from builder.store.provenance import Provenance, Revision
from tests.fakes import entry, manifest, stored

ORT, OV, TRT = "tiny-dense-fp32-ort", "tiny-dense-fp32-ov", "tiny-dense-fp32-trt"


def waiting(cell: str) -> Entry:
    return entry(cell, status="waiting", artifact=False, p50=None)


def taken(*parts: StorePart, prefer: "tuple[str, ...]" = ()) -> Dict[str, str]:
    return dict(merged(parts, prefer).taken)


def test_each_cell_is_taken_from_where_it_was_built() -> None:
    a = StorePart("a", manifest(entry(ORT), waiting(OV), waiting(TRT)))
    b = StorePart("b", manifest(waiting(ORT), entry(OV), waiting(TRT), version=4))
    found = merged([a, b])
    assert dict(found.taken) == {ORT: "a", OV: "b", TRT: "a"}
    assert [e.verdict.status for e in found.manifest.entries] == ["passed", "passed", "waiting"]
    assert merged([a, a]).manifest == a.manifest


def test_a_version_of_one_commit_keeps_it_and_one_of_two_has_none() -> None:
    def commit(*words: str) -> "List[str]":
        made_of = [Provenance(1, 1, revision=Revision(word * 40)) for word in words]
        parts = [StorePart(str(n), manifest(entry(ORT)), one) for n, one in enumerate(made_of)]
        found = merged(parts).made_of
        assert found is not None
        return [found.revision.commit[0]] if found.revision else []

    assert commit("a", "a") == ["a"]
    assert commit("a", "b") == []


def test_only_measured_counts_more_than_built_and_built_more_than_waiting() -> None:
    built = entry(ORT, status="unverified", p50=None)
    assert taken(StorePart("a", manifest(waiting(ORT))), StorePart("b", manifest(built))) == {ORT: "b"}
    assert taken(StorePart("a", manifest(built)), StorePart("b", manifest(entry(ORT, status="failed")))) == {ORT: "b"}


def test_a_cell_that_two_built_differently_is_a_conflict_that_a_person_settles() -> None:
    a, b = StorePart("a", manifest(entry(ORT, p50=2.0))), StorePart("b", manifest(entry(ORT, p50=3.0), entry(OV)))
    with pytest.raises(UsageError, match=f"{ORT} was built differently in a and in b") as caught:
        merged([a, b])
    assert "--prefer b" in str(caught.value)
    assert taken(a, b, prefer=("b",)) == {ORT: "b", OV: "b"}
    assert taken(a, b, prefer=("a",)) == {ORT: "a", OV: "b"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matrix": "sha256:" + "1" * 64}, "matrix.yaml was another one for b than for a"),
        ({"model": dataclasses.replace(manifest().model, weights="seed 8")}, "weights is 'seed 7' in a and 'seed 8'"),
        ({"model": dataclasses.replace(manifest().model, inputs=())}, "inputs, heads or preprocessing differ"),
    ],
)
def test_parts_of_something_else_are_refused(change: Dict[str, object], said: str) -> None:
    other: Manifest = dataclasses.replace(manifest(entry(OV)), **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not parts of one matrix") as caught:
        merged([StorePart("a", manifest(entry(ORT))), StorePart("b", other)])
    assert said in str(caught.value)


STATUSES = st.sampled_from(["passed", "unverified", "waiting"])


@given(st.lists(st.lists(st.tuples(st.sampled_from([ORT, OV, TRT]), STATUSES), unique_by=lambda x: x[0]), min_size=1))
def test_the_order_of_the_stores_does_not_matter(parts: "List[List[tuple[str, str]]]") -> None:
    """As long as nothing conflicts: here equal statuses are equal entries."""
    made = [
        StorePart(
            str(n), manifest(*(entry(cell, status=status, artifact=status != "waiting") for cell, status in cells))
        )
        for n, cells in enumerate(parts)
    ]
    forth, back = merged(made).manifest.entries, merged(made[::-1]).manifest.entries
    assert {e.cell: e for e in forth} == {e.cell: e for e in back}
    assert {e.cell for e in forth} == {cell for cells in parts for cell, _ in cells}


# ------------------------------------------------------------------------------------------- the verb


def built(folder: Path, *cells: str) -> Layout:
    """A store in which these cells were built and the others wait, with a result of its own."""
    store, entries = Layout(folder), []
    for cell in (ORT, OV, TRT):
        if cell not in cells:
            entries.append(waiting(cell))
            continue
        files = (stored(store, "model.bin", cell.encode()),)
        made = entry(cell, files=files)
        assert made.artifact is not None
        digest_ = versions.put_artifact(store, cell, files).digest
        entries.append(dataclasses.replace(made, artifact=dataclasses.replace(made.artifact, digest=digest_)))
        store.record(Result(f"sha256:{cell.encode().hex():0>64}"[:71], files, Parity(()), 1.0, 1))
    versions.publish(store, manifest(*entries))
    return store


def test_stores_of_two_machines_become_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = built(tmp_path / "one", ORT), built(tmp_path / "two", OV, TRT)
    assert cli.main(["merge", str(two.root), "--store", str(one.root)]) == 0
    said = capsys.readouterr().out
    assert "3 cells, 3 passed. Version v2" in said
    whole = versions.read(one, 2)
    for cell in whole.entries:
        assert cell.artifact is not None
        for blob in cell.artifact.files:
            assert one.read(blob.digest) == cell.cell.encode()
        assert json.loads(one.read(cell.artifact.digest))["layers"], "its OCI object came too"
    assert {r.key for r in two.results()} <= {r.key for r in one.results()}, "a build here recalls what was done there"
    assert cli.main(["merge", str(two.root), "--store", str(one.root)]) == 0
    assert "say nothing that v2 does not" in capsys.readouterr().out


def test_into_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    one, two = built(tmp_path / "one", ORT), built(tmp_path / "two", OV)
    assert cli.main(["merge", str(one.root), str(two.root), "--store", str(tmp_path / "new")]) == 0
    statuses = [e.verdict.status for e in versions.read(Layout(tmp_path / "new"), 1).entries]
    assert statuses == ["passed", "passed", "waiting"]


def test_a_conflict_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = built(tmp_path / "one", ORT), built(tmp_path / "two", ORT)
    changed = versions.read(two, 1)
    faster = tuple(
        dataclasses.replace(e, verdict=dataclasses.replace(e.verdict, reason="faster")) for e in changed.entries
    )
    versions.publish(two, dataclasses.replace(changed, entries=faster, version=2))
    before = sorted(str(path) for path in one.root.rglob("*"))
    assert cli.main(["merge", str(two.root), "--store", str(one.root)]) == 2
    assert f"{ORT} was built differently" in capsys.readouterr().err
    assert sorted(str(path) for path in one.root.rglob("*")) == before


def test_what_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(tmp_path / "one", ORT)
    (tmp_path / "empty").mkdir()
    for words, said in (
        (["nowhere"], "is no store"),
        (["empty"], "is no store"),
        (["one", "--store", "one"], "names only the store itself"),
        (["one", "--prefer", "two"], "none of the stores"),
    ):
        at = [word if word.startswith("--") else str(tmp_path / word) for word in words]
        assert cli.main(["merge", *at]) == 2
        assert said in capsys.readouterr().err


def test_a_file_with_other_content_is_not_taken(tmp_path: Path) -> None:
    one, two = built(tmp_path / "one", ORT), built(tmp_path / "two", OV)
    (blob,) = next(iter(two.results())).outputs
    path = two.fetch(blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * blob.size)
    assert cli.main(["merge", str(two.root), "--store", str(one.root)]) == 7
    assert versions.numbers(one) == (1,)
