"""Ed25519 by the vectors of RFC 8032, and what must not verify."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.signing import ed25519

# RFC 8032, section 7.1: secret key, public key, message, signature
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
]
SEED = bytes(range(32))
KEY = ed25519.public_key(SEED)


@pytest.mark.parametrize(("seed", "key", "message", "signature"), VECTORS, ids=["empty", "one byte", "two bytes"])
def test_the_vectors_of_the_standard(seed: str, key: str, message: str, signature: str) -> None:
    secret, public, data, signed = map(bytes.fromhex, (seed, key, message, signature))
    assert ed25519.public_key(secret) == public
    assert ed25519.sign(secret, data) == signed
    assert ed25519.verify(public, data, signed)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_what_was_signed_verifies_and_one_bit_else_does_not(seed: bytes, message: bytes, bit: int) -> None:
    key, signature = ed25519.public_key(seed), ed25519.sign(seed, message)
    assert ed25519.verify(key, message, signature)
    bent = bytearray(signature)
    bent[bit // 8] ^= 1 << bit % 8
    assert not ed25519.verify(key, message, bytes(bent))
    assert not ed25519.verify(key, message + b"x", signature)


def test_a_second_form_of_the_same_signature_is_refused() -> None:
    """S and S + L satisfy the same equation."""
    signature = ed25519.sign(SEED, b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    again = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not ed25519.verify(KEY, b"m", signature[:32] + again)


@pytest.mark.parametrize(
    "key",
    [
        (1).to_bytes(32, "little"),  # the neutral element
        (2**255 - 20).to_bytes(32, "little"),  # of order 2
        bytes(32),  # of order 4
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),  # of order 8
    ],
)
def test_a_key_of_small_order_signs_nothing(key: bytes) -> None:
    """With such a key, R = S * B passes for messages that nobody signed."""
    nothing = (1).to_bytes(32, "little") + bytes(32)
    assert not any(ed25519.verify(key, bytes([n]), nothing) for n in range(16))


@pytest.mark.parametrize(
    "key",
    [
        (2**255 - 19).to_bytes(32, "little"),  # y beyond the field, with a point
        (2**255 - 19 + 2).to_bytes(32, "little"),  # y beyond the field
        (2).to_bytes(32, "little"),  # on no point of the curve
        (1 | 1 << 255).to_bytes(32, "little"),  # minus zero
        (2**255 - 20 | 1 << 255).to_bytes(32, "little"),  # minus zero on the other side
    ],
)
def test_what_is_no_point_is_no_key(key: bytes) -> None:
    """There is no signature to try it with: none can be made but under a key of small order."""
    assert ed25519._decode(key) is None


def test_a_key_of_another_length_verifies_nothing() -> None:
    """What is hashed is the same when a byte moves between the key and the message."""
    seed = (74).to_bytes(32, "little")
    key, signature = ed25519.public_key(seed), ed25519.sign(seed, b"m")
    assert key[-1] == 0 and ed25519.verify(key, b"m", signature)
    assert not ed25519.verify(key[:-1], b"\0m", signature)
    assert not ed25519.verify(KEY + b"\0", b"m", ed25519.sign(SEED, b"\0m"))


def test_a_signature_of_another_length_verifies_nothing() -> None:
    """Not even where the bytes that are too few or too many say nothing."""
    signature = ed25519.sign(SEED, b"\0\4")
    assert signature[-1] == 0 and ed25519.verify(KEY, b"\0\4", signature)
    assert not ed25519.verify(KEY, b"\0\4", signature[:-1])
    assert not ed25519.verify(KEY, b"\0\4", signature + b"\0")


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        ed25519.sign(bytes(31), b"m")
