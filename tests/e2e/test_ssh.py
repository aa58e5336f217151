"""A matrix with targets on machines that are worked on over SSH: the whole way, with a real sshd on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from tests.sshd import Sshd, python_at, sshd

pytestmark = pytest.mark.e2e

TARGETS = """targets:
  here: {runtime: onnxruntime}
  far: {runtime: onnxruntime, where: ssh://there, worker: {python: PYTHON, folder: FOLDER}}
  off: {runtime: onnxruntime, where: "ssh://127.0.0.1:9", worker: {python: PYTHON}}
  orin: {runtime: tensorrt, version: "10.3", sm: "8.7", arch: aarch64, jetpack: "6.2", where: ssh://there, worker: {python: PYTHON, folder: FOLDER}}
"""


class Project:
    def __init__(self, folder: Path, server: Sshd) -> None:
        self.folder, self.far, self.server = folder / "project", folder / "far", server

    def build(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "builder.cli", *words],
            cwd=str(self.folder),
            env=self.server.environ,
            capture_output=True,
            text=True,
            check=False,
        )

    def cells(self, *words: str) -> Dict[str, Any]:
        done = self.build("matrix", "--quiet", "--format", "json", *words)
        assert done.returncode == 0, done.stderr
        return {cell["cell"].rpartition("-")[2]: cell for cell in json.loads(done.stdout)["cells"]}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    for module in ("onnx", "onnxruntime", "onnxsim", "polygraphy", "cv2"):
        pytest.importorskip(module)
    from tests import onnx_models, search_project

    with sshd(tmp_path / "sshd") as server:
        made = Project(tmp_path, server)
        folder = search_project.lay_out(made.folder, onnx_models.convolutional(), "fp32")
        text = (folder / "matrix.yaml").read_text(encoding="utf-8")
        targets = TARGETS.replace("PYTHON", str(python_at(made.far, TMPDIR=str(made.far))))
        start, end = text.index("targets:"), text.index("parity:")
        text = text[:start] + targets.replace("FOLDER", str(made.far / "kept")) + text[end:]
        text = text.replace("[batch, 3, 8*h8, 8*w8]", "[batch, 3, 4*h8, 4*w8]").replace('build: ["*-ort"]', "")
        (folder / "matrix.yaml").write_text(text, encoding="utf-8")
        yield made


def test_one_command_builds_here_and_there_and_names_what_is_away(project: Project) -> None:
    planned = project.build("plan")
    assert "small-map-fp32-far   build  on ssh://there" in planned.stdout

    done = project.build("matrix", "--quiet", "--skip", "*-off")
    assert done.returncode == 0, done.stderr
    assert "away: ssh://there: it is not the machine that the target declares" in done.stdout
    assert "needs linux on aarch64" in done.stdout
    cells = project.cells()
    assert {name: cell["verdict"]["status"] for name, cell in cells.items()} == {
        "here": "passed",
        "far": "passed",
        "off": "passed",  # its key is that of `far`: where work is done is part of no key
        "orin": "waiting",
    }
    assert cells["far"]["how"] == "recalled"
    assert "there" not in json.dumps(cells["orin"]["verdict"]), "a manifest names no machine of ours"

    project.server.cut(off=True)
    assert "small-map-fp32-far   recalled" in project.build("plan").stdout
    again = project.cells("--only", "*-far")
    assert again["far"]["how"] == "recalled", "what is done needs no connection"
    project.server.start()


def test_a_machine_that_is_off_makes_its_cells_wait_and_no_new_version(project: Project) -> None:
    project.server.cut(off=True)
    done = project.build("matrix", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "1 passed, 3 waiting" in done.stdout
    assert "away: ssh://127.0.0.1:9: ssh: connect to host 127.0.0.1 port 9: Connection refused" in done.stdout
    assert "Nothing changed since version v1" in project.build("matrix", "--quiet").stdout
    project.server.start()
    assert project.cells("--only", "*-far")["far"]["verdict"]["status"] == "passed"


def test_doctor_looks_at_the_machine_of_a_target(project: Project) -> None:
    done = project.build("doctor", "--on", "far")
    assert done.returncode == 6, "orin is on the same machine, and is not what it should be"
    lines = done.stdout.splitlines()
    assert lines[0] == "ssh://there:"
    assert "far     yes" in lines
    assert "orin    no    needs linux on aarch64; this machine is linux on x86_64" in done.stdout
    facts = project.build("doctor", "--on", "far", "--json")
    assert json.loads(facts.stdout)["machine"]["os"] == "linux"
    assert project.build("doctor", "--on", "off").returncode == 11
    unknown = project.build("doctor", "--on", "nowhere")
    assert (unknown.returncode, "of this matrix: far, off, orin" in unknown.stderr) == (2, True)
    assert "has no `where:`" in project.build("doctor", "--on", "here").stderr


def test_a_machine_that_dies_leaves_its_work_to_another(project: Project, tmp_path: Path) -> None:
    """The wire is cut and nobody answers any more while the artifact is being timed: the other machine of its class goes on."""
    with sshd(tmp_path / "second") as second:
        project.server.knows(second, "second")
        other = tmp_path / "other"
        listed = tmp_path / "machines.yaml"
        worker = "{{python: {}, folder: {}}}"
        there = worker.format(python_at(project.far, TMPDIR=str(project.far)), project.far / "kept")
        spare = worker.format(python_at(other, TMPDIR=str(other)), other / "kept")
        listed.write_text(
            f"schema: 1\nmachines:\n  there: {{targets: [far], worker: {there}}}\n"
            f"  second: {{targets: [far], worker: {spare}}}\n"
        )
        text = (project.folder / "matrix.yaml").read_text(encoding="utf-8")
        (project.folder / "matrix.yaml").write_text(text.replace("seconds: 0.05", "seconds: 2"), encoding="utf-8")
        run = subprocess.Popen(
            [sys.executable, "-m", "builder.cli", "matrix", "--only", "*-far", "--machines", str(listed)],
            cwd=str(project.folder),
            env=project.server.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        results = project.far / "kept" / "runs"
        assert _until(lambda: len(list(results.glob("*/*.json"))) == 2), "engine and parity are done"
        project.server.cut(off=True)
        cut = time.monotonic()
        out, said = run.communicate(timeout=90)
        assert run.returncode == 0, said
        assert "1 passed" in out
        assert "it goes to another machine" in said
        assert time.monotonic() - cut < 60
        assert list((other / "kept" / "runs").glob("*/*.json")), "the other one has done it"
    project.server.start()


def test_doctor_looks_at_all_machines_of_a_target_and_goes_on_where_one_is_off(project: Project) -> None:
    text = (project.folder / "matrix.yaml").read_text(encoding="utf-8")
    several = text.replace(
        "far: {runtime: onnxruntime, where: ssh://there",
        'far: {runtime: onnxruntime, where: ["ssh://127.0.0.1:9", ssh://there]',
    )
    (project.folder / "matrix.yaml").write_text(several, encoding="utf-8")
    done = project.build("doctor", "--on", "far")
    assert done.returncode == 11
    assert "ssh://127.0.0.1:9" in done.stderr and "ssh://there:" in done.stdout
    listed = project.folder / "machines.yaml"
    listed.write_text(
        f"schema: 1\nmachines:\n  mine: {{targets: [far], where: 'ssh://there', worker: {{python: {project.far}/python}}}}\n"
    )
    mine = project.build("doctor", "--on", "mine", "--machines", str(listed))
    assert mine.returncode == 0, mine.stderr
    assert "ssh://there:" in mine.stdout and "127.0.0.1:9" not in mine.stdout
    assert "name one: build doctor --json --on" in project.build("doctor", "--on", "far", "--json").stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_ends_the_work_there(project: Project, how: signal.Signals) -> None:
    text = (project.folder / "matrix.yaml").read_text(encoding="utf-8")
    (project.folder / "matrix.yaml").write_text(text.replace("seconds: 0.05", "seconds: 60"), encoding="utf-8")
    run = subprocess.Popen(
        [sys.executable, "-m", "builder.cli", "matrix", "--quiet", "--only", "*-far"],
        cwd=str(project.folder),
        env=project.server.environ,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    order, results = project.far / "kept" / ".deploymatrix" / "work", project.far / "kept" / "runs"

    def timed() -> bool:
        return len(list(results.glob("*/*.json"))) == 2 and bool(project.server.processes(str(order)))

    assert _until(timed), "engine and parity are done, and the artifact is being timed"
    os.killpg(run.pid, how)
    said = run.communicate(timeout=20)[1]
    if how == signal.SIGINT:
        assert (run.returncode, b"interrupted" in said) == (130, True)
    assert _until(lambda: not project.server.processes(str(project.far)))
    assert _until(lambda: not list(order.iterdir())), "the worker there leaves no half file, when it has ended its step"

    (project.folder / "matrix.yaml").write_text(text, encoding="utf-8")
    resumed = project.build("matrix", "--quiet", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "1 cells: 1 passed" in resumed.stdout, "with the selection of the run that was interrupted"
    assert len(list(results.iterdir())) == 1, "the machine takes it for the same run"
    none = project.build("matrix", "--quiet", "--resume")
    assert (none.returncode, "no run was interrupted" in none.stderr) == (2, True)


def _until(true: Any, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
