"""build pull --channel on hosts: what is followed, and what someone who can write to the place, but has no key, achieves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from builder.host import install, rollback
from builder.store import channels, versions
from builder.store.layout import Layout
from builder.store.remotes.folder import Folder
from tests.builder.store.test_promotion import DAY, HOUR, Desk
from tests.builder.store.test_versions import published

KEYED = ("--key", "mine")


class Host(Desk):
    """A desk, and a host beside it that trusts its key and pulls from the folder `there`."""

    def pull(self, *words: str) -> int:
        return self("pull", "there", "--head", "dense", "--unverified", "--to", "here", "--no-self-test", *words)

    def follow(self, name: str = "stable", *words: str) -> int:
        return self.pull("--channel", name, *words)

    def promote(self, word: str, name: str = "stable", *words: str) -> None:
        assert self("promote", word, "--channel", name, *KEYED, *words) == 0, self.err
        assert self("publish", "there", "--channel", name) == 0, self.err

    def rollback(self, *words: str) -> None:
        assert self("rollback", "--channel", "stable", *KEYED, *words) == 0, self.err
        assert self("publish", "there", "--channel", "stable") == 0, self.err

    @property
    def placed(self) -> int:
        """The version that a program on the host opens; 0 for none."""
        if not (self.folder / "here" / "dense" / "current").exists():
            return 0
        return install.described(install.find(self.folder / "here", "dense")).version

    @property
    def there(self) -> Folder:
        return Folder(str(self.folder / "there"), {})

    def keep(self, name: str) -> None:
        """A copy of the place as it is now."""
        shutil.copytree(self.folder / "there", self.folder / name)

    def show(self, name: str) -> None:
        """Let the place be as it was when that copy was made."""
        shutil.rmtree(self.folder / "there")
        shutil.copytree(self.folder / name, self.folder / "there")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Host:
    made = Host(tmp_path, monkeypatch, capsys)
    assert made("keys", "trust", "ci", "mine.pub") == 0
    return made


@pytest.fixture
def address(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same from an address, from which a host brings only what it needs."""
    run = Desk.__call__

    def by_address(self: Desk, *words: str) -> int:
        return run(self, *(f"file://{self.folder}/there" if word == "there" else word for word in words))

    monkeypatch.setattr(Desk, "__call__", by_address)


def test_a_host_follows_a_channel(host: Host) -> None:
    host.promote("v1")
    host.promote("v3", "canary")
    assert host.follow() == 0, host.err
    assert host.placed == 1, "not the newest"
    assert "stable stands at v1 since 2026-11-21T12:00:00+00:00, serial 1, good without end" in host.out
    host.promote("v2")
    assert host.follow() == 0
    assert host.placed == 2
    host.rollback("--reason", "loses keypoints at night")
    assert host.follow() == 0
    assert "note: stable went back from v2 to v1: loses keypoints at night" in host.err
    assert host.placed == 1
    assert host.follow() == 0
    assert "went back" not in host.err, "said once"
    assert host.follow("canary") == 0
    assert host.placed == 3


@pytest.mark.usefixtures("address")
def test_from_an_address(host: Host) -> None:
    host.promote("v2", "stable", "--expires", "1h")
    host.promote("v3", "canary")
    assert host.follow() == 0, host.err
    assert host.placed == 2
    host.keep("old")
    host.promote("v3")
    assert host.follow() == 0
    host.show("old")
    assert host.follow() == 10
    assert "an old record is shown again" in host.err
    host.now += 2 * HOUR
    assert host.follow() == 10
    assert "expired" in host.err
    assert host.placed == 3


def test_what_is_asked_for_is_said_when_it_is_not_there(host: Host) -> None:
    host.promote("v1")
    for words, said in (
        (["--channel", "beta"], "channels: stable"),
        (["--channel", "v1"], "no name for a channel"),
        (["--channel", "stable", "--version", "1"], "not allowed with"),
    ):
        assert host.pull(*words) == 2
        assert said in host.err
    assert host.placed == 0


# ------------------------------------------------------------------------------------------- two at once


def test_a_slower_pull_does_not_bring_back_what_is_older(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one pulls what is newer as soon as the folder is not locked."""
    assert host("publish", "there", "--version", "1") == 0, host.err
    locked = install.locked

    @contextlib.contextmanager
    def overtaken(dest: Path) -> Iterator[None]:
        with locked(dest):
            yield
        monkeypatch.setattr(install, "locked", locked)
        assert host("publish", "there", "--version", "3") == 0
        assert host.pull() == 0

    monkeypatch.setattr(install, "locked", overtaken)
    host.pull()
    assert host.placed == 3


def test_a_pull_that_finds_all_in_place_does_not_bring_it_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host("publish", "there", "--version", "1") == 0, host.err
    assert host.pull() == 0 and host.placed == 1
    news = rollback.news

    def overtaken(*offered: Any, **allowed: bool) -> Any:
        found = news(*offered, **allowed)
        monkeypatch.setattr(rollback, "news", news)
        assert host("publish", "there", "--version", "3") == 0
        assert host.pull() == 0
        return found

    monkeypatch.setattr(rollback, "news", overtaken)
    assert host.pull() == 0
    assert host.placed == 3


# ------------------------------------------------------------------------------------------- signatures


def test_a_record_that_nobody_trusted_signed(host: Host) -> None:
    assert host("promote", "v1", "--channel", "stable") == 0
    assert host("publish", "there", "--channel", "stable") == 0
    assert host.follow() == 10
    assert "the channel stable is not signed" in host.err
    assert host.placed == 0
    assert host.follow("stable", "--allow-unsigned") == 0
    assert host("keys", "distrust", "ci") == 0
    assert host.follow() == 0, "without a trusted key nothing is asked"


def test_a_record_that_was_changed(host: Host) -> None:
    """The record of v1 with the signature of the record of v2."""
    host.promote("v2")
    found = channels.offered(host.there, "stable")
    assert found is not None
    record = channels.parsed(found.data, "there")
    move = dataclasses.replace(record.current, version=1, serial=9, manifest=versions.manifest_digest(host.store, 1))
    _show(host, channels.written(dataclasses.replace(record, moves=(move,))), found.signatures)
    assert host.follow() == 10
    assert "has no valid signature by ci" in host.err
    assert host.placed == 0


def _show(host: Host, data: bytes, signatures: "tuple[str, ...]", name: str = "stable") -> None:
    about = versions.manifest_object(host.store, 1)
    top = channels.put(host.there.store, data, [(f"K{n}", text) for n, text in enumerate(signatures)], about)
    host.there.tag(name, top)


def test_the_version_needs_a_signature_too(host: Host) -> None:
    versions.publish(host.store, dataclasses.replace(versions.read(host.store, 3), version=4))
    host("keys", "distrust", "ci")
    assert host("promote", "v4", "--channel", "stable") == 0
    host("publish", "there", "--channel", "stable")
    host("keys", "trust", "ci", "mine.pub")
    found = channels.offered(host.there, "stable")
    assert found is not None
    assert host.follow() == 10
    assert host.placed == 0


def test_another_version_under_the_number_where_the_channel_stands(host: Host) -> None:
    """Even one that is signed: the record names it by its digest."""
    host.promote("v1")
    other = Layout(host.folder / "other-store")
    shutil.copytree(host.store.root, other.root)
    versions.publish(other, dataclasses.replace(versions.read(other, 1), created="another day"))
    assert host("sign", "--key", "mine", "--version", "1", "--store", "other-store") == 0
    shutil.rmtree(host.folder / "there")
    other.root.rename(host.folder / "there")
    assert host.follow() == 10
    assert "v1 there is not the one where stable stands" in host.err
    assert host.placed == 0


# ------------------------------------------------------------------------------------------- rollback, freeze, two faces


def test_an_old_record_that_is_shown_again(host: Host) -> None:
    host.promote("v1")
    host.keep("old")
    host.promote("v2")
    assert host.follow() == 0
    host.show("old")
    assert host.follow() == 10
    assert "stable has the serial 1 there, and this host has seen 2 (v2): an old record is shown again" in host.err
    assert host.placed == 2
    assert host.follow("stable", "--allow-rollback") == 0
    assert host.placed == 1
    (leave,) = rollback.read(host.folder / "here").allowed
    assert "an old record is shown again" in leave.refused


def test_a_record_that_has_expired(host: Host) -> None:
    """Someone shows for ever what was true once."""
    host.promote("v1", "stable", "--expires", "30d")
    host.now += 30 * DAY
    assert host.follow() == 0
    host.now += DAY
    assert host.follow() == 10
    assert "the channel stable (v1, serial 1) expired 24 hours ago" in host.err
    assert "build promote v1 --channel stable --key FILE" in host.err
    assert host.placed == 1
    assert host.follow("stable", "--allow-rollback") == 10, "that is another matter"
    host.promote("stable")
    assert host.follow() == 0, "renewed"
    assert "serial 2, good until" in host.out


def test_a_clock_that_was_set_back_brings_nothing_to_life(host: Host) -> None:
    host.promote("v1", "stable", "--expires", "1h")
    host.keep("old")
    host.now += 2 * HOUR
    host.promote("v2", "canary")
    assert host.follow("canary") == 0
    host.now -= 2 * HOUR
    assert host.follow() == 10
    assert "expired" in host.err


def test_two_records_with_one_serial(host: Host) -> None:
    """A key is used by two who do not know of each other, or shows different hosts different things."""
    shutil.copytree(host.store.root, host.folder / "twin")
    host.promote("v1")
    assert host.follow() == 0
    shutil.rmtree(host.folder / "there")
    assert host("promote", "v2", "--channel", "stable", *KEYED, "--store", "twin") == 0
    assert host("publish", "there", "--channel", "stable", "--store", "twin") == 0
    assert host.follow() == 10
    assert "there are two records of stable with the serial 1" in host.err
    assert host.placed == 1


def test_the_record_of_another_channel(host: Host) -> None:
    host.promote("v1")
    host.promote("v3", "canary")
    canary = host.there.resolve("canary")
    assert canary is not None
    host.there.tag("stable", canary)
    assert host.follow() == 10
    assert "what is shown as the channel stable is a record of the channel canary" in host.err
    assert host.placed == 0


def _of_another_model(host: Host) -> None:
    """`there` becomes the place of another model, signed by the same key, with a channel of the same name."""
    second = Layout(host.folder / "second")
    made = published(second)
    versions.publish(second, dataclasses.replace(made, model=dataclasses.replace(made.model, name="other")))
    assert host("sign", "--key", "mine", "--store", "second") == 0
    for _ in range(5):
        assert host("promote", "v1", "--channel", "stable", *KEYED, "--store", "second") == 0, host.err
    shutil.rmtree(host.folder / "there", ignore_errors=True)
    assert host("publish", "there", "--channel", "stable", "--store", "second") == 0, host.err


def test_a_channel_of_another_model(host: Host) -> None:
    host.promote("v1")
    assert host.follow() == 0
    _of_another_model(host)
    for words in (["--channel", "stable"], []):
        assert host.pull(*words) == 10
        assert "the head dense here is of the model tiny, and what is offered is of other" in host.err
    assert host.placed == 1


def test_a_record_of_another_model_beside_the_versions_of_this_one(host: Host) -> None:
    host.promote("v1")
    host.keep("ours")
    _of_another_model(host)
    found = channels.offered(host.there, "stable")
    assert found is not None
    host.show("ours")
    _show(host, found.data, found.signatures)
    assert host.follow() == 10
    assert "v1 there is not the one where stable stands" in host.err
    assert host.placed == 0


def test_a_channel_that_is_hidden(host: Host) -> None:
    host("publish", "there", "--version", "3")
    host.keep("without")
    host.promote("v1")
    assert host.follow() == 0
    host.show("without")
    assert host.follow() == 10
    assert "there is no channel stable, and this host has followed it to the serial 1 (v1)" in host.err


# ------------------------------------------------------------------------------------------- versions without a channel


def test_newer_versions_that_are_hidden(host: Host) -> None:
    host("publish", "there", "--version", "1")
    host.keep("old")
    host("publish", "there", "--version", "3")
    assert host.pull() == 0
    host.show("old")
    assert host.pull() == 10
    assert "the newest version there is v1, and this host has had v3: newer ones are hidden or gone" in host.err
    assert host.pull("--version", "1") == 10
    assert "v1 is older than v3, which this host has had" in host.err
    assert "add --allow-rollback" in host.err
    assert host.placed == 3
    assert host.pull("--version", "1", "--allow-rollback") == 0
    assert host.placed == 1
    assert host.pull("--version", "1") == 0, "allowed once, it stays"
    assert len(rollback.read(host.folder / "here").allowed) == 1


def test_a_version_that_changed(host: Host) -> None:
    host("publish", "there", "--version", "1")
    assert host.pull() == 0
    versions.publish(host.store, dataclasses.replace(versions.read(host.store, 1), created="another day"))
    host("sign", "--key", "mine", "--version", "1")
    shutil.rmtree(host.folder / "there")
    host("publish", "there", "--version", "1")
    assert host.pull() == 10
    assert "v1 there is another one than the v1 that this host has had" in host.err


def test_a_memory_that_is_damaged_is_not_begun_anew(host: Host) -> None:
    host.promote("v1")
    assert host.follow() == 0
    path = host.folder / "here" / rollback.FILE
    path.write_text(path.read_text()[:-20])
    for words in (["--channel", "stable"], ["--allow-rollback"], ["--explain"]):
        assert host.pull(*words) == 7
        assert "what this host has had does not read" in host.err
    assert host.placed == 1


def test_explain_remembers_nothing_and_refuses_the_same(host: Host) -> None:
    host.promote("v1")
    host.keep("old")
    assert host.follow("stable", "--explain") == 0
    assert not (host.folder / "here" / rollback.FILE).exists()
    host.promote("v2")
    host.follow()
    host.show("old")
    assert host.follow("stable", "--explain") == 10


def test_what_was_remembered(host: Host) -> None:
    host.promote("v1")
    host.follow()
    host("publish", "there", "--version", "3")
    host.pull()
    said: Any = json.loads((host.folder / "here" / rollback.FILE).read_text())
    models: List[str] = list(said["models"])
    assert (models, said["models"]["tiny"]["version"]) == (["tiny"], 3)
    assert (said["channels"]["stable"]["serial"], said["channels"]["stable"]["version"]) == (1, 1)
    assert said["heads"] == {"dense": "tiny"}
    assert said["latest"] == "2026-11-21T12:00:00+00:00"
