"""What is made of what the broker's library raises. Addresses that are refused are in tests/builder/test_inventory.py."""

from __future__ import annotations

import pytest

pytest.importorskip("celery")
pytest.importorskip("redis")

from kombu.exceptions import OperationalError

from builder.errors import Unreachable, Untrusted
from builder.execution.fleet.broker import Broker

BROKER = Broker("redis://user:secret@127.0.0.1:1/0")


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OperationalError("no\nroute"), "the broker does not answer, or refuses: no"),
        (ConnectionResetError("gone"), "the broker does not answer, or refuses: gone"),
        (AttributeError("'NoneType' has no 'client'"), "speaking with the broker failed: AttributeError: 'NoneType'"),
    ],
)
def test_whatever_the_library_raises_is_unreachable(problem: Exception, said: str) -> None:
    """Where a line is cut at a bad moment, Kombu may stumble over a connection that it has just put away."""
    with pytest.raises(Unreachable) as refused, BROKER.reached():
        raise problem
    assert refused.value.what.startswith(said)
    assert refused.value.where == "redis://user@127.0.0.1:1/0"


def test_what_we_say_ourselves_stays_what_it_is() -> None:
    with pytest.raises(Untrusted, match="not his"), BROKER.reached():
        raise Untrusted("not his")
