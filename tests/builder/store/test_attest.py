"""Statements about a version, held against the official schemas and libraries, where those are installed."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from builder import cli, digest
from builder.actions.action import Site
from builder.errors import StoreDamaged
from builder.platforms.platform import Pinned, Tool
from builder.store import attestations, provenance, versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest
from builder.store.provenance import Chain, JobLink, Provenance, Revision, StepRecord
from builder.trust import minisign
from builder.trust.keyring import Trusted
from tests.builder.store.test_versions import published
from tests.fakes import LAPTOP, FakeExecutor, Project

KEY, OTHER = (minisign.SecretKey(bytes([n] * 8), bytes([n] * 32)) for n in (1, 2))
MINE, THEIRS = Trusted("mine", KEY.public), Trusted("theirs", OTHER.public)


def _digest(word: str) -> str:
    return digest.of_bytes(word.encode())


STEPS = (
    StepRecord(
        _digest("export"),
        "export",
        inputs=(Pinned("code", _digest("code")), Pinned("weights.safetensors", _digest("weights"))),
        tools=(Tool("torch", "2.13.0+cpu"), Tool("Some_Tool", "1.0")),
        outputs=(Pinned("model.onnx", _digest("onnx")),),
        done=True,
        site=Site("a machine", "Linux 6", "3.11.7"),
    ),
    StepRecord(
        _digest("calibration"),
        "calibration-data",
        inputs=(Pinned("photographs/a.png", _digest("a")),),
        outputs=(Pinned("images.npz", _digest("images")),),
        done=True,
    ),
    StepRecord(
        _digest("engine"),
        "engine",
        inputs=(Pinned("model.onnx", _digest("onnx")), Pinned("images.npz", _digest("images"))),
        outputs=(),
    ),
)
MADE_OF = Provenance(
    1,
    1,
    STEPS,
    (Chain("tiny-dense-fp32-ort", (JobLink("export", STEPS[0].key),)),),
    revision=Revision("0" * 40, "refs/heads/main", True),
)


@pytest.fixture
def made(store: Layout) -> Manifest:
    """A store with a version that has its provenance."""
    versions.publish(store, dataclasses.replace(published(store), version=2), MADE_OF)
    return versions.read(store, 2)


def _statement(store: Layout, made: Manifest) -> Dict[str, Any]:
    found: Any = attestations.slsa_statement(made, versions.manifest_digest(store, 2), MADE_OF)
    return json.loads(json.dumps(found))


# ------------------------------------------------------------------------------------------- in-toto


def test_every_file_of_every_artifact_is_a_subject(store: Layout, made: Manifest) -> None:
    found = _statement(store, made)
    subjects = {one["name"]: f"sha256:{one['digest']['sha256']}" for one in found["subject"]}
    assert subjects.pop("manifest.json") == versions.manifest_digest(store, 2)
    artifacts = [(entry.cell, entry.artifact) for entry in made.entries if entry.artifact]
    wanted = {cell: artifact.digest for cell, artifact in artifacts}
    wanted.update({f"{cell}/{blob.name}": blob.digest for cell, artifact in artifacts for blob in artifact.files})
    assert subjects == wanted
    assert len(wanted) == 5


def test_what_it_was_made_of_is_a_dependency_and_what_steps_made_is_not(store: Layout, made: Manifest) -> None:
    found = _statement(store, made)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert found[0] == {
        "name": "project",
        "uri": "git+file://project@refs/heads/main",
        "digest": {"gitCommit": "0" * 40},
        "annotations": {"changed": True},
    }
    roles = {one["name"]: one["annotations"]["role"] for one in found[1:] if "digest" in one}
    assert roles == {"code": "model", "weights.safetensors": "model", "photographs/a.png": "calibration"}
    assert [one["uri"] for one in found if one.get("uri", "").startswith("pkg:")] == [
        "pkg:pypi/some-tool@1.0",
        "pkg:pypi/torch@2.13.0%2Bcpu",
    ]


def test_actions_are_byproducts_by_their_key_with_their_site(store: Layout, made: Manifest) -> None:
    details = _statement(store, made)["predicate"]["runDetails"]
    assert [one["name"] for one in details["byproducts"]] == [
        "provenance.json",
        "action/export",
        "action/calibration-data",
    ], "an action that waits made nothing"
    assert details["byproducts"][1]["digest"] == {"sha256": STEPS[0].key[7:]}
    assert details["byproducts"][1]["annotations"]["machine"] == "a machine"
    assert details["metadata"]["finishedOn"].endswith("Z")


def test_the_statement_is_one_of_in_toto(store: Layout, made: Manifest) -> None:
    """Read by the types of the specification itself: an unknown field or a wrong type is an error there."""
    from_protobuf = pytest.importorskip("google.protobuf.json_format")
    pb = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    provenance = pytest.importorskip("in_toto_attestation.predicates.provenance.v1.provenance_pb2")
    checked = pytest.importorskip("in_toto_attestation.v1.statement")
    found = _statement(store, made)
    read = from_protobuf.ParseDict(found, pb.Statement())
    checked.Statement.copy_from_pb(read).validate()
    from_protobuf.ParseDict(found["predicate"], provenance.Provenance())
    with pytest.raises(from_protobuf.ParseError):
        from_protobuf.ParseDict({**found, "subjects": []}, pb.Statement())


# ------------------------------------------------------------------------------------------- DSSE


def test_an_envelope_is_opened_by_whoever_knows_the_key() -> None:
    data = attestations.sign_envelope({"a": 1}, attestations.IN_TOTO, [KEY])
    assert attestations.open_envelope(data, [THEIRS, MINE], "x") == ({"a": 1}, attestations.IN_TOTO, (MINE,))
    assert attestations.open_envelope(data, [THEIRS], "x")[2] == ()


@pytest.mark.parametrize("field", ["payload", "payloadType"])
def test_an_envelope_that_was_changed_has_no_signer(field: str) -> None:
    body = json.loads(attestations.sign_envelope({"a": 1}, attestations.IN_TOTO, [KEY]))
    changed = {"payload": "eyJhIjoyfQ==", "payloadType": "application/vnd.in-toto+jso"}[field]
    assert attestations.open_envelope(json.dumps({**body, field: changed}).encode(), [MINE], "x")[2] == ()


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b'{"signatures": 1}', b'{"signatures": [], "payload": "?"}', b"[" * 99_999, b"\xff"],
)
def test_what_is_no_envelope_is_said(text: bytes) -> None:
    with pytest.raises(StoreDamaged, match="no envelope of DSSE"):
        attestations.open_envelope(text, [MINE], "x")


def test_securesystemslib_verifies_the_envelope(store: Layout, made: Manifest) -> None:
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    pytest.importorskip("cryptography")
    found = dsse.Envelope.from_dict(
        json.loads(attestations.sign_envelope(_statement(store, made), attestations.IN_TOTO, [KEY, OTHER]))
    )
    keys = [
        signer.SSlibKey(one.public.name, "ed25519", "ed25519", {"public": one.public.key.hex()}) for one in (KEY, OTHER)
    ]
    assert set(found.verify(keys, threshold=2)) == {KEY.public.name, OTHER.public.name}
    found.payload += b" "
    with pytest.raises(Exception, match="signatures"):
        found.verify(keys, threshold=1)


# ------------------------------------------------------------------------------------------- CycloneDX


def test_the_bill_is_valid_cyclonedx(store: Layout, made: Manifest) -> None:
    schema = pytest.importorskip("cyclonedx.schema")
    validation = pytest.importorskip("cyclonedx.validation.json")
    text = json.dumps(attestations.bill_of_materials(made, versions.manifest_digest(store, 2), MADE_OF))
    strict = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    try:
        assert strict.validate_str(text) is None
        assert strict.validate_str(text.replace('"name"', '"nome"', 1)) is not None, "it does look"
    except validation.MissingOptionalDependencyException:
        pytest.skip("needs cyclonedx-python-lib[json-validation]")


def test_the_bill_names_the_model_its_artifacts_data_and_tools(store: Layout, made: Manifest) -> None:
    found: Any = attestations.bill_of_materials(made, versions.manifest_digest(store, 2), MADE_OF)
    assert found["metadata"]["component"]["type"] == "machine-learning-model"
    kinds: Dict[str, List[str]] = {}
    for one in found["components"]:
        kinds.setdefault(one["type"], []).append(one["name"])
    assert kinds == {
        "machine-learning-model": ["tiny-dense-fp32-ort", "tiny-dense-fp32-ov"],
        "file": ["code", "weights.safetensors"],
        "data": ["photographs/a.png"],
        "library": ["Some_Tool", "torch"],
    }
    metrics = found["components"][0]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert "latency p50 ms" in [one["type"] for one in metrics]
    refs = [found["metadata"]["component"]["bom-ref"], *(one["bom-ref"] for one in found["components"])]
    named = [one for item in found["dependencies"] for one in (item["ref"], *item["dependsOn"])]
    assert set(named) <= set(refs) and len(set(refs)) == len(refs)
    assert (
        found["serialNumber"]
        == attestations.bill_of_materials(made, versions.manifest_digest(store, 2), MADE_OF)["serialNumber"]
    )


# ------------------------------------------------------------------------------------------- the commit


def _git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *words], cwd=str(folder), check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_read_from_the_folder_and_agrees_with_git(tmp_path: Path) -> None:
    git = functools.partial(_git, tmp_path)
    inner = tmp_path / "deep" / "project"
    inner.mkdir(parents=True)
    assert provenance.of(inner) is None
    git("init", "-q")
    assert provenance.of(inner) is None, "no commit yet"
    (inner / "file").write_text("one")
    git("add", "-A")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD").strip()
    assert provenance.of(inner) == Revision(commit, "refs/heads/main", False)
    git("pack-refs", "--all")
    (inner / "file").write_text("two")
    assert provenance.of(inner) == Revision(commit, "refs/heads/main", True)
    git("worktree", "add", "-q", "--detach", "other")
    assert provenance.of(tmp_path / "other") == Revision(commit, "", False)
    git("worktree", "add", "-q", "third", "-b", "branch")
    assert provenance.of(tmp_path / "third") == Revision(commit, "refs/heads/branch", False)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_repository_with_reftables(tmp_path: Path) -> None:
    made = subprocess.run(["git", "init", "-qb", "main", "--ref-format=reftable", str(tmp_path)], capture_output=True)
    if made.returncode:
        pytest.skip("git is older than 2.45")
    _git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    assert provenance.of(tmp_path) == Revision(_git(tmp_path, "rev-parse", "HEAD").strip(), "refs/heads/main", False)


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("0" * 40)
    assert provenance.of(tmp_path) is None, "git says that this is no repository"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.of(tmp_path) is None


# ------------------------------------------------------------------------------------------- the command


class Person:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, *words: str) -> int:
        code = cli.main([words[0], *words[1:]])
        said = self._capsys.readouterr()
        self.out, self.err = said.out, said.err
        return code


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPLOYMATRIX_TRUSTED", str(tmp_path / "trusted"))
    store = Layout(tmp_path / "artifacts")
    versions.publish(store, dataclasses.replace(published(store), version=2), MADE_OF)
    (tmp_path / "mine").write_text(minisign.secret_key_file(KEY, ""))
    (tmp_path / "mine.pub").write_text(KEY.public.file)
    return Person(tmp_path, capsys)


def test_it_is_printed_written_and_attached(person: Person) -> None:
    assert person("attest") == 0
    assert json.loads(person.out)["predicateType"] == "https://slsa.dev/provenance/v1"
    assert person("attest", "v2", "--key", "mine", "--out", "a.json") == 0
    assert attestations.open_envelope(Path("a.json").read_bytes(), [MINE], "")[2] == (MINE,)
    assert person("attest", "--key", "mine", "--attach") == 0
    assert person("attest", "--format", "cyclonedx", "--attach") == 0
    assert person("publish", "there") == 0
    assert "v2.intoto -> there" in person.out and "v2.sbom -> there" in person.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["attest", "v9"], "there is no such version"),
        (["attest", "v1"], "published without its provenance"),
        (["attest", "--attach"], "what is attached is signed"),
        (["attest", "--format", "cyclonedx", "--key", "mine"], "no signature of its own"),
        (["attest", "--out", "nowhere/x"], "there is no such folder"),
        (["attest", "--store", "nowhere"], "holds no version"),
        (["attest", "--key", "mine.pub"], "not a secret key"),
        (["attest", "--out", "x", "--attach"], "not allowed with"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(words: List[str], said: str, person: Person) -> None:
    assert person(*words) == 2
    assert said in person.err


# ------------------------------------------------------------------------------------------- a version as it is built


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_version_that_was_built_knows_its_commit_and_is_attested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(tmp_path / "p")
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)
    monkeypatch.setattr("builder.cli.commands.matrix.Local", FakeExecutor)
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", *words], check=True, capture_output=True)
    assert cli.main(["matrix", "--quiet"]) == 0
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    capsys.readouterr()
    assert cli.main(["attest"]) == 0
    stated = json.loads(capsys.readouterr().out)
    dependencies = stated["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependencies[0]["digest"] == {"gitCommit": commit}
    assert dependencies[0]["annotations"] == {"changed": False}
    assert {one["annotations"].get("role") for one in dependencies[1:]} >= {"model", "parity"}
    assert cli.main(["attest", "--format", "cyclonedx", "--out", "bom.json"]) == 0
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    try:
        assert (
            validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(Path("bom.json").read_text()) is None
        )
    except validation.MissingOptionalDependencyException:
        pytest.skip("needs cyclonedx-python-lib[json-validation]")
