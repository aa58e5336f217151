"""A mailbox whose connection is cut: letters that come later come, and what is sent later is sent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator, List

import pytest

pytest.importorskip("celery")
pytest.importorskip("redis")

from builder.errors import Unreachable
from builder.fleet.broker import Broker
from builder.fleet.mail import Mail
from tests import brokers
from tests.fleets import Proxy, until


class Line:
    """A mailbox of ours by way of a proxy, and somebody who is not cut off."""

    def __init__(self, server: brokers.Server) -> None:
        self.proxy, self.got, self.heard = Proxy(server.port), [], []  # type: Proxy, List[object], List[object]
        self.ours = Mail(Broker(self.proxy.url(server.url)), "deploymatrix.worker.1", self.got.append, lambda: None)
        self.other = Mail(Broker(server.url), "deploymatrix.run.1", self.heard.append, lambda: None)
        self.ours.open()
        self.other.open()

    def close(self) -> None:
        self.ours.close()
        self.other.close()
        self.proxy.end()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with brokers.redis(tmp_path / "redis") as server:
        made = Line(server)
        yield made
        made.close()


def test_a_cut_connection_is_made_again(line: Line) -> None:
    """A letter that Redis had handed to the connection is lost with it; so they are sent until they are heard."""

    def sent(mail: Mail, to: str, letter: str, heard: List[object]) -> bool:
        mail.send(to, letter)
        time.sleep(0.1)
        return letter in heard

    for number in range(3):
        until(lambda number=number: sent(line.ours, "deploymatrix.run.1", f"ours {number}", line.heard), 20, "ours")
        until(
            lambda number=number: sent(line.other, "deploymatrix.worker.1", f"theirs {number}", line.got), 20, "theirs"
        )
        line.proxy.cut()


def test_letters_that_come_while_it_is_away_are_read_when_it_is_back(line: Line) -> None:
    line.proxy.closed = True
    line.proxy.cut()
    until(lambda: line.ours.away, 10, "to be noticed")
    assert isinstance(line.ours.away, Unreachable)
    with pytest.raises(Unreachable):
        line.ours.send("deploymatrix.run.1", "into the void")
    line.other.send("deploymatrix.worker.1", "waits")
    line.proxy.closed = False
    until(lambda: "waits" in line.got, 10, "the letter")
    assert line.ours.away is None
    line.ours.send("deploymatrix.run.1", "again")
    until(lambda: "again" in line.heard, 10)
    assert line.heard == ["again"]


def test_it_is_closed_soon_also_while_the_broker_is_away(line: Line) -> None:
    line.proxy.closed = True
    line.proxy.cut()
    time.sleep(0.5)
    started = time.monotonic()
    line.ours.close()
    assert time.monotonic() - started < 4
