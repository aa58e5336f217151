"""Provenance of a version: the actions of every cell, with all digests.

These are the actions that made and measured it. It is a file of its own in the store (`provenance.json`), so that a
pull need not read it. `builder/execution/publish.py` writes it; `builder/audit/causes.py` compares it between versions,
and so finds changes without building.

A recipe is kept as flat settings (`profiles.0.name`), not as a record, so that recipes of other releases can be read.
"""

from __future__ import annotations

import functools
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Literal, Optional, Tuple

from builder.actions.action import Site
from builder.platforms.platform import Pinned, Platform, Tool
from builder.records import KEYED, Setting, to_json


@dataclass(frozen=True)
class StepRecord:
    """One action and its result. `inputs` and `outputs` are digests by name.

    An action without a result (it waits for another machine, or it failed) has no outputs. `site` is None then, and for
    actions of older releases.
    """

    key: str
    step: str
    settings: Tuple[Setting, ...] = field(default=(), metadata=KEYED)
    inputs: Tuple[Pinned, ...] = field(default=(), metadata=KEYED)
    tools: Tuple[Tool, ...] = field(default=(), metadata=KEYED)
    platform: Optional[Platform] = None
    outputs: Tuple[Pinned, ...] = field(default=(), metadata=KEYED)
    done: bool = False
    site: Optional[Site] = None


@dataclass(frozen=True)
class JobLink:
    """The job `job` of a cell was the action `key`; `needs` are the jobs it took outputs from."""

    job: str
    key: str
    needs: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """All jobs of a cell, each after those that it needs."""

    cell: str
    links: Tuple[JobLink, ...] = field(default=(), metadata=KEYED)


@dataclass(frozen=True)
class Revision:
    """A git commit in hexadecimal.

    `ref` (refs/heads/main): the branch of HEAD, if any. `changed`: whether tracked files differ from the commit; None
    when git cannot tell.
    """

    commit: str
    ref: str = ""
    changed: Optional[bool] = None


@dataclass(frozen=True)
class Provenance:
    """`revision`: the commit of the project that was built, where it is kept in git."""

    schema: Literal[1]
    version: int
    steps: Tuple[StepRecord, ...] = field(default=(), metadata=KEYED)
    cells: Tuple[Chain, ...] = field(default=(), metadata=KEYED)
    revision: Optional[Revision] = None

    @functools.cached_property
    def by_key(self) -> Dict[str, StepRecord]:
        return {step.key: step for step in self.steps}

    def chain(self, cell: str) -> Tuple[JobLink, ...]:
        """The links of `cell`; empty when it was not built."""
        return next((chain.links for chain in self.cells if chain.cell == cell), ())


def text(provenance: Provenance) -> bytes:
    return json.dumps(to_json(provenance), separators=(",", ":"), ensure_ascii=False).encode()


# ------------------------------------------------------------------------------------------- git


_STATUS = ("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--untracked-files=no")
_SECONDS = 10


def of(folder: Path) -> Optional[Revision]:
    """The revision of the repository around `folder`.

    None without one, without a commit, or without git.
    """
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *_STATUS],
            cwd=str(folder),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    headers = dict(line[len("# branch.") :].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = headers.get("oid", "(initial)"), headers.get("head", "(detached)")
    if commit == "(initial)":
        return None
    ref = "" if branch == "(detached)" else f"refs/heads/{branch}"
    return Revision(commit, ref, any(not line.startswith("#") for line in lines))
