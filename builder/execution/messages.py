"""What the two ends say to each other. Data only; whatever does not read as one of these is refused."""

from __future__ import annotations

import json
import os
import select
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Literal, Optional, Tuple, Union

from builder.actions.action import Action, Result
from builder.digest import Json
from builder.platforms.machines import Machine


@dataclass(frozen=True)
class File:
    """`start`: how many of its bytes the asker has, or will not send."""

    digest: str
    size: int
    start: int = 0


@dataclass(frozen=True)
class AskFacts:
    ask: Literal["facts"] = "facts"


@dataclass(frozen=True)
class AskNeed:
    """Which of these files, and from which byte on, are to be sent?"""

    files: Tuple[File, ...]
    ask: Literal["need"] = "need"


@dataclass(frozen=True)
class Put:
    """The bytes of each file, from its `start` on, follow in order."""

    files: Tuple[File, ...]
    ask: Literal["put"] = "put"


@dataclass(frozen=True)
class Perform:
    action: Action
    ask: Literal["perform"] = "perform"


@dataclass(frozen=True)
class Get:
    files: Tuple[File, ...]
    ask: Literal["get"] = "get"


@dataclass(frozen=True)
class Alive:
    """Asks nothing, and is not answered: whoever hears it knows that the other end is there."""

    ask: Literal["alive"] = "alive"


@dataclass(frozen=True)
class Request:
    it: Union[AskFacts, AskNeed, Put, Perform, Get, Alive]


@dataclass(frozen=True)
class Facts:
    """`free`: bytes of disk space where files are kept, in `folder`."""

    machine: Machine
    folder: str
    free: int
    says: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Needed:
    files: Tuple[File, ...]
    says: Literal["needed"] = "needed"


@dataclass(frozen=True)
class Taken:
    says: Literal["taken"] = "taken"


@dataclass(frozen=True)
class Line:
    """What the step printed; no answer yet."""

    text: str
    says: Literal["line"] = "line"


@dataclass(frozen=True)
class Made:
    result: Result
    says: Literal["made"] = "made"


@dataclass(frozen=True)
class Sending:
    """The bytes of the files that were asked for follow in order."""

    says: Literal["sending"] = "sending"


@dataclass(frozen=True)
class Refused:
    """It was not done; the connection goes on. `away`: that is the machine's state, and not the action's fault."""

    what: str
    where: Optional[str] = None
    hint: Optional[str] = None
    away: bool = False
    says: Literal["refused"] = "refused"


@dataclass(frozen=True)
class Answer:
    it: Union[Facts, Needed, Taken, Line, Made, Sending, Refused]


@dataclass(frozen=True)
class Terms:
    """Under which a session works: `folder` for files, seconds and bytes of memory that an action may take (0: no limit),
    bytes of disk space that stay free, and the run that it belongs to."""

    folder: str
    seconds: float
    memory: int
    free: int
    run: str


# Messages over two pipes: each one line of JSON, which may announce a number of bytes that follow it.
#
# Both ends use it. It knows no message; `builder/execution/messages.py` does.


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
