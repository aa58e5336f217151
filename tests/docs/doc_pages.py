"""The pages of the documentation as data: their fenced blocks, and running them in a folder. No test is here.

A page says what it needs in comments that no reader sees:

    <!-- needs: torch onnx -->                    skipped where one of these cannot be imported
    <!-- needs programs: docker-registry -->      skipped where one of these is not installed
    <!-- starts from: ../tutorial/page.md -->     its folder is a copy of that page's folder, finished
    <!-- not run: REASON -->                      the block right after it is shown, not run

Blocks run in the order of the page. A block whose first line is `# file: NAME` is written to that file. In a
`console` block every line that starts with `$ ` is a command, which must end with exit code 0; lines after it, if
any, are the output to expect: numbers and digests are masked, spaces collapse, and `...` stands for anything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LANGUAGES = ("console", "yaml", "python", "json", "text")

_FENCE = re.compile(r"^```(\w*)\s*$")
_NOT_RUN = re.compile(r"^<!-- not run:(.*)-->$")
_FILE = re.compile(r"^# file: (\S+)$")
_DIGEST = re.compile(r"\b(sha256:)?[0-9a-f]{64}\b|\bv\d+-[0-9a-f]{8}\b")
_NUMBER = re.compile(r"(?<![A-Za-z_\d])\d+(\.\d+)?(e[-+]?\d+)?")
_LIMIT = 300


@dataclass(frozen=True)
class Block:
    """`file` when it has a title line; `not_run` is the reason why it is only shown."""

    page: str
    line: int
    language: str
    text: str
    file: Optional[str] = None
    not_run: Optional[str] = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def needs(self) -> Tuple[str, ...]:
        return tuple(self._note("needs").split())

    @property
    def programs(self) -> Tuple[str, ...]:
        return tuple(self._note("needs programs").split())

    @property
    def starts_from(self) -> Optional[Path]:
        named = self._note("starts from")
        return (self.path.parent / named).resolve() if named else None

    def _note(self, kind: str) -> str:
        match = re.search(rf"^<!-- {kind}: (.*) -->$", self.text, re.MULTILINE)
        return match.group(1).strip() if match else ""

    @property
    def blocks(self) -> Tuple[Block, ...]:
        return tuple(_blocks(self))

    @property
    def is_run(self) -> bool:
        return any(block.language in ("console", "python") and block.not_run is None for block in self.blocks)


def page(path: Path) -> Page:
    return Page(path, path.read_text(encoding="utf-8"))


def pages() -> Tuple[Page, ...]:
    found = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]
    return tuple(page(path) for path in found if path.is_file())


def _blocks(of: Page) -> Iterator[Block]:
    language, start, not_run = "", 0, None  # type: Tuple[str, int, Optional[str]]
    body: Optional[List[str]] = None
    for number, line in enumerate(of.text.splitlines(), 1):
        fence, note = _FENCE.match(line), _NOT_RUN.match(line)
        if body is None:
            if note:
                not_run = note.group(1).strip()
            elif fence:
                body, language, start = [], fence.group(1), number
            elif line.strip():
                not_run = None
        elif line.rstrip() == "```":
            titled = _FILE.match(body[0]) if body else None
            text = "\n".join(body) + "\n"
            yield Block(of.name, start, language, text, titled.group(1) if titled else None, not_run)
            body, not_run = None, None
        else:
            body.append(line)
    assert body is None, f"{of.name}:{start}: the block is not closed"


# ---------------------------------------------------------------------------------------------- running


@dataclass(frozen=True)
class Command:
    line: str
    expected: Tuple[str, ...]


def commands(block: Block) -> Tuple[Command, ...]:
    found: List[Command] = []
    lines = iter(block.text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command = command[:-1] + next(lines)
            found.append(Command(command, ()))
        else:
            assert found, f"{block.place}: a console block starts with a `$ command` line"
            found[-1] = Command(found[-1].line, (*found[-1].expected, line))
    return tuple(found)


def run(of: Page, folder: Path) -> None:
    """Every block of a page, in order, in `folder`. AssertionError at the first that does not do what it says."""
    for block in of.blocks:
        if block.not_run is not None:
            continue
        if block.file is not None:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for command in commands(block):
                _check(block, command, _output(["bash", "-c", command.line], folder, block, command.line))
        elif block.language == "python":
            _output([sys.executable, "-c", block.text], folder, block, "the Python block")


def _output(words: List[str], folder: Path, block: Block, what: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        words,
        cwd=str(folder),
        env={**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONUNBUFFERED": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_LIMIT,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == 0, f"{block.place}: {what}\nended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def _check(block: Block, command: Command, found: str) -> None:
    if any(line.strip() for line in command.expected):
        assert matches(command.expected, found), (
            f"{block.place}: {command.line}\nthe page shows:\n" + "\n".join(command.expected) + f"\nfound:\n{found}"
        )


def matches(expected: Tuple[str, ...], found: str) -> bool:
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        elif line.strip():
            pattern += r".*".join(re.escape(part) for part in _masked(line).split("...")) + r"\n"
    actual = "".join(_masked(line) + "\n" for line in found.splitlines() if line.strip())
    return re.fullmatch(pattern, actual) is not None


def _masked(line: str) -> str:
    return _NUMBER.sub("#", _DIGEST.sub("DIGEST", " ".join(line.split())))


def parse(block: Block) -> None:
    """A yaml, python or json block that is not run must at least be well formed."""
    if block.language == "python":
        compile(block.text, block.place, "exec")
    elif block.language == "json" and "..." not in block.text:
        json.loads(block.text)
