"""build verify: of a store, of a place outside, and of what was pulled; every problem, not only the first."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, List

import pytest

from builder.errors import Unreachable
from builder.host import verify
from builder.store import attestations, oci, referrers, versions
from builder.store.manifest import Golden
from tests.builder.host.test_threats import republished
from tests.builder.store.test_trust import KEY, Host
from tests.builder.store.test_trust import host as host  # a fixture
from tests.builder.store.test_versions import published


def damage(path: Path, data: bytes = b"x") -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def files(host: Host) -> List[Path]:
    entries = versions.read(host.store, 1).entries
    return [host.store.fetch(blob.digest) for entry in entries if entry.artifact for blob in entry.artifact.files]


@pytest.fixture
def signed(host: Host) -> Host:
    """A host that trusts a key, and a store that is signed with it."""
    host("keys", "trust", "ci", "mine.pub")
    host("sign", "--key", "mine")
    return host


# ------------------------------------------------------------------------------------------- a store, a place


def test_every_problem_of_a_store_is_told(signed: Host) -> None:
    one, two, three = files(signed)
    damage(one)
    damage(two, two.read_bytes()[:-1] + b"?")
    three.unlink()
    assert signed("verify") == 7
    assert signed.err.count("is not what the manifest says") == 3
    for said in ("it has 1 bytes instead of", "it has the digest sha256:", "is missing", "3 problems in 3 files"):
        assert said in signed.err
    assert "signed by ci (0101010101010101)" in signed.out, "what is right is told too"


def test_damage_and_a_missing_signature_are_both_told(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    damage(files(host)[0])
    assert host("verify", "--format", "json") == 7
    (found,) = json.loads(host.out)
    assert [one["exit_code"] for one in found["problems"]] == [10, 7]
    assert found["problems"][0]["hint"] == "where it was built: build sign --version 1 --key FILE"
    assert found["version"] == 1 and found["files"] == 3


def test_a_version_without_enough_signatures_says_how_it_would_get_them(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    assert host("verify") == 10
    assert "build sign --version 1 --key FILE" in host.err
    assert "its maker is not known" not in host.out + host.err, "it is known that nobody trusted signed it"
    host("sign", "--key", "mine")
    assert host("verify", "--signatures", "2") == 10
    assert "only ci (0101010101010101) signed v1; 2 signatures are needed" in host.err


def test_a_manifest_that_does_not_read_is_told_beside_its_signature(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    republished(host.store, b"{}")
    assert host("verify", "--format", "json") == 7
    (found,) = json.loads(host.out)
    assert [one["exit_code"] for one in found["problems"]] == [10, 7]


def test_a_golden_sample_is_read_too_and_each_file_once(host: Host) -> None:
    made = versions.read(host.store, 1)
    sample = host.store.put_bytes("golden.npz", b"a sample")
    entries = tuple(dataclasses.replace(entry, golden=Golden(sample)) for entry in made.entries)
    versions.publish(host.store, dataclasses.replace(made, version=2, entries=entries))
    assert host("verify") == 0, host.err
    assert "is whole: 4 files have their digests" in host.out
    damage(host.store.fetch(sample.digest))
    assert host("verify") == 7
    assert "golden.npz of tiny-dense-fp32-ort is not what the manifest says: it has 1 bytes instead of 8" in host.err


@pytest.mark.parametrize("how", [["there"], ["--store", "there"], ["file://there"]], ids=" ".join)
def test_a_place_outside_is_read_to_the_last_byte(how: List[str], signed: Host) -> None:
    assert signed("publish", "there") == 0
    assert signed("verify", *how) == 0, signed.err
    assert "is whole: 3 files have their digests. signed by ci" in signed.out
    one, two, _ = (Path("there/blobs/sha256") / path.name for path in files(signed))
    damage(one, one.read_bytes() + b"more")
    damage(two, two.read_bytes()[:-1] + b"?")
    assert signed("verify", *how) == 7
    assert signed.err.count("is not what the manifest says") == 2


def test_a_place_outside_that_lacks_a_file_or_sends_without_end(signed: Host) -> None:
    assert signed("publish", "there") == 0
    one, two, _ = (Path("there/blobs/sha256") / path.name for path in files(signed))
    one.unlink()
    damage(two, two.read_bytes() + b"x" * (1 << 20))
    assert signed("verify", "file://there") == 7
    assert "model.onnx of tiny-dense-fp32-ort is not what the manifest says: " in signed.err
    assert " is missing\n" in signed.err
    assert f"it has more than its {len(b'tiny-dense-fp32-ov model.xml')} bytes" in signed.err


def test_a_place_outside_that_does_not_answer_is_a_problem_of_that_file(host: Host) -> None:
    class Silent:
        def stream(self, it: object, start: int = 0) -> Any:
            raise Unreachable("it does not answer")

    entry = versions.read(host.store, 1).entries[0]
    assert entry.artifact is not None
    read: Any = verify.from_place(Silent())  # type: ignore[arg-type]
    assert read(entry.artifact.files[0]) == "it does not answer"


def test_an_oci_object_of_another_artifact_is_found(host: Host) -> None:
    """Its digest is right, and so are those of the files; only they are not each other's."""
    made = versions.read(host.store, 1)
    one, two, *rest = made.entries
    assert one.artifact is not None and two.artifact is not None
    mixed = dataclasses.replace(one, artifact=dataclasses.replace(one.artifact, files=two.artifact.files))
    versions.publish(host.store, dataclasses.replace(made, version=2, entries=(mixed, two, *rest)))
    assert host("verify") == 7
    assert "the OCI object of tiny-dense-fp32-ort names other files than the manifest" in host.err


def test_an_oci_object_that_does_not_read_is_found(signed: Host) -> None:
    """The manifest and its signature are right; what registry tools copy by is not."""
    entries = [entry for entry in versions.read(signed.store, 1).entries if entry.artifact]
    artifact = entries[0].artifact
    assert artifact is not None
    damage(signed.store.fetch(artifact.digest), b"{}")
    assert signed("verify") == 7
    assert "has other content than its name says" in signed.err


# ------------------------------------------------------------------------------------------- what was pulled


def test_a_pulled_folder_is_verified_without_the_store(signed: Host) -> None:
    assert signed.pull("--no-self-test") == 0, signed.err
    shutil.rmtree("artifacts")
    for words in (["--pulled", "here"], ["here"], [str(next(Path("here/dense").glob("v1-*")))]):
        assert signed("verify", *words) == 0, signed.err
        assert "is whole: " in signed.out and "signed by ci (0101010101010101)" in signed.out


def _placed() -> Path:
    return Path("here/dense/current").resolve()


def _weights(folder: Path) -> None:
    damage(next(folder.rglob("model.*")), b"other")


def _less(folder: Path) -> None:
    next(folder.rglob("model.*")).unlink()


def _more(folder: Path) -> None:
    (next(folder.rglob("model.*")).parent / "model.onnx.data").write_bytes(b"slipped in")


def _deeper(folder: Path) -> None:
    beside = next(folder.rglob("model.*")).parent / "beside"
    beside.mkdir()
    (beside / "model.onnx.data").write_bytes(b"slipped in")


def _described(folder: Path) -> None:
    """The digests of deploy.json are made to fit what was changed."""
    told = json.loads((folder / "deploy.json").read_text())
    path = folder / told["entries"][0]["cell"] / told["entries"][0]["artifact"]["files"][0]["name"]
    damage(path, b"other")
    told["entries"][0]["artifact"]["files"][0].update(
        digest=f"sha256:{hashlib.sha256(b'other').hexdigest()}", size=len(b"other")
    )
    (folder / "deploy.json").write_text(json.dumps(told))


def _all_made_to_fit(folder: Path) -> None:
    """The manifest too; only its signature cannot be made."""
    _described(folder)
    told = json.loads((folder / "deploy.json").read_text())
    whole = json.loads((folder / "manifest.json").read_text())
    whole["entries"] = [told["entries"][0] if e["cell"] == told["entries"][0]["cell"] else e for e in whole["entries"]]
    damage(folder / "manifest.json", json.dumps(whole).encode())


def _another_version(folder: Path) -> None:
    told = json.loads((folder / "deploy.json").read_text())
    (folder / "deploy.json").write_text(json.dumps({**told, "version": 7}))


def _unsigned(folder: Path) -> None:
    for path in folder.glob("*.minisig"):
        path.unlink()


def _unsealed(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _nonsense(folder: Path) -> None:
    damage(folder / "manifest.json", b"[" * 100_000)


def _no_description(folder: Path) -> None:
    (folder / "deploy.json").write_text('{"a": 1, "a": 2}')


@pytest.mark.parametrize(
    ("meddle", "code", "said"),
    [
        (_weights, 7, "is not what was placed: it has 5 bytes"),
        (_less, 7, "it is missing"),
        (_more, 7, "model.onnx.data is no file of the version"),
        (_deeper, 7, "beside/model.onnx.data is no file of the version"),
        (_described, 7, "deploy.json says other things of tiny-dense-"),
        (_all_made_to_fit, 10, "has no valid signature"),
        (_another_version, 7, "deploy.json says other things of the version"),
        (_unsigned, 10, "v1 is not signed"),
        (_unsealed, 10, "its signed manifest is not here"),
        (_nonsense, 7, "nested too deeply"),
        (_no_description, 7, "stands twice in one object"),
    ],
)
def test_a_pulled_folder_that_someone_meddled_with(
    meddle: Callable[[Path], None], code: int, said: str, signed: Host
) -> None:
    signed.pull("--no-self-test")
    meddle(_placed())
    found = signed("verify", "--pulled", "here")
    assert (found, said in signed.err) == (code, True), signed.err


def test_an_empty_folder_is_no_file(signed: Host) -> None:
    signed.pull("--no-self-test")
    (next(_placed().rglob("model.*")).parent / "beside").mkdir()
    assert signed("verify", "--pulled", "here") == 0, signed.err


def test_a_pulled_folder_that_nobody_trusted_signed_has_no_unknown_maker(signed: Host) -> None:
    signed.pull("--no-self-test")
    _unsigned(_placed())
    assert signed("verify", "--pulled", "here", "--format", "json") == 10
    assert json.loads(signed.out)[0]["said"] == []
    assert "build sign --version 1 --key FILE" in signed.out


def test_a_folder_of_an_unsigned_version_is_held_against_its_manifest(host: Host) -> None:
    host.pull("--no-self-test")
    assert host("verify", "here") == 0
    assert "its maker is not known" in host.out
    _described(_placed())
    assert host("verify", "here") == 7


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed (Debian: apt install minisign)")
def test_minisign_verifies_what_was_placed(signed: Host) -> None:
    signed.pull("--no-self-test")
    words = ["minisign", "-Vm", "manifest.json", "-x", "manifest.json.1.minisig", "-P", KEY.public.text]
    subprocess.run(words, cwd=str(_placed()), check=True, capture_output=True)


def test_a_later_signature_replaces_what_was_kept(signed: Host) -> None:
    signed("sign", "--key", "other")
    signed.pull("--no-self-test")
    assert len(list(_placed().glob("*.minisig"))) == 2
    index: Any = json.loads(Path("artifacts/index.json").read_bytes())
    index["manifests"] = [item for item in index["manifests"] if "0202" not in item["annotations"][oci.REF]]
    Path("artifacts/index.json").write_text(json.dumps(index))
    signed.pull("--no-self-test")
    assert len(list(_placed().glob("*.minisig"))) == 1


# ------------------------------------------------------------------------------------------- what was attached


def test_an_attached_statement_is_verified(signed: Host) -> None:

    from builder.store.provenance import Provenance

    manifest = versions.read(signed.store, 1)
    payload = attestations.slsa_statement(manifest, versions.manifest_digest(signed.store, 1), Provenance(1, 1))

    def attach(data: bytes) -> int:
        with signed.store.locked():
            referrers.attach_statement(signed.store, 1, "intoto", attestations.ENVELOPE_KIND, "a.json", data)
        return signed("verify")

    assert attach(attestations.sign_envelope(payload, attestations.IN_TOTO, [KEY])) == 0, signed.err
    assert "v1.intoto is about it, signed by ci" in signed.out
    assert attach(attestations.sign_envelope(payload, attestations.IN_TOTO, [])) == 10
    assert attach(attestations.sign_envelope({**payload, "subject": []}, attestations.IN_TOTO, [KEY])) == 7
    assert "its subjects are not what the manifest names" in signed.err
    assert attach(attestations.sign_envelope(payload, "text/plain", [KEY])) == 7
    assert "v1.intoto: it is a text/plain" in signed.err
    assert attach(b"{}") == 7
    published(signed.store, version=2)
    assert signed("verify", "--version", "2") == 10, "that one is not signed"
    assert "v1.intoto" not in signed.err


def test_an_attached_statement_needs_no_signature_where_nobody_is_trusted(host: Host) -> None:

    from builder.store.provenance import Provenance

    about = versions.manifest_digest(host.store, 1)
    payload = attestations.slsa_statement(versions.read(host.store, 1), about, Provenance(1, 1))
    with host.store.locked():
        unsigned = attestations.sign_envelope(payload, attestations.IN_TOTO, [])
        referrers.attach_statement(host.store, 1, "intoto", attestations.ENVELOPE_KIND, "a.json", unsigned)
    assert host("verify", "--format", "json") == 0, host.err
    assert "v1.intoto is about it" in json.loads(host.out)[0]["said"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["here", "--store", "artifacts"], "named twice"),
        (["--pulled", "nowhere"], "nothing has been pulled into nowhere"),
        (["--pulled", ".", "--version", "1"], "holds one version"),
        (["--version", "9"], "there is no version 9"),
        (["nowhere"], "holds no version"),
        (["ftp://x"], "there is no repository 'ftp'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_verified_is_said(words: List[str], said: str, host: Host) -> None:
    assert host("verify", *words) == 2
    assert said in host.err
