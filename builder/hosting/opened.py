"""One placed version, opened: its artifacts, best first, the runners that answer, and the version's own proof of itself."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from builder import plugins
from builder.choosing.choose import accepts
from builder.errors import StepFailed
from builder.hosting import pull, selftest
from builder.hosting.pool import Pool
from builder.hosting.proof import Answer
from builder.store.manifest import Check, Entry, HeadContract

if TYPE_CHECKING:
    import numpy as np

    Arrays = Dict[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
class OpenedArtifact:
    """An artifact of a deployment: what it is, what was measured of it, and what it answered to its golden sample on this
    host ("" where it was never asked)."""

    cell: str
    precision: str
    runtime: str
    proven_with: str
    verdict: str
    speedup: Optional[float]
    self_test: str
    loaded: bool
    checks: Tuple[Check, ...] = ()


class Opened:
    """Artifacts are opened when they are first used. `keep` is a folder that lives as long as this does."""

    def __init__(
        self,
        folder: Path,
        threads: int,
        parallel: int,
        keep: "Optional[tempfile.TemporaryDirectory[str]]" = None,
    ) -> None:
        self.folder, self.manifest = folder, pull.described(folder)
        self._threads, self._keep = threads, keep
        self._pools = {entry.cell: Pool(lambda entry=entry: self._open(entry), parallel) for entry in self.entries}  # type: ignore[misc]
        self._answers: Dict[str, Answer] = {}

    @property
    def entries(self) -> Sequence[Entry]:
        return self.manifest.entries

    @property
    def head(self) -> HeadContract:
        return self.manifest.head(self.entries[0].head)

    @property
    def name(self) -> str:
        """`v3-9f86d081`"""
        return self.folder.name

    def run(self, entry: Entry, inputs: "plugins.Tensors") -> "Arrays":
        with self._pools[entry.cell].runner() as runner:
            return runner(inputs)

    def best_for(self, shapes: Mapping[str, Tuple[int, ...]]) -> Optional[Entry]:
        """The best artifact whose profiles hold these input shapes."""
        return next((e for e in self.entries if all(accepts(e, name, shapes[name]) for name in shapes)), None)

    def warm(self) -> None:
        """Run every artifact once at the usual shape of each of its profiles, on zeros."""
        import numpy as np

        for entry, shapes in self._usual():
            self.run(entry, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})

    def _usual(self) -> Iterator[Tuple[Entry, Dict[str, Tuple[int, ...]]]]:
        for entry in self.entries:
            for profile in entry.profiles:
                yield entry, {r.name: r.opt for r in profile.inputs}

    def prove(self) -> None:
        """Ask every artifact its golden sample. Raises StepFailed for an answer beyond its limits.

        What `build pull` has not tested on this host is first asked in a process of its own, since it may crash.
        """
        from builder.hosting import apart, prove  # here, since they load NumPy, and most programs never ask

        for entry in self.entries:
            if entry.golden is None:
                continue
            before = selftest.of(self.folder, entry)
            answer = before.answer if before is not None else apart.ask(self.folder, entry.cell, selftest.SECONDS)
            if not answer.problem:
                with self._pools[entry.cell].runner() as runner:
                    answer = prove.answer(runner, self.manifest, entry, prove.sample_of(self.folder, entry))
            self._answers[entry.cell] = answer
            if answer.problem:
                raise StepFailed(f"{entry.cell} failed its self-test: {answer.problem}", where=str(self.folder))

    def described(self) -> Tuple[OpenedArtifact, ...]:
        return tuple(
            OpenedArtifact(
                cell=entry.cell,
                precision=entry.precision,
                runtime=entry.platform.runtime if entry.platform else "",
                proven_with=entry.platform.version if entry.platform else "",
                verdict=entry.verdict.status,
                speedup=round(entry.latency.speedup, 4) if entry.latency and entry.latency.speedup else None,
                self_test=self._said(entry),
                loaded=self._pools[entry.cell].opened,
                checks=entry.verdict.checks,
            )
            for entry in self.entries
        )

    def _said(self, entry: Entry) -> str:
        answer = self._answers.get(entry.cell)
        if answer is None:
            before = selftest.of(self.folder, entry)
            answer = before.answer if before is not None else None
        return "" if answer is None else (answer.problem or "passed")

    def _open(self, entry: Entry) -> plugins.Runner:
        assert entry.platform is not None and entry.artifact is not None
        options = plugins.OpenOptions(entry.artifact.compute, entry.artifact.static, self._threads)
        return plugins.backend(entry.platform.runtime).open(self.folder / entry.cell, options)
