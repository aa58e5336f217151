"""A mailbox whose connection is cut, or dies without a word: letters that come later come, and what is sent later is sent."""

from __future__ import annotations

import os
import time
from typing import Iterator

import pytest

pytest.importorskip("celery")
pytest.importorskip("redis")

from builder.errors import Unreachable
from builder.execution.fleet import mail
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.mail import Mail
from tests import brokers
from tests.fleets import Proxy, until


class Line:
    """A mailbox of ours by way of a proxy, and somebody who is not cut off."""

    def __init__(self, server: brokers.Server) -> None:
        self.proxy, self.got, self.heard = Proxy(server.port), [], []  # type: Proxy, List[object], List[object]
        number = os.urandom(4).hex()
        self.broker, self.name, self.run = (
            Broker(server.url),
            f"deploymatrix.worker.{number}",
            f"deploymatrix.run.{number}",
        )
        self.ours = Mail(Broker(self.proxy.url(server.url)), self.name, self.got.append, lambda: None)
        self.other = Mail(self.broker, self.run, self.heard.append, lambda: None)
        self.ours.open()
        self.other.open()

    def comes(self, letter: str) -> bool:
        """To us. Sent again and again: one that Redis had handed to a connection is lost with it."""
        self.other.send(self.name, letter)
        time.sleep(0.1)
        return letter in self.got

    def goes(self, letter: str) -> bool:
        self.ours.send(self.run, letter)
        time.sleep(0.1)
        return letter in self.heard

    def forget(self) -> None:
        """The broker knows no more where letters to us belong, and tells nobody."""
        with self.broker.connection() as connection:
            queue = self.broker.mailbox(self.name)(connection.default_channel)
            if self.broker.quorum:
                queue.unbind_from(queue.exchange, self.name)
            else:
                queue.declare()
                queue.delete()

    def close(self) -> None:
        self.ours.close()
        self.other.close()
        self.proxy.end()


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Server]:
    folder = tmp_path_factory.mktemp("broker") / "it"
    with (brokers.rabbitmq if request.param == "rabbitmq" else brokers.redis)(folder) as started:
        yield started


@pytest.fixture
def line(server: brokers.Server) -> Iterator[Line]:
    made = Line(server)
    yield made
    made.close()


def test_a_cut_connection_is_made_again(line: Line) -> None:
    for number in range(3):
        until(lambda number=number: line.goes(f"ours {number}"), 30, "ours")
        until(lambda number=number: line.comes(f"theirs {number}"), 30, "theirs")
        line.proxy.cut()


def test_letters_that_come_while_it_is_away_are_read_when_it_is_back(line: Line) -> None:
    line.proxy.closed = True
    line.proxy.cut()
    until(lambda: line.ours.away, 10, "to be noticed")
    assert isinstance(line.ours.away, Unreachable)
    with pytest.raises(Unreachable):
        line.ours.send(line.run, "into the void")
    line.other.send(line.name, "waits")
    line.proxy.closed = False
    until(lambda: "waits" in line.got, 10, "the letter")
    assert line.ours.away is None
    line.ours.send(line.run, "again")
    until(lambda: "again" in line.heard, 10)
    assert line.heard == ["again"]


def test_a_mailbox_that_the_broker_has_forgotten_is_made_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is there as ever, and what is sent is lost."""
    monkeypatch.setattr(mail, "QUIET", 0.5)
    until(lambda: line.comes("found"), 10, "the first letter")
    line.forget()
    line.other.send(line.name, "lost")
    until(lambda: line.ours.away, 10, "to be noticed")
    until(lambda: line.ours.away is None, 10, "to be made again")
    until(lambda: line.comes("found again"), 10, "the letter")
    assert set(line.got) == {"found", "found again"}


def test_a_line_that_has_become_mute_is_noticed(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a router in between has forgotten it: nothing ends, and nothing comes."""
    monkeypatch.setattr(mail, "QUIET", 0.5)
    until(lambda: line.comes("first"), 10, "the first letter")
    line.proxy.mute()
    until(lambda: line.comes("found"), 40, "the letter")


def test_nobody_else_reads_what_a_mailbox_writes_to_itself(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "QUIET", 0.3)
    time.sleep(2)
    assert line.ours.away is None
    assert line.got == []


def test_it_is_closed_soon_also_while_the_broker_is_away(line: Line) -> None:
    line.proxy.closed = True
    line.proxy.cut()
    time.sleep(0.5)
    started = time.monotonic()
    line.ours.close()
    assert time.monotonic() - started < 4
