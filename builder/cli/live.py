"""The live table: a row per cell that changes while the run works, on a terminal. Uses rich, imported only here."""

from __future__ import annotations

import time
from typing import Dict, List, Tuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from builder.config.cells import Cell
from builder.planning.planner import Plan

_STYLES = {
    "done": "green",
    "recalled": "green",
    "failed": "red",
    "waiting": "yellow",
    "blocked": "red",
    "working": "cyan",
}
_COLUMNS = ("onnx", "engine", "parity", "tasks", "latency", "sweep")
_MARKS = {"done": "built", "recalled": "recalled", "failed": "failed", "waiting": "waiting", "blocked": "blocked"}


class LiveTable:
    """A reporter (see `builder/execution/scheduler.py`). Rows of skipped cells are left out; the summary counts them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._cells: Tuple[Cell, ...] = ()
        self._total = 0
        self._states: Dict[str, str] = {}
        self._seconds: Dict[str, float] = {}
        self._running: Dict[str, Tuple[float, str]] = {}
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def begin(self, plan: Plan) -> None:
        self._cells = tuple(cell for cell in plan.cells if cell.fate == "build" or cell.reached)
        self._total = len(plan.jobs)
        self._states, self._seconds = {}, {}
        self._live.start()

    def started(self, job: str) -> None:
        self._running[job] = (time.monotonic(), "")

    def said(self, job: str, line: str) -> None:
        since, _ = self._running.get(job, (time.monotonic(), ""))
        self._running[job] = (since, line)

    def ended(self, job: str, how: str, seconds: float) -> None:
        self._running.pop(job, None)
        self._states[job] = how
        self._seconds[job] = seconds

    def told(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("cell")
        for name in _COLUMNS:
            table.add_column(name)
        for cell in self._visible():
            scored = self._foremost([task.job for task in cell.tasks])
            table.add_row(
                cell.id,
                self._mark(cell.onnx),
                self._mark(cell.engine),
                self._mark(cell.parity),
                self._mark(scored) if scored else Text(""),
                self._mark(cell.latency),
                self._mark(cell.sweep) if cell.sweep else Text(""),
            )
        lines: List[Text] = [Text(f"{len(self._states)}/{self._total} steps")]
        for job, (since, said) in list(self._running.items()):
            lines.append(
                Text(
                    f"  {job}  {time.monotonic() - since:.0f} s  {said}",
                    style="cyan",
                    no_wrap=True,
                    overflow="ellipsis",
                )
            )
        return Group(table, *lines)

    def _visible(self) -> Tuple[Cell, ...]:
        """Rows that fit the terminal, the ones at work first in view."""
        room = max(self._console.size.height - 5, 3)
        if len(self._cells) <= room:
            return self._cells
        busy = [i for i, cell in enumerate(self._cells) if not self._states.get(cell.latency)]
        first = min(busy[0] if busy else 0, len(self._cells) - room)
        return self._cells[first : first + room]

    def _foremost(self, jobs: List[str]) -> str:
        """The job that stands for all of them: the first that is not done, else the last. "" for none."""
        pending = [job for job in jobs if self._states.get(job) not in ("done", "recalled")]
        return (pending or jobs[-1:] or [""])[0]

    def _mark(self, job: str) -> Text:
        """A job that waits for another machine is told apart from one that is still to come."""
        if job in self._running:
            return Text("working", style=_STYLES["working"])
        state = self._states.get(job)
        if state is None:
            return Text("-", style="dim")
        seconds = f" {self._seconds[job]:.1f} s" if state == "done" else ""
        return Text(_MARKS[state] + seconds, style=_STYLES[state])


def reporter() -> LiveTable:
    return LiveTable(Console(stderr=True))
