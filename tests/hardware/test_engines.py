"""Engines built, opened, run and compared with the model on this machine's own GPU, by the product's own workers.

Each runtime that cannot be used here is skipped with the reason. The control runs everywhere: the same test on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.errors import StepFailed
from tests.fakes import REPOSITORY
from tests.hardware.rig import CONTROL, GPU_RUNTIMES, LIMITS, PRECISIONS, Rig, attempted, name

pytestmark = [pytest.mark.hardware, pytest.mark.e2e]
RUNTIMES = [*GPU_RUNTIMES, CONTROL]
ENGINES = ["tensorrt", "tensorrt-rtx"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_artifact_agrees_with_the_model(rig: Rig, runtime: str, precision: str) -> None:
    made = rig.made(runtime, precision)
    for output in {row.output for row in made.parity.outputs}:
        cosine, largest = made.worst(output)
        assert cosine >= LIMITS[precision][0], (output, cosine)
        assert largest <= LIMITS[precision][1], (output, largest)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_lowering_changes_something(rig: Rig, runtime: str) -> None:
    """fp16 that equals fp32 to the last bit would be fp32 under another name."""
    full, half = rig.made(runtime, "fp32"), rig.made(runtime, "fp16")
    output = full.parity.outputs[0].output
    assert half.worst(output)[1] > full.worst(output)[1]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_two_profiles_take_every_size_between(rig: Rig, runtime: str) -> None:
    made = rig.made(runtime, "fp32", profiles="small, large")
    sizes = {row.sample.split("-")[1] for row in made.parity.outputs}
    assert sizes == {"64x64", "72x104", "96x128", "128x160", "256x320"}
    assert made.worst(made.parity.outputs[0].output)[0] >= LIMITS["fp32"][0]


@pytest.mark.parametrize("runtime", ENGINES)
def test_a_truncated_engine_is_an_error_and_no_crash(rig: Rig, runtime: str, tmp_path: Path) -> None:
    made = rig.made(runtime, "fp32")
    whole = made.files["model.engine"].read_bytes()
    (tmp_path / "model.engine").write_bytes(whole[: len(whole) // 2])
    said = opened(runtime, tmp_path)
    assert said.startswith("StepFailed"), said
    assert "does not load on this machine" in said


@pytest.mark.parametrize("runtime", ENGINES)
def test_inspect_tells_what_the_engine_is(rig: Rig, runtime: str) -> None:
    made = rig.made(runtime, "fp32")
    command = [sys.executable, "-m", "builder.cli", "inspect", str(made.files["model.engine"]), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=str(rig.folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "64x64" in done.stdout and "2x1x128x160" in done.stdout, "the profile"


def test_a_workspace_that_is_too_small_says_what_to_raise(rig: Rig) -> None:
    """TensorRT may do without; when it refuses, the remedy is named."""
    ended = attempted(rig, "tensorrt", "fp32", workspace="1KiB")
    if isinstance(ended, StepFailed):
        assert ended.hint is not None and "workspace" in ended.hint
    else:
        assert ended.worst(ended.parity.outputs[0].output)[0] >= LIMITS["fp32"][0]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_matrix_pull_and_run(rig: Rig, runtime: str) -> None:
    """The whole way of a person: build, publish, place on this host, find an answer on the GPU."""
    rig.need(runtime)
    rig.write()
    cells = f"*-{name(runtime)}"
    summary = json.loads(
        build(rig, "matrix", "--quiet", "--format", "json", "--only", cells, "--store", f"artifacts-{name(runtime)}")
    )
    verdicts = {row["cell"]: row["verdict"]["status"] for row in summary["cells"]}
    assert "passed" in verdicts.values() and "failed" not in verdicts.values(), verdicts
    placed = f"pulled-{name(runtime)}"
    build(rig, "pull", "--from", f"artifacts-{name(runtime)}", "--to", placed)
    ask = "import builder.host, sys; d = builder.host.open(sys.argv[1]); print(d.entries[0].cell); d(sys.argv[2], size=(96, 128))"
    done = subprocess.run(
        [sys.executable, "-c", ask, placed, "photographs/a.png"], cwd=str(rig.folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(name(runtime))


def build(rig: Rig, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", *words], cwd=str(rig.folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def opened(runtime: str, folder: Path) -> str:
    """In a process of its own, since a runtime may end it: how opening the engine in `folder` ends."""
    code = (
        "import sys; from pathlib import Path; from builder import plugins as seams\n"
        "try:\n    seams.backend(sys.argv[1]).open(Path(sys.argv[2]), seams.OpenOptions()); print('opened')\n"
        "except Exception as problem: print(type(problem).__name__, problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, runtime, str(folder)], capture_output=True, text=True)
    return done.stdout.strip() or f"the process ended with {done.returncode}: {done.stderr[-300:]}"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_benchmark_prints_a_row_for_every_precision(rig: Rig, runtime: str) -> None:
    rig.need(runtime)
    rig.write()
    words = ["--store", f"bench-{name(runtime)}", "--size", "96x128", "--rounds", "5", "--runtimes", runtime]
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "bench" / "gpu.py"), *words],
        cwd=str(rig.folder),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(f"| {runtime} ")]
    assert {"fp32", "fp16"} <= {row[1] for row in rows}, done.stdout
    assert all((float(row[2]) > 0 and "cosine 0.9" in row[7]) or "cosine 1.0" in row[7] for row in rows), done.stdout
