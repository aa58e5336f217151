"""Ed25519 by the vectors of RFC 8032, and what must not verify."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.trust.minisign import PublicKey, SecretKey

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
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the base point

# Every encoding of a point whose order divides 8, in its one form and in others.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",  # 1: the neutral element
    "0100000000000000000000000000000000000000000000000000000000000080",  # with the sign of zero
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # y + p
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",  # both
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # 2
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",  # with the sign of zero
    "0000000000000000000000000000000000000000000000000000000000000000",  # 4
    "0000000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # y + p
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  # 8
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


def key(data: bytes) -> PublicKey:
    return PublicKey(bytes(8), data)


def secret(seed: bytes) -> SecretKey:
    return SecretKey(bytes(8), seed)


KEY, SIGNED = secret(SEED).public, secret(SEED).sign_bytes(b"m")


@pytest.mark.parametrize(("seed", "public", "message", "signature"), VECTORS, ids=["empty", "one byte", "two bytes"])
def test_the_vectors_of_the_standard(seed: str, public: str, message: str, signature: str) -> None:
    ours, data, signed = secret(bytes.fromhex(seed)), bytes.fromhex(message), bytes.fromhex(signature)
    assert ours.public.key.hex() == public
    assert ours.sign_bytes(data) == signed
    assert ours.public.verify_bytes(data, signed)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_what_was_signed_verifies_and_one_bit_else_does_not(seed: bytes, message: bytes, bit: int) -> None:
    public, signature = secret(seed).public, secret(seed).sign_bytes(message)
    assert public.verify_bytes(message, signature)
    bent = bytearray(signature)
    bent[bit // 8] ^= 1 << bit % 8
    assert not public.verify_bytes(message, bytes(bent))
    assert not public.verify_bytes(message + b"x", signature)


def test_a_second_form_of_the_same_signature_is_refused() -> None:
    """S and S + L satisfy the same equation."""
    again = (int.from_bytes(SIGNED[32:], "little") + ORDER).to_bytes(32, "little")
    assert KEY.verify_bytes(b"m", SIGNED)
    assert not KEY.verify_bytes(b"m", SIGNED[:32] + again)


def anyones_signature() -> bytes:
    """R = S * B. It satisfies the equation for every message whose hash the order of the key divides."""
    scalar = bytearray(hashlib.sha512(SEED).digest()[:32])  # of SEED's public key: RFC 8032, section 5.1.5
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return KEY.key + (int.from_bytes(scalar, "little") % ORDER).to_bytes(32, "little")


@pytest.mark.parametrize("public", SMALL_ORDER)
def test_a_key_of_small_order_signs_nothing(public: str) -> None:
    forged = anyones_signature()
    assert not any(key(bytes.fromhex(public)).verify_bytes(bytes([n]), forged) for n in range(64))


@pytest.mark.parametrize("public", SMALL_ORDER)
def test_the_forgery_is_one_that_others_accept(public: str) -> None:
    """OpenSSL does: what the test above refuses is refused for the key's order, and for nothing else."""
    exceptions = pytest.importorskip("cryptography.exceptions")
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")

    def accepts(message: bytes) -> bool:
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(anyones_signature(), message)
        except exceptions.InvalidSignature:
            return False
        return True

    assert any(accepts(bytes([n])) for n in range(64))


@pytest.mark.parametrize("public", [b"", b"short", KEY.key + b"x"])
def test_what_is_no_key_verifies_nothing(public: bytes) -> None:
    assert not key(public).verify_bytes(b"m", SIGNED)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64, SIGNED + b"m"])
def test_what_is_no_signature(signature: bytes) -> None:
    assert not KEY.verify_bytes(b"m", signature)


def test_a_key_of_another_length_verifies_nothing() -> None:
    """What is hashed is the same when a byte moves between the key and the message."""
    seed = (74).to_bytes(32, "little")
    secret = SecretKey(KEY.id, seed)
    public, signature = secret.public.key, secret.sign_bytes(b"m")
    assert public[-1] == 0 and key(public).verify_bytes(b"m", signature)
    assert not key(public[:-1]).verify_bytes(b"\0m", signature)


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        secret(bytes(31)).sign_bytes(b"m")
