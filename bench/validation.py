"""What validating artifacts costs beyond the inference it needs, side by side in one run.

    python bench/validation.py [--store artifacts] [--only CELLS]

For every cell that was measured here: `validation` is its parity and task steps performed again, each in a process of its
own as a build performs them; `inference` is the same artifact run on the same tensors in this process, only the runs
timed; `open` is opening and, where a runtime compiles for a size at its first run, that first run. The model's own outputs
are not in it: they are computed once, whatever the number of targets (the last line counts them). The last two columns
are validation over inference, and over inference with opening, which no one who runs an artifact is spared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import MeasureParity, MeasureTask
from builder.config.cells import Cell
from builder.config.loader import load
from builder.execution import local, processes
from builder.execution.scheduler import prospect
from builder.planning.planner import plan
from builder.planning.resolver import Pinner
from builder.platforms import machines
from builder.store.layout import Layout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--matrix", type=Path, default=Path("matrix.yaml"))
    parser.add_argument("--store", type=Path, default=Path("artifacts"))
    parser.add_argument("--only", default="*")
    args = parser.parse_args()
    loaded, machine, store = load(args.matrix), machines.here(), Layout(args.store)
    planned = plan(loaded.matrix, machine, only=(args.only,))
    pinner = Pinner(loaded.root, machine, store)
    outcome = prospect(planned, pinner, store)
    measured = [cell for cell in planned.cells if cell.parity in outcome.results]
    if not measured:
        raise SystemExit(f"nothing in {args.store} was measured here; run `build matrix` first")
    jobs = {job.id: job for job in planned.jobs}
    print("| cell | validation s | inference s | open s | / inference | / with opening |\n|---|---|---|---|---|---|")
    total = np.zeros(3)
    for cell in measured:
        spent = np.zeros(3)  # seconds: validation, inference, open
        for id in _steps(cell):
            action = outcome.actions[id]
            with store.workspace() as work:
                order = local.lay_out(action, pinner.files(jobs[id], action), loaded.root, work)
                spent += [_by_hand(order), *_inference(action, order.parent / "in")]
        total += spent
        _row(cell.id, spent)
    _row("all", total)
    models = {id for cell in measured for id in (f"reference/{cell.head}", *(t.reference for t in cell.tasks))}
    print(
        f"\nThe model itself was run in {len(models)} steps for these {len(measured)} cells: {', '.join(sorted(models))}"
    )


def _steps(cell: Cell) -> List[str]:
    return [cell.parity, *(task.job for task in cell.tasks)]


def _row(name: str, spent: Any) -> None:
    seconds = " | ".join(f"{value:.1f}" for value in spent)
    ratios = f"{spent[0] / spent[1]:.2f} | {spent[0] / spent[1:].sum():.2f}"
    print(f"| {name} | {seconds} | {ratios} |", flush=True)


def _by_hand(order: Path) -> float:
    """Seconds of the step in a process of its own."""
    words = [sys.executable, "-m", "builder.execution.worker", str(order.absolute())]
    started = time.perf_counter()
    worker = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=str(order.parent),
        env=processes.worker_environment(),
    )
    if worker.wait() != 0:
        raise SystemExit(order.with_name("outcome.json").read_text())
    return time.perf_counter() - started


def _inference(action: Action, inputs: Path) -> List[float]:
    """Seconds of the runs alone, and of opening with the first run of each shape."""
    recipe, spent, opened = action.recipe, 0.0, 0.0
    assert isinstance(recipe, (MeasureParity, MeasureTask)) and action.platform is not None
    started = time.perf_counter()
    options = plugins.OpenOptions(recipe.compute, recipe.static, frugal=isinstance(recipe, MeasureParity))
    runner = plugins.backend(action.platform.runtime).open(inputs / "artifact", options)
    opened += time.perf_counter() - started
    seen = set()
    for feed in _feeds(action, inputs):
        shapes = tuple(value.shape for value in feed.values())
        if shapes not in seen:
            seen.add(shapes)
            started = time.perf_counter()
            runner(feed)
            opened += time.perf_counter() - started
        started = time.perf_counter()
        runner(feed)
        spent += time.perf_counter() - started
    return [spent, opened]


def _feeds(action: Action, inputs: Path) -> Iterator[Dict[str, Any]]:
    """The input tensors of the step's samples or cases, one after the other."""
    for path in sorted([*inputs.glob("reference/*.npz"), *inputs.glob("cases/*.npz")]):
        with np.load(path, allow_pickle=False) as file:
            if isinstance(action.recipe, MeasureTask):
                for key in [key for key in file.files if key.startswith("image/")]:
                    yield {action.recipe.input: file[key]}
            else:
                yield {key[len("input/") :]: file[key] for key in file.files if key.startswith("input/")}


if __name__ == "__main__":
    main()
