"""A run that is ended at any moment leaves a store that the next run can trust, and no process behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import List

import pytest

from builder import digest
from tests.e2e.conftest import Project, built  # noqa: F401  (the fixture)
from tests.e2e.test_main_path import latest_manifest

pytestmark = pytest.mark.e2e

CELLS = "*-{fp32,int8}-cpu_{onnxruntime,openvino}"
KILLS = 8


def unsound(store: Path) -> List[str]:
    """Every blob whose content is not its name, and every recorded result whose blobs are not whole."""
    wrong = [
        str(path)
        for path in sorted((store / "blobs" / "sha256").glob("*"))
        if digest.of_file(path) != f"sha256:{path.name}"
    ]
    for path in (store / ".deploymatrix" / "results").glob("*.json"):
        for blob in json.loads(path.read_bytes())["outputs"]:
            place = store / "blobs" / "sha256" / blob["digest"].split(":")[1]
            if not place.is_file() or place.stat().st_size != blob["size"]:
                wrong.append(f"{path.name} -> {blob['digest']}")
    if (store / "index.json").exists():
        json.loads((store / "index.json").read_bytes())
    return wrong


def workers_in(folder: Path) -> List[int]:
    """Processes whose command line names this project's store."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(folder).encode() in word for word in words) and b"builder.execution.worker" in words:
            found.append(int(path.parent.name))
    return found


def wait_until_gone(folder: Path, seconds: float = 30) -> List[int]:
    end = time.monotonic() + seconds
    while workers_in(folder) and time.monotonic() < end:
        time.sleep(0.1)
    return workers_in(folder)


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:  # noqa: F811
    """The project without its store."""
    shutil.copytree(built.folder, tmp_path / "project", ignore=shutil.ignore_patterns("artifacts"))
    return Project(tmp_path / "project")


def start(project: Project, cells: str = CELLS) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        project.command("matrix", "--quiet", "--only", cells, "--jobs", "2"),
        cwd=str(project.folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """A shell starts its background jobs, and so perhaps this test, with SIGINT ignored, which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_kill_9_at_random_moments_then_a_run_that_ends_well(project: Project) -> None:
    moments = random.Random(20)
    for _ in range(KILLS):
        run = start(project)
        time.sleep(moments.uniform(0.1, 6.0))
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert run.stderr is not None
        run.stderr.close()
        assert wait_until_gone(project.folder) == []
        assert unsound(project.folder / "artifacts") == []
    done = project.build("matrix", "--quiet", "--format", "json", "--only", CELLS)
    assert {row["verdict"]["status"] for row in json.loads(done.stdout)["cells"]} == {"passed"}
    assert unsound(project.folder / "artifacts") == []
    assert list((project.folder / "artifacts" / ".deploymatrix" / "work").glob("*")) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything_and_says_so(project: Project, how: signal.Signals) -> None:
    run = start(project)
    time.sleep(3)
    run.send_signal(how)
    _, stderr = run.communicate(timeout=20)
    assert run.returncode == 130
    assert b"interrupted; the store is whole" in stderr
    assert b"Traceback" not in stderr
    assert wait_until_gone(project.folder, 2) == []
    assert unsound(project.folder / "artifacts") == []


def test_a_truncated_blob_is_made_again(built: Project, tmp_path: Path) -> None:  # noqa: F811
    shutil.copytree(built.folder, tmp_path / "project")
    project = Project(tmp_path / "project")
    entries = latest_manifest(project.folder / "artifacts")["entries"]
    entry = next(e for e in entries if e["cell"] == "corners-map-int8-cpu_onnxruntime")
    victim = project.folder / "artifacts" / "blobs" / "sha256" / entry["artifact"]["files"][-1]["digest"].split(":")[1]
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert "1 build" in project.build("plan").stdout.splitlines()[-2]  # the graph of onnxruntime's int8 cell alone
    done = project.build("matrix", "--quiet", "--format", "json")
    assert json.loads(done.stdout)["performed"] != []
    assert unsound(project.folder / "artifacts") == []
