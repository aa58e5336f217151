"""The manifest: every cell of one version, with its files and its verdict.

Data only; every host reads it. A manifest is numbered and immutable. The status of a cell:

    passed      measured here and within every gate; `pull` chooses among these
    failed      measured and beyond a gate, or a step failed
    unverified  built, but it cannot run on the machine that built it
    waiting     not built: it needs another machine (`remedies` has the command)
    skipped     excluded by a compatibility rule or by the user

`upgraded` reads older schemas, since stores outlive the program that wrote them.

    1 -> 2   a verdict held only missed checks; now it holds every check
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Dict, List, Literal, Optional, Tuple

from builder.actions.measurements import Arithmetic, Cost, Latency, OutputParity, Swept
from builder.config.contract import Agreement, Align, Compute, Input, Keypoints, Output, Preprocess, Profile
from builder.config.gates import Bound, Level, Limit
from builder.config.matrix import Search
from builder.digest import Json
from builder.platforms.platform import Blob, Platform, Tool
from builder.records import KEYED

# ------------------------------------------------------------------------------------------- older schemas


# Metrics with larger values better, from when misses did not record it.
_AT_LEAST = frozenset({"cosine", "snr_db", "matched"})


def upgraded(data: Json) -> Json:
    """`data` in schema 2.

    Anything that is not a manifest is returned unchanged, for the reader to refuse.
    """
    if not isinstance(data, dict) or data.get("schema") != 1:
        return data
    entries = data.get("entries")
    made = [_entry(entry) for entry in entries] if isinstance(entries, list) else entries
    return {**data, "schema": 2, "entries": made}


def _entry(entry: Json) -> Json:
    if not isinstance(entry, dict) or not isinstance(entry.get("verdict"), dict):
        return entry
    verdict = entry["verdict"]
    assert isinstance(verdict, dict)
    misses = verdict.get("misses")
    rest: Dict[str, Json] = {name: value for name, value in verdict.items() if name != "misses"}
    if isinstance(misses, list) and misses:
        checks: List[Json] = [_check(miss) for miss in misses]
        rest["checks"] = checks
    return {**entry, "verdict": rest}


def _check(miss: Json) -> Json:
    """A check from a miss.

    A miss had `output` for its output or task, `sample` for its worst sample, and no gate.
    """
    if not isinstance(miss, dict):
        return miss
    bound = miss.get("bound", "value")
    metric, found, limit = miss.get("metric"), miss.get("found"), miss.get("limit")
    at_most = bound != "value" or metric not in _AT_LEAST
    if bound == "value" and isinstance(found, (int, float)) and isinstance(limit, (int, float)):
        at_most = found > limit  # it was missed, so this is the side it lies on
    return {
        "level": "tensor" if metric in _TENSOR else "task",
        "subject": miss.get("output"),
        "metric": metric,
        "found": found,
        "limit": limit,
        "at_most": at_most,
        "gate": "not recorded",
        "worst": miss.get("sample", ""),
        "bound": bound,
    }


_TENSOR = frozenset({"max_abs", "mean_abs", "p99_abs", "max_rel", *_AT_LEAST})


# ------------------------------------------------------------------------------- search for layers that stay in float32


Ended = Literal["found", "budget", "impossible", "everything", "failed", "not applicable"]


@dataclass(frozen=True)
class Trial:
    """One attempt.

    `kept`: names of the layers in float32. `missed`: why it failed, empty when it passed. `seconds`: duration of the
    work done for it.
    """

    kept: Tuple[str, ...]
    passed: bool
    missed: str
    seconds: float


@dataclass(frozen=True)
class Recovered:
    """A gate that was missed with everything lowered, and its value with the layers kept."""

    subject: str
    metric: str
    bound: Bound
    limit: float
    before: Optional[float]
    after: Optional[float]


@dataclass(frozen=True)
class Searched:
    """The result of a search. `ended`:

        found           the fewest layers that this search finds
        budget          trials or minutes ran out; `kept` is the best that had passed until then, if any
        impossible      even with every layer in float32 a gate is missed
        everything      it passes only with every layer in float32
        failed          a step of the search failed
        not applicable  no step lowers this cell's graph

    `layers`: how many the lowering lowers. `kept`: nodes of the graph in float32 because of the search. `was`: gates
    missed with everything lowered. `estimated`: the stand-in for a target that could not run the trials. `cost`: the
    artifact beside the one with everything lowered.
    """

    ended: Ended
    said: str
    budget: Search
    layers: int = 0
    kept: Tuple[str, ...] = ()
    trials: Tuple[Trial, ...] = ()
    was: str = ""
    recovered: Tuple[Recovered, ...] = ()
    cost: Optional[Cost] = None
    estimated: str = ""


# ------------------------------------------------------------------------------------------- cells and versions


Status = Literal["passed", "failed", "unverified", "waiting", "skipped"]


@dataclass(frozen=True)
class Check:
    """A limit and the worst value found.

    `worst`: its photograph, case or image size, empty for none. `found`: the value that the limit applies to, or the
    loss (see `bound`); None when there is no number, which misses the limit. `gate`: selector of the gate that set the
    limit. `slack`: how far noise alone may exceed the limit, in the same unit.
    """

    level: Level
    subject: str
    metric: str
    found: Optional[float]
    limit: float
    at_most: bool
    gate: str
    worst: str = ""
    bound: Bound = "value"
    slack: float = 0.0
    report_only: bool = False

    @property
    def kept(self) -> bool:
        if self.found is None:
            return False
        return self.found <= self.limit + self.slack if self.at_most else self.found >= self.limit - self.slack


@dataclass(frozen=True)
class Verdict:
    """`checks`: every gate that was judged, kept or missed."""

    status: Status
    reason: str = ""
    remedies: Tuple[str, ...] = ()
    checks: Tuple[Check, ...] = ()

    @property
    def misses(self) -> Tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.kept and not check.report_only)

    @property
    def warnings(self) -> Tuple[Check, ...]:
        """Missed, but only to be reported."""
        return tuple(check for check in self.checks if not check.kept and check.report_only)


@dataclass(frozen=True)
class Artifact:
    """The files of a built cell.

    `digest`: its OCI manifest in the store. `onnx`: the graph it was built from. `action`: key of the action that built
    it. `compute` and `static`: how a host must open it. `portability`: on which GPUs and versions an engine loads
    (builder/platforms/dialects.py).
    """

    digest: str
    size: int
    files: Tuple[Blob, ...]
    onnx: str
    action: str
    compute: Compute
    static: bool
    seconds: float
    remarks: Tuple[str, ...] = ()
    portability: str = ""


@dataclass(frozen=True)
class Golden:
    """Data for the self-test of an artifact on a host.

    `sample`: a file of the model's own inputs and outputs (`validation/samples.py`). `align` and `agreement`: how they
    are compared. `limits`: set where the artifact was not judged; otherwise its verdict has them.
    """

    sample: Blob
    align: Optional[Align] = None
    agreement: Tuple[Agreement, ...] = field(default=(), metadata=KEYED)
    limits: Tuple[Limit, ...] = ()


@dataclass(frozen=True)
class TaskResult:
    """A task's metric over all cases: artifact and model.

    `worst`: the case with the largest loss.
    """

    task: str
    metric: str
    value: Optional[float]
    reference: Optional[float]
    lower_is_better: bool = False
    worst: str = ""

    @property
    def lost(self) -> Optional[float]:
        """The loss against the model, in the metric's own unit; negative for a gain."""
        if self.value is None or self.reference is None:
            return None
        lost = self.value - self.reference if self.lower_is_better else self.reference - self.value
        return round(lost, 9)  # 0.8 - 0.78 is not more than 0.02


@dataclass(frozen=True)
class Entry:
    cell: str
    head: str
    precision: str
    target: str
    machine: str
    verdict: Verdict
    platform: Optional[Platform] = None
    profiles: Tuple[Profile, ...] = field(default=(), metadata=KEYED)
    artifact: Optional[Artifact] = None
    parity: Tuple[OutputParity, ...] = ()
    arithmetic: Tuple[Arithmetic, ...] = field(default=(), metadata=KEYED)
    tasks: Tuple[TaskResult, ...] = ()
    latency: Optional[Latency] = None
    sweep: Optional[Swept] = None
    reproduce: str = ""
    search: Optional[Searched] = None
    golden: Optional[Golden] = None


@dataclass(frozen=True)
class HeadContract:
    """A head, as far as a host needs it to use its tensors."""

    name: str
    outputs: Tuple[Output, ...] = field(metadata=KEYED)
    postprocess: Optional[Keypoints] = None


@dataclass(frozen=True)
class ModelIdentity:
    """`weights`: the digest of the weights file, or `seed N` for an untrained model."""

    name: str
    source: str
    weights: str
    inputs: Tuple[Input, ...] = field(metadata=KEYED)
    heads: Tuple[HeadContract, ...] = field(metadata=KEYED)
    preprocess: Preprocess = Preprocess()


@dataclass(frozen=True)
class Builder:
    """The program, machine and packages that made this version."""

    deploymatrix: str
    machine: str
    python: str
    tools: Tuple[Tool, ...] = field(default=(), metadata=KEYED)


@dataclass(frozen=True)
class Manifest:
    """One version of a store. `upgraded` reads older schemas.

    `provenance`: digest of the provenance (builder/store/provenance.py), so that a signature covers it; empty in
    versions of older releases.
    """

    schema: Literal[2]
    version: int
    created: str
    matrix: str
    model: ModelIdentity
    builder: Builder
    entries: Tuple[Entry, ...]
    provenance: str = ""

    def entry(self, cell: str) -> Optional[Entry]:
        return next((e for e in self.entries if e.cell == cell), None)

    def head(self, name: str) -> HeadContract:
        return next(h for h in self.model.heads if h.name == name)

    def says_the_same_as(self, other: "Manifest") -> bool:
        """Whether both are equal apart from number, date, provenance and the bytes of matrix.yaml."""
        return dataclasses.replace(self, version=0, created="", matrix="", provenance="") == dataclasses.replace(
            other, version=0, created="", matrix="", provenance=""
        )
