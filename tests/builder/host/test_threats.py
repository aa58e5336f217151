"""What docs/security.md says is defended and no other test tries: lying sizes, JSON with two meanings, bombs, heaps of signatures."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import struct
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any, Iterator

import pytest

from builder import digest
from builder.errors import StepFailed, StoreDamaged, Untrusted, UsageError
from builder.plugins import Stream
from builder.records import to_json
from builder.store import copying, oci, referrers, versions
from builder.store.layout import Layout
from builder.store.oci import Descriptor
from builder.store.remotes.folder import Folder
from builder.trust import minisign
from tests.builder.store.test_trust import KEY, Host
from tests.builder.store.test_trust import host as host  # a fixture
from tests.builder.store.test_versions import published

# ------------------------------------------------------------------------------------------- manifests


def republished(store: Layout, data: bytes, version: int = 1) -> None:
    """Let the store offer `data` as the manifest of a version, with every digest made to fit."""
    index = oci.load(store, oci.digest_of(oci.all_of(store)[f"v{version}"]))
    body = store.put_bytes("manifest.json", data)
    made = oci.put_manifest(store, oci.MANIFEST_TYPE, (body,), {})
    first = oci.descriptor(made, oci.MANIFEST, oci.MANIFEST_TYPE)
    children = oci.as_list(index["manifests"])
    top = oci.put_json(store, {**index, "manifests": [first, *children[1:]]})  # type: ignore[list-item]
    oci.put(store, f"v{version}", oci.descriptor(top, oci.INDEX, oci.MANIFEST_TYPE))


def test_entries_that_were_swapped(host: Host) -> None:
    """Each artifact is genuine, and so is its digest; only which cell it belongs to is another."""
    host("keys", "trust", "ci", "mine.pub")
    host("sign", "--key", "mine")
    (text,) = referrers.signatures_of(host.store, 1)
    manifest = versions.read(host.store, 1)
    one, two, *rest = manifest.entries
    swapped = (
        dataclasses.replace(one, artifact=two.artifact),
        dataclasses.replace(two, artifact=one.artifact),
        *rest,
    )
    republished(host.store, json.dumps(to_json(dataclasses.replace(manifest, entries=swapped))).encode())
    referrers.attach_signature(host.store, 1, KEY.public.name, text)
    assert host.pull() == 10
    assert not host.placed


def _doubled(text: str) -> str:
    return text.replace('"version": 1', '"version": 1, "version": 1', 1)


HOSTILE = [
    pytest.param(lambda text: "[" * 200_000, "nested too deeply", id="nesting"),
    pytest.param(lambda text: '{"a":' * 200_000, "nested too deeply", id="nesting-of-objects"),
    pytest.param(_doubled, "stands twice in one object", id="a-name-twice"),
    pytest.param(lambda text: text.replace('"version": 1', '"version": NaN', 1), "NaN is no number", id="nan"),
    pytest.param(lambda text: text.replace('"version": 1', '"version": -Infinity', 1), "no number", id="infinity"),
    pytest.param(lambda text: text.replace('"version": 1', '"version": 1e999', 1), "beyond what a float", id="1e999"),
    pytest.param(
        lambda text: text.replace('"version": 1', f'"version": {"9" * 1_000_000}', 1), "1000000 digits", id="digits"
    ),
    pytest.param(lambda text: text.replace('"version": 1', '"version": true', 1), "whole number", id="another-type"),
    pytest.param(lambda text: "\ufeff" + text, "does not read", id="byte-order-mark"),
    pytest.param(lambda text: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "does not read", id="bytes"),
    pytest.param(lambda text: "null", "expected a mapping", id="null"),
]


@pytest.mark.parametrize(("change", "said"), HOSTILE)
def test_a_manifest_that_is_hostile_json(change: Any, said: str, host: Host) -> None:
    text = json.dumps(to_json(versions.read(host.store, 1)))
    republished(host.store, change(text).encode())
    begun = time.monotonic()
    assert host.pull() == 7
    assert said in host.err and "Traceback" not in host.err
    assert time.monotonic() - begun < 10
    assert not host.placed


@pytest.mark.parametrize("text", ["[" * 200_000, '{"manifests": [], "manifests": []}', '{"manifests": NaN}', "", "\0"])
def test_an_index_that_is_hostile_json(text: str, host: Host) -> None:
    (host.store.root / "index.json").write_text(text)
    assert host.pull() == 7
    assert host("verify") == 7
    assert not host.placed


def test_json_has_one_meaning() -> None:
    assert digest.loads('{"a": [1, 2.5, "x", null, true]}') == {"a": [1, 2.5, "x", None, True]}
    for text in ('{"a": 1, "a": 1}', "NaN", "[1e400]", "1" * 401, "0." + "1" * 500, "[" * 100_000):
        with pytest.raises(ValueError):
            digest.loads(text)


# ------------------------------------------------------------------------------------------- signatures


def test_heaps_of_signatures_and_huge_ones_do_not_keep_a_host_busy(host: Host) -> None:
    """With the id of a trusted key, so that each would have to be verified; and one of many megabytes."""
    host("keys", "trust", "ci", "mine.pub")
    forged = minisign.sign(KEY, b"something else", "").file
    for number in range(300):
        referrers.attach_signature(host.store, 1, f"{number:04}", forged)
    referrers.attach_signature(host.store, 1, "huge", forged + "x" * 30_000_000)
    begun = time.monotonic()
    assert host.pull() == 10
    assert time.monotonic() - begun < 20
    assert not host.placed


# ------------------------------------------------------------------------------------------- sizes


class Boasting(Folder):
    """A place whose objects say that a file is larger than it is; nothing is sent for it."""

    def __init__(self, root: Path, size: int) -> None:
        super().__init__(str(root), {})
        self.size, self.asked = size, []  # type: int, List[Descriptor]

    @contextlib.contextmanager
    def stream(self, it: Descriptor, start: int = 0) -> Iterator[Stream]:
        self.asked.append(it)
        assert it.size < 1 << 30, "nothing of that size is asked for"
        with super().stream(it, start) as stream:
            yield stream


@pytest.mark.parametrize("which", ["manifest.json", "object"])
def test_a_file_that_is_said_to_be_huge_is_not_even_asked_for(which: str, host: Host, tmp_path: Path) -> None:
    """Its size stands in an object that nobody signed: a terabyte would fill the disk before any signature is checked."""
    published(host.store, version=2)
    place = Boasting(host.store.root, 1 << 40)
    about = versions.manifest_object(host.store, 2)
    if which == "object":
        changed = {**about, "size": 1 << 40}
    else:
        body = oci.load(host.store, oci.digest_of(about))
        layers: Any = oci.as_list(body["layers"])
        made = oci.put_json(host.store, {**body, "layers": [{**layers[0], "size": 1 << 40}]})
        changed = {**about, "digest": made.digest, "size": made.size}
    index: Any = oci.load(host.store, oci.digest_of(oci.all_of(host.store)["v2"]))
    top = oci.put_json(host.store, {**index, "manifests": [changed, *index["manifests"][1:]]})
    oci.put(host.store, "v2", oci.descriptor(top, oci.INDEX, oci.MANIFEST_TYPE))
    with pytest.raises(StoreDamaged, match="at most"):
        copying.mirror(place, ("v2",), Layout(tmp_path / "local"))
    assert place.asked


# ------------------------------------------------------------------------------------------- bombs


def _png(height: int, width: int) -> bytes:
    """A valid PNG of one colour, whatever its size: a thousandth of what it decodes to."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _bmp(height: int, width: int) -> bytes:
    return b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, width, height, 1, 24, 0) + bytes(100)


def test_a_photograph_that_decodes_to_gigabytes_is_not_decoded(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    from builder.models import preprocessing

    path = tmp_path / "bomb"
    for bomb in (_png(20_000, 10_001), _bmp(20_000, 10_001)):
        path.write_bytes(bomb)
        assert path.stat().st_size < 1 << 20
        with pytest.raises(UsageError, match=r"has more pixels than are decoded here"):
            preprocessing.read(path)
    path.write_bytes(_png(20, 30))
    assert preprocessing.read(path).shape == (20, 30, 3)


def _npy(shape: str, data: bytes = b"", dtype: str = "<f8") -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


@pytest.mark.parametrize(
    ("member", "packed", "said"),
    [
        (_npy("(5000000,)", bytes(40_000_000)), True, "more memory than it has bytes"),
        (_npy("(10000000000000,)"), False, "more memory than it has bytes"),
        (b"\x93NUMPY", False, "this is no sample"),
        (b"", False, "this is no sample"),
    ],
    ids=["packed", "a-shape-that-lies", "cut", "empty"],
)
def test_a_sample_that_unpacks_to_more_than_it_is(member: bytes, packed: bool, said: str, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    from validation import samples

    path, kind = tmp_path / "golden.npz", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("input/image.npy", member)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(StepFailed, match=said):
        samples.load(path, "x")


class Run:
    """What makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("member", ["input/image.npy", "output/scores.npy", "refusal.npy"])
def test_a_sample_that_holds_objects_runs_nothing(member: str, tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    from validation import samples

    path, attack = tmp_path / "golden.npz", np.empty((), object)
    attack[()] = Run(tmp_path / "was-run")
    np.savez(path, **{member[: -len(".npy")]: attack})
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        samples.load(path, "x")
    assert not (tmp_path / "was-run").exists()
    with np.load(path, allow_pickle=True) as file:
        file[member[: -len(".npy")]]
    assert (tmp_path / "was-run").exists(), "it would have been run"


def test_a_sample_as_it_is_saved_is_loaded(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    from validation import samples

    made = samples.Sample("x", {"image": np.ones((1, 1, 4, 4), np.float32)}, {}, "refused")
    samples.save(tmp_path / "x.npz", made)
    assert samples.load(tmp_path / "x.npz", "x").refusal == "refused"
    (tmp_path / "x.npz").write_bytes(io.BytesIO(b"PK\x03\x04" + bytes(99)).getvalue())
    with pytest.raises(StepFailed, match="this is no sample"):
        samples.load(tmp_path / "x.npz", "x")


# ------------------------------------------------------------------------------------------- another way in


def test_a_store_that_is_opened_from_python_is_asked_for_its_signature_too(host: Host) -> None:
    """`builder.host.open("artifacts")` and `build run --from artifacts` place nothing, and run what they find."""
    pytest.importorskip("numpy")
    from builder.host import deployment as runtime

    host("keys", "trust", "ci", "mine.pub")
    with pytest.raises(Untrusted, match="v1 is not signed"):
        runtime.open("artifacts", head="dense")
    host("sign", "--key", "mine")
    assert runtime.open("artifacts", head="dense") is not None
