"""The rendered workflows, carried out step by step on this machine: a shell in the place of each runner, folders in the
place of the service's artifacts. What installs packages is left out, since all is installed.

The machine that prepares is made to lack onnxruntime, so that the target's cells wait for its runner, which has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
import yaml

from builder.store import referrers, versions
from builder.store.layout import Layout
from builder.trust import minisign
from tests.docs import doc_pages

pytestmark = pytest.mark.e2e

KEY = minisign.SecretKey(bytes([7] * 8), bytes([7] * 32))
INSTALLS = ("Install", "Make the wheel")
LACKING = """
import dataclasses, sys
from builder import cli
from builder.platforms import machines as facts
here = facts.here()
facts.here = lambda probe=None: dataclasses.replace(
    here, packages=tuple(p for p in here.packages if p.name != "onnxruntime"))
sys.exit(cli.main(sys.argv[1:]))
"""
WHOLE = "import sys; from builder import cli; sys.exit(cli.main(sys.argv[1:]))\n"


class Machine:
    """A place to run jobs: the checkout, what the service keeps, and the environment of its shells."""

    def __init__(self, folder: Path) -> None:
        self.kept, self.checkout = folder / "kept", folder / "checkout"
        self.kept.mkdir()
        for name, text in (("prepares", LACKING), ("target", WHOLE)):
            program = folder / name / "build"
            program.parent.mkdir()
            program.write_text(f"#!{sys.executable}\n{text}")
            program.chmod(0o755)
        self.folder = folder
        self.env = {
            **os.environ,
            "PATH": f"{folder / 'prepares'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(doc_pages.ROOT),
            "DEPLOYMATRIX_KEY": minisign.secret_key_file(KEY, "").strip(),
            "CI_COMMIT_BRANCH": "main",
            "CI_DEFAULT_BRANCH": "main",
        }
        self.env.pop("GITHUB_ACTIONS", None)

    def workspace(self, job: str, *, checkout: bool) -> Path:
        place = self.folder / f"at-{job}"
        if checkout:
            shutil.copytree(str(self.checkout), str(place))
        else:
            place.mkdir()
        (place / ".venv" / "bin").mkdir(parents=True)
        shutil.copy(str(self.folder / "target" / "build"), str(place / ".venv" / "bin" / "build"))
        return place

    def shell(self, script: str, at: Path, *words: str) -> None:
        done = subprocess.run(
            [*words, script],
            cwd=str(at),
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    page = doc_pages.page(doc_pages.DOCS / "how-to" / "use-an-onnx-file.md")
    for name in page.needs:
        pytest.importorskip(name, reason=f"the builder runs where {name} is installed")
    made = Machine(tmp_path)
    made.checkout.mkdir()
    files = [block for block in page.blocks if block.file is not None]
    doc_pages.run(doc_pages.Page(page.path, "".join(f"```{b.language}\n{b.text}```\n" for b in files)), made.checkout)
    subprocess.run([sys.executable, "make_model.py"], cwd=str(made.checkout), check=True)
    from builder import digest

    matrix = (made.checkout / "matrix.yaml").read_text(encoding="utf-8")
    wanted = digest.hex_part(digest.of_file(made.checkout / "edges.onnx"))
    matrix = matrix.replace("DIGEST", wanted).replace("runtime: onnxruntime", "runtime: onnxruntime, runner: [board]")
    assert "runner" in matrix
    (made.checkout / "matrix.yaml").write_text(matrix, encoding="utf-8")
    return made


def rendered(machine: Machine, service: str) -> Dict[str, Any]:
    words = ["ci", service, "--sign", "--publish", str(machine.folder / "released")]
    done = subprocess.run(
        [str(machine.folder / "target" / "build"), *words],
        cwd=str(machine.checkout), env=machine.env, stdout=subprocess.PIPE, encoding="utf-8", check=True,
    )  # fmt: skip
    found: Dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def is_released(machine: Machine) -> None:
    """One version, in which the target's cell passed, signed, in the place where hosts pull."""
    released = Layout(machine.folder / "released")
    (number,) = versions.numbers(released)
    manifest = versions.read(released, number)
    assert {entry.verdict.status for entry in manifest.entries} == {"passed"}
    (text,) = referrers.signatures_of(released, number)
    data = released.read(versions.manifest_digest(released, number))
    assert minisign.verifies(KEY.public, data, minisign.signature(text, "here"))


def copied(source: Path, dest: Path) -> None:
    if source.is_dir():
        shutil.copytree(str(source), str(dest), dirs_exist_ok=True)
    elif source.is_file():
        dest.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(source), str(dest))


# ------------------------------------------------------------------------------------------- github


def _download(machine: Machine, at: Path, given: Dict[str, Any]) -> None:
    if "name" in given:
        copied(machine.kept / given["name"], at / given.get("path", "."))
    else:
        for found in machine.kept.glob(given["pattern"]):
            copied(found, at / given["path"] / found.name)


def _upload(machine: Machine, at: Path, given: Dict[str, Any]) -> None:
    """As the action: what is named alone is put in without its folder's name, several paths with theirs."""
    paths = [path for path in given["path"].split() if (at / path).exists()]
    assert paths, given
    alone = len(given["path"].split()) == 1
    for path in paths:
        copied(at / path, machine.kept / given["name"] / ("" if alone else path))


def _nothing(machine: Machine, at: Path, given: Dict[str, Any]) -> None:
    """A clean machine: no cache, and the checkout is there."""


ACTIONS: Dict[str, Callable[[Machine, Path, Dict[str, Any]], None]] = {
    "actions/checkout@v4": _nothing,
    "actions/setup-python@v5": _nothing,
    "actions/cache/restore@v4": _nothing,
    "actions/cache/save@v4": _nothing,
    "actions/download-artifact@v4": _download,
    "actions/upload-artifact@v4": _upload,
}


def test_github(machine: Machine) -> None:
    jobs = rendered(machine, "github")["jobs"]
    assert list(jobs) == ["prepare", "on_cpu", "finish"]
    for name, job in jobs.items():
        at = machine.workspace(name, checkout=any("checkout" in step.get("uses", "") for step in job["steps"]))
        for step in job["steps"]:
            if "uses" in step:
                ACTIONS[step["uses"]](machine, at, step.get("with", {}))
            elif not step["name"].startswith((*INSTALLS, "Clean")):
                machine.shell(step["run"], at, "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c")
        if name == "on_cpu":
            assert not (at / "matrix.yaml").exists(), "the target's runner sees neither matrix nor model"
    is_released(machine)
    assert (machine.kept / "deploymatrix" / "report.html").is_file()
    assert not list(machine.folder.glob("at-*/deploymatrix.key")), "the key is gone"


# ------------------------------------------------------------------------------------------- gitlab


def test_gitlab(machine: Machine) -> None:
    found = rendered(machine, "gitlab")
    for stage in found["stages"]:
        for name, job in found.items():
            if isinstance(job, dict) and job.get("stage") == stage:
                _gitlab_job(machine, name, job)
    is_released(machine)


def _gitlab_job(machine: Machine, name: str, job: Dict[str, Any]) -> None:
    at = machine.workspace(name, checkout=True)
    for need in job.get("needs", []):
        copied(machine.kept / (need if isinstance(need, str) else need["job"]), at)
    lines: List[str] = [line for line in job["script"] if not line.startswith(tuple(f"# {word}" for word in INSTALLS))]
    machine.shell("\n".join(lines), at, "bash", "-e", "-o", "pipefail", "-c")
    for path in job["artifacts"]["paths"]:
        if (at / path).exists():
            copied(at / path, machine.kept / name / path)
