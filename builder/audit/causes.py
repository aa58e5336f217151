"""Causes of changed numbers between two versions, from their provenance.

Pure. Nothing is built again. Every step of both versions is known by the digests of its inputs and outputs, so the
difference is found by comparing both chains step by step. A step whose inputs differ only because an earlier step
changed *follows*; any other difference is a cause. A number that changed although its action is the same was built or
measured again; then the cause is the machine, or chance.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from builder.actions.action import BY_PRODUCTS, SIDECAR
from builder.audit.history import Cause, CauseKind, Change, Kind, Version
from builder.platforms.platform import Pinned, Platform, Tool
from builder.store.manifest import Entry
from builder.store.provenance import JobLink, Provenance, StepRecord

# -------------------------------------------------------------------- differences of two steps, in terms of matrix.yaml


_ORDER: Tuple[CauseKind, ...] = (
    "weights", "model", "code", "calibration", "data", "setting", "gate", "runtime", "tool", "release", "step",
    "rebuilt", "measured again", "site",
)  # fmt: skip

# A recipe's parameter -> its key in matrix.yaml.
_KEYS: Dict[Tuple[str, str], str] = {
    ("lower-int8", "method"): "calibration.method",
    ("lower-int8", "percentile"): "calibration.percentile",
    ("engine", "calibration"): "calibration.method",
    ("calibration-data", "size"): "calibration.size",
    ("calibration-data", "source"): "calibration.source",
    ("export", "opset"): "model.opset",
    ("reference", "sizes"): "parity.sizes",
    ("latency", "seconds"): "latency.seconds",
    ("latency", "threads"): "latency.threads",
    ("latency", "shape"): "the profile's opt shape",
    ("latency", "machine"): "machine that was timed",
}
# Single values of a platform, and their names in messages.
_PLATFORM = {
    "os": "operating system",
    "arch": "arch",
    "sm": "compute capability",
    "gpu": "GPU model",
    "jetpack": "JetPack",
}
# Settings whose changes other causes already show.
_SILENT = frozenset({"source.weights.sha256", "source.sha256", "photographs", "samples", "data"})


def rank(cause: Cause) -> int:
    """The likelier reason first."""
    return _ORDER.index(cause.kind)


def added(step: StepRecord) -> Cause:
    return Cause("step", f"step {step.step}", "", "done", steps=(step.step,))


def dropped(step: StepRecord) -> Cause:
    return Cause("step", f"step {step.step}", "done", "", steps=(step.step,))


def rebuilt(step: StepRecord) -> Cause:
    return Cause(
        "rebuilt", f"{step.step} was performed again by the same action, and gave other files", steps=(step.step,)
    )


def inputs(
    old: StepRecord, new: StepRecord, derived: Tuple[FrozenSet[str], FrozenSet[str]], task: str
) -> Iterator[Cause]:
    """Changed inputs from outside.

    Files by group, each file named where there are several. `derived`: digests of earlier steps' outputs, before and
    now. Those follow, so they are not causes.
    """
    olds = {i.name: i.digest for i in old.inputs if i.digest not in derived[0]}
    news = {i.name: i.digest for i in new.inputs if i.digest not in derived[1]}
    groups: Dict[Tuple[CauseKind, str], List[str]] = {}
    for name in sorted({*olds, *news}):
        if olds.get(name) != news.get(name):
            groups.setdefault(_group(name, new.step, task), []).append(name)
    for (kind, what), names in groups.items():
        folder = "/" in names[0]
        if folder or len(names) > 1:
            yield Cause(kind, what, detail=_named_files(names, olds, news), steps=(new.step,))
        else:
            yield Cause(kind, what, olds.get(names[0], ""), news.get(names[0], ""), steps=(new.step,))


def _group(name: str, step: str, task: str) -> Tuple[CauseKind, str]:
    folder = name.partition("/")[0] if "/" in name else ""
    if folder == "photographs":
        return (
            ("calibration", "calibration photographs") if step == "calibration-data" else ("data", "parity photographs")
        )
    if folder == "data":
        return "data", f"data of task {task}"
    if folder == "code":
        return ("code", "code of the calibration source" if step == "calibration-data" else f"code of task {task}")
    if name.startswith("weights."):
        return "weights", "weights"
    if name == "source.onnx":
        return "model", "ONNX file of the model"
    if name == "code":
        return "code", "code of the model"
    return "data", {"timing.cache": "timing cache"}.get(name, f"input {name} of {step}")


def _named_files(names: Sequence[str], olds: Mapping[str, str], news: Mapping[str, str]) -> str:
    """`+dusk.png -dawn.png, noon.png changed`."""
    leaf = {name: name.partition("/")[2] or name for name in names}
    come = [f"+{leaf[n]}" for n in names if n not in olds]
    gone = [f"-{leaf[n]}" for n in names if n not in news]
    other = [f"{leaf[n]} changed" for n in names if n in olds and n in news]
    return ", ".join(part for part in (" ".join((*come, *gone)), *other) if part)


def settings(old: StepRecord, new: StepRecord) -> Iterator[Cause]:
    olds, news = ({s.name: s.value for s in step.settings} for step in (old, new))
    for name in dict.fromkeys((*olds, *news)):
        before, after = olds.get(name), news.get(name)
        if before == after or name in _SILENT:
            continue
        pair = ("" if before is None else str(before), "" if after is None else str(after))
        if name == "version":
            yield Cause("release", f"how deploymatrix does {new.step}: version", *pair, steps=(new.step,))
        elif name == "source.weights.seed":
            yield Cause("weights", "weights: seed", *pair, steps=(new.step,))
        else:
            yield Cause("setting", _KEYS.get((new.step, name), f"{new.step}: {name}"), *pair, steps=(new.step,))


def tools(old: StepRecord, new: StepRecord) -> Iterator[Cause]:
    yield from tool_versions(old.tools, new.tools, (new.step,))


def tool_versions(old: Sequence[Tool], new: Sequence[Tool], steps: Tuple[str, ...]) -> Iterator[Cause]:
    olds, news = ({tool.name: tool.version for tool in listed} for listed in (old, new))
    for name in dict.fromkeys((*olds, *news)):
        if olds.get(name) != news.get(name):
            yield Cause("tool", name, olds.get(name, ""), news.get(name, ""), steps=steps)


def platforms(old: StepRecord, new: StepRecord) -> Iterator[Cause]:
    if old.platform is not None and new.platform is not None:
        yield from platform(old.platform, new.platform, (new.step,))


def platform(old: Platform, new: Platform, steps: Tuple[str, ...]) -> Iterator[Cause]:
    if (old.runtime, old.version) != (new.runtime, new.version):
        if old.runtime == new.runtime:
            yield Cause("runtime", new.runtime, old.version, new.version, steps=steps)
        else:
            pair = (f"{old.runtime} {old.version}", f"{new.runtime} {new.version}")
            yield Cause("runtime", "runtime", *pair, steps=steps)
    if old.features != new.features:
        come = [f"+{feature}" for feature in new.features if feature not in old.features]
        gone = [f"-{feature}" for feature in old.features if feature not in new.features]
        yield Cause("runtime", "CPU features", detail=" ".join((*come, *gone)) or "in another order", steps=steps)
    for name, what in _PLATFORM.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Cause("runtime", what, before or "", after or "", steps=steps)


def sites(old: StepRecord, new: StepRecord) -> Iterator[Cause]:
    """Changes of the machine, where both versions record it."""
    if old.site is None or new.site is None:
        return
    for site in dataclasses.fields(new.site):
        before, after = getattr(old.site, site.name), getattr(new.site, site.name)
        if before != after:
            yield Cause("site", {"python": "Python"}.get(site.name, site.name), before, after, steps=(new.step,))


def arithmetic(old: Optional[Entry], new: Optional[Entry]) -> Iterator[Cause]:
    """Changes of the layers' precision, as the runtime reports it, where both versions record it."""
    told = tuple(", ".join(f"{a.layers} {a.precision}" for a in e.arithmetic) if e else "" for e in (old, new))
    if all(told) and told[0] != told[1]:
        yield Cause("runtime", "layers by what they computed in", told[0], told[1], steps=("parity",))


def gates(old: Optional[Entry], new: Optional[Entry]) -> Iterator[Cause]:
    """Changed limits.

    Versions of older releases record only missed gates, so a gate counts as new or dropped only where both versions
    record a kept one.
    """
    if old is None or new is None:
        return
    olds, news = ({(c.level, c.subject, c.metric, c.bound): c for c in e.verdict.checks} for e in (old, new))
    whole = all(any(check.kept for check in checks.values()) for checks in (olds, news))
    for gate in dict.fromkeys((*olds, *news)):
        before, after = olds.get(gate), news.get(gate)
        if (before and after) or whole:
            pair = tuple(
                "" if c is None else f"{c.limit:g}{' (only reported)' if c.report_only else ''}"
                for c in (before, after)
            )
            if pair[0] != pair[1]:
                bound = "" if gate[3] == "value" else f" ({gate[3]})"
                yield Cause("gate", f"gate {gate[1]} {gate[2]}{bound}", pair[0], pair[1])


# ------------------------------------------------------------------------------------------- two versions of a cell


_LAST = {"tensor": ("parity",), "task": ("task", "task-reference"), "latency": ("latency",), "size": ("engine",)}
_MEASURING = frozenset({"parity", "task", "task-reference", "latency", "sweep"})
SWEEP = "sweep"


@dataclass(frozen=True)
class StepChange:
    """A step of a cell in two versions. `fate`:

    same, changed (for `causes`), follows (only outputs of earlier steps changed), rebuilt (the same action gave another
    output), new or dropped.
    """

    job: str
    step: str
    fate: str
    before: Optional[StepRecord]
    after: Optional[StepRecord]
    causes: Tuple[Cause, ...] = ()

    @property
    def gave_the_same(self) -> bool:
        """Whether its output files are unchanged, so that it explains no later change."""
        if self.before is None or self.after is None:
            return False
        return bool(_files(self.after)) and _files(self.before) == _files(self.after)


def _files(step: StepRecord) -> Tuple[Pinned, ...]:
    """The files that later steps read, without the sidecar, which names the action, and caches for the next build."""
    return tuple(output for output in step.outputs if output.name not in (SIDECAR, *BY_PRODUCTS))


def between(old: Version, new: Version, cell: str, kind: Kind, task: str = "") -> Change:
    """The causes for numbers of one kind (of one `task`, or of the sweep) of `cell`.

    Without provenance of both versions, only causes that the manifests show.
    """
    if new.manifest.entry(cell) is None:
        gone = Cause("setting", "the cell is not in the matrix any more, or a build of other cells only left it out")
        return Change(old.number, new.number, (gone,))
    if not (old.provenance and new.provenance and old.provenance.chain(cell) and new.provenance.chain(cell)):
        return Change(old.number, new.number, tuple(_from_manifests(old, new, cell)), recorded=False)
    swept = kind == "tensor" and task == SWEEP
    roots = (SWEEP,) if swept else _LAST.get(kind, ())
    paces = walk(old.provenance, new.provenance, cell, roots, "" if swept else task)
    causes = _merged(cause for pace in paces if not pace.gave_the_same for cause in pace.causes)
    if kind == "verdict":
        causes += tuple(gates(old.manifest.entry(cell), new.manifest.entry(cell)))
    if kind in ("verdict", "tensor", "task") and not any(cause.kind != "site" for cause in causes):
        causes += tuple(arithmetic(old.manifest.entry(cell), new.manifest.entry(cell)))
    if kind == "verdict" and not causes and not _measured_anew(old, new, cell):
        causes = (Cause("gate", "judged anew: the gates or the rules changed, nothing was built or measured"),)
    elif not any(cause.kind != "site" for cause in causes):
        causes = (Cause("measured again", "measured again by the same action, from the same artifact"), *causes)
    return Change(old.number, new.number, tuple(sorted(causes, key=rank)))


def _measured_anew(old: Version, new: Version, cell: str) -> bool:
    """Whether the manifests have different numbers of the cell.

    If not, only the gates changed the verdict.
    """
    one, two = old.manifest.entry(cell), new.manifest.entry(cell)
    if one is None or two is None:
        return False
    return (one.parity, one.tasks, one.sweep) != (two.parity, two.tasks, two.sweep)


def walk(
    old: Provenance, new: Provenance, cell: str, roots: Tuple[str, ...] = (), task: str = ""
) -> Tuple[StepChange, ...]:
    """The steps of the cell in order of need, each compared with its counterpart.

    `roots` (steps; of one `task`) limits them to the steps that these need.
    """
    before, after = old.chain(cell), new.chain(cell)
    pairs = _paired(before, after)
    wanted = _needed(after, new.by_key, roots, task)
    steps = (old.by_key, new.by_key)
    paces: Dict[str, StepChange] = {}
    for link in after:
        if link.job in wanted:
            paces[link.job] = _pace(link, pairs.get(link.job), steps, before, after)
    known = {pair.job for pair in pairs.values()}
    gone = [link for link in before if link.job not in known and link.job in _needed(before, steps[0], roots, task)]
    for link in gone:
        step = steps[0][link.key]
        paces[f"-{link.job}"] = StepChange(link.job, step.step, "dropped", step, None, (dropped(step),))
    return tuple(paces.values())


def _paired(before: Tuple[JobLink, ...], after: Tuple[JobLink, ...]) -> Dict[str, JobLink]:
    """job of `after` -> the same job before, or the only other one of its step."""
    olds = {link.job: link for link in before}
    pairs = {link.job: olds[link.job] for link in after if link.job in olds}
    for link in after:
        if link.job not in pairs:
            spare = [o for o in before if _kind(o.job) == _kind(link.job) and o not in pairs.values()]
            if len(spare) == 1:
                pairs[link.job] = spare[0]
    return pairs


def _kind(job: str) -> str:
    return job.partition("/")[0]


def _needed(
    links: Tuple[JobLink, ...], steps: Mapping[str, StepRecord], roots: Tuple[str, ...], task: str
) -> "set[str]":
    """The jobs that the roots come from, the roots included; all without roots."""
    if not roots:
        return {link.job for link in links}
    by_job = {link.job: link for link in links}
    wanted: "set[str]" = set()
    ahead = [link.job for link in links if steps[link.key].step in roots and (not task or task == task_of(link.job))]
    while ahead:
        job = ahead.pop()
        if job not in wanted and job in by_job:
            wanted.add(job)
            ahead += by_job[job].needs
    return wanted


def _pace(
    link: JobLink,
    counterpart: Optional[JobLink],
    steps: Tuple[Dict[str, StepRecord], Dict[str, StepRecord]],
    before: Tuple[JobLink, ...],
    after: Tuple[JobLink, ...],
) -> StepChange:
    new = steps[1][link.key]
    if counterpart is None:
        return StepChange(link.job, new.step, "new", None, new, (added(new),))
    old = steps[0][counterpart.key]
    again = old.site != new.site
    if old.key == new.key:
        if _files(old) == _files(new) or not (old.done and new.done):
            causes = tuple(sites(old, new)) if again and new.step in _MEASURING else ()
            return StepChange(link.job, new.step, "same", old, new, causes)
        return StepChange(link.job, new.step, "rebuilt", old, new, (rebuilt(new), *sites(old, new)))
    derived = (_given(counterpart, before, steps[0]), _given(link, after, steps[1]))
    causes = (
        *inputs(old, new, derived, task_of(link.job)),
        *settings(old, new),
        *tools(old, new),
        *platforms(old, new),
        *(sites(old, new) if new.step in _MEASURING or new.step == "engine" else ()),
    )
    own = any(cause.kind != "site" for cause in causes)
    return StepChange(link.job, new.step, "changed" if own else "follows", old, new, causes)


def task_of(job: str) -> str:
    """`task-cases/views` -> views; `task/CELL/views` -> views; `task-reference/views/dense` -> views."""
    kind, *rest = job.split("/")
    return {"task-cases": rest[:1], "task-reference": rest[:1], "task": rest[-1:]}.get(kind, [""])[0]


def _given(link: JobLink, links: Tuple[JobLink, ...], steps: Mapping[str, StepRecord]) -> "frozenset[str]":
    """Digests of all that the jobs which `link` needs gave."""
    needed = [steps[other.key] for other in links if other.job in link.needs]
    return frozenset(output.digest for step in needed for output in step.outputs)


def _merged(causes: Iterable[Cause]) -> Tuple[Cause, ...]:
    """Each cause once, with all its steps.

    A runtime and the package of the same name are one cause.
    """
    found: Dict[Tuple[str, str, str, str], Cause] = {}
    for cause in causes:
        key = (cause.what, cause.before, cause.after, cause.detail)
        earlier = found.get(key)
        steps = (*(earlier.steps if earlier else ()), *cause.steps)
        found[key] = Cause(
            earlier.kind if earlier else cause.kind, cause.what, cause.before, cause.after, cause.detail,
            tuple(dict.fromkeys(steps)),
        )  # fmt: skip
    return tuple(found.values())


# ------------------------------------------------------------------------------------------- without provenance


def _from_manifests(old: Version, new: Version, cell: str) -> Iterator[Cause]:
    a, b = old.manifest, new.manifest
    if a.model.weights != b.model.weights:
        yield Cause("weights", "weights", a.model.weights, b.model.weights)
    if a.model.source != b.model.source:
        yield Cause("model", "model source", a.model.source, b.model.source)
    one, two = a.entry(cell), b.entry(cell)
    if one and two and one.artifact and two.artifact:
        if one.artifact.onnx != two.artifact.onnx:
            yield Cause("model", "ONNX graph that it is built from", one.artifact.onnx, two.artifact.onnx)
        if one.artifact.digest == two.artifact.digest:
            yield Cause("measured again", "measured again, and the artifact is the same")
        elif one.artifact.action == two.artifact.action:
            yield Cause("rebuilt", "engine: the same action gave other files")
    if one and two and one.platform and two.platform:
        yield from platform(one.platform, two.platform, ())
    yield from tool_versions(a.builder.tools, b.builder.tools, ())
    if a.builder.machine != b.builder.machine:
        yield Cause("site", "machine that published", a.builder.machine, b.builder.machine)
    yield from gates(one, two)


def short(text: str) -> str:
    """Digests by their first eight digits."""
    return re.sub(r"(?:sha256:)?([0-9a-f]{8})[0-9a-f]{56}", r"\1", text)


def words(cause: Cause) -> str:
    """`weights a1b2c3d4 -> 99887766 (export, reference)`."""
    said = cause.what
    if cause.detail:
        said += f": {cause.detail}"
    elif cause.before or cause.after:
        said += f" {short(cause.before) or 'none'} -> {short(cause.after) or 'none'}"
    return said


def in_words(change: Change) -> List[str]:
    """Every cause in a line."""
    return [words(cause) for cause in change.causes] or ["nothing that the manifests tell"]
