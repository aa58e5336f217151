"""How much faster the artifact that `build pull` chooses is than the naive export, in one interleaved run.

    python bench/speed.py [--store artifacts] [--head dense] [--size 480x640] [--rounds 30]

The naive export is a default onnxruntime session on the exported fp32 model, before anything was done to it. The two
run in turns, with a pause before each run so that one runtime's spinning threads do not slow the other.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List

import numpy as np

from builder import plugins
from builder.config import contract
from builder.config.loader import load
from builder.execution.scheduler import prospect
from builder.host import install
from builder.host.choose import choose
from builder.planning.planner import plan
from builder.planning.resolver import Pinner
from builder.platforms import machines
from builder.runtimes import onnxruntime
from builder.store import versions
from builder.store.layout import Layout

PAUSE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--matrix", type=Path, default=Path("matrix.yaml"))
    parser.add_argument("--store", type=Path, default=Path("artifacts"))
    parser.add_argument("--head", default="dense")
    parser.add_argument("--size", default="480x640")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    store, machine = Layout(args.store), machines.here()
    manifest = versions.latest(store)
    if manifest is None:
        raise SystemExit(f"{args.store} holds no version; run: build matrix")
    height, width = map(int, args.size.split("x"))
    tensor = manifest.model.inputs[0]
    shape = contract.with_size(tensor.shape, (height, width))
    feed = {tensor.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    runs: Dict[str, Callable[[], object]] = {}
    naive = onnxruntime.session_on(_exported(args.matrix, store, args.head), threads=0)
    runs["naive export (onnxruntime, fp32)"] = lambda: naive(feed)
    with tempfile.TemporaryDirectory() as folder:
        for entry in choose(manifest, machine, args.head).ranked:
            placed = install.place(manifest, [entry], store, Path(folder) / entry.cell)
            runs[entry.cell] = _runner(placed, entry.cell, feed)
        _report(_interleaved(runs, args.rounds), machine.kind)


def _exported(matrix: Path, place: Layout, head: str) -> Path:
    loaded, machine = load(matrix), machines.here()
    planned = plan(loaded.matrix, machine)
    outcome = prospect(planned, Pinner(loaded.root, machine, place), place)
    return place.fetch(outcome.results[f"export/{head}"].output("model.onnx").digest)


def _runner(folder: Path, cell: str, feed: plugins.Tensors) -> Callable[[], object]:
    entry = install.described(folder).entries[0]
    assert entry.artifact is not None
    assert entry.platform is not None
    options = plugins.OpenOptions(entry.artifact.compute, entry.artifact.static)
    runner = plugins.backend(entry.platform.runtime).open(folder / cell, options)
    return lambda: runner(feed)


def _interleaved(runs: Dict[str, Callable[[], object]], rounds: int) -> Dict[str, List[float]]:
    times: Dict[str, List[float]] = {name: [] for name in runs}
    for number in range(rounds + 2):
        for name, run in runs.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            run()
            if number >= 2:
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def _report(times: Dict[str, List[float]], machine: str) -> None:
    naive = next(iter(times))
    print(f"{len(times[naive])} interleaved rounds on {machine}\n")
    print("| | median ms | p10 | p90 | times as fast (median of the rounds) |\n|---|---|---|---|---|")
    for name, kept in times.items():
        ordered = sorted(kept)
        p10, p90 = ordered[len(ordered) // 10], ordered[len(ordered) * 9 // 10]
        ratio = statistics.median(a / b for a, b in zip(times[naive], kept))
        print(f"| {name} | {statistics.median(kept):.1f} | {p10:.1f} | {p90:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
