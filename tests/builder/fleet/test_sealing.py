"""Messages as they travel: what is taken, and what is not."""

from __future__ import annotations

import json

import pytest

from builder.errors import Untrusted
from builder.execution.fleet.sealing import LARGEST, Seal
from builder.execution.fleet.words import Answer, Beat, Claim, Done, Failed, Report, Who
from builder.execution.messages import File
from builder.trust import minisign

OURS, THEIRS = minisign.new_key(), minisign.new_key()
ANSWER = Answer("0f", "sha256:00", True, 7)
WHO = Who("a@one", "one", "mail")


@pytest.mark.parametrize(
    "said",
    [
        Claim("k", "t"),
        Beat("k", 1, ("a line",)),
        Done("k", 1, File("sha256:00", 3)),
        Failed("k", 1, "what", None, "do"),
    ],
    ids=lambda said: type(said).__name__,
)
def test_what_is_closed_opens_as_the_same(said: "Claim | Beat | Done | Failed") -> None:
    report = Report(WHO, said)
    assert Seal().open(Report, Seal().close(report)) == report
    signed = Seal(OURS)
    assert Seal(trusted=(THEIRS.public, OURS.public)).open(Report, signed.close(report)) == report


def _changed(text: str) -> str:
    sealed = json.loads(text)
    return json.dumps({**sealed, "body": sealed["body"].replace("7", "8")})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (Seal().close(ANSWER), "it is not signed"),
        (Seal(THEIRS).close(ANSWER), "nobody who is trusted here has signed it"),
        (_changed(Seal(OURS).close(ANSWER)), "nobody who is trusted here has signed it"),
        (Seal(OURS).close(Report(WHO, Claim("k", "t"))), "nobody who is trusted here has signed it"),
        (json.dumps({"body": "{}", "signature": "no base64"}), "this is no message"),
        ("", "this is no message"),
        ("[" * 100_000, "this is no message"),
        (json.dumps([1]), "this is no message"),
        ({"body": "{}"}, "this is no message"),
        (b"bytes", "this is no message"),
        ("x" * (LARGEST + 1), "this is no message"),
    ],
    ids=[
        "unsigned",
        "by a stranger",
        "changed",
        "of another kind",
        "bad signature",
        "empty",
        "deep",
        "a list",
        "no text",
        "bytes",
        "large",
    ],
)
def test_with_a_key_to_check_by_nothing_else_is_taken(text: object, said: str) -> None:
    with pytest.raises(Untrusted) as problem:
        Seal(OURS, (OURS.public,)).open(Answer, text)
    assert said in problem.value.what


def test_a_key_of_small_order_signs_nothing() -> None:
    """1 is the neutral element: with it as a key, R = S * B satisfies the equation for every message."""
    anyones = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbiqnCt3/gWc3nu8Z6TzBBDYnG0UQN7eEuahJfGEH/+ODw=="
    neutral = minisign.PublicKey(bytes(8), (1).to_bytes(32, "little"))
    forged = json.dumps({**json.loads(Seal(OURS).close(ANSWER)), "signature": anyones})
    with pytest.raises(Untrusted, match="nobody who is trusted here"):
        Seal(trusted=(neutral,)).open(Answer, forged)


@pytest.mark.parametrize(
    "body",
    ["{}", '{"run": 1}', '{"run": "0f", "key": "k", "go": true, "shell": "rm"}', "null", "1e999", '{"run": NaN}'],
)
def test_what_is_no_record_is_refused(body: str) -> None:
    with pytest.raises(Untrusted, match="this is no message"):
        Seal().open(Answer, json.dumps({"body": body}))
