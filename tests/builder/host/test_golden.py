"""Golden samples: which one an artifact has, and that it travels with it: published, mirrored, placed, signed by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import List, Tuple

import pytest

from builder.errors import DeployError
from builder.host import install
from builder.store import copying, merge, oci, supply, versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Golden, Manifest
from builder.store.remotes.folder import Folder
from tests.builder.cli.test_verbs import Shell, build  # noqa: F401
from tests.fakes import entry, manifest, stored


def offered(store: Layout) -> Tuple[Manifest, List[Entry]]:
    """Two artifacts that share a sample, and one that has another."""
    small, large = stored(store, "a-16x16.npz", b"small"), stored(store, "a-32x32.npz", b"larger")
    made = []
    for cell, sample in (("t-h-fp32-a", small), ("t-h-int8-a", small), ("t-h-fp32-b", large)):
        files = (stored(store, "model.bin", cell.encode()),)
        one = entry(cell, files=files)
        assert one.artifact is not None
        artifact = dataclasses.replace(one.artifact, digest=versions.put_artifact(store, cell, files).digest)
        made.append(dataclasses.replace(one, artifact=artifact, golden=Golden(sample)))
    return manifest(*made), made


def test_every_built_cell_has_the_smallest_sample_inside_its_profiles(build: Shell) -> None:  # noqa: F811
    build.project.edit("matrix.yaml", "sizes: [[16, 16], [32, 32]]", "sizes: [[32, 32], [8, 8], [16, 16]]")
    build.project.edit("matrix.yaml", "parity:", "overrides:\n  - {select: '*-ov', set: {profiles: [large]}}\nparity:")
    assert build("matrix", "--quiet") == 0
    found = {e.cell[11:]: e.golden.sample.name for e in build.manifest.entries if e.golden}
    assert found == {
        **{f"{p}-ort": "a-16x16.npz" for p in ("fp32", "fp16", "int8")},
        **{f"{p}-ov": "a-8x8.npz" for p in ("fp32", "fp16", "int8")},
        "fp32-rtx": "a-16x16.npz",
        "fp16-rtx": "a-16x16.npz",
    }


def test_what_was_never_judged_carries_its_limits(build: Shell) -> None:  # noqa: F811
    build("matrix", "--quiet")
    golden = {e.cell[11:]: e.golden for e in build.manifest.entries}
    never, judged = golden["fp32-rtx"], golden["fp32-ort"]
    assert never is not None and judged is not None
    assert {(limit.subject, limit.metric, limit.value) for limit in never.limits} == {
        ("scores", "max_abs", 0.01),
        ("scores", "cosine", 0.99),
        ("descriptors", "max_abs", 0.01),
        ("descriptors", "cosine", 0.99),
    }
    assert judged.limits == (), "its verdict has them"


def test_a_run_on_a_store_without_samples_performs_nothing(build: Shell) -> None:  # noqa: F811
    build("matrix", "--quiet")
    older = dataclasses.replace(
        build.manifest,
        version=2,
        entries=tuple(dataclasses.replace(e, golden=None) for e in build.manifest.entries),
    )
    versions.publish(build.project.store, older)
    summary = build.json("matrix", "--quiet")
    assert summary["performed"] == [] and build.manifest.version == 3
    assert all(e.golden for e in build.manifest.entries if e.artifact)


def test_samples_are_objects_of_the_version(store: Layout) -> None:
    made, _ = offered(store)
    versions.publish(store, made)
    index = oci.load(store, oci.digest_of(oci.all_of(store)["v1"]))
    children = [oci.as_object(child) for child in oci.as_list(index["manifests"])]
    samples = [oci.read(c) for c in children if c["artifactType"] == oci.GOLDEN_TYPE]
    assert len(samples) == 2, "each once"
    layers = [oci.as_list(oci.load(store, it.digest)["layers"]) for it in samples]
    assert [oci.read(layer[0]).title for layer in layers] == ["a-16x16.npz", "a-32x32.npz"]


def test_a_host_gets_a_sample_only_with_its_artifact(store: Layout, tmp_path: Path) -> None:
    made, entries = offered(store)
    versions.publish(store, made)
    there = Folder(f"file://{tmp_path}/there", {})
    copying.publish(store, copying.belonging(1, oci.all_of(store)), there, lambda line: None)
    supplied = supply.opened(f"file://{tmp_path}/there", tmp_path / "to", {})
    assert supplied.version(None, "") == 1
    small, large = (e.golden.sample.digest for e in entries[1:] if e.golden)
    assert not supplied.store.holds(small)
    supplied.bring(blob for _, blob in install.contents(entries[:2]))
    assert supplied.store.holds(small) and not supplied.store.holds(large)


def test_samples_are_placed_once_and_repaired(store: Layout, tmp_path: Path) -> None:
    made, entries = offered(store)
    folder = install.place(made, entries, store, tmp_path)
    assert sorted(p.name[9:] for p in (folder / "golden").iterdir()) == ["a-16x16.npz", "a-32x32.npz"]
    (sample,) = (folder / "golden").glob("*-a-16x16.npz")
    sample.chmod(0o644)
    sample.write_bytes(b"smalL")
    assert install.place(made, entries, store, tmp_path) == folder and sample.read_bytes() == b"small"


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "..", "", "a\0b"])
def test_a_sample_is_never_a_path(store: Layout, tmp_path: Path, name: str) -> None:
    made, (one, *_) = offered(store)
    assert one.golden is not None
    bad = dataclasses.replace(one, golden=Golden(dataclasses.replace(one.golden.sample, name=name)))
    with pytest.raises(DeployError):
        install.place(made, [bad], store, tmp_path / "to")
    assert not list(tmp_path.rglob("*.bin")) and not list((tmp_path / "to").rglob("*x*"))


def test_a_merged_artifact_brings_its_sample(store: Layout, tmp_path: Path) -> None:
    made, entries = offered(store)
    into = Layout(tmp_path / "into")
    merge.artifacts(made, store, {entries[2].cell}, into)
    small, large = (e.golden.sample.digest for e in entries[1:] if e.golden)
    assert into.holds(large) and not into.holds(small)
    versions.publish(into, dataclasses.replace(made, entries=(entries[2],)))
    there = Folder(f"file://{tmp_path}/there", {})
    copying.publish(into, copying.belonging(1, oci.all_of(into)), there, lambda line: None)
    assert there.store.holds(large)
