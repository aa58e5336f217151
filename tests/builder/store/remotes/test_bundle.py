"""Bundles: the same content as the store, the same bytes every time, and nothing hostile gets through."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Dict, List

import pytest

from builder import cli, digest, plugins
from builder.errors import DeployError, StoreDamaged, UsageError
from builder.plugins import Repository
from builder.store import channels, copying, oci, referrers, supply, versions
from builder.store.layout import Layout
from builder.store.remotes import bundle as bundling
from builder.store.remotes.bundle import Bundle
from builder.store.remotes.folder import Folder
from tests.builder.store.remotes.reading import *  # noqa: F403
from tests.builder.store.remotes.reading import Filled
from tests.builder.store.test_channels import stand
from tests.builder.store.test_copying import KEY, silent
from tests.builder.store.test_versions import published


def bundle(store: Layout, file: Path, *cells: str, version: int = 1) -> Bundle:
    """A bundle of `version`, with only the artifacts of `cells` where any is named."""
    chosen = {
        entry.artifact.digest
        for entry in versions.read(store, version).entries
        if entry.artifact and (not cells or entry.cell in cells)
    }
    bundling.write_bundle(store, copying.belonging(version, oci.all_of(store)), chosen, file)
    return Bundle(str(file), {})


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    def made(store: Layout) -> Repository:
        bundle(store, tmp_path / "bundle.tar")
        return plugins.repository(str(tmp_path / "bundle.tar"), {})

    return made


# ------------------------------------------------------------------------------------------- writing


def test_the_same_version_gives_the_same_bytes(store: Layout, tmp_path: Path) -> None:
    published(store)
    other = Layout(tmp_path / "other")
    published(other, version=2)
    published(other)
    referrers.attach_signature(store, 1, KEY.public.name, "signed")
    referrers.attach_signature(other, 1, KEY.public.name, "signed")
    bundle(store, tmp_path / "one.tar")
    earlier = os.umask(0o077)
    try:
        bundle(other, tmp_path / "two.tar")
    finally:
        os.umask(earlier)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_unpacked_it_is_a_store(store: Layout, tmp_path: Path) -> None:
    """What a person without this program would do: any tar, any program that reads an OCI image layout."""
    made = published(store)
    bundle(store, tmp_path / "bundle.tar")
    with tarfile.open(tmp_path / "bundle.tar", "r:") as tar:
        tar.extractall(tmp_path / "unpacked")
        assert {member.mtime for member in tar} == {0}
    assert versions.read(Layout(tmp_path / "unpacked"), 1).entries == made.entries
    with tarfile.open(tmp_path / "again.tar", "w", format=tarfile.GNU_FORMAT) as tar:  # by hand, with folders and times
        tar.add(tmp_path / "unpacked", arcname=".")
    assert Bundle(str(tmp_path / "again.tar"), {}).tags() == ("v1",)


def test_only_chosen_artifacts(store: Layout, tmp_path: Path) -> None:
    made = published(store)
    whole = bundle(store, tmp_path / "whole.tar")
    supplied = supply.Supply(Layout(tmp_path / "cache"), bundle(store, tmp_path / "some.tar", "tiny-dense-fp32-ov"))
    assert len(members(tmp_path / "some.tar")) < len(members(whole.file))
    assert supplied.version(None, "") == 1
    offered = {entry.cell: entry for entry in supplied.offered(versions.read(supplied.store, 1)).entries}
    assert offered["tiny-dense-fp32-ov"] == made.entry("tiny-dense-fp32-ov")
    left_out = offered["tiny-dense-fp32-ort"]
    assert left_out.artifact is None
    assert "is not in" in left_out.verdict.reason
    assert offered["tiny-dense-fp32-trt"] == made.entry("tiny-dense-fp32-trt")


def test_a_damaged_store_makes_no_bundle(store: Layout, tmp_path: Path) -> None:
    made = published(store)
    blob = next(b for entry in made.entries if entry.artifact for b in entry.artifact.files)
    path = store.fetch(blob.digest)
    path.chmod(0o644)
    bundle(store, tmp_path / "bundle.tar")
    before = (tmp_path / "bundle.tar").read_bytes()
    for content in (b"x" * blob.size, b"", path.read_bytes() + b"more"):
        path.write_bytes(content)
        with pytest.raises(StoreDamaged, match="other content than its name says"):
            bundle(store, tmp_path / "bundle.tar")
        assert (tmp_path / "bundle.tar").read_bytes() == before, "the earlier one is left alone"
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_it_replaces_no_other_file(store: Layout, tmp_path: Path) -> None:
    published(store)
    (tmp_path / "matrix.yaml").write_text("schema: 1\n")
    for name, problem in (("matrix.yaml", "no bundle"), ("", "is a folder"), ("no/such/x.tar", "there is no folder")):
        with pytest.raises(UsageError, match=problem):
            bundle(store, tmp_path / name)
    assert (tmp_path / "matrix.yaml").read_text() == "schema: 1\n"


def test_nothing_is_published_to_it(store: Layout, tmp_path: Path) -> None:
    published(store)
    place = bundle(store, tmp_path / "bundle.tar")
    top = place.resolve("v1")
    assert top is not None
    with pytest.raises(UsageError, match="nothing can be published"):
        place.tag("v2", top)
    with pytest.raises(UsageError, match="nothing can be published"):
        place.put(top, store.fetch(top.digest))


# ------------------------------------------------------------------------------------------- by the command


def built(argv: List[str]) -> int:
    return cli.main(argv)


def test_from_one_machine_to_the_other(
    store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published(store)
    monkeypatch.chdir(tmp_path)
    assert built(["bundle", "b.tar", "--store", str(store.root), "--only", "*-ort", "--head", "dense"]) == 0
    said = capsys.readouterr().out
    assert "v1 of tiny -> b.tar: 1 artifacts, 0 signatures" in said
    assert "is not signed" in said
    assert built(["pull", "b.tar", "--explain"]) in (0, 6)
    assert "tiny-dense-fp32-ov: skipped: it is not in b.tar" in capsys.readouterr().out
    assert built(["publish", "b.tar", "--store", str(store.root)]) == 2


def test_the_channels_that_stand_at_it_come_along(
    store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So a host can follow a channel from stick to stick, and is warned when one is older than what it knows."""
    published(store)
    published(store, version=2)
    stand(store, 1, 2)
    stand(store, 1, name="canary")
    monkeypatch.chdir(tmp_path)
    assert built(["bundle", "b.tar", "--store", str(store.root)]) == 0
    assert "where stable stood" in capsys.readouterr().out
    place = Bundle("b.tar", {})
    assert sorted(place.tags()) == ["stable", "v2"]
    found, mine = channels.offered(place, "stable"), channels.offered(Folder(str(store.root), {}), "stable")
    assert found == mine and found is not None


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["b.tar.gz"], "compressed file"),
        (["b.tar", "--only", "nothing-*"], "selects no cell"),
        (["b.tar", "--only", "*-trt"], "none of these cells has an artifact"),
        (["b.tar", "--head", "nose"], "no head"),
        (["b.tar", "--version", "7"], "no version 7"),
        (["b.tar", "--store", "nowhere"], "holds no version"),
    ],
)
def test_wrong_words(
    argv: List[str],
    problem: str,
    store: Layout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    published(store)
    monkeypatch.chdir(tmp_path)
    assert built(["bundle", *argv, *([] if "--store" in argv else ["--store", "store"])]) == 2
    assert problem in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


# ------------------------------------------------------------------------------------------- hostile bundles


def members(file: Path) -> "Dict[str, bytes]":
    with tarfile.open(file, "r:") as tar:
        found = {}
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            found[member.name] = stream.read()
        return found


def packed(file: Path, content: "Dict[str, bytes]", *more: tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> None:
    """A tar of these files and, before them, of `more` members without content."""
    with tarfile.open(file, "w", format=form) as tar:
        for header in more:
            tar.addfile(header, io.BytesIO(b"\0" * header.size))
        for name, data in content.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def special(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, link, size
    return header


BLOB = "blobs/sha256/" + "0" * 64
HOSTILE: Dict[str, "tuple[tarfile.TarInfo, str]"] = {
    "a symbolic link": (special(BLOB, tarfile.SYMTYPE, "/etc/passwd"), "is a symbolic link"),
    "a link as a folder": (special("blobs", tarfile.SYMTYPE, "/etc"), "is a symbolic link"),
    "a hard link": (special(BLOB, tarfile.LNKTYPE, "index.json"), "is a hard link"),
    "a device": (special(BLOB, tarfile.CHRTYPE), "is a device"),
    "a block device": (special(BLOB, tarfile.BLKTYPE), "is a device"),
    "a pipe": (special(BLOB, tarfile.FIFOTYPE), "is a pipe"),
    "a sparse file": (special(BLOB, tarfile.GNUTYPE_SPARSE), "is a sparse file"),
    "a contiguous file": (special(BLOB, tarfile.CONTTYPE), "something else than a file"),
    "above": (special("../../outside", tarfile.REGTYPE), "no name of an OCI image layout"),
    "above, from within": (special("blobs/sha256/../../../outside", tarfile.REGTYPE), "no name of an OCI image layout"),
    "an absolute name": (special("/tmp/outside", tarfile.REGTYPE), "no name of an OCI image layout"),
    "a folder elsewhere": (special("../outside", tarfile.DIRTYPE), "something else than a file"),
    "a folder's absolute name": (special("/outside", tarfile.DIRTYPE), "something else than a file"),
    "another file": (special(".deploymatrix/results/x.json", tarfile.REGTYPE), "no name of an OCI image layout"),
    "a digest in capitals": (special("blobs/sha256/" + "A" * 64, tarfile.REGTYPE), "no name of an OCI image layout"),
    "a name with a line break": (special("index.json\n", tarfile.REGTYPE), "no name of an OCI image layout"),
    "a long name": (special("blobs/" + "x" * 300, tarfile.REGTYPE), "is a long name"),
    "twice": (special("index.json", tarfile.REGTYPE), "is in it twice"),
    "twice, by another spelling": (special("./index.json", tarfile.REGTYPE), "is in it twice"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_member_that_does_not_belong_there(case: str, store: Layout, tmp_path: Path) -> None:
    published(store)
    bundle(store, tmp_path / "b.tar")
    header, problem = HOSTILE[case]
    packed(tmp_path / "b.tar", members(tmp_path / "b.tar"), header)
    _refused(tmp_path, problem)


def _refused(tmp_path: Path, problem: str, code: int = StoreDamaged.exit_code) -> None:
    """`build pull` ends with `code` and leaves nothing behind, within DEST or outside of it."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DeployError, match=problem) as caught:
        supply.opened(str(tmp_path / "b.tar"), tmp_path / "to", {}).version(None, "")
    assert caught.value.exit_code == code
    assert cli.main(["pull", str(tmp_path / "b.tar"), "--to", str(tmp_path / "to")]) == code
    assert [p for p in sorted(tmp_path.rglob("*")) if p not in before and p.is_file() and p.name != "oci-layout"] == []


def test_an_extended_header(store: Layout, tmp_path: Path) -> None:
    """It could rename the member behind it, or change its size."""
    published(store)
    bundle(store, tmp_path / "b.tar")
    header = special(BLOB, tarfile.REGTYPE)
    header.pax_headers = {"path": "../outside", "size": "9"}
    packed(tmp_path / "b.tar", members(tmp_path / "b.tar"), header, form=tarfile.PAX_FORMAT)
    _refused(tmp_path, "is an extended header")


@pytest.mark.parametrize("said", [1 << 40, 100_000, -1, -(1 << 40)])
def test_a_size_that_lies(said: int, store: Layout, tmp_path: Path) -> None:
    published(store)
    bundle(store, tmp_path / "b.tar")
    data = bytearray((tmp_path / "b.tar").read_bytes())
    header = tarfile.TarInfo.frombuf(bytes(data[1024:1536]), "utf-8", "strict")  # after oci-layout: index.json
    assert header.name == "index.json"
    header.size = said
    data[1024:1536] = header.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "b.tar").write_bytes(data)
    _refused(tmp_path, "which are not there")


def test_a_size_that_swallows_the_next_member(store: Layout, tmp_path: Path) -> None:
    published(store)
    bundle(store, tmp_path / "b.tar")
    data = bytearray((tmp_path / "b.tar").read_bytes())
    header = tarfile.TarInfo.frombuf(bytes(data[1024:1536]), "utf-8", "strict")
    header.size += 512
    data[1024:1536] = header.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "b.tar").write_bytes(data)
    _refused(tmp_path, "not JSON|no header")


def test_it_was_cut(store: Layout, tmp_path: Path) -> None:
    """At every block, and in the middle of some."""
    published(store)
    bundle(store, tmp_path / "whole.tar")
    whole = (tmp_path / "whole.tar").read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        end = [m.offset_data + -(-m.size // 512) * 512 for m in tar][-1]
    for length in [*range(512, end + 1, 512), 700, 1500, end - 1]:
        (tmp_path / "b.tar").write_bytes(whole[:length])
        with pytest.raises(StoreDamaged, match="it was cut"):
            Bundle(str(tmp_path / "b.tar"), {}).tags()


@pytest.mark.parametrize("magic", ["1f8b08", "fd377a585a00", "425a6839", "28b52ffd", "504b0304", "04224d18"])
def test_a_compressed_bundle_is_not_unpacked(magic: str, tmp_path: Path) -> None:
    """A few kilobytes could unpack to a full disk."""
    (tmp_path / "b.tar").write_bytes(bytes.fromhex(magic) + bytes(2000))
    _refused(tmp_path, "is compressed", UsageError.exit_code)


@pytest.mark.parametrize("content", [b"x", b"GIF89a" + bytes(100), b"\n" * 5000, b"a" * 512, bytes(range(256)) * 9])
def test_garbage_is_no_bundle(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(content)
    _refused(tmp_path, "neither a bundle nor a folder", UsageError.exit_code)


@pytest.mark.parametrize("content", [b"", bytes(512), bytes(10240)])
def test_an_empty_tar_is_no_bundle(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(content)
    _refused(tmp_path, "it was cut" if not content else "without index.json")


def test_there_is_no_such_file(tmp_path: Path) -> None:
    _refused(tmp_path, "there is no file", UsageError.exit_code)


def test_flipped_bytes_are_refused_or_change_nothing(store: Layout, tmp_path: Path) -> None:
    """Wherever a byte is another: an error of ours, or the same version as before."""
    made = published(store)
    bundle(store, tmp_path / "whole.tar")
    whole = (tmp_path / "whole.tar").read_bytes()
    files = [blob for entry in made.entries if entry.artifact for blob in entry.artifact.files]
    taken = refused = 0
    for at in range(0, len(whole), 97):
        changed = bytearray(whole)
        changed[at] ^= 0xFF
        (tmp_path / "b.tar").write_bytes(changed)
        cache = Layout(tmp_path / f"cache{at}")
        try:
            supplied = supply.Supply(cache, Bundle(str(tmp_path / "b.tar"), {}))
            supplied.version(1, "")
            assert versions.read(cache, 1).entries == made.entries
            supplied.bring(files)
        except DeployError:
            refused += 1
        else:
            taken += 1
            assert all(cache.fetch(blob.digest).read_bytes() == store.read(blob.digest) for blob in files)
        for path in cache.root.glob("blobs/sha256/*"):
            assert digest.of_file(path) == f"sha256:{path.name}", "whatever was refused, nothing else was kept"
    assert taken > 50 and refused > 100, "the bytes between files say nothing, all others do"


@pytest.mark.parametrize("kind", ["index", "object", "file"])
def test_content_other_than_its_name(kind: str, store: Layout, tmp_path: Path) -> None:
    made = published(store)
    bundle(store, tmp_path / "b.tar")
    content = members(tmp_path / "b.tar")
    artifact = made.entries[0].artifact
    assert artifact is not None
    files = artifact.files
    top = oci.find(store, "v1")
    assert top is not None
    name = {
        "index": str(top["digest"]),
        "object": digest.of_bytes(store.read(versions.manifest_digest(store, 1))),
        "file": files[0].digest,
    }[kind]
    path = f"blobs/sha256/{name[7:]}"
    content[path] = b"x" * len(content[path])
    packed(tmp_path / "b.tar", content)
    supplied = supply.opened(str(tmp_path / "b.tar"), tmp_path / "to", {})

    def pulled() -> None:
        supplied.version(None, "")
        supplied.bring(files)

    with pytest.raises(StoreDamaged, match="other content than its name says"):
        pulled()
    assert not supplied.store.holds(name)


def test_an_unsigned_bundle_where_a_key_is_trusted(store: Layout, tmp_path: Path) -> None:
    """A bundle is believed no more than any other place."""
    published(store)
    bundle(store, tmp_path / "b.tar")
    key = tmp_path / "release.pub"
    key.write_text(KEY.public.file)
    assert cli.main(["pull", str(tmp_path / "b.tar"), "--to", str(tmp_path / "to"), "--key", str(key)]) == 10
    assert not list((tmp_path / "to").glob("*/current"))


# ------------------------------------------------------------------------------------------- from another place


@pytest.mark.parametrize("cells", [[], ["--only", "*-ort"]])
def test_a_bundle_of_what_was_published(
    cells: List[str], store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes, wherever the version is taken from: the store, a place, or another bundle."""
    published(store)
    stand(store, 1)
    there = Folder(str(tmp_path / "there"), {})
    copying.publish(store, (*copying.belonging(1, oci.all_of(store)), "stable"), there, silent)
    monkeypatch.chdir(tmp_path)
    assert built(["bundle", "one.tar", "--store", "store", *cells]) == 0
    assert built(["bundle", "two.tar", "--store", f"file://{tmp_path}/there", *cells]) == 0
    assert built(["bundle", "three.tar", "--store", "two.tar", *cells]) == 0
    assert Path("one.tar").read_bytes() == Path("two.tar").read_bytes() == Path("three.tar").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.tar", "store", "there", "three.tar", "two.tar"]


def test_publishing_from_a_bundle(
    store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind a gap: from the file that was carried there to what hosts of that network pull from."""
    published(store)
    published(store, version=2)
    stand(store, 1)
    referrers.attach_signature(store, 1, KEY.public.name, "signed")
    monkeypatch.chdir(tmp_path)
    assert built(["bundle", "one.tar", "--store", "store", "--version", "1"]) == 0
    assert built(["publish", "there", "--store", "one.tar"]) == 0
    there = Layout(tmp_path / "there")
    assert versions.numbers(there) == (1,)
    assert versions.read(there, 1) == versions.read(store, 1)
    assert referrers.signatures_of(there, 1) == ("signed",)
    assert channels.all_of(Folder("there", {})) == ()
    assert built(["publish", "there", "--store", "one.tar", "--channel", "stable"]) == 0
    assert [one.name for one in channels.all_of(Folder("there", {}))] == ["stable"]
    capsys.readouterr()
    for words, said in (
        (["--store", "one.tar", "--channel", "nose"], "there is no channel nose"),
        (["--store", "one.tar", "--version", "2"], "there is no version 2"),
        (["--store", "some.tar"], "is not there with all its artifacts"),
    ):
        assert built(["bundle", "some.tar", "--store", "store", "--only", "*-ort"]) == 0
        assert built(["publish", "there", *words]) == 2
        assert said in capsys.readouterr().err
    assert versions.numbers(there) == (1,)


def test_a_bundle_of_a_bundle_has_no_more_than_it(
    store: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published(store)
    monkeypatch.chdir(tmp_path)
    assert built(["bundle", "one.tar", "--store", "store", "--only", "*-ort"]) == 0
    assert built(["bundle", "two.tar", "--store", "one.tar"]) == 0
    assert Path("one.tar").read_bytes() == Path("two.tar").read_bytes()
    assert built(["bundle", "three.tar", "--store", "one.tar", "--only", "*-ov"]) == 2
    assert "none of these cells has an artifact" in capsys.readouterr().err
    assert not Path("three.tar").exists()
