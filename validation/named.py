"""Differences of two steps in the words of matrix.yaml and of the person: weights, photographs, settings, versions. Pure."""

from __future__ import annotations

import dataclasses
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from builder.platforms.platform import Platform, Tool
from builder.store.manifest import Entry
from builder.store.provenance import Step
from validation.history import Cause, CauseKind

_ORDER: Tuple[CauseKind, ...] = (
    "weights", "model", "code", "calibration", "data", "setting", "gate", "runtime", "tool", "release", "step",
    "rebuilt", "measured again", "site",
)  # fmt: skip

# A recipe's parameter -> the key of matrix.yaml that decides it.
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
# What of a platform is one word, and what people call it.
_PLATFORM = {
    "os": "operating system",
    "arch": "arch",
    "sm": "compute capability",
    "gpu": "GPU model",
    "jetpack": "JetPack",
}
# Said by the digests of the inputs already, or a consequence of another setting.
_SILENT = frozenset({"source.weights.sha256", "source.sha256", "photographs", "samples", "data"})


def rank(cause: Cause) -> int:
    """The likelier reason first."""
    return _ORDER.index(cause.kind)


def added(step: Step) -> Cause:
    return Cause("step", f"step {step.step}", "", "done", steps=(step.step,))


def dropped(step: Step) -> Cause:
    return Cause("step", f"step {step.step}", "done", "", steps=(step.step,))


def rebuilt(step: Step) -> Cause:
    return Cause(
        "rebuilt", f"{step.step} was performed again by the same action, and gave other files", steps=(step.step,)
    )


def inputs(old: Step, new: Step, derived: Tuple[FrozenSet[str], FrozenSet[str]], task: str) -> Iterator[Cause]:
    """What came from the person and is not as it was: files by group, each file named where there are several.
    `derived` are the digests that earlier steps gave, before and now: those follow, they are no cause."""
    olds = {i.name: i.digest for i in old.inputs if i.digest not in derived[0]}
    news = {i.name: i.digest for i in new.inputs if i.digest not in derived[1]}
    groups: Dict[Tuple[CauseKind, str], List[str]] = {}
    for name in sorted({*olds, *news}):
        if olds.get(name) != news.get(name):
            groups.setdefault(_group(name, new.step, task), []).append(name)
    for (kind, what), names in groups.items():
        folder = "/" in names[0]
        if folder or len(names) > 1:
            yield Cause(kind, what, detail=_files(names, olds, news), steps=(new.step,))
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


def _files(names: Sequence[str], olds: Mapping[str, str], news: Mapping[str, str]) -> str:
    """`+dusk.png -dawn.png, noon.png changed`."""
    leaf = {name: name.partition("/")[2] or name for name in names}
    come = [f"+{leaf[n]}" for n in names if n not in olds]
    gone = [f"-{leaf[n]}" for n in names if n not in news]
    other = [f"{leaf[n]} changed" for n in names if n in olds and n in news]
    return ", ".join(part for part in (" ".join((*come, *gone)), *other) if part)


def settings(old: Step, new: Step) -> Iterator[Cause]:
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


def tools(old: Step, new: Step) -> Iterator[Cause]:
    yield from tool_versions(old.tools, new.tools, (new.step,))


def tool_versions(old: Sequence[Tool], new: Sequence[Tool], steps: Tuple[str, ...]) -> Iterator[Cause]:
    olds, news = ({tool.name: tool.version for tool in listed} for listed in (old, new))
    for name in dict.fromkeys((*olds, *news)):
        if olds.get(name) != news.get(name):
            yield Cause("tool", name, olds.get(name, ""), news.get(name, ""), steps=steps)


def platforms(old: Step, new: Step) -> Iterator[Cause]:
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


def sites(old: Step, new: Step) -> Iterator[Cause]:
    """Where it was performed, as far as both versions say."""
    if old.site is None or new.site is None:
        return
    for site in dataclasses.fields(new.site):
        before, after = getattr(old.site, site.name), getattr(new.site, site.name)
        if before != after:
            yield Cause("site", {"python": "Python"}.get(site.name, site.name), before, after, steps=(new.step,))


def arithmetic(old: Optional[Entry], new: Optional[Entry]) -> Iterator[Cause]:
    """What the layers computed in, by the runtime's own word, where both versions have it."""
    told = tuple(", ".join(f"{a.layers} {a.precision}" for a in e.arithmetic) if e else "" for e in (old, new))
    if all(told) and told[0] != told[1]:
        yield Cause("runtime", "layers by what they computed in", told[0], told[1], steps=("parity",))


def gates(old: Optional[Entry], new: Optional[Entry]) -> Iterator[Cause]:
    """Limits that are not what they were. Versions of older releases name only the gates that were missed, so a gate is
    called new or dropped only where both record one that was kept."""
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
