"""The run that a store is in the middle of: what it was asked for, so that it can be gone on with when it was interrupted.

It is written when a run begins and removed when it ends, whatever its verdict; what is there without a living run was left
by one that was killed or interrupted.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import FrozenSet, Optional, Tuple

from builder.records import RecordError, from_json, to_json
from builder.store.layout import Layout


@dataclass(frozen=True)
class Ongoing:
    """`id` is what other machines know the run by. The rest are its flags; `machines` is a path."""

    id: str
    only: Tuple[str, ...] = ()
    skip: Tuple[str, ...] = ()
    gates: Tuple[str, ...] = ()
    force: bool = False
    machines: Optional[str] = None


def new_id() -> str:
    return os.urandom(16).hex()


def find(store: Layout) -> Optional[Ongoing]:
    """None where none is, or one of another version."""
    try:
        return from_json(Ongoing, json.loads(store.ongoing.read_bytes()))
    except (OSError, ValueError, RecordError):
        return None


def begin(store: Layout, ongoing: Ongoing) -> None:
    """For whoever holds the store. What goes on keeps the time when it began. Not flushed: a run with nothing to do would
    pay for it, and what is half there is as good as none."""
    if find(store) != ongoing:
        store.ongoing.write_text(json.dumps(to_json(ongoing), indent=1) + "\n", encoding="utf-8")


def end(store: Layout) -> None:
    store.ongoing.unlink()


def made_since(store: Layout) -> FrozenSet[str]:
    """The keys of all results that were recorded since the run that goes on began."""
    began = store.ongoing.stat().st_mtime_ns
    return frozenset(key for key, path in store.recorded() if path.stat().st_mtime_ns >= began)
