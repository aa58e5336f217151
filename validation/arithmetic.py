"""Did an artifact compute as it was declared? The runtime's own word for each layer, held against `compute:`. Pure.

A runtime may lower precision by itself: OpenVINO computes an fp32 model in bf16 on processors that can, if nothing tells
it not to. Nobody gates that by hand, so this check is always made where a runtime tells.
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

from builder.actions.measurements import Arithmetic
from builder.config.contract import Compute
from builder.store.manifest import Check

BUILT_IN = "built in"
_WORDS: Dict[Compute, str] = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


def checks(precision: str, compute: Compute, found: Sequence[Arithmetic]) -> Tuple[Check, ...]:
    """The share of layers that run in the declared arithmetic or a finer one; int8 where the cell's precision is int8."""
    total = sum(one.layers for one in found)
    if not total:
        return ()
    allowed = {"fp32", _WORDS[compute], *(("int8",) if precision == "int8" else ())}
    others = [one for one in found if one.precision not in allowed]
    kept = total - sum(one.layers for one in others)
    told = " and ".join(f"{one.layers} of {total} layers ran in {one.precision}" for one in others)
    return (Check("arithmetic", "compute", compute, round(kept / total, 6), 1.0, False, BUILT_IN, told),)
