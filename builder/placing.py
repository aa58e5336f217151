"""Which of the machines that may do a job takes it, and what becomes of a job whose machine was away or failed. Pure.

A machine takes one job at a time, the fleet many. What is measured goes to the machine that built it, as long as
that is there, so that the numbers of a cell are of one machine. A job goes to each machine once.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Set

from builder.config.remote_machines import Reached
from builder.errors import DeployError, StepFailed, Unreachable
from builder.planning.jobs import Job

MOST_OF_A_FLEET = 64  # jobs that are left to it at once: each has a thread here that waits


class Placing:
    def __init__(self) -> None:
        self._busy: Dict[str, str] = {}  # address -> job
        self._left_to_fleet = 0  # jobs
        self._made: Dict[str, Reached] = {}
        self._tried: Dict[str, Dict[Reached, DeployError]] = {}

    def seat(self, job: Job) -> Optional[Reached]:
        """The machine that takes `job` now; None while it has to wait for one that is at work."""
        left = self._left(job)
        builders = {self._made[need] for need in job.needs if need in self._made}
        for place in [place for place in left if place in builders] or left:
            if self._left_to_fleet < MOST_OF_A_FLEET if place.many else place.where not in self._busy:
                return place
        return None

    def begins(self, job: Job, place: Reached) -> None:
        if place.many:
            self._left_to_fleet += 1
        else:
            self._busy[place.where] = job.id

    def ends(self, job: Job, place: Reached, problem: Optional[DeployError] = None) -> bool:
        """Is there no other machine that could do `job`? True when it is done."""
        self._left_to_fleet -= place.many
        self._busy.pop(place.where, None)
        if problem is None:
            self._made[job.id] = place
            return True
        self._tried.setdefault(job.id, {})[place] = problem
        return not self._left(job)

    def problem(self, job: Job) -> DeployError:
        """What became of a job that no machine has done: that of a step that failed, rather than of machines that are away."""
        tried = self._tried[job.id]
        failed = [problem for problem in tried.values() if not isinstance(problem, Unreachable)]
        if not failed:
            return _together(list(tried.values()))
        others = [place.where for place, problem in tried.items() if problem in failed[:-1]]
        if not others:
            return failed[-1]
        return StepFailed(
            f"{failed[-1].what} (as on {', '.join(others)})", where=failed[-1].where, hint=failed[-1].hint
        )

    def _left(self, job: Job) -> List[Reached]:
        return [place for place in job.reached if place not in self._tried.get(job.id, {})]


def _together(away: Sequence[DeployError]) -> DeployError:
    if len(away) == 1:
        return away[0]
    return Unreachable(
        "none of its machines can be used: " + "; ".join(f"{problem.where}: {problem.what}" for problem in away)
    )


def shared(jobs: Sequence[Job]) -> Set[Reached]:
    """Machines beside which there is another one for each of their jobs: nobody has to wait long for them."""
    alone: Set[Reached] = {job.reached[0] for job in jobs if len(job.reached) == 1}
    return {place for job in jobs for place in job.reached} - alone
