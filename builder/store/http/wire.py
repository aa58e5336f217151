"""One http(s) connection with limits of time and size.

A timeout of the standard library is for one read, so a server that sends single bytes never exceeds it. Here a read
also has a deadline and a limit of bytes. Retries are up to the client.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional, Union

from builder.errors import StoreDamaged
from builder.store.http.address import Address, Proxy

PIECE = 64 << 10
_MOST_HEAD = 256 << 10
_STALL = 60.0  # seconds without progress of sending


@dataclass(frozen=True)
class FilePart:
    """A request's body: `size` bytes of a file from `start` on."""

    file: Path
    start: int
    size: int


Body = Union[bytes, FilePart]


class ReadLimit:
    """The deadline of reading, on the clock `now`, and the number of bytes left to read."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = 0.0
        self._room = 0

    def within(self, seconds: float, room: int) -> None:
        self._until, self._room = self._now() + seconds, room

    def left(self) -> float:
        left = self._until - self._now()
        if left <= 0:
            raise socket.timeout("timed out")
        return left

    def took(self, count: int) -> None:
        self._room -= count
        if self._room < 0:
            raise http.client.HTTPException("it sends more than there can be")


class _Watched(io.RawIOBase):
    def __init__(self, sock: socket.socket, watch: ReadLimit) -> None:
        self._sock, self._raw, self._watch = sock, sock.makefile("rb", buffering=0), watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._sock.settimeout(self._watch.left())
        count: int = self._raw.readinto(buffer) or 0
        self._watch.took(count)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Source:
    """As much of a socket as HTTPResponse uses."""

    def __init__(self, sock: socket.socket, watch: ReadLimit) -> None:
        self._sock, self._watch = sock, watch

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Watched(self._sock, self._watch), PIECE)


class _Message(http.client.HTTPResponse):
    def __init__(
        self,
        watch: ReadLimit,
        sock: socket.socket,
        debuglevel: int = 0,
        method: Optional[str] = None,
        url: object = None,
    ) -> None:
        super().__init__(_Source(sock, watch), debuglevel, method)  # type: ignore[arg-type]


class Wire:
    """A connection to `there`, possibly through `proxy`. For one request at a time."""

    def __init__(
        self,
        there: Address,
        proxy: Optional[Proxy],
        trusted: Optional[ssl.SSLContext],
        connect: float,
        now: Callable[[], float],
    ) -> None:
        """Opens nothing yet. `trusted` is needed for https."""
        self.used = False
        self.watch = ReadLimit(now)
        self._there, self._proxy = there, proxy
        host, port = (proxy.host, proxy.port) if proxy else (there.host, there.port)
        if there.scheme == "https":
            self._line: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=connect, context=trusted
            )
            if proxy:
                secret = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
                self._line.set_tunnel(there.host, there.port, secret)
        else:
            self._line = http.client.HTTPConnection(host, port, timeout=connect)
        self._line.response_class = functools.partial(_Message, self.watch)  # type: ignore[assignment]
        self._connect = connect

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: Optional[Body], answer: float
    ) -> http.client.HTTPResponse:
        """Send a request; read status and headers within `answer` seconds.

        Raises OSError, HTTPException.
        """
        if self._line.sock is None:
            self.watch.within(self._connect, _MOST_HEAD)  # for the answer of a proxy
            self._line.connect()
        self._line.sock.settimeout(_STALL)
        try:
            self._send(method, target, headers, body)
        except OSError:
            # A server that refuses a long body may answer and close before it has arrived.
            self.watch.within(2.0, _MOST_HEAD)
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._answer()
            raise
        self.watch.within(answer, _MOST_HEAD)
        return self._answer()

    def _answer(self) -> http.client.HTTPResponse:
        found = self._line.getresponse()
        self.used = True
        return found

    def _send(self, method: str, target: str, headers: Mapping[str, str], body: Optional[Body]) -> None:
        plain = self._proxy is not None and self._there.scheme == "http"
        line = self._line
        line.putrequest(method, self._there.url if plain else target, skip_host=True)
        line.putheader("Host", self._there.netloc)
        if plain and self._proxy and self._proxy.authorization:
            line.putheader("Proxy-Authorization", self._proxy.authorization)
        for name, value in headers.items():
            line.putheader(name, value)
        if body is not None:
            line.putheader("Content-Length", str(body.size if isinstance(body, FilePart) else len(body)))
        line.endheaders()
        for piece in pieces_of(body) if body is not None else ():
            line.send(piece)

    def close(self) -> None:
        self._line.close()


def pieces_of(body: Body) -> Iterator[bytes]:
    """The pieces of a body. Raises StoreDamaged for a file that is too short."""
    if isinstance(body, bytes):
        if body:
            yield body
        return
    left = body.size
    with body.file.open("rb") as file:
        file.seek(body.start)
        while left:
            piece = file.read(min(PIECE, left))
            if not piece:
                raise StoreDamaged("it is shorter than it was", where=str(body.file))
            left -= len(piece)
            yield piece
