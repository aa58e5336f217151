"""A mailbox at the broker: letters come to a thread of its own, and may be sent from any. A lost connection is made again.

Letters may be lost with it; who needs an answer asks again. What is in them is for others to know. A line may also die
without a word (a router forgets it, the broker forgets the mailbox, its library waits on a socket that is no more), so a
mailbox to which nothing comes writes to itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Callable, Optional

from kombu import Connection, Consumer, Producer

from builder.errors import Unreachable
from builder.execution.fleet.broker import Broker, depth

QUIET = 5.0  # seconds without a letter after which a mailbox writes to itself, and then waits for that letter
_PERIOD = 0.25
_PAUSE = 1.0
_ECHO = "echo"


class Mail:
    """`got` is called with the body of each letter, `tick` several times a second; both by the same thread.

    `away` is why there is no connection now; None while there is one."""

    def __init__(self, broker: Broker, name: str, got: Callable[[object], None], tick: Callable[[], None]) -> None:
        self._broker, self.name, self._got, self._tick = broker, name, got, tick
        self.away: Optional[Unreachable] = None
        self._came, self._asked = 0.0, 0.0  # when the last letter came, and the last one to itself was sent
        self._closed = threading.Event()
        self._sending = threading.Lock()
        self._out: Optional[Connection] = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def open(self) -> None:
        """Raises Unreachable."""
        with self._broker.reached(), self._broker.connection() as connection:
            self._broker.mailbox(self.name)(connection.default_channel).declare()
        self._thread.start()

    def send(self, to: str, body: str) -> None:
        """A letter to another mailbox; it is lost when nobody has that. Raises Unreachable."""
        exchange, how = self._broker.post()
        with self._sending, self._broker.reached():
            for again in (True, False):
                if self._out is None:
                    self._out = self._broker.connection()
                try:
                    Producer(self._out.default_channel, exchange).publish(body, routing_key=to, **how)
                    return
                except Exception:  # whatever it is, a line of which it comes is not used again
                    self._drop()
                    if not again:
                        raise

    def reaches(self, to: str) -> bool:
        """May somebody read what is sent to this mailbox? True where the broker cannot say. Raises Unreachable."""
        if not self._broker.quorum:
            return True
        with self._broker.reached(), self._broker.connection() as connection:
            return depth(connection, to) is not None

    def close(self) -> None:
        self._closed.set()
        self._thread.join(5)
        with self._sending:
            self._drop()

    def _drop(self) -> None:
        if self._out is not None:
            _leave(self._out)
            self._out = None

    def _run(self) -> None:
        while not self._closed.is_set():
            connection = self._broker.connection()
            try:
                with self._broker.reached():
                    self._read(connection)
                    return
            except Unreachable as problem:
                _leave(connection)
                self._rest(problem)

    def _rest(self, problem: Unreachable) -> None:
        self.away = problem
        self._tick()
        self._closed.wait(_PAUSE)

    def _read(self, connection: Connection) -> None:
        """Until it is closed."""
        channel = connection.default_channel
        queue = self._broker.mailbox(self.name)(channel)
        consumer = Consumer(
            channel,
            [queue],
            on_message=self._letter,
            on_decode_error=lambda message, problem: None,  # as in _letter
            no_ack=True,
            accept=["json"],
            prefetch_count=0,
        )
        consumer.consume()
        self.away = None
        beaten = self._came = time.monotonic()
        while not self._closed.is_set():
            with contextlib.suppress(socket.timeout):
                connection.drain_events(timeout=_PERIOD)
            self._tick()
            if time.monotonic() - beaten > 2:
                connection.heartbeat_check()
                beaten = time.monotonic()
            self._listen()
        consumer.cancel()
        queue.delete()
        connection.release()

    def _listen(self) -> None:
        now, asked = time.monotonic(), self._asked > self._came
        if asked and now - self._asked > QUIET:
            raise Unreachable("what is sent to a mailbox there does not come", where=self._broker.name)
        if not asked and now - self._came > QUIET:
            self._asked = now
            self.send(self.name, _ECHO)

    def _letter(self, message: Any) -> None:
        self._came = time.monotonic()
        try:
            body = message.payload
        except Exception:  # whatever a stranger's bytes make the decoder raise: it is no letter
            return
        if body != _ECHO:
            self._got(body)


def _leave(connection: Connection) -> None:
    """Without a word to the broker: the line may be broken in any way."""
    with contextlib.suppress(Exception):
        connection.collect(socket.getdefaulttimeout())
