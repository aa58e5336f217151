"""Whose signatures count: groups, thresholds, and signatures that are none."""

from __future__ import annotations

from typing import List

import pytest

from builder.errors import Untrusted
from builder.trust import minisign
from builder.trust.keyring import KeyGroup, Keyring, RevokedKey, Trusted, proven

SECRETS = [minisign.SecretKey(bytes([n] * 8), bytes([n] * 32)) for n in (1, 2, 3)]
A, B, C = (Trusted(name, secret.public) for name, secret in zip("abc", SECRETS))
DATA = b"the bytes"


def signed(*numbers: int, data: bytes = DATA) -> List[str]:
    return [minisign.sign(SECRETS[n], data, f"by {n}").file for n in numbers]


def by(ring: Keyring, texts: List[str], least: int = 1) -> str:
    return str(proven(DATA, texts, ring, what="v1", where="here", hint="sign it", least=least))


def test_one_of_a_group_is_enough_unless_more_are_asked_for() -> None:
    ring = Keyring((KeyGroup((A, B)),))
    assert by(ring, signed(1)) == "signed by b (0202020202020202): by 1"
    assert by(ring, signed(1, 0), least=2).startswith("signed by a (0101010101010101) and b")
    with pytest.raises(Untrusted, match=r"only b \(0202020202020202\) signed v1; 2 signatures are needed"):
        by(ring, signed(1), least=2)


def test_a_group_may_need_several_and_groups_do_not_add_up() -> None:
    ring = Keyring((KeyGroup((A, B), needed=2), KeyGroup((C,))))
    assert by(ring, signed(0, 1))
    assert by(ring, signed(2))
    with pytest.raises(Untrusted, match="only a"):
        by(ring, signed(0))
    with pytest.raises(Untrusted, match="2 signatures are needed"):
        by(ring, signed(0, 2), least=2)


def test_one_key_is_one_signer_whatever_it_is_called() -> None:
    again = minisign.SecretKey(b"another.", SECRETS[0].seed)
    ring = Keyring((KeyGroup((A, Trusted("a2", A.key), Trusted("a3", again.public)), needed=2),))
    with pytest.raises(Untrusted, match="only a"):
        by(ring, [*signed(0, 0), minisign.sign(again, DATA, "").file])


def test_what_is_no_signature_proves_nothing_and_takes_nothing_away() -> None:
    ring = Keyring((KeyGroup((A,)),))
    assert by(ring, ["", "garbage\xff", "x" * 10_000_000, *signed(1, 0)])
    with pytest.raises(Untrusted, match="v1 is not signed"):
        by(ring, ["garbage"])
    with pytest.raises(Untrusted, match="it names the key 0101010101010101"):
        by(ring, signed(0, data=b"other bytes"))


def test_more_signatures_than_anyone_makes_are_not_all_verified() -> None:
    """Each takes some ten milliseconds: a heap of them is no way to keep a host busy for an hour."""
    others = signed(1) * 63
    assert by(Keyring((KeyGroup((A,)),)), [*others, *signed(0)])
    with pytest.raises(Untrusted):
        by(Keyring((KeyGroup((A,)),)), [*others, *signed(1, 0)])


def test_a_ring_is_told_by_its_groups() -> None:
    ring = Keyring((KeyGroup((A, B), needed=2), KeyGroup((A, C))))
    assert str(ring) == (
        "2 of a (0101010101010101), b (0202020202020202); or a (0101010101010101) or c (0303030303030303)"
    )
    assert ring.keys == (A, B, C)
    assert str(Keyring()) == "nobody"


def test_a_ring_without_a_key_that_counts_takes_nothing() -> None:
    assert not Keyring()
    ring = Keyring((), (RevokedKey(A, "it was revoked"),))
    assert ring
    with pytest.raises(Untrusted, match="no valid signature by nobody") as caught:
        by(ring, signed(0))
    assert caught.value.hint == "a (0101010101010101): it was revoked"
