"""What a search for layers to keep in float32 came to, as a manifest has it. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional, Tuple

from builder.actions.measurements import Cost
from builder.config.gates import Bound
from builder.config.matrix import Search

Ended = Literal["found", "budget", "impossible", "everything", "failed", "not applicable"]


@dataclass(frozen=True)
class Trial:
    """`kept`: the layers that stayed in float32, by their names. `missed`: why it did not pass, empty when it did.
    `seconds` of work that was done for it."""

    kept: Tuple[str, ...]
    passed: bool
    missed: str
    seconds: float


@dataclass(frozen=True)
class Recovered:
    """A gate that was missed with everything lowered, and what became of it with the layers kept."""

    subject: str
    metric: str
    bound: Bound
    limit: float
    before: Optional[float]
    after: Optional[float]


@dataclass(frozen=True)
class Searched:
    """`ended`:

        found           the fewest layers that this way of searching finds
        budget          trials or minutes ran out; `kept` is the best that had passed until then, if any
        impossible      even with every layer in float32 a gate is missed
        everything      it passes only with every layer in float32
        failed          a step of the search failed
        not applicable  no step lowers this cell's graph

    `layers`: how many the lowering lowers. `kept`: the graph's nodes that stay in float32 in this artifact because of the
    search. `was`: what the artifact with everything lowered missed. `estimated`: what stood in for the target, where the
    trials could not run on it. `cost`: the artifact beside the one with everything lowered.
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
