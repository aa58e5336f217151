"""The records of an audit: versions side by side, what moved, by how much, and why. Data only.

`validation/drift.py` fills them; renderers and reports read them. `to_json(Ledger)` is the output of
`build audit --format json`, so a change here is a change of a documented format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Optional, Tuple

from builder.records import KEYED
from builder.store.manifest import Manifest
from builder.store.provenance import Provenance
from validation.readings import Better, Kind

State = Literal["beyond", "worse", "better", "same", "new", "gone", "unlike"]
STATES: Tuple[State, ...] = ("beyond", "worse", "gone", "unlike", "new", "better", "same")
CauseKind = Literal[
    "weights", "model", "calibration", "data", "code", "setting", "gate", "runtime", "tool", "release", "step",
    "rebuilt", "measured again", "site",
]  # fmt: skip


@dataclass(frozen=True)
class Version:
    """One version of a store. `provenance` is None when it was published without."""

    manifest: Manifest
    provenance: Optional[Provenance] = None

    @property
    def number(self) -> int:
        return self.manifest.version


@dataclass(frozen=True)
class Cause:
    """One thing that is not as it was. `before` and `after` are digests, versions or values; `detail` says it where a
    pair cannot (`+dusk.png -dawn.png`). `steps` are the steps that it entered."""

    kind: CauseKind
    what: str
    before: str = ""
    after: str = ""
    detail: str = ""
    steps: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """All that changed for some numbers from version `since` to `version`. `recorded`: from provenance; otherwise only
    from the manifests, which know less."""

    since: int
    version: int
    causes: Tuple[Cause, ...]
    recorded: bool = True


@dataclass(frozen=True)
class Point:
    """A metric in one version; a version without the metric has no point. `where` is the worst sample or case."""

    version: int
    value: Optional[float]
    reference: Optional[float] = None
    where: str = ""
    word: str = ""


@dataclass(frozen=True)
class Move:
    """The number left its noise between two versions. `worse` is positive when it got worse, None when it was lost or
    found. `change` is the index of the reason in `Ledger.changes`."""

    since: int
    version: int
    before: Optional[float]
    after: Optional[float]
    worse: Optional[float]
    change: int


@dataclass(frozen=True)
class Line:
    """One metric of one cell over the versions.

    lost: how much worse than the model itself the candidate is (task metrics). worse, percent: than the version that
    it is held against; positive is worse. noise: what does not count as a move, in the metric's unit. slope: least
    squares over the versions, per version, positive is worse. creep: what piled up in steps of which none was beyond the
    limit. moved: the first version after the one it is held against in which it had moved.
    """

    cell: str
    metric: str
    kind: Kind
    better: Better
    unit: str
    state: State
    points: Tuple[Point, ...]
    said: str = ""
    lost: Optional[float] = None
    worse: Optional[float] = None
    percent: Optional[float] = None
    noise: float = 0.0
    limit: str = ""
    slope: Optional[float] = None
    creep: Optional[float] = None
    moved: Optional[int] = None
    moves: Tuple[Move, ...] = ()

    def at(self, version: Optional[int]) -> Optional[Point]:
        return next((point for point in self.points if point.version == version), None)


@dataclass(frozen=True)
class CellLine:
    """A cell in the candidate, or where it last was. `artifact`: whether its bytes are those of the version that it is
    held against."""

    cell: str
    head: str
    precision: str
    target: str
    runtime: str
    verdict: str
    artifact: Literal["same", "changed", "new", "none"]


@dataclass(frozen=True)
class Count:
    state: State
    lines: int


@dataclass(frozen=True)
class Group:
    """A precision on a target with a runtime. `drifted` is the line that got worst in proportion to its limit, `lost` the
    task metric that is farthest below the model itself; each an index of `Ledger.lines`."""

    precision: str
    target: str
    runtime: str
    cells: int
    counts: Tuple[Count, ...] = field(default=(), metadata=KEYED)
    drifted: Optional[int] = None
    lost: Optional[int] = None

    def count(self, *states: State) -> int:
        return sum(count.lines for count in self.counts if count.state in states)


@dataclass(frozen=True)
class Release:
    """A version that was read. `recorded`: it has its provenance."""

    version: int
    created: str
    recorded: bool


@dataclass(frozen=True)
class Ledger:
    """`against` is None when the candidate is the only version. `limits` says where the limits are from."""

    schema: Literal[1]
    model: str
    candidate: int
    against: Optional[int]
    releases: Tuple[Release, ...]
    limits: str
    groups: Tuple[Group, ...]
    cells: Tuple[CellLine, ...] = field(metadata=KEYED)
    changes: Tuple[Change, ...]
    lines: Tuple[Line, ...]

    @property
    def beyond(self) -> Tuple[Line, ...]:
        return tuple(line for line in self.lines if line.state == "beyond")
