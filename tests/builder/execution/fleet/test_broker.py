"""What is made of what the broker's library raises. Addresses that are refused are in tests/builder/execution/fleet/test_worker_verb.py."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("nats")

from nats.errors import Error, NoRespondersError

from builder.errors import Unreachable, Untrusted
from builder.execution.fleet.broker import Broker

BROKER = Broker("nats://user:secret@127.0.0.1:1")


@pytest.mark.parametrize(
    ("problem", "said", "hint"),
    [
        (Error("no\nroute"), "the broker does not answer, or refuses: no", "is it there?"),
        (ConnectionResetError("gone"), "the broker does not answer, or refuses: gone", "is it there?"),
        (asyncio.TimeoutError(), "the broker does not answer, or refuses: TimeoutError", "is it there?"),
        (NoRespondersError(), "the broker does not answer, or refuses: nats: no responders", "nats-server -js"),
        (OSError("certificate verify failed"), "the broker does not answer, or refuses: cert", "SSL_CERT_FILE"),
    ],
)
def test_whatever_the_library_raises_is_unreachable(problem: Exception, said: str, hint: str) -> None:
    with pytest.raises(Unreachable) as refused, BROKER.reached():
        raise problem
    assert refused.value.what.startswith(said) and hint in str(refused.value.hint)
    assert refused.value.where == "nats://user@127.0.0.1:1"


def test_what_we_say_ourselves_stays_what_it_is() -> None:
    with pytest.raises(Untrusted, match="not his"), BROKER.reached():
        raise Untrusted("not his")


def test_a_password_with_odd_characters_is_read_as_it_is_written_in_an_address() -> None:
    broker = Broker("tls://me%40home:a%2Fb%3A%C3%BC@broker.example:4222")
    assert (broker.user, broker.password) == ("me@home", "a/b:\u00fc")
    assert (broker.name, broker.server) == ("tls://me%40home@broker.example:4222", "tls://broker.example:4222")
    assert broker.private and not Broker("nats://broker.example").private and Broker("nats://[::1]:4222").private
