"""All rules in their order, and what they say of one cell: skipped or not, and which facts let it pass. Pure.

Each rule is a function of `Asked` that answers with a fact and where it is documented, or with nothing when it does not
concern such a target. Rules of `precision.WAIVABLE` say that something is slow, not that it is impossible; a person may
ask for it all the same (`allow:`), with a reason.
"""

from __future__ import annotations

from typing import Optional, Tuple

from builder.compat import gpu_rules, graph_rules, native_rules, precision, precision_rules
from builder.compat.asked import Answer, Asked, Held, Rule, Skip
from builder.config.matrix import Allowed

__all__ = ["RULES", "Answer", "Asked", "Held", "Rule", "Skip", "answers", "judge", "waived"]

RULES: Tuple[Rule, ...] = (
    *native_rules.RULES,
    *gpu_rules.RULES,
    *precision_rules.RULES,
    *graph_rules.RULES,
)


def judge(asked: Asked) -> Optional[Skip]:
    """The first rule that is broken and not waived."""
    for rule in RULES:
        said = rule(asked)
        if isinstance(said, Skip) and waived(asked, said) is None:
            return said
    return None


def answers(asked: Asked) -> Tuple[Answer, ...]:
    """What every rule says that concerns the cell, broken ones and waived ones included."""
    return tuple(said for said in (rule(asked) for rule in RULES) if said is not None)


def waived(asked: Asked, said: Answer) -> Optional[Allowed]:
    """The person's reason for a cell that a rule about speed would skip."""
    if not isinstance(said, Skip) or said.rule not in precision.WAIVABLE:
        return None
    return next((allowed for allowed in asked.allow if allowed.rule == said.rule), None)
