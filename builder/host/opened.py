"""One placed version, opened: its artifacts, best first, the runners that answer, and the version's own proof of itself."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from builder import plugins
from builder.errors import StepFailed
from builder.host import install, selftest
from builder.host.choose import accepts
from builder.host.selftest import Answer
from builder.plugins import Runner, Shared
from builder.store.manifest import Check, Entry, HeadContract

if TYPE_CHECKING:
    import numpy as np

    Arrays = Dict[str, np.ndarray[Any, np.dtype[Any]]]
import warnings
from typing import TYPE_CHECKING, Any, Dict, Union

from builder.config import contract
from builder.errors import NothingFits, UsageError
from builder.models import preprocessing
from builder.store.manifest import Manifest
from validation import keypoints

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Image = Union[Array, str, Path]
    Result = Union[keypoints.DetectedKeypoints, Dict[str, Array]]


# Runners of one artifact, lent to one call each. A runner answers one call at a time (seams.Runner); a pool opens further
# ones, up to a number, when all are lent, and lets calls wait beyond it.


class Pool:
    """`open_` opens the artifact; it is called when the first runner is asked for, and for every further one where the
    runtime cannot share what it has loaded. At most `most` are lent at once."""

    def __init__(self, open_: Callable[[], Runner], most: int) -> None:
        self._open, self._room = open_, threading.Semaphore(most)
        self._opening = threading.Lock()
        self._made: List[Runner] = []
        self._idle: List[Runner] = []

    @property
    def opened(self) -> bool:
        return bool(self._made)

    @contextlib.contextmanager
    def runner(self) -> Iterator[Runner]:
        with self._room:
            runner = self._taken()
            try:
                yield runner
            finally:
                self._idle.append(runner)  # lists append and pop in one step

    def _taken(self) -> Runner:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        with self._opening:
            first = self._made[0] if self._made else None
            runner = first.twin() if isinstance(first, Shared) else self._open()
            self._made.append(runner)
            return runner


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
        self.folder, self.manifest = folder, install.described(folder)
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
        from builder.host import prove  # here, since they load NumPy, and most programs never ask

        for entry in self.entries:
            if entry.golden is None:
                continue
            before = selftest.of(self.folder, entry)
            answer = before.answer if before is not None else selftest.ask(self.folder, entry.cell, selftest.SECONDS)
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


# From images to what an opened version finds on them: which artifact answers, which images go together, what comes back.


class FallbackWarning(UserWarning):
    """Another artifact answers than one would expect: the image is outside the fastest one's profile, or the host has a GPU
    and nothing for it may be used."""


def pixels(image: "Image") -> "Array":
    """uint8 [H, W, 3] or [H, W], read where `image` is a path. UsageError for what is no image."""
    if isinstance(image, (str, Path)):
        return preprocessing.read(Path(image))
    shape: Tuple[int, ...] = getattr(image, "shape", ())
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape or image.dtype.name != "uint8":
        kind = f"{image.dtype.name} {list(shape)}" if shape else type(image).__name__
        raise UsageError(
            f"an image is uint8 [H, W, 3] in RGB order, or [H, W]; this is {kind}",
            hint="many at once: deploy.many([...])",
        )
    return image


def many(now: Opened, images: "List[Array]", size: Optional[Tuple[int, int]]) -> "List[Result]":
    """Images of one size together, in the order they came."""
    contract = now.manifest.model.preprocess
    fixed = size or _fixed_size(now.manifest)
    by_size: Dict[Tuple[int, int], List[int]] = {}
    for number, pixels in enumerate(images):
        by_size.setdefault(fixed or preprocessing.fitting_size(pixels.shape, contract), []).append(number)
    found: Dict[int, Result] = {}
    for each, numbers in by_size.items():
        entry = entry_for(now, each)
        while numbers:
            taken = numbers[: _together(now, entry, each, len(numbers))]
            numbers = numbers[len(taken) :]
            found.update(zip(taken, _answered(now, entry, each, [images[number] for number in taken])))
    return [found[number] for number in range(len(images))]


def _answered(now: Opened, entry: Entry, size: Tuple[int, int], images: "List[Array]") -> "List[Result]":
    contract, head = now.manifest.model.preprocess, now.head
    tensors = [preprocessing.tensor(pixels, contract, size) for pixels in images]
    outputs = now.run(entry, {now.manifest.model.inputs[0].name: preprocessing.stacked(tensors)})
    results: List[Result] = []
    for number, pixels in enumerate(images):
        mine = {name: value[number : number + 1] for name, value in outputs.items()} if len(images) > 1 else outputs
        if head.postprocess is None:
            results.append(mine)
        else:
            scale = (pixels.shape[1] / size[1], pixels.shape[0] / size[0])
            results.append(keypoints.extract(mine, head.postprocess, scale, entry.cell))
    return results


def _together(now: Opened, entry: Entry, size: Tuple[int, int], count: int) -> int:
    """How many of `count` images the artifact takes in one call: more than one when the first dimension of its input and of
    every output is one and the same symbol, as far as a profile reaches."""
    image = now.manifest.model.inputs[0]
    batch = image.shape[0]
    if not isinstance(batch, str) or any(output.shape[:1] != (batch,) for output in now.head.outputs):
        return 1
    fits = (n for n in range(count, 1, -1) if accepts(entry, image.name, contract.with_size(image.shape, size, n)))
    return next(fits, 1)


def _fixed_size(manifest: Manifest) -> Optional[Tuple[int, int]]:
    height, width = manifest.model.inputs[0].shape[-2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def entry_for(now: Opened, size: Tuple[int, int]) -> Entry:
    image, entries = now.manifest.model.inputs[0], now.entries
    try:
        shape = contract.with_size(image.shape, size)
    except ValueError as problem:
        raise NothingFits(f"the model takes no image of {size[0]}x{size[1]}: {problem}") from None
    entry = now.best_for({image.name: shape})
    if entry is None:
        raise NothingFits(
            f"no artifact here accepts {size[0]}x{size[1]}",
            hint=f"resize it, for example --size {_usual(entries[0])}; accepted: " + "; ".join(ranges(entries)),
        )
    if entry is not entries[0]:
        said = f"{size[0]}x{size[1]} is outside the profile of {entries[0].cell}; {entry.cell} answers"
        warnings.warn(said, FallbackWarning, stacklevel=4)
    return entry


def _usual(entry: Entry) -> str:
    opt = entry.profiles[0].inputs[0].opt
    return f"{opt[-2]}x{opt[-1]}"


def ranges(entries: Sequence[Entry]) -> "list[str]":
    """'240x320 to 720x1280' of every profile, once."""
    ranges = [r for entry in entries for profile in entry.profiles for r in profile.inputs]
    return list(dict.fromkeys(f"{r.min[-2]}x{r.min[-1]} to {r.max[-2]}x{r.max[-1]}" for r in ranges))
