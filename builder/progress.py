"""What a run tells while it works: a protocol, and two plain reporters. The live table is `builder/live.py`."""

from __future__ import annotations

import sys
from typing import IO, AbstractSet, Optional, Protocol

from builder.planning.planner import Plan


class Reporter(Protocol):
    def begin(self, plan: Plan) -> None: ...

    def started(self, job: str) -> None: ...

    def said(self, job: str, line: str) -> None:
        """A line that the step printed."""

    def ended(self, job: str, how: str, seconds: float) -> None:
        """`how`: done, recalled, failed, waiting or blocked."""

    def told(self, line: str) -> None:
        """A line about no single job."""

    def close(self) -> None: ...


class Silent:
    def begin(self, plan: Plan) -> None: ...

    def started(self, job: str) -> None: ...

    def said(self, job: str, line: str) -> None: ...

    def ended(self, job: str, how: str, seconds: float) -> None: ...

    def told(self, line: str) -> None: ...

    def close(self) -> None: ...


class Lines(Silent):
    """One line per job that did something, and what is heard of jobs on other machines, which are not to be watched
    otherwise; for logs and pipes."""

    def __init__(self, out: Optional[IO[str]] = None) -> None:
        self._out = out or sys.stderr
        self._total = self._count = 0
        self._elsewhere: AbstractSet[str] = frozenset()

    def begin(self, plan: Plan) -> None:
        self._total, self._count = len(plan.jobs), 0
        self._elsewhere = {job.id for job in plan.jobs if job.reached}

    def said(self, job: str, line: str) -> None:
        if job in self._elsewhere and line:
            self._print(f"{job}: {line}")

    def ended(self, job: str, how: str, seconds: float) -> None:
        self._count += 1
        if how not in ("recalled", "waiting"):
            self._print(f"[{self._count}/{self._total}] {job}: {how} ({seconds:.1f} s)")

    def told(self, line: str) -> None:
        self._print(line)

    def _print(self, line: str) -> None:
        """In one piece: several threads tell of their jobs."""
        self._out.write(f"{line}\n")
        self._out.flush()
