"""What a store of many versions costs: finding the newest, choosing, explaining, collecting, comparing, in one run.

    python bench/scale.py [--versions 1000] [--cells 50] [--changed 50] [--keep DIR]

Makes a store whose artifacts are tiny, in each version `--changed` of its cells anew and the rest as before, with a
record of its steps and a signature tag per version, and with the results of the newest ones' steps. Reading small files costs what it costs; no artifact is opened.
Flushing to disk is left out while the store is made, which takes a minute, and of nothing that is timed.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from builder import digest
from builder.actions.action import Result
from builder.actions.measurements import Latency, OutputParity, Percentiles
from builder.actions.recipes import Made
from builder.config.contract import Input, Output, Profile, ShapeRange
from builder.host.choose import choose
from builder.platforms import machines
from builder.platforms.machines import Machine
from builder.platforms.platform import Blob, Pinned, Platform, Tool
from builder.records import Setting
from builder.store import gc, oci, referrers, versions
from builder.store.gc import Rule
from builder.store.layout import Layout
from builder.store.manifest import Artifact, Builder, Entry, HeadContract, Manifest, ModelIdentity, TaskResult, Verdict
from builder.store.provenance import Chain, JobLink, Provenance, StepRecord

_KINDS = (("onnxruntime", None), ("openvino", None), ("tensorrt", "8.6"), ("tensorrt", "8.9"), ("tensorrt-rtx", "8.6"))
_RECORDED = 5  # of the newest versions, the results of all their steps are there
_STEPS = ("export", "simplify", "lower-fp16", "engine", "parity", "task", "latency")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=50)
    parser.add_argument("--changed", type=int, default=50, help="cells that are other in each version (50)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command; the median is told (5)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the store there, or use the one that is there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deploymatrix-scale-") as folder:
        root = args.keep or Path(folder)
        store, machine = Layout(root), machines.here()
        if not (root / "index.json").exists():
            _fill(Quick(root), machine, args.versions, args.cells, args.changed)
        _report(_timed(store, machine, args.rounds), store)


class Quick(Layout):
    """Writes small files straight to their names: this store is for timing, and nobody looks at it while it is made."""

    def put_bytes(self, name: str, data: bytes) -> Blob:
        made = Blob(name, digest.of_bytes(data), len(data))
        place = self.root / "blobs" / "sha256" / digest.hex_part(made.digest)
        if not place.exists():
            place.write_bytes(data)
        return made


def _fill(store: Layout, machine: Machine, count: int, cells: int, changed: int) -> None:
    flush, os.fsync = os.fsync, lambda fd: None
    started = time.perf_counter()
    entries: Dict[int, Entry] = {}
    try:
        (store.root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        for version in range(1, count + 1):
            for number in range(cells):
                if number not in entries or (number + version * changed) % cells < changed:
                    entries[number] = _entry(store, machine, version, number)
            manifest = _manifest(version, tuple(entries.values()))
            versions.publish(store, manifest, _provenance(version, tuple(entries.values())))
            if version > count - _RECORDED:
                _results(store, manifest)
            referrers.attach_signature(store, version, "0011223344556677", f"signature of {version}\n")
    finally:
        os.fsync = flush
    print(f"made {count} versions of {cells} cells in {time.perf_counter() - started:.0f} s", file=sys.stderr)


def _entry(store: Layout, machine: Machine, version: int, number: int) -> Entry:
    runtime, sm = _KINDS[number % len(_KINDS)]
    cell = f"scale-dense-fp16-t{number}"
    files = tuple(store.put_bytes(name, f"{name} {cell} {version}".encode()) for name in ("model.bin", "artifact.json"))
    put = versions.put_artifact(store, cell, files)
    p50 = 5.0 + (number * 7 + version) % 50
    times, naive = Percentiles(p50, p50 * 1.1, p50 * 1.2, 30), Percentiles(60.0, 61.0, 62.0, 30)
    rows = tuple(OutputParity("scores", f"s{i}", None, 0.01, 1e-4, 1e-3, 0.1, 0.05, 0.9999, 40.0) for i in range(8))
    sized = ShapeRange("image", (1, 1, 64, 64), (1, 1, 480, 640), (1, 1, 1080, 1920))
    artifact = Artifact(
        put.digest,
        sum(f.size for f in files),
        files,
        files[0].digest,
        _key(version, number, "engine"),
        "f32",
        False,
        1.0,
    )
    return Entry(
        cell=cell, head="dense", precision="fp16", target=f"t{number}", machine=f"machine {number}",
        verdict=Verdict("passed"),
        platform=Platform(runtime, machine.version(runtime) or "10.16", machine.os, machine.arch, sm),
        profiles=(Profile("p", (sized,)),), artifact=artifact, parity=rows,
        tasks=(TaskResult("views", "repeatability_1px", 0.95, 0.96),),
        latency=Latency(times, naive, (1, 1, 480, 640), 0, machine.kind, "made up", 0.03),
    )  # fmt: skip


def _results(store: Layout, manifest: Manifest) -> None:
    """As a build would have left them."""
    for number, entry in enumerate(manifest.entries):
        for step in _STEPS:
            files = entry.artifact.files if entry.artifact and step == "engine" else ()
            store.record(Result(_key(manifest.version, number, step), files, Made(3, ()), 1.0, 100))


def _key(version: int, number: int, step: str) -> str:
    return digest.of_bytes(f"{version} {number} {step}".encode())


def _provenance(version: int, entries: Tuple[Entry, ...]) -> Provenance:
    steps: List[StepRecord] = []
    chains: List[Chain] = []
    for number, entry in enumerate(entries):
        assert entry.artifact is not None
        keys = {step: _key(version, number, step) for step in _STEPS}
        settings = tuple(Setting(f"profiles.0.{name}", "480x640") for name in ("min", "opt", "max", "threads"))
        given = (Pinned("model.onnx", entry.artifact.onnx),)
        made = (Pinned("model.bin", entry.artifact.files[0].digest),)
        tools = (Tool("onnxruntime", "1.31.1"), Tool("numpy", "2.4.0"))
        steps += [
            StepRecord(key, step, settings, given, tools, entry.platform, made, True) for step, key in keys.items()
        ]
        chains.append(Chain(entry.cell, tuple(JobLink(f"{step}/{entry.cell}", key) for step, key in keys.items())))
    return Provenance(1, version, tuple(steps), tuple(chains))


def _manifest(version: int, entries: Tuple[Entry, ...]) -> Manifest:
    outputs = (Output("scores", ("batch", "8*h8", "8*w8")),)
    image = (Input("image", ("batch", 1, "8*h8", "8*w8")),)
    identity = ModelIdentity("scale", "scale:make", f"seed {version}", image, (HeadContract("dense", outputs),))
    return Manifest(2, version, "2026-11-21T00:00:00+00:00", "", identity, Builder("0", "m", "3.11"), entries)


# ---------------------------------------------------------------------------------------------- timing


def _timed(store: Layout, machine: Machine, rounds: int) -> Dict[str, Tuple[float, float]]:
    """(processor time, wall clock), milliseconds, medians."""
    newest = versions.latest(store)
    assert newest is not None
    where = str(store.root)
    matrix = str(Path(__file__).resolve().parent.parent / "matrix.yaml")
    work: Dict[str, Callable[[], object]] = {
        "every version's number": lambda: versions.numbers(store),
        "the newest version, read and checked": lambda: versions.latest(store),
        "its signatures": lambda: referrers.signatures_of(store, newest.version),
        "choosing among its cells": lambda: choose(newest, machine, "dense"),
        "a tag written (index.json replaced)": lambda: _tag(store),
        "collecting, nothing to remove": lambda: gc.garbage(store, Rule(), time.time()),
        "collecting, all but ten versions": lambda: gc.garbage(store, Rule(10), time.time()),
        "`build --help`": lambda: _run("--help"),
        "`build pull --explain`": lambda: _run("pull", where, "--explain"),
        "`build diff`": lambda: _run("diff", "--store", where),
        "`build plan` (the shipped matrix)": lambda: _run("plan", "-m", matrix, "--store", where),
        "`build gc --dry-run`": lambda: _run("gc", "--store", where, "--dry-run"),
        "`build gc --dry-run --keep 10`": lambda: _run("gc", "--store", where, "--dry-run", "--keep", "10"),
    }
    runs = {name: [_once(do) for _ in range(rounds)] for name, do in work.items()}
    return {
        name: (statistics.median(c for c, _ in pairs), statistics.median(w for _, w in pairs))
        for name, pairs in runs.items()
    }


def _once(do: Callable[[], object]) -> Tuple[float, float]:
    spent, started = _processor(), time.perf_counter()
    do()
    return (_processor() - spent) * 1000, (time.perf_counter() - started) * 1000


def _processor() -> float:
    """Seconds of processor time of this process and of those that it started and that ended."""
    own, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + theirs.ru_utime + theirs.ru_stime


def _tag(store: Layout) -> None:
    with store.locked():
        oci.put(store, "scale", oci.all_of(store)["v1"])


def _run(*words: str) -> None:
    installed = Path(sys.executable).with_name("build")
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "builder.cli"]
    done = subprocess.run([*program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3, 6):
        raise SystemExit(f"build {' '.join(words)} ended with {done.returncode}: {done.stderr}")


def _report(medians: Dict[str, Tuple[float, float]], store: Layout) -> None:
    known = versions.numbers(store)
    blobs = [size for _, size in store.blobs()]
    cells = len((versions.latest(store) or _manifest(0, ())).entries)
    index = (store.root / "index.json").stat().st_size
    print(
        f"{len(known)} versions of {cells} cells: {len(blobs):,} files, {sum(blobs) / (1 << 20):.0f} MiB, index.json {index / 1024:.0f} KiB\n"
    )
    print("| what | processor time, ms | wall clock, ms |\n|---|---|---|")
    for name, (processor, wall) in medians.items():
        print(f"| {name} | {processor:.1f} | {wall:.1f} |")


if __name__ == "__main__":
    main()
