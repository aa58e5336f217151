"""Trusted keys, signed versions, and what a host takes from a store that someone meddled with."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any, List

import pytest

from builder import cli
from builder.errors import UsageError
from builder.store import oci, referrers, trust, versions
from builder.store.layout import Layout
from builder.trust import minisign
from tests.builder.store.test_versions import published
from tests.fakes import LAPTOP

KEY, OTHER = (minisign.SecretKey(bytes([n] * 8), bytes([n] * 32)) for n in (1, 2))


class Host:
    """A person on a host with a store of two artifacts, and a folder of trusted keys of their own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.store, self._capsys = folder, Layout(folder / "artifacts"), capsys
        monkeypatch.chdir(folder)
        monkeypatch.setenv("DEPLOYMATRIX_TRUSTED", str(folder / "trusted"))
        monkeypatch.delenv("DEPLOYMATRIX_PASSWORD", raising=False)
        monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)
        published(self.store)
        for name, key in (("mine", KEY), ("other", OTHER)):
            (folder / name).write_text(minisign.secret_key_file(key, ""))
            (folder / f"{name}.pub").write_text(key.public.file)

    def __call__(self, *words: str) -> int:
        code = cli.main(list(words))
        said = self._capsys.readouterr()
        self.out, self.err = said.out, said.err
        return code

    def pull(self, *words: str) -> int:
        return self("pull", "--head", "dense", "--unverified", "--to", "here", *words)

    @property
    def placed(self) -> List[str]:
        return sorted(path.name for path in (self.folder / "here").rglob("model*"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, monkeypatch, capsys)


# ------------------------------------------------------------------------------------------- keys


def test_a_key_is_made_trusted_listed_and_forgotten(host: Host) -> None:
    assert host("keys", "new", "fresh", "--no-password") == 0
    assert (host.folder / "fresh").stat().st_mode & 0o777 == 0o600
    assert host("keys", "list") == 0
    assert "no key is trusted here" in host.out
    assert host("keys", "trust", "ci", "fresh.pub") == 0
    assert host("keys", "list") == 0
    assert host.out.startswith("ci  ")
    assert (host.folder / "fresh.pub").read_text().splitlines()[1] in host.out
    assert host("keys", "distrust", "ci") == 0
    assert "whatever a store offers is taken" in host.out


def test_a_key_can_be_given_as_it_is(host: Host) -> None:
    assert host("keys", "trust", "mine", KEY.public.text) == 0
    assert trust.keys(host.folder / "trusted") == (trust.Trusted("mine", KEY.public),)


def test_a_password_protects_a_key(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMATRIX_PASSWORD", "secret")
    assert host("keys", "new", "fresh") == 0
    assert host("sign", "--key", "fresh") == 0
    monkeypatch.setenv("DEPLOYMATRIX_PASSWORD", "guess")
    assert host("sign", "--key", "fresh") == 2
    assert "the password is wrong" in host.err
    monkeypatch.delenv("DEPLOYMATRIX_PASSWORD")
    assert host("sign", "--key", "fresh") == 2
    assert "no terminal to ask on" in host.err


def test_a_password_is_asked_for_on_a_terminal_twice_for_a_new_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DEPLOYMATRIX_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: True))
    asked: List[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or typed.pop(0))
    typed = ["one", "two", "two", "three", "four"]
    assert trust.ask() == "one"
    assert trust.ask(again=True) == "two"
    with pytest.raises(UsageError, match="the two passwords differ"):
        trust.ask(again=True)
    assert asked == ["Password: ", "Password: ", "Again: ", "Password: ", "Again: "]
    monkeypatch.setenv("DEPLOYMATRIX_PASSWORD", "")
    assert trust.ask(again=True) == "", "that there is none is an answer too"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["keys", "new", "mine"], "a key is never overwritten"),
        (["keys", "trust", ".x", "mine.pub"], "is no name for a key"),
        (["keys", "trust", "x", "nonsense"], "this is not a public key"),
        (["keys", "trust", "../x", "mine.pub"], "is no name for a key"),
        (["keys", "trust", "x", "mine"], "this is not a public key"),
        (["keys", "distrust", "nobody"], "no key 'nobody' is trusted here"),
        (["keys"], "required: ACTION"),
        (["sign", "--key", "mine.pub"], "this is not a secret key"),
        (["sign", "--key", "nowhere"], "cannot be read: No such file"),
        (["sign", "--key", "mine", "--version", "9"], "there is no version 9"),
        (["sign", "--key", "mine", "--store", "nowhere"], "holds no version"),
        (["verify", "--store", "nowhere"], "holds no version"),
        (["verify", "--key", "artifacts"], "cannot be read"),
        (["pull", "--key", "RWnonsense"], "this is not a public key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(host: Host, words: List[str], said: str) -> None:
    assert host(*words) == 2
    assert said in host.err
    assert not (host.folder / "nowhere").exists()


def test_a_name_is_not_given_to_another_key(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    assert host("keys", "trust", "ci", "other.pub") == 2
    assert "another key already" in host.err
    assert trust.keys(host.folder / "trusted")[0].key == KEY.public
    assert host("keys", "trust", "ci", "mine.pub") == 0, "the same once more is no other key"


def test_a_damaged_pinned_key_is_no_reason_to_trust_everyone(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    (host.folder / "trusted" / "ci.pub").write_text("")
    assert host.pull() == 2
    assert "ci.pub: this is not a public key" in host.err
    assert not host.placed


# ------------------------------------------------------------------------------------------- signed and not


def test_a_signed_version_is_pulled(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    assert host("sign", "--key", "mine") == 0
    assert host.pull() == 0, host.err
    assert host.placed
    assert host("verify") == 0
    assert "v1 in artifacts/ is whole: 3 files" in host.out
    assert "signed by ci (0101010101010101): deploymatrix tiny v1 of 2026-11-21" in host.out


def test_without_a_trusted_key_nothing_is_asked(host: Host) -> None:
    assert host.pull() == 0
    assert host("verify") == 0
    assert "its maker is not known" in host.out


def test_once_a_key_is_trusted_nothing_unsigned_is_taken(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    assert host.pull() == 10
    assert "v1 is not signed, and this machine takes only what ci (0101010101010101) signed" in host.err
    assert "build sign --version 1" in host.err
    assert not host.placed
    assert host("verify") == 10
    assert host.pull("--allow-unsigned") == 0


def test_another_persons_signature_is_not_enough(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    host("sign", "--key", "other")
    assert host.pull() == 10
    assert "it names the key 0202020202020202" in host.err
    assert not host.placed
    assert host.pull("--key", "other.pub") == 0, "the key that is named is the only one that counts"
    host("sign", "--key", "mine")
    assert host.pull() == 0, "one of several signatures is enough"


def test_a_newer_version_needs_a_signature_of_its_own(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    host("sign", "--key", "mine")
    published(host.store, version=2)
    assert host.pull() == 10
    assert "v2 is not signed" in host.err
    assert host.pull("--version", "1") == 0


# ------------------------------------------------------------------------------------------- meddled with


def _index(store: Layout) -> Any:
    return json.loads((store.root / "index.json").read_bytes())


def _rewrite(store: Layout, index: Any) -> None:
    (store.root / "index.json").write_text(json.dumps(index))


def test_a_manifest_that_was_changed_after_it_was_signed(host: Host) -> None:
    """The signature is moved to a version with another artifact in it: the digests are right, the signature is not."""
    host("keys", "trust", "ci", "mine.pub")
    host("sign", "--key", "mine")
    (text,) = referrers.signatures_of(host.store, 1)
    published(host.store, version=2)
    referrers.attach_signature(host.store, 2, KEY.public.name, text)
    assert host.pull() == 10
    assert "no valid signature" in host.err
    assert not host.placed


def test_an_old_signed_version_under_a_new_number(host: Host) -> None:
    """Its signature is right; what it says of itself is not what it is offered as."""
    host("keys", "trust", "ci", "mine.pub")
    host("sign", "--key", "mine")
    index = _index(host.store)
    for item in index["manifests"]:
        item["annotations"][oci.REF] = item["annotations"][oci.REF].replace("v1", "v9", 1)
    _rewrite(host.store, index)
    assert host.pull() == 7
    assert "what is tagged v9 says that it is v1" in host.err
    assert not host.placed


@pytest.mark.parametrize("damage", [b"", b"{", b'{"layers": []}'], ids=["empty", "cut", "other"])
def test_a_manifest_blob_with_other_content(damage: bytes, host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    host("sign", "--key", "mine")
    path = host.store.fetch(versions.manifest_digest(host.store, 1))
    path.chmod(0o644)
    path.write_bytes(damage)
    assert host.pull() == 7
    assert not host.placed


def test_an_artifact_with_other_content_is_found_by_pull_and_by_verify(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    host("sign", "--key", "mine")
    for entry in versions.read(host.store, 1).entries:
        for blob in entry.artifact.files if entry.artifact else ():
            path = host.store.fetch(blob.digest)
            path.chmod(0o644)
            path.write_bytes(b"x" * blob.size)
    assert host("verify") == 7
    assert "is not what the manifest says" in host.err
    assert host.pull() == 7
    assert not (host.folder / "here" / "dense" / "current").exists()


def test_a_signature_that_does_not_read_takes_nothing_from_the_others(host: Host) -> None:
    host("keys", "trust", "ci", "mine.pub")
    referrers.attach_signature(host.store, 1, "AAAA", "garbage\xff")
    assert host.pull() == 10
    host("sign", "--key", "mine")
    assert host.pull() == 0


def test_signing_twice_keeps_one_signature(host: Host) -> None:
    host("sign", "--key", "mine")
    host("sign", "--key", "mine")
    assert len(referrers.signatures_of(host.store, 1)) == 1
    host("sign", "--key", "other")
    assert len(referrers.signatures_of(host.store, 1)) == 2


def test_a_signature_is_an_oci_object_about_the_manifest(host: Host) -> None:
    host("sign", "--key", "mine")
    entry = _index(host.store)["manifests"][-1]
    assert (entry["mediaType"], entry["artifactType"]) == (oci.MANIFEST, oci.SIGNATURE_TYPE)
    found = json.loads(host.store.read(entry["digest"]))
    about = versions.manifest_object(host.store, 1)
    assert found["subject"] == {key: about[key] for key in ("mediaType", "digest", "size")}
    assert [layer["annotations"]["org.opencontainers.image.title"] for layer in found["layers"]] == [
        referrers.SIGNATURE_FILE
    ]


# ------------------------------------------------------------------------------------------- where keys are kept


def test_the_folder_of_trusted_keys() -> None:
    assert trust.folder({"HOME": "/home/a"}) == Path("/home/a/.config/deploymatrix/trusted")
    assert trust.folder({"HOME": "/home/a", "XDG_CONFIG_HOME": "/x"}) == Path("/x/deploymatrix/trusted")
    assert trust.folder({"DEPLOYMATRIX_TRUSTED": "/t", "HOME": "/home/a"}) == Path("/t")
    assert trust.folder({}) == Path("~/.config/deploymatrix/trusted").expanduser()
    assert trust.folder({"HOME": "/home/a", "XDG_CONFIG_HOME": "~/x"}) == Path("~/x/deploymatrix/trusted").expanduser()


def test_the_folder_of_trusted_keys_is_made_with_all_above_it(tmp_path: Path) -> None:
    assert trust.pin(tmp_path / "a" / "b", "ci", KEY.public) == tmp_path / "a" / "b" / "ci.pub"
    assert trust.keys(tmp_path / "a" / "b") == (trust.Trusted("ci", KEY.public),)


def test_a_huge_file_is_not_read_as_a_key(tmp_path: Path) -> None:
    path = tmp_path / "big.pub"
    path.write_text(f"{'x' * (4095 - len(KEY.public.text))}\n{KEY.public.text}")
    assert path.stat().st_size == 4096
    assert trust.read_key(path) == KEY.public
    path.write_text(f"x{path.read_text()}")
    with pytest.raises(UsageError, match="too large for a key"):
        trust.read_key(path)


def test_a_file_of_bytes_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "image.pub").write_bytes(b"\x89PNG\xff")
    with pytest.raises(UsageError, match=r"image\.pub: cannot be read: not text"):
        trust.read_key(tmp_path / "image.pub")
