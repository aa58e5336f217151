"""Messages as they travel: what is read, and what is not."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

pytest.importorskip("nacl")

from builder import digest
from builder.errors import Untrusted
from builder.execution.fleet.messages import LARGEST, Answer, Begin, Body, Done, Failed, Message, Signing, Working
from builder.execution.messages import File
from builder.records import to_json
from builder.trust import minisign
from tests import fleets

OURS, THEIRS = minisign.new_key(), minisign.new_key()
KEY = digest.of_bytes(b"an action")
ANSWER = Message("0f", KEY, "7a", "run", Answer("yes"), 7)
NOBODY = digest.of_bytes(b"nobody has it")


@pytest.mark.parametrize(
    "body",
    [Begin(), Working(("a line",)), Done(File(KEY, 3)), Failed("what", None, "do"), fleets.order().body],
    ids=lambda body: type(body).__name__,
)
def test_what_is_closed_opens_as_the_same(body: Body) -> None:
    report = Message("0f", KEY, "7a", "a@one", body, 3)
    assert Signing().open(Signing().close(report)) == report
    signed = Signing(OURS)
    assert Signing(trusted=(THEIRS.public, OURS.public)).open(signed.close(report)) == report


def _changed_in_transit(data: bytes) -> bytes:
    sealed = json.loads(data)
    return json.dumps({**sealed, "body": sealed["body"].replace("7", "8")}).encode()


@pytest.mark.parametrize("key", [bytes([1]) + bytes(31), bytes(32)])
def test_a_key_of_small_order_verifies_nothing(key: bytes) -> None:
    """Under the key 01 00... this signature (R is the identity, S is zero) holds for every text, unless it is refused."""
    sealed = json.loads(Signing().close(ANSWER))
    sealed["signature"] = base64.b64encode(bytes([1]) + bytes(63)).decode()
    with pytest.raises(Untrusted, match="no key that is trusted here"):
        Signing(trusted=(minisign.PublicKey(bytes(8), key),)).open(json.dumps(sealed).encode())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Signing().close(ANSWER), "it is not signed"),
        (Signing(THEIRS).close(ANSWER), "no key that is trusted here has signed it"),
        (_changed_in_transit(Signing(OURS).close(ANSWER)), "no key that is trusted here has signed it"),
        (json.dumps({"body": "{}", "signature": "no base64"}).encode(), "this is no message"),
        (json.dumps({"body": "{}", "signature": "QUJD"}).encode(), "no key that is trusted here has signed it"),
        (b"", "this is no message"),
        (b"\xff\xfe", "this is no message"),
        (b"[" * 100_000, "this is no message"),
        (json.dumps([1]).encode(), "this is no message"),
        (b"x" * (LARGEST + 1), "this is no message"),
    ],
    ids=["unsigned", "by a stranger", "changed", "bad", "short", "empty", "bytes", "deep", "a list", "large"],
)
def test_with_a_key_to_check_by_nothing_else_is_taken(data: bytes, said: str) -> None:
    with pytest.raises(Untrusted) as problem:
        Signing(OURS, (OURS.public,)).open(data)
    assert said in problem.value.what


def _changed(path: str, value: Any) -> bytes:
    """An order with another value at `path`."""
    data: Any = to_json(fleets.order())
    *folders, name = path.split(".")
    inside = data
    for folder in folders:
        inside = inside[folder]
    inside[name] = value
    return json.dumps({"body": json.dumps(data)}).encode()


@pytest.mark.parametrize(
    "data",
    [
        _changed("body.action.recipe.step", "shell"),
        _changed("body.action.recipe.command", "touch /tmp/x"),
        _changed("body.kind", "shell"),
        _changed("body.command", "touch /tmp/x"),
        _changed("body.action", "touch /tmp/x"),
        _changed("body.files", [{"digest": 7, "size": 1}]),
        _changed("body.files", [{"digest": NOBODY, "size": "1"}]),
        _changed("body.files", [{"digest": NOBODY, "size": -1}]),
        _changed("body.files", [{"digest": "sha256:../../etc/passwd", "size": 1}]),
        _changed("body.files", [{"digest": NOBODY, "size": 1 << 80}]),
        _changed("body.seconds", -1),
        _changed("body.seconds", 0),
        _changed("body.seconds", 1e300),
        _changed("body.seconds", "60"),
        _changed("run", "../.."),
        _changed("run", "0f\n2026-01-01 all is well"),
        _changed("attempt", "\x1b[2J"),
        _changed("job", "../../etc/passwd"),
        _changed("sender", "x" * 300),
        _changed("sender", "a\nb"),
        _changed("sender", ""),
        _changed("number", "7"),
        _changed("body.action.inputs", {"\ud800": NOBODY}),
        _changed("body.action.recipe.precision", "\ud800"),
        _changed("a\nkey\x1b[2J", 1),
        json.dumps({"body": "[" * 100_000}).encode(),
        json.dumps({"body": '{"number": ' + "9" * 10_000 + "}"}).encode(),
        json.dumps({"body": '{"run": NaN}'}).encode(),
        json.dumps({"body": 7}).encode(),
        json.dumps({}).encode(),
        b"touch /tmp/x",
        b"\x80\x04\x95 a pickle",
    ],
    ids=lambda data: repr(data)[-60:],
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(Untrusted, match="this is no message"):
        Signing().open(data)


def test_names_of_files_that_are_no_text_can_be_sent() -> None:
    odd = dataclasses.replace(ANSWER, body=Working(("\x1b]0;title\x07 half \udcff",)))
    assert Signing(trusted=(OURS.public,)).open(Signing(OURS).close(odd)).body == Working(("\x1b]0;title\x07 half ?",))
