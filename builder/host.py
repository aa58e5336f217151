"""The host runtime: open what was pulled, or a store, and call it on photographs. Needs no torch.

    import builder.host
    deploy = builder.host.open("artifacts")
    found = deploy(image)                    # uint8 [H, W, 3] RGB, or a path

The fastest artifact proven for this machine answers. An image outside its profile goes to the next artifact that
accepts the size, with a warning, never silently.
"""

from __future__ import annotations

import tempfile
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple, Union

from builder import facts, keypoints, preprocess, pull, seams, shapes
from builder.choose import accepts, choose, covering
from builder.errors import NothingFits
from builder.manifest import Entry, Manifest
from builder.stores import versions
from builder.stores.layout import Layout

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class FallbackWarning(UserWarning):
    """Another artifact answers than one would expect: the image is outside the fastest one's profile, or the host has a GPU
    and nothing for it may be used."""


def open(place: Union[str, Path], *, head: Optional[str] = None, threads: int = 0) -> "Deployment":
    """A deployment from a pulled folder (`build pull`) or straight from a store. `threads` 0 takes every core.

    Raises NothingFits when no artifact passed for this machine, UsageError when `place` is neither.
    """
    place = Path(place)
    if (place / "index.json").is_file():
        return _from_store(Layout(place), head, threads)
    folder = place if (place / "deploy.json").is_file() else pull.find(place, head)
    return Deployment(pull.described(folder), folder, threads)


def _from_store(store: Layout, head: Optional[str], threads: int) -> "Deployment":
    """Verify and lay out the chosen artifacts in a temporary folder that lives as long as the deployment."""
    manifest = versions.latest(store)
    chain = best_chain(manifest, head, store.root)
    assert manifest is not None
    keep = tempfile.TemporaryDirectory(prefix="deploymatrix-")
    folder = pull.place(manifest, chain, store, Path(keep.name))
    return Deployment(pull.described(folder), folder, threads, keep)


def best_chain(manifest: Optional[Manifest], head: Optional[str], where: Path) -> Tuple[Entry, ...]:
    if manifest is None:
        raise NothingFits("the store holds no version yet", where=str(where), hint="run: build matrix")
    wanted = head or manifest.model.heads[0].name
    choice = choose(manifest, facts.here(), wanted)
    if not choice.ranked:
        raise NothingFits(
            f"no artifact of head {wanted!r} passed for this machine",
            where=str(where),
            hint="see why with: build pull --explain",
        )
    if choice.fallback is not None:
        said = f"{choice.ranked[0].cell} runs on the CPU of a host with a GPU; {choice.fallback.cell}: {choice.fallback.reason}"
        warnings.warn(said, FallbackWarning, stacklevel=4)
    return covering(choice.ranked)


class Deployment:
    """Artifacts of one head, best first, opened when first used. Calls are serialised by a lock."""

    def __init__(
        self,
        manifest: Manifest,
        folder: Path,
        threads: int = 0,
        keep: "Optional[tempfile.TemporaryDirectory[str]]" = None,
    ) -> None:
        self._manifest, self._folder, self._threads, self._keep = manifest, folder, threads, keep
        self._head = manifest.head(manifest.entries[0].head)
        self._input = manifest.model.inputs[0]
        self._runners: Dict[str, seams.Runner] = {}
        self._lock = threading.Lock()

    @property
    def entries(self) -> Sequence[Entry]:
        """The artifacts that may answer, best first."""
        return self._manifest.entries

    def __call__(
        self, image: "Union[Array, str, Path]", *, size: Optional[Tuple[int, int]] = None
    ) -> "Union[keypoints.Found, Dict[str, Array]]":
        """Keypoints for a head with a `postprocess` contract, else its tensors by name.

        `image` is uint8 [H, W, 3] RGB or [H, W], or a path; `size` (height, width) resizes it first. A model with a
        fixed size gets that size.
        """
        pixels = preprocess.read(Path(image)) if isinstance(image, (str, Path)) else image
        contract = self._manifest.model.preprocess
        height, width = size or self._fixed_size() or preprocess.fitting_size(pixels.shape, contract)
        entry = self.entry_for((height, width))
        tensor = preprocess.tensor(pixels, contract, (height, width))
        with self._lock:
            outputs = self._runner(entry)({self._input.name: tensor})
        if self._head.postprocess is None:
            return outputs
        scale = (pixels.shape[1] / width, pixels.shape[0] / height)
        return keypoints.extract(outputs, self._head.postprocess, scale, entry.cell)

    def _fixed_size(self) -> Optional[Tuple[int, int]]:
        height, width = self._input.shape[-2:]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def entry_for(self, size: Tuple[int, int]) -> Entry:
        """The best artifact that accepts `size` (height, width). Warns when it is not the first; NothingFits if none."""
        try:
            shape = shapes.with_size(self._input.shape, size)
        except ValueError as problem:
            raise NothingFits(f"the model takes no image of {size[0]}x{size[1]}: {problem}") from None
        for entry in self.entries:
            if accepts(entry, self._input.name, shape):
                if entry is not self.entries[0]:
                    said = f"{size[0]}x{size[1]} is outside the profile of {self.entries[0].cell}; {entry.cell} answers"
                    warnings.warn(said, FallbackWarning, stacklevel=3)
                return entry
        raise NothingFits(
            f"no artifact here accepts {size[0]}x{size[1]}",
            hint=f"resize it, for example --size {_usual(self.entries[0])}; accepted: "
            + "; ".join(_ranges(self.entries)),
        )

    def _runner(self, entry: Entry) -> seams.Runner:
        if entry.cell not in self._runners:
            assert entry.platform is not None and entry.artifact is not None
            options = seams.OpenOptions(entry.artifact.compute, entry.artifact.static, self._threads)
            self._runners[entry.cell] = seams.backend(entry.platform.runtime).open(self._folder / entry.cell, options)
        return self._runners[entry.cell]


def _usual(entry: Entry) -> str:
    opt = entry.profiles[0].inputs[0].opt
    return f"{opt[-2]}x{opt[-1]}"


def _ranges(entries: Sequence[Entry]) -> "list[str]":
    """'240x320 to 720x1280' of every profile, once."""
    ranges = [r for entry in entries for profile in entry.profiles for r in profile.inputs]
    return list(dict.fromkeys(f"{r.min[-2]}x{r.min[-1]} to {r.max[-2]}x{r.max[-1]}" for r in ranges))
