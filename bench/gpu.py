"""Precision, runtime, latency and parity of every artifact that this machine's GPU can run, in one interleaved run.

    python bench/gpu.py [-m matrix.yaml] [--store gpu-artifacts] [--head dense] [--size 480x640] [--rounds 50]

It writes a matrix beside the given one whose targets are the runtimes installed here, on the GPU that is here, runs
`build matrix` on it, opens every artifact that was built (each runtime in a process of its own), and times them in turns,
with a pause before each run. A time is that of one call: input to the GPU, the network, outputs back. Nobody has run it
on a GPU yet; what it prints belongs into docs/results/, with the day. `--runtimes onnxruntime` tries it without a GPU.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import yaml

from builder import plugins
from builder.config import contract
from builder.config.contract import PACKAGE
from builder.host import install
from builder.platforms import machines, requirements
from builder.platforms.machines import Machine
from builder.platforms.versions import first
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest

PAUSE = 0.02
GPU_RUNTIMES = ("tensorrt", "tensorrt-rtx", "onnxruntime-gpu")
SLOW = "slow precisions are wanted in the table"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--matrix", type=Path, default=Path("matrix.yaml"))
    parser.add_argument("--store", type=Path, default=Path("gpu-artifacts"))
    parser.add_argument("--head", help="default: the first of the matrix")
    parser.add_argument("--size", default="480x640")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--runtimes", default=",".join(GPU_RUNTIMES), help="default: those of NVIDIA GPUs")
    args = parser.parse_args()
    machine = machines.here()
    targets = _targets(args.runtimes.split(","), machine)
    head = args.head or next(iter(yaml.safe_load(args.matrix.read_text())["model"]["heads"]))
    _build(args.matrix, targets, args.store, head)
    manifest = versions.latest(Layout(args.store))
    assert manifest is not None
    entries = [e for e in manifest.entries if e.artifact is not None and e.target in targets and e.head == head]
    if not entries:
        raise SystemExit(f"nothing was built: build explain says why, with --store {args.store}")
    height, width = map(int, args.size.split("x"))
    times = _timed(manifest, entries, Layout(args.store), (height, width), args.rounds)
    _report(entries, times, machine, args.size)


def _targets(wanted: List[str], machine: Machine) -> Dict[str, Dict[str, str]]:
    """The targets of matrix.yaml for what is usable here; says what is not, and why."""
    found: Dict[str, Dict[str, str]] = {}
    can = {row.what: row for row in requirements.runtimes(machine)}
    for runtime in wanted:
        why = can[runtime].run or can[runtime].build if runtime in can else f"known are {', '.join(can)}"
        if why:
            print(f"{runtime}: not here: {why}", file=sys.stderr)
            continue
        said = {"runtime": runtime, "arch": machine.arch, "machine": machine.kind}
        if runtime in GPU_RUNTIMES:
            said["version"] = first(machine.version(PACKAGE[runtime]) or "", 2)
            said["sm"] = next(gpu.sm for gpu in machine.gpus if gpu.sm)
        if machine.l4t and runtime == "tensorrt":
            said["jetpack"] = machine.jetpack
        found[runtime.replace("-", "_")] = said
    if not found:
        raise SystemExit("nothing to time on this machine; see `build doctor`")
    return found


def _build(matrix: Path, targets: Dict[str, Dict[str, str]], store: Path, head: str) -> None:
    """`build matrix` on the same model with these targets. A gate that was missed is in the table, not an end."""
    said = yaml.safe_load(matrix.read_text(encoding="utf-8"))
    said["targets"] = targets
    said["overrides"] = [
        {"select": f"*-{name}", "set": {"allow": {"fp16-rate": SLOW, "cuda-int8": SLOW}}} for name in targets
    ]
    with tempfile.NamedTemporaryFile("w", dir=matrix.resolve().parent, prefix=".gpu-", suffix=".yaml") as file:
        yaml.safe_dump(said, file, sort_keys=False)
        file.flush()
        command = [sys.executable, "-m", "builder.cli", "matrix", "-m", file.name, "--store", str(store.resolve())]
        done = subprocess.run([*command, "--only", f"*-{head}-*", "--quiet"], stdout=sys.stderr)
    if done.returncode not in (0, 3):
        raise SystemExit(f"build matrix ended with {done.returncode}")


def _timed(
    manifest: Manifest, entries: List[Entry], store: Layout, size: Tuple[int, int], rounds: int
) -> Dict[str, List[float]]:
    """cell -> milliseconds per call, all cells in turns."""
    tensor = manifest.model.inputs[0]
    feed = {tensor.name: np.random.default_rng(0).random(contract.with_size(tensor.shape, size), dtype=np.float32)}
    context = multiprocessing.get_context("spawn")
    times: Dict[str, List[float]] = {entry.cell: [] for entry in entries}
    with tempfile.TemporaryDirectory() as folder:
        placed = str(install.place(manifest, entries, store, Path(folder)))
        serving: Dict[str, Tuple[Connection, Any]] = {}
        for entry in entries:
            assert entry.platform is not None
            if entry.platform.runtime not in serving:
                ours, theirs = context.Pipe()
                child = context.Process(target=_serve, args=(theirs, entry.platform.runtime, placed, feed), daemon=True)
                child.start()
                serving[entry.platform.runtime] = (ours, child)
        for number in range(rounds + 3):
            for entry in entries:
                assert entry.platform is not None
                took = _asked(serving[entry.platform.runtime][0], entry)
                if number >= 3:
                    times[entry.cell].append(took)
        for connection, child in serving.values():
            connection.send(None)
            child.join()
    return times


def _asked(connection: Connection, entry: Entry) -> float:
    time.sleep(PAUSE)
    assert entry.artifact is not None
    connection.send((entry.cell, entry.artifact.compute, entry.artifact.static))
    try:
        took = connection.recv()
    except EOFError:
        raise SystemExit(f"the process that ran {entry.cell} ended") from None
    return float(took)


def _serve(connection: Connection, runtime: str, folder: str, feed: plugins.Tensors) -> None:
    """One runtime in a process of its own: native TensorRT and TensorRT-RTX cannot share one."""
    runners: Dict[str, plugins.Runner] = {}
    for cell, compute, static in iter(connection.recv, None):
        if cell not in runners:
            runners[cell] = plugins.backend(runtime).open(Path(folder) / cell, plugins.OpenOptions(compute, static))
        started = time.perf_counter()
        runners[cell](feed)
        connection.send((time.perf_counter() - started) * 1000)


def _report(entries: List[Entry], times: Dict[str, List[float]], machine: Machine, size: str) -> None:
    gpus = ", ".join(gpu.described for gpu in machine.gpus) or "no GPU"
    print(f"{gpus}; driver {machine.driver or 'none'}; {machine.kind}; {platform.system()} on {machine.arch};")
    print(f"{len(times[entries[0].cell])} interleaved rounds at {size}, after three to warm up\n")
    print("| runtime | precision | median ms | p10 | p90 | times as fast as the first | verdict | parity |")
    print("|---|---|---|---|---|---|---|---|")
    first = times[entries[0].cell]
    for entry in entries:
        kept = times[entry.cell]
        ordered = sorted(kept)
        p10, p90 = ordered[len(ordered) // 10], ordered[len(ordered) * 9 // 10]
        ratio = statistics.median(a / b for a, b in zip(first, kept))
        assert entry.platform is not None
        named = f"{entry.platform.runtime} {entry.platform.version}"
        print(
            f"| {named} | {entry.precision} | {statistics.median(kept):.2f} | {p10:.2f} | {p90:.2f} | {ratio:.2f} "
            f"| {entry.verdict.status} | {_parity(entry)} |"
        )


def _parity(entry: Entry) -> str:
    """The worst of all samples, output by output."""
    if not entry.parity:
        return "not measured"
    said: List[str] = []
    for output in dict.fromkeys(row.output for row in entry.parity):
        rows = [row for row in entry.parity if row.output == output]
        problem: Optional[str] = next((row.problem for row in rows if row.problem), None)
        cosine = min((row.cosine for row in rows if row.cosine is not None), default=float("nan"))
        largest = max((row.max_abs for row in rows if row.max_abs is not None), default=float("nan"))
        said.append(f"{output} " + (problem or f"cosine {cosine:.6f}, max {largest:.1e}"))
    return "; ".join(said)


if __name__ == "__main__":
    main()
