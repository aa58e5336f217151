"""From images to what an opened version finds on them: which artifact answers, which images go together, what comes back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, Union

from builder.choosing.choose import accepts
from builder.config import contract
from builder.errors import NothingFits, UsageError
from builder.hosting.opened import Opened
from builder.models import preprocessing
from builder.store.manifest import Entry, Manifest
from validation import keypoints

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Image = Union[Array, str, Path]
    Result = Union[keypoints.Found, Dict[str, Array]]


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
