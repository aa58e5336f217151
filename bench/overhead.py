"""What `build` costs beyond the tools it drives: no-op, plan, help, a cold build, and each tool alone, in one run.

    python bench/overhead.py [--only CELLS] [--rounds N]
    python bench/overhead.py --store artifacts             only the fast commands, on what is built

Every step of the cold build is afterwards run again by hand, as a person would: the same action, in a process of
its own (`python -m builder.execution.worker`). The ratio is wall time of the cold build over the sum of these. Times on a
shared machine are noisy; the ratio is what to quote.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Tuple

from builder.config.loader import load
from builder.execution import local, processes
from builder.execution.scheduler import prospect
from builder.planning.planner import plan
from builder.planning.resolver import Pinner
from builder.platforms import machines
from builder.store.layout import Layout

TOOLS = ("export", "simplify", "lower-fp16", "lower-int8", "engine", "reference", "parity", "latency")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--matrix", type=Path, default=Path("matrix.yaml"))
    parser.add_argument("--only", default="*-dense-*", help="cells of the cold build (default: the dense head)")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each fast command (default 9)")
    parser.add_argument("--store", type=Path, help="build nothing: only time the fast commands on this built store")
    args = parser.parse_args()
    if args.store is not None:
        _print_medians(_fast(["-m", str(args.matrix), "--store", str(args.store)], args.rounds))
        print(f"\nlargest worker process recorded in the store: {_largest_recorded(args.store)} MiB")
        return
    with tempfile.TemporaryDirectory(dir=args.matrix.resolve().parent, prefix=".bench-") as folder:
        store = Path(folder) / "artifacts"
        words = ["-m", str(args.matrix), "--store", str(store), "--only", args.only]
        cold = _wall(["matrix", "--quiet", *words])
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        alone = _each_tool_alone(args.matrix, store, args.only)
        medians = _fast(words, args.rounds)
    _report(cold, peak, alone, medians)


def _fast(words: List[str], rounds: int) -> Dict[str, float]:
    commands = {
        "no-op `build matrix`": ["matrix", "--quiet", *words],
        "`build plan`": ["plan", *words],
        "`build --help`": ["--help"],
    }
    return {name: statistics.median(_wall(command) for _ in range(rounds)) for name, command in commands.items()}


def _largest_recorded(store: Path) -> int:
    """The highest peak memory of any step whose result is in the store."""
    results = (store / ".deploymatrix" / "results").glob("*.json")
    return max((json.loads(path.read_bytes())["peak_mib"] for path in results), default=0)


def _wall(words: List[str]) -> float:
    installed = Path(sys.executable).with_name("build")  # as a person runs it; a checkout may have no byte code
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "builder.cli"]
    started = time.perf_counter()
    done = subprocess.run([*program, *words], stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 3):
        raise SystemExit(f"build {' '.join(words)} ended with {done.returncode}")
    return time.perf_counter() - started


def _each_tool_alone(matrix: Path, place: Path, only: str) -> Dict[str, Tuple[int, float]]:
    """step -> (runs, seconds): every performed action again, one process each, nothing else running."""
    loaded, machine, store = load(matrix), machines.here(), Layout(place)
    planned = plan(loaded.matrix, machine, only=(only,))
    pinner = Pinner(loaded.root, machine, store)
    outcome = prospect(planned, pinner, store)
    spent: Dict[str, Tuple[int, float]] = {}
    for job in planned.jobs:
        if job.id not in outcome.results:
            continue
        action = outcome.actions[job.id]
        with store.workspace() as work:
            order = local.lay_out(action, pinner.files(job, action), loaded.root, work)
            started = time.perf_counter()
            _by_hand(order)
            seconds = time.perf_counter() - started
        runs, so_far = spent.get(action.recipe.step, (0, 0.0))
        spent[action.recipe.step] = (runs + 1, so_far + seconds)
    return spent


def _by_hand(order: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "builder.execution.worker", str(order.absolute())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=str(order.parent),
        env=processes.worker_environment(),
    )
    if worker.wait() != 0:
        raise SystemExit(json.loads(order.with_name("outcome.json").read_text())["problem"])


def _report(cold: float, peak: float, alone: Dict[str, Tuple[int, float]], medians: Dict[str, float]) -> None:
    total = sum(seconds for _, seconds in alone.values())
    print("| tool alone | runs | seconds |\n|---|---|---|")
    for step in TOOLS:
        if step in alone:
            print(f"| {step} | {alone[step][0]} | {alone[step][1]:.1f} |")
    print(f"| sum | {sum(runs for runs, _ in alone.values())} | {total:.1f} |\n")
    print(f"cold `build matrix`: {cold:.1f} s, {cold / total:.2f} times the sum of its tools")
    print(f"largest process of the cold build: {peak:.0f} MiB\n")
    _print_medians(medians)


def _print_medians(medians: Dict[str, float]) -> None:
    print("| whole process, median | seconds |\n|---|---|")
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
