"""Files of minisign: ours read by it, its own read by us, and what is damaged or no such file."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Sequence, Tuple

import pytest

from builder.errors import UsageError
from builder.trust import minisign

KEY = minisign.SecretKey(bytes(range(8)), bytes(range(32)))
DATA = b"a manifest"


def run(words: Sequence[str], folder: Path, said: str = "") -> str:
    if shutil.which("minisign") is None:
        pytest.skip("minisign is not installed (apt-get install minisign)")
    done = subprocess.run(["minisign", *words], cwd=folder, input=said, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_minisign_verifies_what_we_sign(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    (tmp_path / "f.minisig").write_text(minisign.sign(KEY, DATA, "version 3").file)
    said = run(["-Vm", "f", "-P", KEY.public.text], tmp_path)
    assert "Trusted comment: version 3" in said


@pytest.mark.parametrize("password", ["", "a password"])
def test_minisign_signs_with_our_key_and_we_verify(password: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    (tmp_path / "key").write_text(minisign.secret_key_file(KEY, password))
    run(["-Sm", "f", "-s", "key", "-t", "by minisign"], tmp_path, f"{password}\n")
    found = minisign.signature((tmp_path / "f.minisig").read_text(), "f.minisig")
    assert minisign.verifies(KEY.public, DATA, found)
    assert found.comment == "by minisign"


def test_we_read_the_keys_that_minisign_makes(tmp_path: Path) -> None:
    run(["-G", "-W", "-p", "its.pub", "-s", "its.key"], tmp_path)
    secret = minisign.secret_key((tmp_path / "its.key").read_text(), "", "its.key")
    text = (tmp_path / "its.pub").read_text()
    assert secret.public == minisign.public_key(text, "its.pub")
    assert secret.public.name.lstrip("0") in text


def test_a_signature_is_read_as_it_was_written() -> None:
    made = minisign.sign(KEY, DATA, "x y z: 1")
    assert minisign.signature(made.file, "f") == made
    assert minisign.verifies(KEY.public, DATA, made)


@pytest.mark.parametrize("password", ["", "pass wörd"])
def test_a_key_is_read_as_it_was_written(password: str) -> None:
    text = minisign.secret_key_file(KEY, password)
    assert minisign.is_protected(text, "f") == bool(password)
    assert minisign.secret_key(text, password, "f") == KEY
    assert minisign.public_key(KEY.public.file, "f") == KEY.public == minisign.public_key(KEY.public.text, "f")


def test_a_wrong_password_is_told() -> None:
    with pytest.raises(UsageError, match="the password is wrong"):
        minisign.secret_key(minisign.secret_key_file(KEY, "right"), "wrong", "f")


def test_nothing_else_verifies() -> None:
    made, other = minisign.sign(KEY, DATA, "v3"), minisign.new_key()
    assert not minisign.verifies(other.public, DATA, made)
    assert not minisign.verifies(KEY.public, DATA + b".", made)
    changed = minisign.signature(made.file.replace("trusted comment: v3", "trusted comment: v4"), "f")
    assert not minisign.verifies(KEY.public, DATA, changed), "the trusted comment is signed too"
    same_id = minisign.PublicKey(KEY.id, other.public.key)
    assert not minisign.verifies(same_id, DATA, made)


_P, _L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # the field of Ed25519, the order of its group
_Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826  # of a point of order 8
FORGED = (1).to_bytes(32, "little") + bytes(32)  # it satisfies the equation where the key, taken so many times, is zero


def forged(key: bytes, reduced: int) -> Tuple[bytes, minisign.Signature]:
    """Data and a signature that nobody made: they are chosen so that 8 divides what the key is multiplied by."""

    def fits(message: bytes) -> bool:
        factor = int.from_bytes(hashlib.sha512(FORGED[:32] + key + message).digest(), "little") % _L
        return (reduced - factor) % 8 == 0

    data = next(data for data in (b"%d" % n for n in range(999)) if fits(data))
    comment = next(comment for comment in map(str, range(999)) if fits(FORGED + comment.encode()))
    return data, minisign.Signature(KEY.id, FORGED, FORGED, comment, hashed=False)


@pytest.mark.parametrize("minus", [0, 1 << 255], ids=["plus", "minus"])
@pytest.mark.parametrize("y", [1, _P - 1, 0, _Y8, _P - _Y8, _P, _P + 1])
def test_a_key_of_small_order_has_signed_nothing(y: int, minus: int) -> None:
    """However it is written, and whether a verifier adds the key or takes it away."""
    key = (y | minus).to_bytes(32, "little")
    for reduced in (0, _L):
        data, signature = forged(key, reduced)
        assert not minisign.verifies(minisign.PublicKey(KEY.id, key), data, signature)


def test_signatures_of_the_old_kind_are_over_the_file_itself() -> None:
    signed = KEY.sign_bytes(DATA)
    old = minisign.Signature(KEY.id, signed, KEY.sign_bytes(signed + b"c"), "c", hashed=False)
    assert minisign.verifies(KEY.public, DATA, minisign.signature(old.file, "f"))


@pytest.mark.parametrize("comment", ["two\nlines", "and\rreturn"])
def test_a_trusted_comment_is_one_line(comment: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        minisign.sign(KEY, DATA, comment)


SIGNATURE = minisign.sign(KEY, DATA, "c").file
LINES = SIGNATURE.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "\n".join(LINES[:3]),
        SIGNATURE + "more\n",
        SIGNATURE.replace(LINES[1], LINES[1][:-8]),
        SIGNATURE.replace(LINES[1], "not base64!"),
        SIGNATURE.replace(LINES[3], LINES[3][4:]),
        SIGNATURE.replace("trusted comment: c", "comment: c"),
    ],
)
def test_what_is_no_signature_is_told_with_its_place(text: str) -> None:
    with pytest.raises(UsageError, match=r"^f\.minisig: this is not a signature"):
        minisign.signature(text, "f.minisig")


@pytest.mark.parametrize("text", ["", "RW", "RWQ!", KEY.public.text[:-4], minisign.secret_key_file(KEY, "")])
def test_what_is_no_public_key_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="this is not a public key"):
        minisign.public_key(text, "f.pub")


@pytest.mark.parametrize("text", ["", KEY.public.file, minisign.secret_key_file(KEY, "")[:-9]])
def test_what_is_no_secret_key_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="this is not a secret key"):
        minisign.secret_key(text, "", "f.key")


def _with_limits(operations: int, memory: int) -> str:
    head, body = minisign.secret_key_file(KEY, "p").splitlines()
    data = bytearray(base64.b64decode(body))
    data[38:54] = operations.to_bytes(8, "little") + memory.to_bytes(8, "little")
    return f"{head}\n{base64.b64encode(bytes(data)).decode()}\n"


def test_a_key_that_wants_too_much_memory_is_refused() -> None:
    """Another's file decides how much scrypt takes."""
    with pytest.raises(UsageError, match="needs 1048576 MiB"):
        minisign.secret_key(_with_limits(1 << 21, 1 << 40), "p", "f")


@pytest.mark.parametrize(("operations", "memory"), [(0, 0), (1 << 60, 1 << 26), (1 << 25, 1 << 20)])
def test_a_key_with_costs_that_scrypt_does_not_have_is_damaged(operations: int, memory: int) -> None:
    with pytest.raises(UsageError, match="or the file is damaged"):
        minisign.secret_key(_with_limits(operations, memory), "p", "f")
