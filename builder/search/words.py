"""What a search came to, in words: one line for a summary, several for `build explain`. Pure."""

from __future__ import annotations

from typing import Iterator, List, Tuple

from builder import terminal
from builder.actions.measurements import Cost
from builder.store.manifest import Recovered, Searched, Trial


def in_short(found: Searched) -> str:
    """'1 of 4 layers in float32: mix; out snr_db 0 -> 34.5 (limit 20); +0.10 ms (1.30x)'."""
    parts = [found.said, *map(_recovered, found.recovered)]
    if found.cost is not None:
        parts.append(cost(found.cost))
    if found.estimated:
        parts.append(f"estimated in {found.estimated}")
    return "; ".join(parts)


def lines(found: Searched) -> List[Tuple[str, str]]:
    return list(_lines(found))


def _lines(found: Searched) -> Iterator[Tuple[str, str]]:
    yield "outcome", f"{found.ended}: {found.said}"
    if found.estimated:
        yield "estimated", f"in {found.estimated}; the artifact itself is verified on its own machine"
    if found.kept:
        yield "keep", f"[{', '.join(found.kept)}]"
    if found.was:
        yield "missed", found.was
    for one in found.recovered:
        yield "recovered", _recovered(one)
    if found.cost is not None:
        yield "cost", f"{cost(found.cost)} beside everything lowered, {_shape(found.cost)}, on {found.cost.machine}"
    for number, trial in enumerate(found.trials, 1):
        yield f"trial {number}", _trial(trial, found.layers)
    yield "budget", f"{terminal.counted(found.budget.trials, 'trial')}, {found.budget.minutes:g} minutes"


def cost(of: Cost) -> str:
    return f"{of.ms:+.2f} ms ({of.ratio:.2f}x)"


def _shape(of: Cost) -> str:
    return "x".join(map(str, of.shape))


def _recovered(one: Recovered) -> str:
    lost = "" if one.bound == "value" else "lost "
    unit = "%" if one.bound == "percent degradation" else ""
    before, after = (f"{v:.4g}{unit}" if v is not None else "no number" for v in (one.before, one.after))
    return f"{one.subject} {one.metric} {lost}{before} -> {after} (limit {one.limit:g}{unit})"


def _trial(trial: Trial, layers: int) -> str:
    named = "all layers" if len(trial.kept) == layers else ", ".join(trial.kept)
    result = "it passes" if trial.passed else trial.missed
    return f"{named} in float32: {result} ({trial.seconds:.1f} s)"
