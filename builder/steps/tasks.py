"""The task steps: make cases, score the model, score an artifact.

The cases are made once as tensors and answers, for all artifacts. The loss of an artifact is its difference from the
model's score. Scoring needs the artifact's runtime and the imports of the metric.
"""

from __future__ import annotations

import re
from pathlib import Path

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Facts, MeasureTask, Sampled, ScoreReference, TaskCases
from builder.config.matrix import OnnxSource
from builder.errors import StepFailed
from validation import task


def score_artifact(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, MeasureTask) or action.platform is None:
        raise StepFailed("a task action needs a task recipe and a platform")
    options = plugins.OpenOptions(recipe.compute, recipe.static, frugal=True)
    runner = plugins.backend(action.platform.runtime).open(inputs / "artifact", options)
    scored = task.find(recipe.metric, recipe.settings, inputs / "code")
    return task.measure(recipe.metric, scored, recipe.contract, recipe.input, runner, inputs)


# ------------------------------------------------------------------------------------------- cases


_NAME = re.compile(r"[^./\x00-\x1f][^/\x00-\x1f]*")  # a file name


def make_cases(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, TaskCases):
        raise StepFailed("a task-cases action needs a task-cases recipe")
    made = task.find(recipe.metric, recipe.options, inputs / "code")
    names = []
    with task.told_of(recipe.metric, inputs / "code"):
        for case in made.cases({name[len("data/") :]: inputs / name for name in recipe.data}, recipe.size):
            if not _NAME.fullmatch(case.name) or case.name in names:
                raise StepFailed(f"{recipe.metric}: {case.name!r} is no name for a case, or the second one")
            task.store(case, recipe.size, recipe.preprocess, out)
            names.append(case.name)
            print(f"case {case.name}", flush=True)
    if not names:
        raise StepFailed(f"{recipe.metric} made no case of {', '.join(recipe.data)}")
    return Sampled(tuple(names))


# ------------------------------------------------------------------------------------------- reference


def score_reference(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, ScoreReference):
        raise StepFailed("a task-reference action needs a task-reference recipe")
    kind = "onnx" if isinstance(recipe.source, OnnxSource) else "torch"
    model = plugins.source(kind).open(recipe, inputs, root)
    scored = task.find(recipe.metric, recipe.settings, inputs / "code")
    return task.measure(recipe.metric, scored, recipe.contract, recipe.input.name, model, inputs, remember=out)
