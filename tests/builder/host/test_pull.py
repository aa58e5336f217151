"""pull: verified, atomic, and never outside its folder."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
from pathlib import Path
from typing import List, Optional

import pytest

from builder import digest, files
from builder.errors import DeployError, StoreBusy, StoreDamaged, UsageError
from builder.host import install
from builder.platforms.platform import Blob
from builder.store.layout import Layout
from builder.store.manifest import Entry
from tests.fakes import entry, manifest, stored


def offered(store: Layout, *cells: str) -> List[Entry]:
    return [entry(cell, files=(stored(store, "model.bin", cell.encode()),)) for cell in cells]


def listing(folder: Path) -> List[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


CELLS = ("tiny-dense-fp32-ort", "tiny-dense-int8-ov")


def test_what_is_placed(store: Layout, tmp_path: Path) -> None:
    chain = offered(store, *CELLS)
    folder = install.place(manifest(*chain, entry("tiny-dense-fp16-ort")), chain, store, tmp_path / "to")
    assert folder.name.startswith("v1-")
    assert listing(folder) == sorted(["deploy.json", *CELLS, *(f"{cell}/model.bin" for cell in CELLS)])
    assert (folder / CELLS[1] / "model.bin").read_bytes() == CELLS[1].encode()
    assert install.find(tmp_path / "to", None) == install.find(tmp_path / "to", "dense") == folder.resolve()
    assert [e.cell for e in install.described(folder).entries] == list(CELLS), "only what was placed, best first"
    assert os.readlink(str(tmp_path / "to" / "dense" / "current")) == folder.name


def test_a_second_pull_copies_nothing(store: Layout, tmp_path: Path) -> None:
    chain = offered(store, *CELLS)
    folder = install.place(manifest(*chain), chain, store, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for blob in (store.root / "blobs" / "sha256").iterdir():
        blob.unlink()  # not even read
    assert install.place(manifest(*chain), chain, store, tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_switching_versions_and_back(store: Layout, tmp_path: Path) -> None:
    one, two = offered(store, *CELLS)
    first = install.place(manifest(one), [one], store, tmp_path)
    second = install.place(manifest(two, version=2), [two], store, tmp_path)
    assert first != second
    assert install.find(tmp_path, "dense") == second.resolve()
    assert install.place(manifest(one), [one], store, tmp_path) == first
    assert install.find(tmp_path, "dense") == first.resolve()
    assert [p for p in listing(tmp_path) if "partial" in p or ".current" in p] == []


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_blob_leaves_nothing_and_current_as_it_was(store: Layout, tmp_path: Path, damage: str) -> None:
    good, bad = offered(store, *CELLS)
    placed = install.place(manifest(good), [good], store, tmp_path)
    assert bad.artifact is not None
    path = store.fetch(bad.artifact.files[0].digest)
    path.chmod(0o644)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + (b"X" if damage == "flipped" else b""))
    before = listing(tmp_path)
    with pytest.raises(StoreDamaged):
        install.place(manifest(good, bad, version=2), [good, bad], store, tmp_path)
    assert listing(tmp_path) == before
    assert install.find(tmp_path, "dense") == placed.resolve()


def test_a_first_pull_that_fails_leaves_no_current(store: Layout, tmp_path: Path) -> None:
    (bad,) = offered(store, CELLS[0])
    assert bad.artifact is not None
    store.fetch(bad.artifact.files[0].digest).unlink()
    with pytest.raises(StoreDamaged):
        install.place(manifest(bad), [bad], store, tmp_path)
    with pytest.raises(UsageError, match="nothing has been pulled"):
        install.find(tmp_path, None)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "..", ".", "", "a\\b", "a\0b"])
def test_a_file_name_is_never_a_path(store: Layout, tmp_path: Path, name: str) -> None:
    (good,) = offered(store, CELLS[0])
    assert good.artifact is not None
    files = (dataclasses.replace(good.artifact.files[0], name=name),)
    bad = dataclasses.replace(good, artifact=dataclasses.replace(good.artifact, files=files))
    with pytest.raises(DeployError):
        install.place(manifest(bad), [bad], store, tmp_path / "to")
    assert [p for p in listing(tmp_path) if not p.startswith(("store", "to"))] == []
    assert not list((tmp_path / "to").rglob("*x*"))


@pytest.mark.parametrize("field", ["cell", "head"])
@pytest.mark.parametrize("name", ["../../outside", "..", "/tmp/outside-deploymatrix", "a/b"])
def test_a_cell_and_a_head_are_never_paths(store: Layout, tmp_path: Path, field: str, name: str) -> None:
    (good,) = offered(store, CELLS[0])
    bad = dataclasses.replace(good, **{field: name})  # type: ignore[arg-type]
    with pytest.raises(DeployError):
        install.place(manifest(bad), [bad], store, tmp_path / "a" / "to")
    assert not list(tmp_path.rglob("outside*"))
    assert not Path("/tmp/outside-deploymatrix").exists()
    assert not list(tmp_path.rglob("model.bin"))


@pytest.mark.parametrize("victim", ["model.bin", "deploy.json"])
@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_pulling_again_repairs_what_was_placed(store: Layout, tmp_path: Path, victim: str, damage: str) -> None:
    (chosen,) = offered(store, CELLS[0])
    folder = install.place(manifest(chosen), [chosen], store, tmp_path)
    (path,) = folder.rglob(victim)
    path.chmod(0o644)
    path.unlink() if damage == "deleted" else path.write_bytes(path.read_bytes()[:3])
    again = install.place(manifest(chosen), [chosen], store, tmp_path)
    assert install.described(again).entries == (chosen,)
    assert (again / CELLS[0] / "model.bin").read_bytes() == CELLS[0].encode()


def test_what_was_pulled_can_be_written_over_but_the_store_not(store: Layout, tmp_path: Path) -> None:
    (chosen,) = offered(store, CELLS[0])
    folder = install.place(manifest(chosen), [chosen], store, tmp_path)
    copy = folder / CELLS[0] / "model.bin"
    copy.chmod(0o644)
    copy.write_bytes(b"changed on the host")
    assert chosen.artifact is not None
    assert store.read(chosen.artifact.files[0].digest) == CELLS[0].encode(), "a copy, no link"


def test_finding_among_heads(store: Layout, tmp_path: Path) -> None:
    (one,) = offered(store, CELLS[0])
    other = dataclasses.replace(one, head="points")
    install.place(manifest(one), [one], store, tmp_path)
    install.place(manifest(other), [other], store, tmp_path)
    with pytest.raises(UsageError, match="several heads: dense, points"):
        install.find(tmp_path, None)
    assert install.find(tmp_path, "points").parent.name == "points"
    with pytest.raises(UsageError, match="'lines' has not been pulled"):
        install.find(tmp_path, "lines")


@pytest.mark.parametrize("text", [None, "", "{}", "[1]"])
def test_a_description_that_does_not_read_says_what_to_do(tmp_path: Path, text: Optional[str]) -> None:
    if text is not None:
        (tmp_path / "deploy.json").write_text(text)
    with pytest.raises(StoreDamaged) as caught:
        install.described(tmp_path)
    assert "build pull" in str(caught.value)


def test_a_copy_is_compared_with_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with pytest.raises(StoreDamaged, match="the manifest says"):
        files.verified(tmp_path / "a", tmp_path / "b", Blob("b", "sha256:" + "0" * 64, 4).digest, "")


# ------------------------------------------------------------------------------------------- what is unchanged, what goes


def test_unchanged_is_told_without_reading(store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = offered(store, *CELLS)
    assert install.unchanged(manifest(*chain), chain, tmp_path / "to") is None
    assert not (tmp_path / "to").exists(), "asking writes nothing"
    folder = install.place(manifest(*chain), chain, store, tmp_path / "to")
    monkeypatch.setattr(digest, "of_file", lambda path: pytest.fail(f"{path} was read"))
    assert install.unchanged(manifest(*chain), chain, tmp_path / "to") == folder
    assert install.unchanged(manifest(*chain, version=2), chain, tmp_path / "to") is None


@pytest.mark.parametrize("how", ["same size", "same size and time, another file", "touched", "no record", "bad record"])
def test_a_change_is_noticed(store: Layout, tmp_path: Path, how: str) -> None:
    chain = offered(store, CELLS[0])
    folder = install.place(manifest(*chain), chain, store, tmp_path)
    file, record = folder / CELLS[0] / "model.bin", folder.with_name(f".{folder.name}.json")
    before, right = file.stat(), CELLS[0].encode()
    if how == "same size":
        os.utime(str(file), ns=(0, before.st_mtime_ns - 10**9))
        file.write_bytes(b"x" * len(right))
    elif how.startswith("same size and time"):
        file.rename(tmp_path / "aside")
        file.write_bytes(b"x" * len(right))
        os.utime(str(file), ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "touched":
        os.utime(str(file), ns=(0, 0))
    else:
        record.write_text("[1" if how == "bad record" else "[]")
    changed = file.read_bytes() != right
    assert (install.unchanged(manifest(*chain), chain, tmp_path) is None) == changed
    assert install.place(manifest(*chain), chain, store, tmp_path) == folder
    assert file.read_bytes() == right
    assert install.unchanged(manifest(*chain), chain, tmp_path) == folder


def test_a_linked_file_is_the_one_in_the_cache_and_a_copied_one_is_not(store: Layout, tmp_path: Path) -> None:
    (chosen,) = offered(store, CELLS[0])
    assert chosen.artifact is not None
    blob = store.fetch(chosen.artifact.files[0].digest)
    linked = install.place(manifest(chosen), [chosen], store, tmp_path / "a", linked=True)
    copied = install.place(manifest(chosen), [chosen], store, tmp_path / "b")
    assert (linked / CELLS[0] / "model.bin").samefile(blob)
    assert not (copied / CELLS[0] / "model.bin").samefile(blob)


def test_where_nothing_can_be_linked_it_is_copied_and_verified(
    store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, dest: str) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    (chosen,) = offered(store, CELLS[0])
    folder = install.place(manifest(chosen), [chosen], store, tmp_path, linked=True)
    assert (folder / CELLS[0] / "model.bin").read_bytes() == CELLS[0].encode()


def pulled_versions(store: Layout, dest: Path, *numbers: int, keep: int = 2) -> List[str]:
    for number in numbers:
        (chosen,) = offered(store, CELLS[0])
        install.place(manifest(chosen, version=number), [chosen], store, dest, keep=keep)
    return [folder.name.split("-")[0] for folder in install.folders(dest / "dense")]


def test_the_current_version_and_the_one_before_it_stay(store: Layout, tmp_path: Path) -> None:
    assert pulled_versions(store, tmp_path, 1, 2, 3, 4) == ["v4", "v3"]
    assert sorted(os.listdir(str(tmp_path / "dense"))) == sorted(
        [*(f.name for f in install.folders(tmp_path / "dense")), *(f".{f.name}.json" for f in install.folders(tmp_path / "dense")), "current"]
    )  # fmt: skip


def test_going_back_makes_an_old_version_the_last_used(store: Layout, tmp_path: Path) -> None:
    assert pulled_versions(store, tmp_path, 1, 2, 3, keep=3) == ["v3", "v2", "v1"]
    assert pulled_versions(store, tmp_path, 1) == ["v1", "v3"]


def test_keeping_one_keeps_the_current_one(store: Layout, tmp_path: Path) -> None:
    assert pulled_versions(store, tmp_path, 1, 2, 3, keep=1) == ["v3"]


def test_other_things_in_the_folder_are_left_alone(store: Layout, tmp_path: Path) -> None:
    for name in ("v1-notes", "v9-0123456z", "mine", ".hidden"):
        (tmp_path / "dense" / name).mkdir(parents=True)
    pulled_versions(store, tmp_path, 1, 2, 3, keep=1)
    assert {"v1-notes", "v9-0123456z", "mine", ".hidden"} < set(os.listdir(str(tmp_path / "dense")))


def test_what_killed_pulls_left_is_swept(store: Layout, tmp_path: Path) -> None:
    head = tmp_path / "dense"
    for name in (".partial-abc", ".gone-v1-01234567"):
        (head / name).mkdir(parents=True)
    (head / ".current-77").symlink_to("v1-01234567")
    pulled_versions(store, tmp_path, 1)
    assert not [name for name in os.listdir(str(head)) if name.startswith((".partial", ".gone", ".current"))]


def test_a_damaged_folder_is_at_no_moment_missing(
    store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = offered(store, *CELLS)
    folder = install.place(manifest(*chain), chain, store, tmp_path)
    (folder / CELLS[0] / "model.bin").chmod(0o644)
    (folder / CELLS[0] / "model.bin").write_bytes(b"damaged")
    real, seen = os.replace, []

    def watched(source: str, dest: str) -> None:
        seen.append(dest)
        assert (tmp_path / "dense" / "current" / "deploy.json").is_file()
        assert (tmp_path / "dense" / "current" / CELLS[1] / "model.bin").is_file()
        real(source, dest)

    monkeypatch.setattr(os, "replace", watched)
    install.place(manifest(*chain), chain, store, tmp_path)
    assert len(seen) > 3
    assert (folder / CELLS[0] / "model.bin").read_bytes() == CELLS[0].encode()


@pytest.mark.parametrize("again", [False, True], ids=["new", "mended"])
def test_what_is_placed_is_on_disk_and_then_its_name(
    store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """A power cut leaves the whole of it, or nothing under its name."""
    (chosen,) = offered(store, CELLS[0])
    if again:
        folder = install.place(manifest(chosen), [chosen], store, tmp_path)
        (folder / CELLS[0] / "model.bin").unlink()
    events: List[str] = []
    real = os.replace

    def flushed(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        events.append(f"{path.name.partition('-')[0] if path.is_dir() else path.name} is flushed")

    def renamed(source: str, dest: str) -> None:
        events.append(f"{Path(dest).name} is named")
        real(source, dest)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    folder = install.place(manifest(chosen), [chosen], store, tmp_path)
    content = ["model.bin is flushed", "deploy.json is flushed", "tiny is flushed", ".partial is flushed"]
    named = ["model.bin is named", "deploy.json is named"] if again else [f"{folder.name} is named"]
    assert events[: len(content)] == content
    assert [event for event in events[len(content) :] if event in (*named, "dense is flushed")] == [
        *named,
        "dense is flushed",
    ]


def test_two_that_place_at_once_wait_for_each_other(
    store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (chosen,) = offered(store, CELLS[0])
    monkeypatch.setattr(install, "_WAIT", 0.2)
    with install.locked(tmp_path), pytest.raises(StoreBusy, match="another `build pull` places here"):
        install.place(manifest(chosen), [chosen], store, tmp_path)
    monkeypatch.setattr(install, "_WAIT", 30)
    problems: List[BaseException] = []

    def run(number: int) -> None:
        try:
            for version in range(number, number + 5):
                install.place(manifest(chosen, version=version), [chosen], store, tmp_path, keep=20)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(number,)) for number in (1, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(install.folders(tmp_path / "dense")) == 9
