"""The question that every rule is asked, its possible answers, and which of them a person may waive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple, Union

from builder.config.cells import Cell
from builder.config.contract import Input, Profile
from builder.config.matrix import WAIVABLE, Allowed, Head, Target
from builder.config.tensorrt import TensorRtOptions
from builder.platforms.machines import Machine


@dataclass(frozen=True)
class Asked:
    """May `cell`, an artifact of `head`, exist on `target`? `machine` matters only for targets that are this machine;
    `inputs` and `opset` are the model's, `profiles` the cell's, `options` what is asked of TensorRT."""

    cell: Cell
    head: Head
    target: Target
    machine: Machine
    inputs: Tuple[Input, ...] = ()
    profiles: Tuple[Profile, ...] = ()
    options: TensorRtOptions = TensorRtOptions()
    allow: Tuple[Allowed, ...] = ()
    opset: int = 0


@dataclass(frozen=True)
class Held:
    """A rule that was asked and holds, with the fact that satisfied it."""

    rule: str
    fact: str
    source: str


@dataclass(frozen=True)
class Skip:
    """A rule that is broken. `fixes` are what would mend it beside another target or precision."""

    rule: str
    fact: str
    source: str
    fixes: Tuple[str, ...] = ()


Answer = Union[Held, Skip]
Rule = Callable[[Asked], Optional[Answer]]  # None: the rule has nothing to say about such a target


def answer(holds: bool, rule: str, fact: str, problem: str, source: str, fixes: Tuple[str, ...] = ()) -> Answer:
    return Held(rule, fact, source) if holds else Skip(rule, problem, source, fixes)


def waived(asked: Asked, said: Answer) -> Optional[Allowed]:
    """The person's reason for a cell that a rule about speed would skip."""
    if not isinstance(said, Skip) or said.rule not in WAIVABLE:
        return None
    return next((allowed for allowed in asked.allow if allowed.rule == said.rule), None)
