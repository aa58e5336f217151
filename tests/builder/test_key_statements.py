"""Keys over time: roots name keys, revoke them and hand over to other roots; what a host remembers, and what a thief can do."""

from __future__ import annotations

import dataclasses
import json
import string
from pathlib import Path
from random import Random
from typing import Any, List

import pytest

from builder import cli
from builder.errors import StoreDamaged
from builder.store import trust
from builder.store.layout import Layout
from builder.trust import key_statements, minisign
from builder.trust.key_statements import History, Signed, Statement
from tests.builder.stores.test_versions import published
from tests.fakes import LAPTOP
from tests.unprivileged import unprivileged

NAMES = ("root", "second", "ci", "ci2", "thief")
SECRETS = {name: minisign.SecretKey(bytes([n] * 8), bytes([n] * 32)) for n, name in enumerate(NAMES, 1)}


class People:
    """Where versions are built (`artifacts`), a place that hosts pull from (`there`) and a host that has pinned `root`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.store, self._capsys = folder, Layout(folder / "artifacts"), capsys
        monkeypatch.chdir(folder)
        monkeypatch.setenv("DEPLOYMATRIX_TRUSTED", str(folder / "trusted"))
        monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)
        published(self.store)
        for name, secret in SECRETS.items():
            (folder / name).write_text(minisign.secret_key_file(secret, ""))
            (folder / f"{name}.pub").write_text(secret.public.file)
        assert self("keys", "trust", "root", "root.pub") == 0

    def __call__(self, *words: str) -> int:
        code = cli.main(list(words))
        said = self._capsys.readouterr()
        self.out, self.err = said.out, said.err
        return code

    def done(self, *words: str) -> str:
        assert self(*words) == 0, self.err
        return self.out + self.err

    def pull(self, *words: str, source: str = "artifacts") -> int:
        return self("pull", source, "--head", "dense", "--unverified", "--to", "here", *words)

    def signed_by(self, *names: str) -> None:
        """The version with the signatures of these, and no others."""
        index = json.loads((self.store.root / "index.json").read_bytes())
        index["manifests"] = [
            item for item in index["manifests"] if not next(iter(item["annotations"].values())).endswith(".minisig")
        ]
        (self.store.root / "index.json").write_text(json.dumps(index))
        for name in names:
            self.done("sign", "--key", name)

    @property
    def history(self) -> History:
        data = trust.of(self.store)
        assert data is not None
        return key_statements.history(data, "")

    def offer(self, *signed: Signed) -> None:
        """Let the store offer these statements, whoever made them."""
        with self.store.locked():
            trust.put(self.store, History(1, signed).text)


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> People:
    return People(tmp_path, monkeypatch, capsys)


def made(like: Statement, *by: str, **changes: Any) -> Signed:
    """A statement that someone puts together by hand, signed by `by`."""
    return signed(key_statements.new(dataclasses.replace(like, **changes)), *by)


def signed(it: Signed, *by: str) -> Signed:
    texts = tuple(minisign.sign(SECRETS[name], it.statement.encode(), "").file for name in by)
    return dataclasses.replace(it, signatures=texts)


def owner(name: str) -> key_statements.Owner:
    return key_statements.Owner(name, SECRETS[name].public.text)


# ------------------------------------------------------------------------------------------- delegating


def test_a_key_that_a_root_names_signs_versions(people: People) -> None:
    people.signed_by("ci")
    assert people.pull() == 10
    assert "statement 1 of 0101010101010101, until 2" in people.done(
        "keys", "delegate", "ci=ci.pub", "--root", "root", "--expires", "90d"
    )
    assert people.pull() == 0, people.err
    assert "note: key statement 1 of 0101010101010101 is accepted" in people.err
    assert people.pull() == 0
    assert people.err == "", "it is said once"
    listed = people.done("keys", "list").splitlines()
    assert listed[0].startswith("root  0101010101010101  RW") and listed[0].endswith("pinned by hand")
    assert listed[1].startswith("ci  0303030303030303  RW")
    assert "named in statement 1 of 0101010101010101 until 2" in listed[1]
    assert "signed by ci (0303030303030303)" in people.done("verify")


def test_what_was_learned_counts_without_the_statement(people: People) -> None:
    """From a place that has none, and with the versions that are signed by the named key alone."""
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "update")
    people.signed_by("ci")
    people.done("publish", "there")
    index = json.loads(Path("there/index.json").read_bytes())
    index["manifests"] = [item for item in index["manifests"] if "keys" not in item["annotations"].values()]
    Path("there/index.json").write_text(json.dumps(index))
    assert people.pull(source="there") == 0, people.err


def test_publish_carries_the_statement_and_does_not_take_a_newer_one_back(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    first = people.history
    people.done("publish", "there")
    assert "key statement 1 of 0101010101010101 is accepted" in people.done("keys", "update", "there")
    assert "says nothing new of keys" in people.done("keys", "update", "there")
    people.done("keys", "revoke", "ci", "--root", "root")
    people.done("publish", "there")
    people.offer(*first.statements)
    assert "is not older, and stays" in people.done("publish", "there")
    assert "statement 2 of 0101010101010101 is accepted" in people.done("keys", "update", "there")


def test_a_named_key_says_nothing_of_keys(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "update")
    before = people.history.statements[-1].read
    assert people("keys", "delegate", "thief=thief.pub", "--root", "ci") == 10
    people.offer(made(before, "ci", serial=2, keys=(owner("ci"), owner("thief"))))
    people.signed_by("thief")
    assert people.pull() == 10
    assert "statement 2 is not accepted: 0 of the roots before it signed it, 1 must" in people.err


def test_a_statement_by_a_stranger_is_passed_over(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "thief")
    people.signed_by("ci")
    assert people.pull() == 10
    assert "none of its roots was pinned by hand here" in people.err
    people.signed_by("root")
    assert people.pull() == 0, "and takes nothing from what counts"


def test_the_owner_does_not_sign_what_a_stranger_slipped_in(people: People) -> None:
    """The next statement carries the keys of the last one on, so that must be the owner's."""
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    last = people.history.statements[-1]
    people.offer(last, made(last.read, "thief", serial=2, keys=(owner("ci"), owner("thief"))))
    assert people("keys", "renew", "--root", "root") == 10
    assert "statement 2 in the store is not in force" in people.err


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"schema": 1, "statements": []}', b"\xff" * 100, b"[" * 100_000])
def test_a_statement_that_does_not_read_is_as_none(text: bytes, people: People) -> None:
    with people.store.locked():
        trust.put(people.store, text)
    people.signed_by("root")
    assert people.pull() == 0
    assert "is passed over: the key statement does not read" in people.err


def test_a_huge_statement_is_not_read(people: People) -> None:
    with people.store.locked():
        trust.put(people.store, b" " * (key_statements.MOST_BYTES + 1))
    people.signed_by("root")
    assert people.pull() == 0
    assert "passed over" in people.err and "1,048,576" in people.err


def test_a_history_may_be_as_large_as_the_limit_and_no_larger(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    data = people.history.text.ljust(key_statements.MOST_BYTES)
    assert len(data) == 1_048_576
    assert key_statements.history(data, "") == people.history
    with pytest.raises(StoreDamaged, match="1,048,577 bytes; at most 1,048,576 are taken"):
        key_statements.history(data + b" ", "")
    path = Path("trusted/0101010101010101.keys.json")
    path.write_bytes(data)
    assert people("keys", "list") == 0, people.err
    path.write_bytes(data + b" ")
    assert people("keys", "list") == 2
    assert "too large" in people.err


# ------------------------------------------------------------------------------------------- revoking, expiring


def test_a_revoked_key_counts_no_more_even_where_it_is_pinned(people: People) -> None:
    people.done("keys", "trust", "by-hand", "ci.pub")
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.signed_by("ci")
    assert people.pull() == 0
    people.done("keys", "revoke", "ci", "--root", "root")
    assert people.pull() == 10
    assert "revoked by statement 2 of 0101010101010101" in people.err
    assert "revoked by statement 2" in people.done("keys", "list").split("by-hand")[1].splitlines()[0]


@pytest.mark.parametrize("word", ["ci", "0303030303030303", SECRETS["ci"].public.text])
def test_a_key_is_revoked_by_name_id_or_itself(word: str, people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "ci2=ci2.pub", "--root", "root")
    assert "revoked  ci  0303030303030303" in people.done("keys", "revoke", word, "--root", "root")
    people.signed_by("ci2")
    assert people.pull() == 0, people.err


def test_the_same_secret_under_another_id_is_revoked_too(people: People) -> None:
    again = dataclasses.replace(SECRETS["ci"], id=b"another.")
    Path("again").write_text(minisign.secret_key_file(again, ""))
    people.done("keys", "trust", "again", again.public.text)
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "revoke", "ci", "--root", "root")
    people.signed_by("again")
    assert people.pull() == 10


def test_a_store_that_hides_the_newer_statement_takes_no_revocation_back(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    first = people.history
    people.done("keys", "revoke", "ci", "--root", "root")
    people.done("keys", "update")
    people.offer(*first.statements)
    people.signed_by("ci")
    assert people.pull() == 10
    assert "revoked by statement 2" in people.err


def test_a_later_statement_cannot_take_a_revocation_back(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "revoke", "ci", "--root", "root")
    people.done("keys", "update")
    people.offer(made(people.history.statements[-1].read, "root", serial=3, revoked=(), keys=(owner("ci"),)))
    people.signed_by("ci")
    assert people.pull() == 10
    assert "it takes back a revocation" in people.err


def test_a_named_key_ends_with_its_statement_and_a_pinned_one_does_not(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root", "--expires", "90d")
    last = people.history.statements[-1].read
    ended = made(last, "root", serial=2, issued="2020-01-01T00:00:00+00:00", expires="2020-02-01T00:00:00+00:00")
    people.offer(ended)
    people.signed_by("ci")
    assert people.pull() == 10
    assert "named until 2020-02-01" in people.err and "build keys renew" in people.err
    people.signed_by("root")
    assert people.pull() == 0
    assert "until 20" in people.done("keys", "renew", "--root", "root", "--expires", "90d")
    people.signed_by("ci")
    assert people.pull() == 0, people.err


def test_of_two_statements_with_one_serial_the_first_stays(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "update")
    people.offer(made(people.history.statements[-1].read, "root", keys=(owner("ci2"),)))
    people.signed_by("ci2")
    assert people.pull() == 10
    assert "there are two statements 1" in people.err


# ------------------------------------------------------------------------------------------- roots


def test_a_root_hands_over_to_another(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "rotate", "second=second.pub", "--root", "root", "--root", "second")
    assert people("keys", "revoke", "root", "--root", "second") == 2, "it is no name any more"
    people.done("keys", "revoke", "root.pub", "--root", "second")
    people.done("keys", "delegate", "ci2=ci2.pub", "--root", "second")
    assert [one.read.serial for one in people.history.statements] == [1, 2, 4], "what is needed to follow them"
    people.signed_by("ci2")
    assert people.pull() == 0, people.err
    people.signed_by("second")
    assert people.pull() == 0
    people.signed_by("root")
    assert people.pull() == 10
    assert "0101010101010101 (0101010101010101): revoked by statement 4" in people.err


def test_a_new_root_has_to_sign_too_so_that_nobody_is_locked_out(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    said = people.done("keys", "rotate", "second=second.pub", "--root", "root")
    assert "0 of 1 signatures; hosts wait for second (0202020202020202): build keys cosign" in said
    people.signed_by("ci")
    assert people.pull() == 0
    assert "statement 2 is not accepted: 0 of its own roots signed it" in people.err
    people.done("keys", "cosign", "--root", "second")
    assert people.pull() == 0
    assert "statement 2 of 0101010101010101 is accepted" in people.err


def test_with_a_threshold_one_stolen_root_changes_nothing(people: People) -> None:
    people.done("keys", "rotate", "root=root.pub", "second=second.pub", "--root", "root", "--root", "second")
    people.done("keys", "delegate", "ci=ci.pub", "--threshold", "2", "--root", "root", "--root", "second")
    people.done("keys", "update")
    last = people.history.statements[-1].read
    for changes in (
        {"keys": (owner("thief"),)},
        {"roots": (owner("thief"),), "threshold": 1},
        {"roots": (owner("root"),), "revoked": (owner("second"),), "threshold": 1},
    ):  # type: Dict[str, Any]
        people.offer(made(last, "root", "thief", serial=last.serial + 1, **changes))
        people.signed_by("thief")
        assert people.pull() == 10
        assert "1 of the roots before it signed it, 2 must" in people.err
    people.offer(*(made(last, "root", "second", serial=9, keys=(owner("ci2"),)),))
    people.signed_by("ci2")
    assert people.pull() == 0, people.err


def test_two_signatures_can_be_asked_for_by_the_statement_and_by_the_host(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "ci2=ci2.pub", "--signatures", "2", "--root", "root")
    people.signed_by("ci")
    assert people.pull() == 10
    assert "only ci (0303030303030303) signed v1; 2 signatures are needed" in people.err
    people.signed_by("root")
    assert people.pull() == 10, "the pinned root is one of them"
    people.signed_by("ci", "ci2")
    assert people.pull() == 0, people.err
    assert people.pull("--signatures", "3") == 10


def test_a_ring_does_not_reach_the_roots_of_another(people: People) -> None:
    """Two teams on one host: one may not take the other's root away."""
    people.done("keys", "trust", "second", "second.pub")
    people.done("keys", "delegate", "ci2=ci2.pub", "--root", "second")
    people.done("keys", "update")
    mine = key_statements.begun((trust.Trusted("root", SECRETS["root"].public),), key_statements.clock.now())
    people.offer(made(mine, "root", revoked=(owner("second"), owner("ci2"))))
    people.signed_by("second")
    assert people.pull() == 0, people.err
    people.signed_by("ci2")
    assert people.pull() == 10, "what a root of the other named is within reach"


# ------------------------------------------------------------------------------------------- what a host remembers


def test_when_the_last_pinned_root_goes_nothing_is_taken(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "update")
    people.signed_by("ci")
    assert "nothing is taken" in people.done("keys", "distrust", "root")
    assert people.pull() == 10, "not: whatever is offered"
    assert "no key that is pinned here speaks for the ring" in people.err
    people.done("keys", "forget", "0101010101010101")
    assert people.pull() == 0, "a machine that trusts nobody asks nothing"


def test_a_damaged_memory_is_no_reason_to_forget(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "update")
    path = Path("trusted/0101010101010101.keys.json")
    for damage in (b"", b"{}", path.read_bytes()[:-20], b"x" * (key_statements.MOST_BYTES + 1)):
        path.write_bytes(damage)
        assert people.pull() == 2
        assert "build keys forget 0101010101010101" in people.err


def test_the_memory_of_one_ring_under_the_name_of_another_is_damage(people: People) -> None:
    """Else a statement of one ring could stand in the place of another's revocations."""
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "update")
    Path("trusted/0101010101010101.keys.json").rename("trusted/0202020202020202.keys.json")
    assert people.pull() == 2
    assert "0202020202020202.keys.json: it is about the ring 0101010101010101" in people.err
    assert "build keys forget 0202020202020202" in people.err


def test_a_memory_that_was_meddled_with_counts_for_nothing(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "update")
    path = Path("trusted/0101010101010101.keys.json")
    path.write_text(path.read_text().replace(SECRETS["ci"].public.text, SECRETS["thief"].public.text))
    people.signed_by("thief")
    assert people.pull() == 10


def test_a_folder_that_may_not_be_written_is_said(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.signed_by("ci")
    Path("trusted").chmod(0o555)
    with unprivileged():
        assert people.pull() == 0, people.err
    path = Path("trusted/0101010101010101.keys.json")
    said = f"{people.folder / path} cannot be written (Permission denied): the statement counts this time, and is not remembered"
    assert said in people.err
    assert not path.exists()


# ------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["keys", "delegate", "--root", "root"], 2, "nobody is named"),
        (["keys", "delegate", "ci", "--root", "root"], 2, "write it as NAME=KEY"),
        (["keys", "delegate", "ci=nowhere", "--root", "root"], 2, "nowhere: this is not a public key"),
        (["keys", "delegate", "../x=ci.pub", "--root", "root"], 2, "is no name for a key"),
        (["keys", "delegate", "root=ci.pub", "--root", "root"], 2, "stands twice"),
        (["keys", "delegate", "x=root.pub", "--root", "root"], 2, "stands twice"),
        (["keys", "delegate", "ci=ci.pub", "--root", "root.pub"], 2, "this is not a secret key"),
        (["keys", "delegate", "ci=ci.pub", "--root", "root", "--expires", "soon"], 2, "is not a length of time"),
        (["keys", "delegate", "ci=ci.pub", "--root", "root", "--threshold", "2"], 2, "2 of 1 roots cannot sign"),
        (["keys", "delegate", "ci=ci.pub", "--root", "root", "--signatures", "9"], 2, "9 of 2 keys cannot sign"),
        (["keys", "delegate", "ci=ci.pub", "--root", "root", "--store", "nowhere"], 2, "this is no store"),
        (["keys", "revoke", "nobody", "--root", "root"], 2, "no key 'nobody' is named"),
        (["keys", "revoke", "root", "--root", "root"], 2, "0 of 0 roots cannot sign"),
        (["keys", "cosign", "--root", "root"], 2, "there is no key statement here"),
        (["keys", "forget", "x"], 2, "no key statement of 'x' is remembered here"),
        (["keys", "renew"], 2, "required: --root"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(people: People, words: List[str], code: int, said: str) -> None:
    assert people(*words) == code
    assert said in people.err
    assert not Path("nowhere").exists()
    assert trust.of(people.store) is None, "and nothing is written"


def another(character: str, random: Random) -> str:
    """Of the same kind, so that what it stands in still reads."""
    kinds = string.digits, string.ascii_lowercase, string.ascii_uppercase
    kind = next((kind for kind in kinds if character in kind), "")
    return random.choice(kind.replace(character, "")) if kind else character


def test_a_statement_with_one_other_character_is_not_accepted(people: People) -> None:
    """Names, keys, times, numbers: it reads as a statement, and nobody signed it."""
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root", "--expires", "90d")
    (it,), pinned = people.history.statements, (trust.Trusted("root", SECRETS["root"].public),)
    random, read = Random(7), 0
    for at in range(len(it.statement)):
        text = it.statement[:at] + another(it.statement[at], random) + it.statement[at + 1 :]
        if text != it.statement:
            try:
                history = key_statements.history(History(1, (dataclasses.replace(it, statement=text),)).text, "")
            except StoreDamaged:
                continue
            read += 1
            found = key_statements.followed(history, pinned)
            assert found.newest is None and found.accepted == () and found.refused
    assert read > 100


def test_flipped_bytes_are_refused_or_change_nobody(people: People) -> None:
    """Whatever becomes of the file, it reads as a history or is said to be none; and no key counts that did not before."""
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    data, pinned = people.history.text, (trust.Trusted("root", SECRETS["root"].public),)
    random, wanted = Random(7), people.history.statements[-1].read
    outcomes: List[str] = []
    for _ in range(400):
        changed = bytearray(data)
        place = random.randrange(len(changed))
        changed[place : place + random.randrange(3)] = random.choice((b"", b'"', b"{", b"\xff", b"9" * 50, b"null"))
        try:
            found = key_statements.followed(key_statements.history(bytes(changed), ""), pinned)
        except StoreDamaged:
            outcomes.append("no history")
            continue
        assert found.newest in (None, wanted)
        outcomes.append("accepted" if found.newest else "not accepted")
    assert all(outcomes.count(one) > 20 for one in ("no history", "not accepted", "accepted"))
