"""An answer: its status and headers are here, its body is still on the way. Read it once, within limits."""

from __future__ import annotations

import contextlib
import http.client
import re
from typing import Callable, Iterator, List, Optional

from builder.errors import StoreDamaged, Unreachable
from builder.http import problems
from builder.http.address import Address
from builder.http.wire import PIECE, Wire

_UNREAD = 64 << 10  # bytes of a body nobody wants that are read to keep a connection
_FRAMES = (
    16  # a body in chunks of a byte each is six times as long; a chunk that claims -1 bytes would be read to its end
)


class Reply:
    """`there` is where the answer came from, after redirects. Raises Unreachable when it is cut or too slow."""

    def __init__(self, message: http.client.HTTPResponse, wire: Wire, there: Address, body: float) -> None:
        self.status = message.status
        self.there = there
        self._message, self._wire, self._seconds = message, wire, body

    def header(self, name: str) -> Optional[str]:
        return self._message.headers.get(name)

    def all(self, name: str) -> List[str]:
        """Every header of this name."""
        return list(self._message.headers.get_all(name, ()))

    @property
    def length(self) -> Optional[int]:
        """What the header Content-Length says, also in the answer to HEAD."""
        said = self.header("Content-Length") or ""
        return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else None

    @property
    def start(self) -> int:
        """The offset of the body in the file that was asked for with a Range. Raises StoreDamaged."""
        if self.status != 206:
            return 0
        said = re.match(r"bytes (\d{1,18})-", self.header("Content-Range") or "")
        if said is None:
            raise StoreDamaged("it sends a part of a file and does not say which", where=str(self.there))
        return int(said.group(1))

    def read(self, most: int) -> bytes:
        """The whole body, which is small. Raises StoreDamaged when it is larger than `most` bytes."""
        if self.length is not None and self.length > most:
            raise StoreDamaged(
                f"it answers with {self.length:,} bytes; at most {most:,} are taken", where=str(self.there)
            )
        data = bytearray()
        self._wire.watch.within(self._seconds, _FRAMES * (most + PIECE))
        for piece in self._pieces(lambda: None):
            data += piece
            if len(data) > most:
                raise StoreDamaged(f"it answers with more than {most:,} bytes", where=str(self.there))
        return bytes(data)

    def pieces(self) -> Iterator[bytes]:
        """The body, however long it is: each 64 KiB have their time."""
        return self._pieces(lambda: self._wire.watch.within(self._seconds, _FRAMES * PIECE))

    def _pieces(self, before_each: Callable[[], None]) -> Iterator[bytes]:
        while True:
            before_each()
            try:
                piece = self._message.read(PIECE)
            except (OSError, http.client.HTTPException) as problem:
                raise problems.explained(problem, self.there) from None
            except ValueError:  # the library's own, for a chunk of a negative size
                raise problems.explained(http.client.HTTPException("a chunk without a size"), self.there) from None
            if not piece:
                break
            yield piece
        if self._message.length:  # the connection ended before what Content-Length promised
            raise problems.cut(self.there)

    def finish(self) -> bool:
        """Is the connection free for another request? What is left of a short body is read for that."""
        if not self._message.isclosed() and (self.length is None or self.length <= _UNREAD):
            self._seconds = 2.0
            with contextlib.suppress(Unreachable, StoreDamaged):
                self.read(_UNREAD)
        return self._message.isclosed() and not self._message.will_close
