"""The executors of one run that work elsewhere: one for each way to reach machines, made when the first job needs it.

A context: at its end nothing that it has started runs anywhere.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import AbstractSet, Callable, Dict, Mapping, Optional, Type

from builder import plugins, release
from builder.config.remote_machines import FleetSettings, Reached
from builder.errors import UsageError
from builder.plugins import Executor, Executors

# What the executors that work elsewhere know of the run that they serve. Data only.


@dataclass(frozen=True)
class Campaign:
    """`id`: hex digits; machines keep what they began for it. `shared`: machines that need not be waited for long, since
    another one can take each of their jobs."""

    id: str
    environ: Mapping[str, str]
    shared: AbstractSet[Reached] = frozenset()
    fleet: Optional[FleetSettings] = None


class Crew:
    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._known: Dict[str, Executors] = {}
        self._until = contextlib.ExitStack()
        self._making = threading.Lock()

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._until.close()

    def at(self, place: Reached) -> Executor:
        scheme = place.where.partition(":")[0]
        with self._making:
            if scheme not in self._known:
                self._known[scheme] = self._until.enter_context(_made(scheme)(self._campaign))
            return self._known[scheme].at(place)


def _made(scheme: str) -> Callable[[Campaign], Executors]:
    try:
        return plugins.executors(scheme)
    except ImportError as problem:
        raise UsageError(
            f"{problem.name or problem} is not installed here",
            where=scheme,
            hint=release.pip_install(scheme),
        ) from None
