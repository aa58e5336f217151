"""The task-cases step: a task's cases as tensors and answers, made once for every artifact that is scored on them."""

from __future__ import annotations

import re
from pathlib import Path

from builder.actions.action import Action
from builder.actions.recipes import Facts, Sampled, TaskCases
from builder.errors import StepFailed
from validation import task

_NAME = re.compile(r"[^./\x00-\x1f][^/\x00-\x1f]*")  # what can be a file name


def perform(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
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
