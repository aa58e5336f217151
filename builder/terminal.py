"""Terminal output: tables, counts, sizes, wrapped text, progress.

Plain text; colour and a live line only on a terminal.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
import threading
import time
from typing import IO, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

_COLOURS: Dict[str, str] = {
    "passed": "32",
    "built": "32",
    "build": "36",
    "recalled": "32",
    "failed": "31",
    "unverified": "33",
    "waiting": "33",
    "skipped": "2",
    "answers": "32",
    "refuses": "33",
    "differs": "31",
}


# Control characters that a terminal acts on, and lone surrogates. Newlines and tabs are allowed.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def harmless(said: str) -> str:
    """Text of another machine, made safe to print."""
    return _OBEYED.sub("?", said)


def in_one_line(said: str) -> str:
    """Text for one line of a log, so that it cannot forge another line."""
    return harmless(" / ".join(line.strip() for line in said.splitlines() if line.strip()).replace("\t", " "))


def coloured(out: IO[str]) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(word: str, out: Optional[IO[str]] = None) -> str:
    """`word` in the colour of its status, when `out` (standard output) is a terminal."""
    code = _COLOURS.get(word.strip())
    return f"\x1b[{code}m{word}\x1b[0m" if code and coloured(out or sys.stdout) else word


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, status: int, out: Optional[IO[str]] = None) -> str:
    """Left-aligned columns, two spaces apart.

    Column `status` is painted; the last one may be long.
    """
    body = [tuple(row) for row in rows]
    widths = [max(len(row[i]) for row in [tuple(header), *body]) for i in range(len(header))]
    widths[-1] = 0
    lines: List[str] = []
    for number, row in enumerate([tuple(header), *body]):
        padded = [cell.ljust(width) for cell, width in zip(row, widths)]
        if number:
            padded[status] = paint(padded[status], out)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def counts(words: Iterable[str], order: Sequence[str]) -> str:
    """'14 passed, 22 waiting': the words that occur, in `order`."""
    listed = list(words)
    return ", ".join(f"{listed.count(word)} {word}" for word in order if word in listed) or "nothing"


def counted(number: int, what: str) -> str:
    """'1 trial', '3 trials'."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.0f} KiB"


def wrapped(text: str, indent: str, width: int = 110, hanging: Optional[int] = None) -> str:
    """Wrap `text`.

    `indent` begins the first line; later ones are indented by `hanging`, by default two more. Lines of `text` after its
    first are commands and stay unchanged.
    """
    after = " " * hanging if hanging is not None else indent + "  "
    said, *commands = text.split("\n")
    filled = textwrap.fill(
        said, width, initial_indent=indent, subsequent_indent=after, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join([filled, *(f"{after}  {command}" for command in commands)])


def advice(pairs: Iterable[Tuple[str, str]]) -> List[str]:
    """One paragraph per advice (the second of a pair), with the names that it is for."""
    return [wrapped(f"{', '.join(dict.fromkeys(names))}: {said}", "  ") for said, names in grouped(pairs).items()]


def grouped(pairs: Iterable[Tuple[str, str]]) -> Dict[str, List[str]]:
    """value -> its keys, in order of first appearance."""
    found: Dict[str, List[str]] = {}
    for key, value in pairs:
        found.setdefault(value, []).append(key)
    return found


# ------------------------------------------------------------------------------------------- progress of a transfer


_EVERY_LINE, _EVERY_FRAME = 5.0, 0.2  # seconds
_MEGA = 1e6


class Meter:
    """Progress: files, bytes and rate, on a terminal as a live line, elsewhere as a line now and then.

    Thread-safe. `out` None: no output.
    """

    def __init__(
        self, doing: str = "", out: Optional["IO[str]"] = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`doing` begins each line: "fetched" gives "fetched 12.0 of 80.5 MB, 1 of 4 files, 11.2 MB/s"."""
        self._doing, self._out, self._now = doing, out, now
        self._live = out is not None and out.isatty()
        self._lock = threading.Lock()
        self._since = self._said = now()
        self.bytes = self.of_bytes = self.files = self.of_files = self._kept = 0

    def expect(self, files: int, size: int) -> None:
        """Announce more files and bytes. The first call starts the clock."""
        with self._lock:
            if not self.of_files:
                self._since = self._said = self._now()
            self.of_files, self.of_bytes = self.of_files + files, self.of_bytes + size

    def moved(self, size: int, *, kept: bool = False) -> None:
        """Count `size` bytes (possibly negative).

        `kept`: they existed before, so they are not part of the rate.
        """
        with self._lock:
            self.bytes += size
            self._kept += size if kept else 0
            self._tell()

    def done(self) -> None:
        """One file more is whole."""
        with self._lock:
            self.files += 1
            self._tell()

    def close(self) -> None:
        if self._live and self._out is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def __str__(self) -> str:
        rate = (self.bytes - self._kept) / max(self._now() - self._since, 1e-3)
        return (
            f"{self._doing} {self.bytes / _MEGA:,.1f} of {self.of_bytes / _MEGA:,.1f} MB, "
            f"{self.files} of {self.of_files} files, {max(rate, 0) / _MEGA:,.1f} MB/s"
        )

    def _tell(self) -> None:
        now = self._now()
        if self._out is None or now - self._said < (_EVERY_FRAME if self._live else _EVERY_LINE):
            return
        self._said = now
        self._out.write(f"\r{self}\x1b[K" if self._live else f"{self}\n")
        self._out.flush()
