"""Words and columns for a person."""

from __future__ import annotations

import contextlib
import io
from typing import Optional

import pytest

from builder import terminal
from builder.execution.scheduler import Lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_has_aligned_columns_and_no_trailing_space() -> None:
    made = terminal.table(("cell", "plan"), [("a", "build"), ("longer", "")], status=1, out=io.StringIO())
    assert made.splitlines() == ["cell    plan", "a       build", "longer"]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), (None, None)])
def test_colour_is_for_terminals_that_want_it(name: Optional[str], value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if name is not None:
        monkeypatch.setenv(name, value)
    assert ("\x1b" in terminal.paint("passed", Terminal())) == (name is None)
    assert terminal.paint("passed", io.StringIO()) == "passed"


def test_the_streams_of_the_moment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with contextlib.redirect_stdout(Terminal()):
        assert "\x1b" in terminal.paint("passed")
    with contextlib.redirect_stdout(io.StringIO()):
        assert terminal.paint("passed") == "passed"
    with contextlib.redirect_stderr(io.StringIO()) as said:
        Lines().ended("job", "done", 1.0)
    assert "job: done (1.0 s)" in said.getvalue()


def test_counts_sizes_and_groups() -> None:
    assert terminal.counts(["b", "a", "b"], ("a", "b", "c")) == "1 a, 2 b"
    assert terminal.counts([], ("a",)) == "nothing"
    assert (terminal.size(2048), terminal.size(3 << 20)) == ("2 KiB", "3.0 MiB")
    assert terminal.grouped([("a", "x"), ("b", "y"), ("c", "x")]) == {"x": ["a", "c"], "y": ["b"]}
