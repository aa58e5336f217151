"""The host runtime: open what was pulled, or a store, and call it on photographs. Needs no torch.

    import builder.host
    deploy = builder.host.open("pulled")
    found = deploy(image)                    # uint8 [H, W, 3] RGB, or a path

The fastest artifact proven for this machine answers. An image outside its profile goes to the next artifact that
accepts the size, with a warning, never silently. May be called from any number of threads.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import warnings
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from builder.config import contract
from builder.errors import DeployError, NothingFits, UsageError
from builder.host import bench_records, install
from builder.host.choose import choose, covering
from builder.host.opened import FallbackWarning, Opened, OpenedArtifact, entry_for, many, pixels, ranges
from builder.platforms import machines
from builder.store import trust, versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest
from validation import keypoints

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Image = Union[Array, str, Path]
    Result = Union[keypoints.DetectedKeypoints, Dict[str, Array]]


# Following `current`: a thread that asks again and again whether another version was placed, and stops when it is told to,
# or when nobody holds what it follows for any more.


_FOLLOWER_LOG = logging.getLogger("builder.host")


class Follower:
    """Calls `look` of `owner` every `seconds`. It holds `owner` weakly: a forgotten one is not kept alive by its thread."""

    def __init__(self, owner: Any, look: Callable[[Any], None], seconds: float) -> None:
        self._stop = threading.Event()
        weak = weakref.ref(owner, lambda _: self._stop.set())
        self._thread = threading.Thread(target=_follow, args=(weak, look, seconds, self._stop), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended; a version that it is opening is opened first."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()


def _follow(weak: "weakref.ref[Any]", look: Callable[[Any], None], seconds: float, stop: threading.Event) -> None:
    while not stop.wait(seconds):
        owner: Optional[Any] = weak()
        if owner is None:
            return
        try:
            look(owner)
        except Exception:  # the thread must outlive whatever a disk or a runtime does, and says it
            _FOLLOWER_LOG.exception("looking for another version failed")
        del owner


__all__ = ["Deployment", "Description", "FallbackWarning", "OpenedArtifact", "best_chain", "open"]

_LOG = logging.getLogger("builder.host")


@dataclass(frozen=True)
class Description:
    """What answers: `folder` names the placed version, `artifacts` are best first, `problem` is that of the last version
    that could not take its place."""

    model: str
    version: int
    head: str
    folder: str
    artifacts: Tuple[OpenedArtifact, ...]
    problem: str = ""


def open(
    place: Union[str, Path],
    *,
    head: Optional[str] = None,
    threads: int = 0,
    parallel: int = 1,
    warm: bool = False,
    follow: bool = False,
    every: float = 5.0,
) -> "Deployment":
    """A deployment from a pulled folder (`build pull`) or straight from a store.

    `threads` of the runtime for one call; 0 takes every core. `parallel`: calls that one artifact answers at once; others
    wait. `warm`: run every artifact once before this returns. `follow`: when another version is pulled into `place`, it
    is opened, tested, warmed and takes over between two calls; looked for `every` so many seconds.

    Raises NothingFits when no artifact passed for this machine, Untrusted when a store's newest version is not signed by
    anyone trusted here, UsageError when `place` is neither, and with `follow`
    StepFailed when the artifacts do not pass their self-test.
    """
    place = Path(place)
    if threads < 0 or parallel < 1 or not every > 0:
        raise UsageError("threads is 0 or more, parallel 1 or more, every more than 0 seconds")
    if (place / "index.json").is_file():
        if follow:
            raise UsageError(f"{place} is a store; only what was pulled can be followed", hint="run: build pull")
        return _from_store(Layout(place), head, threads, parallel, warm)
    if (place / "deploy.json").is_file():
        if follow:
            raise UsageError(f"{place} is one version, which never changes", hint=f"open {place.parent.parent}")
        return Deployment(Opened(place, threads, parallel), threads, parallel, warm)
    opened = Opened(install.find(place, head), threads, parallel)
    return Deployment(opened, threads, parallel, warm, (place, opened.head.name) if follow else None, every)


def _from_store(store: Layout, head: Optional[str], threads: int, parallel: int, warm: bool) -> "Deployment":
    """Verify and lay out the chosen artifacts in a temporary folder that lives as long as the deployment."""
    manifest = _latest(store)
    chain = best_chain(manifest, head, store)
    assert manifest is not None
    keep = tempfile.TemporaryDirectory(prefix="deploymatrix-")
    folder = install.place(manifest, chain, store, Path(keep.name))
    return Deployment(Opened(folder, threads, parallel, keep), threads, parallel, warm)


def _latest(store: Layout) -> Optional[Manifest]:
    """The newest version, once it is known to be signed by someone who is trusted here, if anyone is. Raises Untrusted."""
    known, ring = versions.numbers(store), trust.these(None, os.environ, store)
    if not known or not ring:
        return versions.latest(store)
    return versions.parsed(store, known[-1], trust.proof(store, known[-1], ring).data)


def best_chain(manifest: Optional[Manifest], head: Optional[str], store: Layout) -> Tuple[Entry, ...]:
    """What this machine would pull: the choice of `build pull`, by the measurements that `store` has of this class too."""
    if manifest is None:
        raise NothingFits("the store holds no version yet", where=str(store.root), hint="run: build matrix")
    wanted = head or manifest.model.heads[0].name
    machine = machines.here()
    times, _ = bench_records.here(store, manifest, machine, wanted, trust.these(None, os.environ, store))
    choice = choose(manifest, machine, wanted, measured=times)
    if not choice.ranked:
        raise NothingFits(
            f"no artifact of head {wanted!r} passed for this machine",
            where=str(store.root),
            hint="see why with: build pull --explain",
        )
    if choice.fallback is not None:
        said = f"{choice.ranked[0].cell} runs on the CPU of a host with a GPU; {choice.fallback.cell}: {choice.fallback.reason}"
        warnings.warn(said, FallbackWarning, stacklevel=4)
    return covering(choice.ranked)


class Deployment:
    """The artifacts of one head, best first. Made by `open`."""

    def __init__(
        self,
        opened: Opened,
        threads: int,
        parallel: int,
        warm: bool = False,
        followed: Optional[Tuple[Path, str]] = None,
        every: float = 5.0,
    ) -> None:
        self._now: Optional[Opened] = opened  # replaced as a whole: a call keeps the one that it began with
        self._threads, self._parallel, self._warm, self._followed = threads, parallel, warm, followed
        self._reloading, self._switching = threading.Lock(), threading.Lock()
        self._refused, self._problem = "", ""
        if followed:
            opened.prove()
        if warm:
            opened.warm()
        self._follower = Follower(self, Deployment._look, every) if followed else None

    def __enter__(self) -> "Deployment":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every artifact, once the calls that are under way have ended. Later calls raise UsageError."""
        if self._follower is not None:
            self._follower.stop()
        with self._switching:
            self._now = None

    @property
    def entries(self) -> Sequence[Entry]:
        """The artifacts that may answer, best first."""
        return self._opened().entries

    @property
    def problem(self) -> str:
        """Why the version that was placed last does not answer; empty when it does."""
        return self._problem

    def describe(self) -> Description:
        now = self._opened()
        manifest = now.manifest
        return Description(
            manifest.model.name, manifest.version, now.head.name, now.name, now.described(), self._problem
        )

    def warm(self) -> None:
        """Run every artifact once at the usual shape of each profile, so that no later call pays for opening it."""
        self._opened().warm()

    def _opened(self) -> Opened:
        now = self._now
        if now is None:
            raise UsageError("this deployment was closed", hint="open it again: builder.host.open(...)")
        return now

    # ------------------------------------------------------------------ calls

    def __call__(self, image: "Image", *, size: Optional[Tuple[int, int]] = None) -> "Result":
        """Keypoints for a head with a `postprocess` contract, else its tensors by name.

        `image` is uint8 [H, W, 3] RGB or [H, W], or a path; `size` (height, width) resizes it first. A model with a
        fixed size gets that size.
        """
        return many(self._opened(), [pixels(image)], size)[0]

    def many(self, images: "Iterable[Image]", *, size: Optional[Tuple[int, int]] = None) -> "List[Result]":
        """A result for each of `images`, a list or an array [N, H, W, 3], in their order. Images of one size are one call of
        the model as far as its shapes and its profile allow, and else one after the other."""
        return many(self._opened(), [pixels(image) for image in images], size)

    def tensors(self, inputs: "Union[Array, Mapping[str, Array]]") -> "Dict[str, Array]":
        """The model's outputs by name for float32 input tensors by name (or for the only input), without pre- and
        postprocessing. Raises UsageError for other inputs than the model has, NothingFits outside every profile."""
        now = self._opened()
        declared = now.manifest.model.inputs
        given: Mapping[str, Array] = inputs if isinstance(inputs, Mapping) else {declared[0].name: inputs}
        if set(given) != {each.name for each in declared}:
            raise UsageError(f"the model takes {', '.join(each.name for each in declared)}, not {', '.join(given)}")
        for each in declared:
            tensor = given[each.name]
            try:
                contract.bind(each.shape, tuple(tensor.shape))
            except ValueError as problem:
                raise UsageError(f"{each.name}: {problem}") from None
            if tensor.dtype.name != "float32":
                raise UsageError(f"{each.name} is {tensor.dtype.name}; the model takes float32")
        wanted = {name: tuple(tensor.shape) for name, tensor in given.items()}
        entry = now.best_for(wanted)
        if entry is None:
            said = ", ".join(f"{name} {list(shape)}" for name, shape in wanted.items())
            raise NothingFits(f"no artifact here accepts {said}", hint="accepted: " + "; ".join(ranges(now.entries)))
        return now.run(entry, given)

    def entry_for(self, size: Tuple[int, int]) -> Entry:
        """The best artifact that accepts `size` (height, width). Warns when it is not the first; NothingFits if none."""
        return entry_for(self._opened(), size)

    # ------------------------------------------------------------------ other versions

    def reload(self) -> bool:
        """Take the version that `build pull` placed last, if it is another one: opened, tested on its golden sample, and
        warmed, before it answers. True when it took over. Raises what kept it from that; then the old one goes on."""
        if self._followed is None:
            raise UsageError("only what was opened with follow=True is reloaded")
        with self._reloading:
            return self._reload(install.find(*self._followed))

    def _reload(self, folder: Path) -> bool:
        if folder.name == self._opened().name:
            self._refused = self._problem = ""
            return False
        try:
            fresh = Opened(folder, self._threads, self._parallel)
            fresh.prove()
            if self._warm:
                fresh.warm()
        except Exception as problem:  # whatever a runtime raises, the old version goes on
            self._refused = folder.name
            self._problem = f"{folder.name}: {problem}"
            raise
        with self._switching:
            if self._now is None:  # closed meanwhile
                return False
            self._now, self._refused, self._problem = fresh, "", ""
        _LOG.info("%s answers now", folder.name)
        return True

    def _look(self) -> None:
        """What the follower does: a version that was refused is not tried again until another one is placed."""
        assert self._followed is not None
        with self._reloading:
            try:
                folder = install.find(*self._followed)
                if folder.name != self._refused:
                    self._reload(folder)
            except DeployError as problem:
                self._problem = self._problem or str(problem)
                _LOG.error("the version before goes on: %s", problem)
