"""build promote, rollback, channels, pin and publish --channel, by the command line on small stores."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

from builder import cli, clock
from builder.store import channels, versions
from builder.store.channels import Channel
from builder.store.layout import Layout
from builder.store.remotes.folder import Folder
from builder.trust import minisign
from tests.builder.store.test_versions import published
from tests.fakes import LAPTOP, entry, manifest

KEY, OTHER = (minisign.SecretKey(bytes([n] * 8), bytes([n] * 32)) for n in (1, 2))
NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.timezone.utc)
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)


class Desk:
    """A person in a folder with a store of three signed versions, two keys, and a clock that stands until it is moved."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.store, self._capsys, self.now = folder, Layout(folder / "artifacts"), capsys, NOON
        monkeypatch.chdir(folder)
        monkeypatch.setenv("DEPLOYMATRIX_TRUSTED", str(folder / "trusted"))
        monkeypatch.delenv("DEPLOYMATRIX_PASSWORD", raising=False)
        monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)
        monkeypatch.setattr(clock, "now", lambda: self.now)
        for name, key in (("mine", KEY), ("other", OTHER)):
            (folder / name).write_text(minisign.secret_key_file(key, ""))
            (folder / f"{name}.pub").write_text(key.public.file)
        for version in (1, 2, 3):
            published(self.store, version)
            assert self("sign", "--key", "mine", "--version", str(version)) == 0

    def __call__(self, *words: str) -> int:
        code = cli.main(list(words))
        said = self._capsys.readouterr()
        self.out, self.err = said.out, said.err
        return code

    def record(self, name: str = "stable", store: str = "artifacts") -> Channel:
        found = channels.offered(Folder(str(self.folder / store), {}), name)
        assert found is not None
        return channels.parsed(found.data, store)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


def test_there_and_back_again(desk: Desk) -> None:
    for version in ("v1", "2", "latest"):
        assert desk("promote", version, "--channel", "stable", "--key", "mine", "--reason", f"to {version}") == 0, (
            desk.err
        )
    assert "stable of tiny: v2 -> v3, serial 3, signed by 0101010101010101, good without end" in desk.out
    assert "from v2 to v3: 2 artifacts stay as they are, 0 are replaced, 0 come and 0 go" in desk.out
    assert desk("rollback", "--channel", "stable", "--key", "mine", "--reason", "too slow") == 0, desk.err
    assert "v3 -> v2, serial 4" in desk.out
    assert desk("rollback", "--channel", "stable", "--key", "mine") == 0
    assert "v2 -> v1, serial 5" in desk.out
    assert desk("rollback", "--channel", "stable", "--key", "mine") == 2
    assert "stable knows of no version before v1" in desk.err
    record = desk.record()
    assert [(move.serial, move.version, move.back) for move in record.moves] == [
        (5, 1, True),
        (4, 2, True),
        (3, 3, False),
        (2, 2, False),
        (1, 1, False),
    ]
    assert record.moves[1].reason == "too slow"
    assert versions.numbers(desk.store) == (1, 2, 3)


def test_rollback_to_a_version(desk: Desk) -> None:
    for version in ("v1", "v2", "v3"):
        desk("promote", version, "--channel", "stable")
    assert desk("rollback", "--channel", "stable", "--to", "v1") == 0, desk.err
    assert desk.record().current.version == 1
    assert desk("rollback", "--channel", "stable", "--to", "v3") == 2
    assert "build promote v3 --channel stable" in desk.err
    assert desk.record().current.serial == 4


def test_what_canary_has_becomes_stable(desk: Desk) -> None:
    desk("promote", "v2", "--channel", "canary", "--key", "mine")
    assert desk("promote", "canary", "--channel", "stable", "--key", "mine") == 0, desk.err
    assert desk.record().current.version == 2
    assert desk.record("canary").current.serial == 1


def test_how_long_a_record_is_good(desk: Desk) -> None:
    desk("promote", "v1", "--channel", "stable", "--expires", "30d")
    assert desk.record().expires == clock.text(NOON + 30 * DAY)
    desk.now += 7 * DAY
    desk("promote", "v1", "--channel", "stable")
    assert desk.record().expires == clock.text(NOON + 37 * DAY), "renewed for as long as before"
    desk("promote", "v2", "--channel", "stable", "--expires", "12h")
    desk("rollback", "--channel", "stable")
    assert desk.record().expires == clock.text(desk.now + 12 * HOUR)
    desk("promote", "v2", "--channel", "stable", "--expires", "never")
    assert desk.record().expires == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["promote", "v9", "--channel", "stable"], 2, "there is no version 9"),
        (["promote", "nothing", "--channel", "stable"], 2, "neither a version nor a channel"),
        (["promote", "../x", "--channel", "stable"], 2, "neither a version nor a channel"),
        (["promote", "v1"], 2, "required: --channel"),
        (["promote", "v1", "--channel", "v7"], 2, "no name for a channel"),
        (["promote", "v1", "--channel", "a.b"], 2, "no name for a channel"),
        (["promote", "v1", "--channel", "stable", "--expires", "soon"], 2, "not a length of time"),
        (["promote", "v1", "--channel", "stable", "--reason", "two\nlines"], 2, "a reason is one line"),
        (["promote", "v1", "--channel", "stable", "--key", "mine.pub"], 2, "not a secret key"),
        (["promote", "v1", "--channel", "stable", "--key", "other"], 10, "v1 has no valid signature by other"),
        (["promote", "v1", "--channel", "stable", "--store", "nowhere"], 2, "holds no version"),
        (["rollback", "--channel", "stable"], 2, "there is no channel stable"),
        (["rollback", "--channel", "stable", "--to", "stable"], 2, "is no version"),
        (["channels", "nowhere"], 2, "holds no version"),
        (["publish", "there", "--channel", "stable"], 2, "there is no channel stable"),
        (["publish", "there", "--channel", "stable", "--version", "1"], 2, "not allowed with"),
        (["pin", "v9"], 2, "there is no version 9"),
        (["pin", "--remove", "v1"], 2, "v1 is not pinned"),
        (["pin", "--remove"], 2, "--remove needs a version"),
        (["pin", "x y"], 2, "is no version"),
        (["pin", "v1", "--store", "nowhere"], 2, "holds no version"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_and_moves_nothing(desk: Desk, words: List[str], code: int, said: str) -> None:
    before = (desk.store.root / "index.json").read_bytes()
    assert desk(*words) == code
    assert said in desk.err
    assert (desk.store.root / "index.json").read_bytes() == before
    assert not (desk.folder / "nowhere").exists()
    assert not (desk.folder / "there").exists()


def test_a_version_that_offers_nothing(desk: Desk) -> None:
    versions.publish(desk.store, manifest(entry(status="waiting", artifact=False), version=4))
    assert desk("promote", "v4", "--channel", "stable") == 3
    assert "no cell of v4 passed" in desk.err
    made = versions.read(desk.store, 1).entries[0].artifact
    assert made is not None
    never = dataclasses.replace(entry(status="unverified"), artifact=made)
    versions.publish(desk.store, manifest(never, version=5))
    assert desk("promote", "v5", "--channel", "stable") == 3
    assert "--unverified" in desk.err
    assert desk("promote", "v5", "--channel", "stable", "--unverified") == 0, desk.err


def test_a_version_that_is_not_whole(desk: Desk) -> None:
    for found in versions.read(desk.store, 1).entries[:1]:
        assert found.artifact is not None
        path = desk.store.fetch(found.artifact.files[0].digest)
        path.chmod(0o644)
        path.unlink()
    assert desk("promote", "v1", "--channel", "stable") == 7
    assert "v1 is not whole: model.onnx is missing" in desk.err
    assert channels.offered(Folder("artifacts", {}), "stable") is None


def test_what_channels_keep_is_not_collected_and_nothing_else_is_kept(desk: Desk) -> None:
    for version in ("v1", "v2", "v3"):
        desk("promote", version, "--channel", "stable", "--key", "mine")
    gone = Folder("artifacts", {}).resolve("v1")
    assert desk("gc", "--keep", "1") == 0, desk.err
    assert versions.numbers(desk.store) == (2, 3)
    assert gone is not None
    assert not desk.store.holds(gone.digest), "flags of earlier moves keep no version"
    assert desk("rollback", "--channel", "stable", "--key", "mine") == 0, desk.err
    assert desk("verify", "--version", "2") == 0


# ------------------------------------------------------------------------------------------- who signs


def test_a_signed_channel_stays_signed(desk: Desk) -> None:
    desk("promote", "v1", "--channel", "stable", "--key", "mine")
    for words in (["promote", "v2"], ["rollback"]):
        assert desk(*words, "--channel", "stable") == 2
        assert "add: --key FILE" in desk.err
    assert desk.record().current.serial == 1


def test_several_keys_sign_one_record(desk: Desk) -> None:
    desk("sign", "--key", "other", "--version", "1")
    assert desk("promote", "v1", "--channel", "stable", "--key", "mine", "--key", "other") == 0, desk.err
    desk("keys", "trust", "ci", "other.pub")
    assert desk("channels") == 0
    assert "ci (0202020202020202)" in desk.out


def test_a_history_that_nobody_trusted_signed_is_not_signed(desk: Desk) -> None:
    """Else whoever can write to the place chooses where the next rollback goes."""
    desk("promote", "v1", "--channel", "stable")
    desk("promote", "v2", "--channel", "stable")
    assert desk("rollback", "--channel", "stable", "--key", "mine") == 10
    assert "where stable stood before is not signed by anyone trusted here" in desk.err
    assert desk("promote", "v3", "--channel", "stable", "--key", "mine") == 0
    assert "its history begins anew" in desk.err
    assert [(move.serial, move.version) for move in desk.record().moves] == [(3, 3)]
    assert desk("rollback", "--channel", "stable", "--key", "mine") == 2
    assert desk("rollback", "--channel", "stable", "--to", "v1", "--key", "mine") == 0


def test_another_channels_word_counts_only_when_it_is_signed(desk: Desk) -> None:
    desk("promote", "v2", "--channel", "canary")
    assert desk("promote", "canary", "--channel", "stable", "--key", "mine") == 10
    assert "the channel canary is not signed" in desk.err


def test_a_rollback_to_what_changed_since(desk: Desk) -> None:
    desk("promote", "v1", "--channel", "stable")
    desk("promote", "v2", "--channel", "stable")
    versions.publish(desk.store, dataclasses.replace(versions.read(desk.store, 1), created="another day"))
    assert desk("rollback", "--channel", "stable") == 7
    assert "v1 is another one than when stable stood there" in desk.err


# ------------------------------------------------------------------------------------------- to hosts


def test_a_channel_is_published_with_its_version(desk: Desk) -> None:
    desk("promote", "v2", "--channel", "stable", "--key", "mine")
    desk("promote", "v3", "--channel", "canary", "--key", "mine")
    assert desk("publish", "there", "--channel", "stable", "--channel", "canary") == 0, desk.err
    assert versions.numbers(Layout(desk.folder / "there")) == (2, 3)
    assert desk.record(store="there") == desk.record()
    assert desk("publish", "there", "--channel", "stable") == 0
    assert "0 files copied" in desk.out
    assert desk("promote", "v3", "--channel", "stable", "--key", "mine") == 0
    assert desk("publish", "there", "--channel", "stable") == 0
    assert desk.record(store="there").current.serial == 2


def test_what_someone_else_moved_is_not_moved_back(desk: Desk) -> None:
    """Two people publish from stores of their own; the second is told, and goes on from where the first left it."""
    desk("promote", "v1", "--channel", "stable")
    desk("publish", "there", "--channel", "stable")
    desk("publish", "there", "--version", "3")
    assert desk("promote", "v3", "--channel", "stable", "--store", "there", "--reason", "urgent") == 0
    for version in ("v2", "v2", "v2"):
        desk("promote", version, "--channel", "stable")
        assert desk("publish", "there", "--channel", "stable") == 2
    assert "stable was moved there by someone else: v3, serial 2" in desk.err
    assert "(urgent)" in desk.err
    assert desk.record(store="there").current.version == 3
    assert desk("publish", "there", "--version", "2") == 0
    assert desk("promote", "v2", "--channel", "stable", "--store", "there") == 0
    assert [move.version for move in desk.record(store="there").moves] == [2, 3, 1]


def test_promoted_at_the_place_itself(desk: Desk) -> None:
    """No store is at hand: what is known is brought from there."""
    desk("publish", "there", "--version", "1")
    desk("publish", "there", "--version", "2")
    address = f"file://{desk.folder}/there"
    assert desk("promote", "v1", "--channel", "stable", "--store", address, "--key", "mine") == 0, desk.err
    assert desk("promote", "v2", "--channel", "stable", "--store", address, "--key", "mine") == 0, desk.err
    assert desk("rollback", "--channel", "stable", "--store", address, "--key", "mine") == 0, desk.err
    assert desk.record(store="there").current.version == 1
    assert f"Next, on a host: build pull {address} --channel stable" in desk.out


def test_the_list_of_channels(desk: Desk) -> None:
    desk("promote", "v1", "--channel", "stable", "--key", "mine", "--expires", "30d")
    desk("promote", "v2", "--channel", "canary")
    desk("promote", "v3", "--channel", "canary", "--expires", "1h", "--reason", "try this")
    desk("rollback", "--channel", "canary", "--reason", "no")
    desk.now += 2 * DAY
    assert desk("channels") == 0
    canary, stable = (line.split("  ") for line in desk.out.splitlines()[1:])
    assert [word.strip() for word in canary if word] == [
        "canary", "v2", "3", "2026-11-21T12:00:00+00:00", "47 hours ago", "nobody", "rolled back: no"
    ]  # fmt: skip
    assert "0101010101010101, not trusted here" in " ".join(stable)
    assert "in 28 days" in " ".join(stable)
    assert desk("channels", "--format", "json") == 0
    said: List[Dict[str, Any]] = json.loads(desk.out)
    assert [(one["channel"], one["version"], one["expired"]) for one in said] == [
        ("canary", 2, True),
        ("stable", 1, False),
    ]


def test_a_channel_that_does_not_read_hides_no_other(desk: Desk) -> None:
    desk("promote", "v1", "--channel", "stable")
    top = channels.put(desk.store, b"{}", (), versions.manifest_object(desk.store, 1))
    Folder("artifacts", {}).tag("canary", top)
    assert desk("channels") == 7
    assert "canary: " in desk.err
    assert "stable" in desk.out
    assert desk("pin") == 7, "and what it keeps is not guessed"


def test_pins(desk: Desk) -> None:
    desk("promote", "v1", "--channel", "stable")
    desk("promote", "v3", "--channel", "stable")
    assert desk("pin", "v2") == 0
    assert desk("pin", "stable") == 0
    assert desk("pin") == 0
    assert desk.out.splitlines() == ["v1  rollback of stable", "v2  pinned", "v3  pinned, channel stable"]
    assert desk("pin", "--remove", "2") == 0
    assert channels.pinned(desk.store) == (3,)
    assert desk("publish", "there", "--version", "3") == 0
    assert channels.pinned(Layout(desk.folder / "there")) == (), "pins are a store's own"
