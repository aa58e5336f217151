"""Messages over two pipes: each one line of JSON, which may announce a number of bytes that follow it.

Both ends use it. It knows no message; `builder/remote/messages.py` does.
"""

from __future__ import annotations

import json
import os
import select
import threading
from pathlib import Path
from typing import Callable, List, Optional

from builder.digest import Json

_LONGEST_LINE = 64 << 20  # a sweep's facts are the longest
_PIECE = 1 << 17


class Dropped(Exception):
    """The other end is gone, or what it says is no message. Caught and given a place by whoever holds the connection."""


class Channel:
    """`send` may be called from several threads, `receive` and `take` from one at a time."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._buffer = bytearray()
        self._lock = threading.Lock()

    def send(self, message: Json, pieces: Callable[[Callable[[bytes], None]], None] = lambda write: None) -> None:
        """A message, and what `pieces` writes after it. Raises Dropped."""
        with self._lock:
            self._write(json.dumps(message, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            pieces(self._write)

    def write(self, data: bytes) -> None:
        """Bytes that are no message: what comes before the first one."""
        with self._lock:
            self._write(data)

    def hang_up(self, timeout: float) -> bool:
        """Close this end's side, so that the other end hears it. False when somebody has been writing for `timeout` seconds."""
        if not self._lock.acquire(timeout=timeout):
            return False
        try:
            if self._sink >= 0:
                os.close(self._sink)
                self._sink = -1  # the number may soon be another file's
        finally:
            self._lock.release()
        return True

    def receive(self, timeout: Optional[float] = None) -> Json:
        """The next message. Raises Dropped at the end, after `timeout` seconds of silence, and for what is no JSON."""
        line = self.line(timeout)
        try:
            return json.loads(line)  # type: ignore[no-any-return]
        except (ValueError, RecursionError):
            raise Dropped(f"said something else than was expected: {line[:80]!r}") from None

    def line(self, timeout: Optional[float] = None, longest: int = _LONGEST_LINE) -> bytes:
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return line
            searched = len(self._buffer)
            if searched > longest:
                raise Dropped(f"said a line of more than {longest:,} bytes")
            self._more(timeout)

    def take(self, length: int, write: Callable[[bytes], object], timeout: Optional[float] = None) -> None:
        """The next `length` bytes, piece by piece."""
        while length:
            if not self._buffer:
                self._more(timeout)
            piece = bytes(self._buffer[:length])
            del self._buffer[:length]
            length -= len(piece)
            write(piece)

    def ready(self, others: List[int], timeout: float) -> List[int]:
        """Which of this channel and the descriptors `others` have something, after at most `timeout` seconds."""
        if self._buffer:
            return [self._source]
        return select.select([self._source, *others], [], [], timeout)[0]

    def _more(self, timeout: Optional[float]) -> None:
        if timeout is not None and not select.select([self._source], [], [], timeout)[0]:
            raise Dropped(f"said nothing for {timeout:.0f} s")
        try:
            piece = os.read(self._source, _PIECE)
        except OSError as problem:
            raise Dropped(problem.strerror or "ended") from None
        if not piece:
            raise Dropped("ended")
        self._buffer += piece

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._sink < 0:
                raise Dropped("was ended")
            try:
                view = view[os.write(self._sink, view) :]
            except OSError as problem:
                raise Dropped(problem.strerror or "ended") from None


def from_file(file: Path, start: int, size: int) -> Callable[[Callable[[bytes], None]], None]:
    """The bytes of `file` from `start` to `size`, exactly, for `Channel.send`."""

    def pieces(write: Callable[[bytes], None]) -> None:
        left = size - start
        with file.open("rb") as stream:
            stream.seek(start)
            while left:
                piece = stream.read(min(left, _PIECE))
                if not piece:  # what was announced can no longer be sent: only a new connection can follow
                    raise Dropped(f"{file} became shorter while it was sent")
                write(piece)
                left -= len(piece)

    return pieces
