"""A task: the purpose of a model, measured on cases with known answers.

matrix.yaml names a metric as `module:attr`; it is called as `attr(**options)` and returns a `Task`. The cases are made
once, stored as tensors and answers, and scored on the machine of each artifact, so that a target needs neither the
photographs nor their decoder. The model itself is scored on the same cases; the difference is the loss of an artifact.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple, cast

import numpy as np

from builder.actions.measurements import CaseScore, Score, TaskScores
from builder.config.contract import Preprocess
from builder.config.matrix import Head
from builder.errors import StepFailed
from builder.models import preprocessing
from builder.plugins import Runner
from builder.records import Setting
from validation.samples import Arrays

Scores = Dict[str, float]


@dataclass(frozen=True)
class Case:
    """Images of one case, and the answer.

    images: uint8 [H, W, 3] in RGB order or [H, W], all of the size given to `cases`. truth: arrays for `score`, by
    name; no object arrays.
    """

    name: str
    images: "Tuple[np.ndarray[Any, np.dtype[Any]], ...]"
    truth: Arrays


class Task(Protocol):
    """A metric of matrix.yaml. All three methods are deterministic.

    A task may have an attribute `lower_is_better`: the names of metrics that are errors; more is better for all others.
    It may have a method `remember(head, outputs) -> Arrays`: parts of the model's own answer to a case. They are
    in `truth` for `score`, for the model and for every artifact.
    """

    def cases(self, files: Mapping[str, Path], size: Tuple[int, int]) -> Iterator[Case]:
        """The cases made of `files` (by the names in matrix.yaml, in that order) at `size` (height, width)."""
        ...

    def score(self, head: Head, truth: Arrays, outputs: Sequence[Arrays]) -> Scores:
        """The scores of one case.

        `outputs`: the head's tensors by name, batch of one, for each image.
        """
        ...

    def total(self, scores: Sequence[Scores]) -> Scores:
        """The metrics over all cases, from the scores of each.

        NaN for a metric without a value.
        """
        ...


def mean(scores: Sequence[Scores]) -> Scores:
    """The mean of every number over the cases that have it: `total` of most metrics."""
    names = dict.fromkeys(name for row in scores for name in row)
    kept = {name: [row[name] for row in scores if math.isfinite(row.get(name, math.nan))] for name in names}
    return {name: sum(values) / len(values) if values else math.nan for name, values in kept.items()}


def find(metric: str, options: Sequence[Setting], code: Path) -> Task:
    """The task behind `module:attr`; its module is searched in the folder `code` first.

    Raises StepFailed.
    """
    make = attribute(metric, code)
    with told_of(metric, code):
        return cast(Task, make(**{setting.name: setting.value for setting in options}))


def attribute(place: str, code: Path) -> Callable[..., Any]:
    """The object `module:attr`, searched in the folder `code` first.

    Raises StepFailed.
    """
    module, _, name = place.partition(":")
    sys.path.insert(0, str(code))
    with told_of(place, code):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as problem:
            raise StepFailed(f"importing {module}: {problem}", hint="it may need numpy and cv2") from problem
    if not callable(found):
        raise StepFailed(f"{module} has no function or class {name!r}")
    return cast("Callable[..., Any]", found)


@contextmanager
def told_of(metric: str, code: Path) -> Iterator[None]:
    """Turn an exception of the project's metric into a StepFailed with its line below `code`."""
    try:
        yield
    except StepFailed:
        raise
    except Exception as problem:  # any exception of the project's code is reported as such
        own = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename.startswith(f"{code}{os.sep}")]
        where = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
        raise StepFailed(f"{metric} raised {type(problem).__name__}{where}: {problem}") from problem


def store(case: Case, size: Tuple[int, int], contract: Preprocess, folder: Path) -> None:
    """Write `NAME.npz`: `image/N` as the model's input tensors [1, C, h, w], `truth/NAME` unchanged."""
    arrays: Dict[str, Any] = {}
    for number, image in enumerate(case.images):
        if image.dtype != np.uint8 or image.shape not in (size, (*size, 3)):
            wanted = f"uint8 [{size[0]}, {size[1]}] or [{size[0]}, {size[1]}, 3]"
            raise StepFailed(f"case {case.name!r}: image {number} is {image.dtype} {list(image.shape)}, not {wanted}")
        arrays[f"image/{number}"] = preprocessing.tensor(image, contract, size)
    for name, value in case.truth.items():
        arrays[f"truth/{name}"] = np.asarray(value)
        if arrays[f"truth/{name}"].dtype.hasobject:
            raise StepFailed(f"case {case.name!r}: truth {name!r} holds Python objects; give numbers or text")
    np.savez_compressed(folder / f"{case.name}.npz", **arrays)


def measure(
    metric: str, task: Task, head: Head, image: str, runner: Runner, inputs: Path, remember: Optional[Path] = None
) -> TaskScores:
    """Score a runner on every stored case of `inputs/cases`.

    `metric` is for messages, `image` the model's input. `remember`: the folder for parts of the model's own answers,
    when `runner` is the model itself; an artifact reads them from `inputs/model`.
    """
    scores: List[Scores] = []
    rows: List[CaseScore] = []
    for path in sorted((inputs / "cases").glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            truth = {key[len("truth/") :]: file[key] for key in file.files if key.startswith("truth/")}
            count = sum(key.startswith("image/") for key in file.files)
            outputs = [runner({image: file[f"image/{number}"]}) for number in range(count)]
        with told_of(metric, inputs / "code"):
            truth.update(_remembered(task, head, outputs, path.name, inputs, remember))
            scores.append(_numbers(metric, task.score(head, truth, outputs)))
        rows += [CaseScore(path.stem, key, _number(value)) for key, value in scores[-1].items()]
        print(f"scored {path.stem}", flush=True)
    with told_of(metric, inputs / "code"):
        total = _numbers(metric, task.total(scores))
    errors = frozenset(getattr(task, "lower_is_better", ()))
    return TaskScores(tuple(Score(key, _number(value), key in errors) for key, value in total.items()), tuple(rows))


def _remembered(
    task: Task, head: Head, outputs: Sequence[Arrays], case: str, inputs: Path, folder: Optional[Path]
) -> Arrays:
    """The kept parts of the model's own answer to a case.

    The model itself writes them to `folder`.
    """
    keep: Optional[Callable[[Head, Sequence[Arrays]], Arrays]] = getattr(task, "remember", None)
    if keep is None:
        return {}
    if folder is not None:
        made = {name: np.asarray(value) for name, value in keep(head, outputs).items()}
        np.savez_compressed(folder / case, **made)  # type: ignore[arg-type]
        return made
    with np.load(inputs / "model" / case, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _numbers(metric: str, given: object) -> Scores:
    """The checked result of a metric. Raises StepFailed."""
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise StepFailed(f"the metric {metric} returned {type(given).__name__}, not a dictionary of numbers by name")
    for name, value in given.items():
        if isinstance(value, (str, bytes)) or value is None or np.ndim(value):
            raise StepFailed(f"the metric {metric} gave {name!r} as {type(value).__name__}, not a number")
    return {name: float(value) for name, value in given.items()}


def _number(value: float) -> Optional[float]:
    """Seven digits; None for NaN, which JSON cannot hold."""
    return float(f"{float(value):.7g}") if math.isfinite(value) else None
