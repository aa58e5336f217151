"""What TensorRT says when it refuses, made readable: the node or tensor it speaks of, and what to do about it.

Its messages come through Polygraphy's logger, which prints them, several lines deep, with source positions of their own.
"""

from __future__ import annotations

import contextlib
import io
import re
from typing import List, Optional, Tuple

from builder.errors import first_line

_NOISE = re.compile(
    r"(Begin node|End node|Runtime \(In catchCudaError|^ModelImporter\.cpp|^ERROR: \S+ In function|^\[\d+\] |^\s*Node name)"
)
_PREFIX = re.compile(
    r"^(\[[EW!]\]\s*)?(\[\w+\.cpp::\w+::\d+\] )?(I?[A-Z]\w+::\w+: )?(Error Code \d+: )?((API Usage|Internal) Error )?"
)
_POSITION = re.compile(r"\.? In \w+ at /_?src\S*|\[\w+\.cpp:\d+: \w+\] ")
_HINTS: Tuple[Tuple[str, str], ...] = (
    (
        r"UNSUPPORTED_NODE|[Nn]o importer|not supported|unsupported",
        "replace that node in the model, or keep it on a CPU target",
    ),
    (r"[Pp]rofile", "correct `profiles:` in matrix.yaml"),
    (
        r"[Ww]orkspace|[Oo]ut of memory|OutOfMemory|find any implementation",
        "raise `workspace:` for this cell, such as 4GiB, or lower `max` of its profile",
    ),
    (r"[Tt]iming cache", "drop `timing_cache:`, or build once without `strict` and keep the cache that comes out"),
    (r"TopK", "ask for at most 3840 points"),
)


class Words:
    """Collects what is printed inside its `with` block, to standard output or standard error."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        self._redirects = contextlib.ExitStack()

    def __enter__(self) -> "Words":
        self._redirects.enter_context(contextlib.redirect_stdout(self._text))
        self._redirects.enter_context(contextlib.redirect_stderr(self._text))
        return self

    def __exit__(self, *exception: object) -> None:
        self._redirects.close()

    def said(self, problem: Exception) -> str:
        """TensorRT's own reason, or, when it gave none, Polygraphy's."""
        return readable(self._text.getvalue()) or first_line(problem)

    def hint(self) -> Optional[str]:
        return next((hint for pattern, hint in _HINTS if re.search(pattern, self._text.getvalue())), None)


def readable(text: str) -> str:
    """The telling lines of a log, at most two, without prefixes and source positions."""
    lines: List[str] = []
    for line in text.splitlines():
        plain = _PREFIX.sub("", line.strip())
        if not plain or _NOISE.search(plain) or _is_polygraphys(line):
            continue
        plain = _POSITION.sub("", plain.replace("UNSUPPORTED_NODE: ", "unsupported: ")).strip("() ")
        if plain not in lines:
            lines.append(plain)
    return "; ".join(lines[-2:])


def _is_polygraphys(line: str) -> bool:
    """`[!]` is its own summary of what TensorRT said before, `[W]` and `[I]` are not why something was refused."""
    return line.startswith(("[!]", "[W]", "[I]"))
