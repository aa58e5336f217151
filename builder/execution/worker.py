"""Performs one action from one JSON file: `python -m builder.execution.worker ORDER.json`.

The order names an action, an input folder, an output folder and the project's folder. Whatever the step leaves
in the output folder is its output; `outcome.json` beside the order says how it went. The worker knows no store
and no plan, needs only the packages of its one step, and ends when its standard input closes, so that it never
outlives the run that started it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Callable, Dict, Optional, cast

import validation  # noqa: F401  # the name is this program's before a project's folder is searched for modules
from builder import release
from builder.actions.action import Action
from builder.actions.recipes import Facts
from builder.errors import DeployError, StepFailed, SystemRefused
from builder.execution import processes
from builder.records import from_json, to_json


@dataclass(frozen=True)
class Order:
    action: Action
    inputs: str
    out: str
    root: str


@dataclass(frozen=True)
class Outcome:
    """Either `facts` or a `problem`. `killed`: it could write neither."""

    seconds: float
    peak_mib: int
    facts: Optional[Facts] = None
    problem: Optional[str] = None
    hint: Optional[str] = None
    killed: bool = False


Step = Callable[[Action, Path, Path, Path], Facts]

# Modules, imported when their step is ordered: a Jetson that builds an engine has no torch and no onnxsim.
STEPS: Dict[str, str] = {
    "export": "builder.steps.export:export",
    "simplify": "builder.steps.export:simplify",
    "lower-fp16": "builder.steps.fp16:lower_fp16",
    "emulate-fp16": "builder.steps.fp16:emulate_fp16",
    "lower-int8": "builder.steps.quantization.int8:lower_int8",
    "calibration-data": "builder.steps.quantization.calibration:gather_calibration_data",
    "lower-opset": "builder.steps.lower_opset:lower_opset",
    "parse": "builder.steps.export:parse",
    "engine": "builder.steps.engine:build_engine",
    "reference": "builder.steps.measure:answer_reference",
    "parity": "builder.steps.measure:measure_parity",
    "layer-errors": "builder.steps.layer_errors:measure_layer_errors",
    "task-cases": "builder.steps.tasks:make_cases",
    "task-reference": "builder.steps.tasks:score_reference",
    "task": "builder.steps.tasks:score_artifact",
    "latency": "builder.steps.measure:measure_latency",
    "sweep-reference": "builder.steps.sweep:sweep_reference",
    "sweep": "builder.steps.sweep:sweep_artifact",
    "worst-case": "builder.steps.measure:draw_worst_case",
    "cost": "builder.steps.measure:measure_cost",
}


def perform(order: Order) -> Outcome:
    started = time.monotonic()
    facts: Optional[Facts] = None
    failure: Optional[DeployError] = None
    try:
        module, _, name = STEPS[order.action.recipe.step].partition(":")
        step = cast(Step, getattr(import_module(module), name))
        facts = step(order.action, Path(order.inputs), Path(order.out), Path(order.root))
    except DeployError as problem:
        failure = problem
    except ImportError as problem:
        lacks_it = (problem.name or "").startswith("packaging")  # a machine that is worked on over SSH
        hint = "pip install packaging" if lacks_it else release.pip_install("build")
        failure = StepFailed(f"{problem}", hint=hint)
    return Outcome(
        seconds=round(time.monotonic() - started, 3),
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        facts=facts,
        problem=_said(failure, order.inputs) if failure else None,
        hint=failure.hint if failure else None,
    )


def _said(failure: DeployError, inputs: str) -> str:
    """The problem with its place, when that is one of the files that were given: `photographs/a.png: is not an image`."""
    place = failure.where or ""
    if not place.startswith(inputs + os.sep):
        return failure.what
    return f"{place[len(inputs) + 1 :]}: {failure.what}"


def main(path: Path) -> int:
    processes.hold()
    order = from_json(Order, json.loads(path.read_bytes()))
    try:
        outcome = perform(order)
        partial = path.with_name("outcome.partial")
        partial.write_text(json.dumps(to_json(outcome)), encoding="utf-8")
        partial.rename(path.with_name("outcome.json"))
    except OSError as problem:  # a full disk above all, which has no room for an outcome either
        print(f"{problem.filename or path.parent}: {problem.strerror or problem}")
        return SystemRefused.exit_code
    return 0 if outcome.problem is None else StepFailed.exit_code


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
