"""Keys over time: roots name keys, revoke them and hand over to other roots; what a host remembers, and what a thief can do."""

from __future__ import annotations

import dataclasses
import datetime
import json
import string
import threading
import time
from pathlib import Path
from random import Random
from typing import Any, Dict, List, Optional, Tuple

import pytest

from builder import cli, clock, files
from builder.errors import StoreDamaged, UsageError
from builder.store import trust
from builder.store.layout import Layout
from builder.trust import key_memory, key_statements, minisign
from builder.trust.key_statements import History, Owner, Signed, Statement
from builder.trust.keyring import Keyring, Trusted
from tests.builder.store.test_versions import published
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


def pinned(*names: str) -> Tuple[Trusted, ...]:
    return tuple(Trusted(name, SECRETS[name].public) for name in names)


def later(**length: int) -> str:
    return clock.text(NOW + datetime.timedelta(**length))


NOW = clock.read("2026-11-30T12:00:00+00:00")
FIRST = dataclasses.replace(key_statements.begun(pinned("root"), NOW), keys=(owner("ci"),))

# ------------------------------------------------------------------------------------------- the next statement


@pytest.mark.parametrize(
    ("before", "asked", "ends"),
    [
        ("", None, ""),
        ("", "30d", later(days=10 + 30)),
        (later(days=90), None, later(days=10 + 90)),
        (later(days=90), "12h", later(days=10, hours=12)),
        (later(days=90), "never", ""),
    ],
)
def test_a_statement_is_valid_as_long_as_the_last_one_or_as_is_asked(
    before: str, asked: Optional[str], ends: str
) -> None:
    old = dataclasses.replace(FIRST, expires=before)
    new = key_statements.after(old, pinned("second"), clock.read(later(days=10)), asked)
    assert new == dataclasses.replace(old, serial=2, issued=later(days=10), expires=ends)


def test_the_first_statement_names_the_roots_that_sign_it() -> None:
    new = key_statements.after(None, pinned("root", "second"), NOW, None)
    assert (new.serial, new.ring, new.issued, new.expires) == (1, "0101010101010101", later(), "")
    assert new.roots == (owner("root"), owner("second")) and new.keys == ()


def test_a_key_is_named_beside_the_others_or_in_the_place_of_its_name() -> None:
    new = key_statements.delegated(FIRST, [owner("ci2")])
    assert new.keys == (owner("ci"), owner("ci2"))
    again = Owner("ci", SECRETS["thief"].public.text)
    assert key_statements.delegated(new, [again]).keys == (owner("ci2"), again)


def test_what_is_revoked_is_out_of_all_that_counts_and_stays_revoked() -> None:
    every = dataclasses.replace(FIRST, roots=(owner("root"), owner("second")), keys=(owner("ci"), owner("ci2")))
    once = key_statements.revoked(every, ["ci", "0303030303030303", owner("ci").key])
    assert (once.roots, once.keys, once.revoked) == (every.roots, (owner("ci2"),), (owner("ci"),))
    twice = key_statements.revoked(once, ["second"])
    assert (twice.roots, twice.keys) == ((owner("root"),), (owner("ci2"),))
    assert twice.revoked == (owner("ci"), owner("second"))
    stranger = key_statements.revoked(twice, [owner("thief").key])
    assert stranger.revoked[-1] == Owner("0505050505050505", owner("thief").key)


def test_two_keys_of_one_id_may_be_revoked_one_after_the_other() -> None:
    """An id is whatever the owner of a key writes."""
    same_id = minisign.PublicKey(SECRETS["thief"].id, SECRETS["ci2"].public.key).text
    new = key_statements.revoked(key_statements.revoked(FIRST, [owner("thief").key]), [same_id])
    one = Owner("0505050505050505", owner("thief").key)
    assert new.revoked == (one, Owner(f"{one.name}.{one.name}", same_id))


@pytest.mark.parametrize(
    ("threshold", "words", "left"), [(2, ["ci"], 2), (2, ["ci2"], 2), (3, ["ci2"], 2), (2, ["second", "ci2"], 1)]
)
def test_the_threshold_is_lowered_to_the_roots_that_are_left(threshold: int, words: List[str], left: int) -> None:
    roots = (owner("root"), owner("second"), owner("ci2"))
    assert key_statements.revoked(dataclasses.replace(FIRST, roots=roots, threshold=threshold), words).threshold == left


def test_so_many_signatures_as_are_asked_for_cannot_be_made_by_fewer_keys() -> None:
    with pytest.raises(UsageError, match="that cannot be: 2 of 1 keys cannot sign a version"):
        key_statements.revoked(dataclasses.replace(FIRST, signatures=2), ["ci"])


def test_a_key_that_becomes_a_root_is_no_named_key_any_more() -> None:
    every = dataclasses.replace(FIRST, keys=(owner("ci"), owner("ci2")))
    new = key_statements.rotated(every, [owner("second"), Owner("boss", owner("ci").key)])
    assert new.roots == (owner("second"), Owner("boss", owner("ci").key))
    assert new.keys == (owner("ci2"),)


def test_limits_that_are_not_named_stay() -> None:
    two = dataclasses.replace(FIRST, roots=(owner("root"), owner("second")), threshold=2, signatures=3)
    assert key_statements.limited(two, None, None) == two
    assert key_statements.limited(two, 1, None) == dataclasses.replace(two, threshold=1)
    assert key_statements.limited(two, None, 1) == dataclasses.replace(two, signatures=1)


def test_a_signature_is_added_once_to_the_newest_statement() -> None:
    one, two = made(FIRST, "root"), made(FIRST, "root", serial=2)
    text = minisign.sign(SECRETS["second"], two.statement.encode(), "").file
    history = key_statements.cosigned(History(1, (one, two)), text)
    assert history.statements == (one, dataclasses.replace(two, signatures=(*two.signatures, text)))
    assert key_statements.cosigned(history, text) == history


def test_a_statement_is_told_with_the_numbers_that_are_not_one() -> None:
    assert key_statements.told(FIRST).splitlines() == [
        "statement 1 of 0101010101010101, without end",
        "  root     root  0101010101010101",
        "  key      ci  0303030303030303",
    ]
    two = dataclasses.replace(FIRST, roots=(owner("root"), owner("second")), threshold=2, signatures=2)
    assert key_statements.told(two).splitlines()[-2:] == [
        "  2 roots have to sign a statement",
        "  2 keys have to sign a version",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ring": "0101010101010a0a"}, "is no id of a key"),
        ({"ring": "01"}, "is no id of a key"),
        ({"serial": 0}, "the serial 0 is no number"),
        ({"serial": 1 << 53}, "is no number of a statement"),
        ({"threshold": 0}, "0 of 1 roots cannot sign"),
        ({"threshold": 2}, "2 of 1 roots cannot sign"),
        ({"roots": ()}, "1 of 0 roots cannot sign"),
        ({"signatures": 0}, "0 of 2 keys cannot sign"),
        ({"signatures": 3}, "3 of 2 keys cannot sign"),
        ({"issued": ""}, "Invalid isoformat"),
        ({"issued": "2026-11-30T12:00:00"}, "is not a time in UTC"),
        ({"expires": "soon"}, "Invalid isoformat"),
        ({"keys": (Owner("x" * 65, owner("ci").key),)}, "is no name for a key"),
        ({"keys": (Owner(".x", owner("ci").key),)}, "is no name for a key"),
        ({"revoked": (Owner("a/b", owner("ci2").key),)}, "is no name for a key"),
        ({"keys": (Owner("ci", "RWnonsense"),)}, "this is not a public key"),
        ({"revoked": (owner("ci"),)}, "stands twice"),
        ({"revoked": (Owner("other", owner("ci").key),)}, "stands twice"),
        ({"revoked": (Owner("ci", owner("ci2").key),)}, "stands twice"),
        ({"keys": (owner("ci"),) * 255}, "stands twice"),
        ({"keys": (owner("ci"),) * 256}, "257 keys; at most 256 are taken"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_statement_that_cannot_be(changes: Dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(FIRST, **changes)


def test_a_statement_that_just_can_be() -> None:
    longest = (Owner("x" * 64, owner("ci").key),)
    dataclasses.replace(FIRST, serial=(1 << 53) - 1, signatures=2, keys=longest, revoked=(owner("ci2"),))


def test_a_statement_ends_at_its_time() -> None:
    until = dataclasses.replace(FIRST, expires=later(hours=1))
    assert [until.expired(clock.read(later(minutes=minutes))) for minutes in (0, 59, 60, 61)] == [
        False,
        False,
        True,
        True,
    ]
    assert not FIRST.expired(clock.read(later(days=9999)))


# ------------------------------------------------------------------------------------------- following them


def history_of(*statements: Signed) -> History:
    return key_statements.history(History(1, statements).text, "here")


def test_a_history_has_so_many_statements_of_one_ring_each_later_than_the_last() -> None:
    many = tuple(made(FIRST, serial=n) for n in range(1, 66))
    assert len(history_of(*many[:64]).statements) == 64
    stranger = made(key_statements.begun(pinned("thief"), NOW), serial=2)
    for wrong in (many, (), (many[0], many[0]), (many[1], many[0]), (many[0], stranger)):
        with pytest.raises(StoreDamaged, match=r"^here: the key statement does not read: "):
            history_of(*wrong)


def test_a_statement_that_is_accepted_later_settles_what_was_refused_before() -> None:
    steps = made(FIRST, "root"), made(FIRST, "thief", serial=2), made(FIRST, "root", serial=3)
    found = key_statements.followed(history_of(*steps), pinned("root"))
    assert (found.newest, found.refused) == (steps[2].read, "")
    assert found.accepted == (steps[0], steps[2])
    between = made(FIRST, "root", serial=2)
    found = key_statements.followed(history_of(steps[0], between, steps[2]), pinned("root"))
    assert found.accepted == (steps[0], steps[2]), "what is not needed to follow them again is not kept"
    assert key_statements.followed(history_of(*steps[:2]), pinned("root")).refused.startswith("statement 2 is not")


def test_the_same_statement_again_is_nothing_new() -> None:
    known = key_statements.followed(history_of(made(FIRST, "root")), pinned("root"))
    assert key_statements.followed(history_of(made(FIRST, "root")), pinned("root"), known) == known


def test_a_statement_of_another_ring_does_not_follow() -> None:
    known = key_statements.followed(history_of(made(FIRST, "root")), pinned("root"))
    other = made(FIRST, "root", serial=2, ring="0909090909090909")
    found = key_statements.followed(history_of(other), pinned("root"), known)
    assert (found.newest, found.accepted) == (known.newest, known.accepted)
    assert found.refused == "statement 2 is not accepted: it is of another ring, 0909090909090909"


def test_a_first_statement_needs_as_many_of_its_own_roots_as_it_says() -> None:
    both = {"roots": (owner("root"), owner("second")), "threshold": 2}
    found = key_statements.followed(history_of(made(FIRST, "root", **both)), pinned("root"))
    assert found.newest is None and found.refused.endswith("1 of its own roots signed it, 2 must")
    assert key_statements.followed(history_of(made(FIRST, "root", "second", **both)), pinned("root")).newest


def test_of_statements_with_the_same_roots_and_threshold_the_first_and_the_newest_are_kept() -> None:
    both = {"roots": (owner("root"), owner("second"))}
    steps = [made(FIRST, serial=n) for n in (1, 2)]
    steps += [made(FIRST, serial=n, **both) for n in (3, 4, 5)]
    steps += [made(FIRST, serial=n, threshold=2, **both) for n in (6, 7, 8, 9)]
    assert [one.read.serial for one in key_statements.pruned(steps)] == [1, 3, 6, 9]
    assert [one.read.serial for one in key_statements.pruned(steps[:5])] == [1, 3, 5]


def test_whose_signatures_count() -> None:
    """Of a ring in force, one that ended, one for which nobody speaks, and of keys that are pinned."""
    mine = dataclasses.replace(FIRST, keys=(owner("ci"), owner("ci2")), signatures=2, revoked=())
    ended = dataclasses.replace(
        key_statements.begun(pinned("second"), NOW), keys=(owner("thief"),), expires=later(hours=-1)
    )
    both = key_statements.rings(pinned("root", "thief"), [mine, ended], [], NOW)
    assert [(tuple(one.name for one in group.keys), group.needed) for group in both.groups] == [
        (("thief",), 1),
        (("root", "ci", "ci2"), 2),
        (("second",), 1),
    ]
    assert [(gone.owner.name, gone.why.split(";")[0]) for gone in both.dropped] == [
        ("thief", f"it was named until {later(hours=-1)}")
    ]
    orphan = key_statements.rings(pinned("ci2"), [], [mine], NOW)
    assert [gone.owner.name for gone in orphan.dropped] == ["root", "ci", "ci2"]
    gone = dataclasses.replace(FIRST, revoked=(owner("second"),))
    (group,) = key_statements.rings(pinned("root", "second"), [gone], [], NOW).groups
    assert [one.name for one in group.keys] == ["root", "ci"]


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


def test_verifying_a_store_learns_from_its_statement(people: People) -> None:
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.signed_by("ci")
    said = people.done("verify")
    assert "signed by ci (0303030303030303)" in said
    assert "note: key statement 1 of 0101010101010101 is accepted" in said


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
    mine = key_statements.begun(pinned("root"), key_statements.clock.now())
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


@pytest.mark.parametrize("other", ["0000000000000000", "0202020202020202"])
def test_the_memory_of_one_ring_under_the_name_of_another_is_damage(other: str, people: People) -> None:
    """Else a statement of one ring could stand in the place of another's revocations."""
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    people.done("keys", "update")
    Path("trusted/0101010101010101.keys.json").rename(f"trusted/{other}.keys.json")
    assert people.pull() == 2
    assert f"{other}.keys.json: it is about the ring 0101010101010101" in people.err
    assert f"build keys forget {other}" in people.err


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


def learned(folder: Path, offered: Optional[History], *names: str) -> Keyring:
    return key_memory.keyring(folder, pinned(*names), offered, NOW)


def named(ring: Keyring) -> List[str]:
    return [one.name for one in ring.keys]


def test_where_nobody_is_pinned_nothing_is_learned(tmp_path: Path) -> None:
    assert learned(tmp_path, history_of(made(FIRST, "root"))) == Keyring()
    assert not list(tmp_path.iterdir())


def test_what_is_remembered_of_one_ring_stays_when_another_is_learned(tmp_path: Path) -> None:
    second = dataclasses.replace(key_statements.begun(pinned("second"), NOW), keys=(owner("ci2"),))
    assert named(learned(tmp_path, history_of(made(second, "second")), "root", "second")) == ["root", "second", "ci2"]
    both = learned(tmp_path, history_of(made(FIRST, "root")), "root", "second")
    assert sorted(named(both)) == ["ci", "ci2", "root", "second"]
    assert both.notes == ("key statement 1 of 0101010101010101 is accepted; see it with: build keys list",)
    assert sorted(named(learned(tmp_path, None, "root", "second"))) == ["ci", "ci2", "root", "second"]


def test_an_older_statement_changes_nothing(tmp_path: Path) -> None:
    older, newer = made(FIRST, "root"), made(FIRST, "root", serial=2, keys=(), revoked=(owner("ci"),))
    learned(tmp_path, history_of(older, newer), "root")
    path = tmp_path / "0101010101010101.keys.json"
    before = path.stat().st_ino, path.read_bytes()
    for offered in (history_of(older), history_of(newer), history_of(older, newer)):
        ring = learned(tmp_path, offered, "root")
        assert (named(ring), ring.notes) == (["root"], ())
        assert (path.stat().st_ino, path.read_bytes()) == before


def test_a_ring_for_which_nobody_speaks_any_more_learns_nothing(tmp_path: Path) -> None:
    """Its later statement could be by whoever took over its roots."""
    learned(tmp_path, history_of(made(FIRST, "root")), "root")
    later_one = made(FIRST, "root", "second", serial=2, roots=(owner("root"), owner("second")))
    ring = learned(tmp_path, history_of(later_one), "second")
    assert ring.notes == ("no key that is pinned here speaks for the ring 0101010101010101 any more",)
    assert named(ring) == ["second"] and "ci" in [gone.owner.name for gone in ring.dropped]


def test_two_that_learn_at_once_wait_for_each_other(tmp_path: Path) -> None:
    def hold() -> None:
        with (tmp_path / ".lock").open("a") as lock:
            assert files.take(lock)
            held.set()
            time.sleep(0.2)
            released.set()

    held, released = threading.Event(), threading.Event()
    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    assert named(learned(tmp_path, history_of(made(FIRST, "root")), "root")) == ["root", "ci"]
    assert released.is_set()
    other.join()


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
    (it,) = people.history.statements
    random, read = Random(7), 0
    for at in range(len(it.statement)):
        text = it.statement[:at] + another(it.statement[at], random) + it.statement[at + 1 :]
        if text != it.statement:
            try:
                history = key_statements.history(History(1, (dataclasses.replace(it, statement=text),)).text, "")
            except StoreDamaged:
                continue
            read += 1
            found = key_statements.followed(history, pinned("root"))
            assert found.newest is None and found.accepted == () and found.refused
    assert read > 100


def test_flipped_bytes_are_refused_or_change_nobody(people: People) -> None:
    """Whatever becomes of the file, it reads as a history or is said to be none; and no key counts that did not before."""
    people.done("keys", "delegate", "ci=ci.pub", "--root", "root")
    data = people.history.text
    random, wanted = Random(7), people.history.statements[-1].read
    outcomes: List[str] = []
    for _ in range(400):
        changed = bytearray(data)
        place = random.randrange(len(changed))
        changed[place : place + random.randrange(3)] = random.choice((b"", b'"', b"{", b"\xff", b"9" * 50, b"null"))
        try:
            found = key_statements.followed(key_statements.history(bytes(changed), ""), pinned("root"))
        except StoreDamaged:
            outcomes.append("no history")
            continue
        assert found.newest in (None, wanted)
        outcomes.append("accepted" if found.newest else "not accepted")
    assert all(outcomes.count(one) > 20 for one in ("no history", "not accepted", "accepted"))
