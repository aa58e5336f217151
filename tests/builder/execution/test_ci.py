"""The CI workflow of a matrix: what is in it, that the services' own schemas take it, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any, Dict, List

import pytest
import yaml

from builder import cli
from tests.fakes import REPOSITORY

pytest.importorskip("jinja2", reason="the workflow is written with jinja2")

SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
# Actions of GitHub's own by their tag; anything else would have to be pinned by its commit.
ZIZMOR = "rules: {unpinned-uses: {config: {policies: {actions/*: ref-pin}}}}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped matrix with runners for two of its machines."""
    text = (REPOSITORY / "matrix.yaml").read_text(encoding="utf-8")
    text = text.replace("gpu: RTX 3090}", "gpu: RTX 3090, runner: [self-hosted, rtx3090]}")
    text = text.replace("machine: Jetson Xavier NX}", "machine: Jetson Xavier NX, runner: [xavier]}")
    (tmp_path / "matrix.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(service: str, *words: str) -> Dict[str, Any]:
    assert cli.main(["ci", service, "--output", f"{service}.yml", *words]) == 0
    found = yaml.safe_load(Path(f"{service}.yml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


EVERYTHING = ("--sign", "--publish", "oci://registry.example/superpoint")


def test_a_job_for_each_target_with_a_runner(project: Path) -> None:
    jobs = written("github", *EVERYTHING)["jobs"]
    assert list(jobs) == ["prepare", "on_rtx3090_rtx", "on_rtx3090_trt10", "on_xaviernx_jp5", "finish"]
    assert jobs["on_rtx3090_trt10"]["runs-on"] == ["self-hosted", "rtx3090"]
    assert jobs["finish"]["needs"] == list(jobs)[:-1]
    lines = "\n".join(step.get("run", "") for step in jobs["on_xaviernx_jp5"]["steps"])
    assert "build perform '*-xaviernx_jp5'" in lines
    assert "numpy<1.24" in lines, "what that machine needs, from the compatibility tables"
    assert "sudo" not in lines, "a pipeline installs no system packages"


def test_gitlab_has_the_same_jobs(project: Path) -> None:
    found = written("gitlab", *EVERYTHING)
    jobs = [name for name, value in found.items() if isinstance(value, dict) and "script" in value]
    assert jobs == ["prepare", "on_rtx3090_rtx", "on_rtx3090_trt10", "on_xaviernx_jp5", "finish"]
    assert found["on_rtx3090_rtx"]["tags"] == ["self-hosted", "rtx3090"]


def test_secrets_are_read_from_the_environment_and_only_where_they_are_used(project: Path) -> None:
    jobs = written("github", *EVERYTHING)["jobs"]
    users = [step["name"] for job in jobs.values() for step in job["steps"] if "secrets." in json.dumps(step)]
    assert users == ["Sign"]
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert not any("${{" in script for script in scripts), "nothing is pasted into a shell"
    assert "secrets." not in json.dumps(written("github"))


@pytest.mark.parametrize("words", [(), EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("service", SCHEMAS)
def test_the_published_schema_takes_it(project: Path, service: str, words: "tuple[str, ...]") -> None:
    if not util.find_spec("check_jsonschema"):
        pytest.skip("check-jsonschema, which brings the published schemas, is not installed")
    written(service, *words)
    asked = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[service], f"{service}.yml"]
    done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing(project: Path) -> None:
    program = shutil.which("zizmor") or shutil.which("zizmor", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("zizmor, a linter of workflows, is not installed")
    (project / ".github" / "workflows").mkdir(parents=True)
    assert cli.main(["ci", "github", "--output", ".github/workflows/matrix.yml", *EVERYTHING]) == 0
    (project / "zizmor.yml").write_text(ZIZMOR)
    asked = [program, "--offline", "--config", "zizmor.yml", "--no-progress", ".github/workflows/matrix.yml"]
    done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    assert done.returncode == 0, done.stdout


def test_actionlint_finds_nothing(project: Path) -> None:
    if shutil.which("actionlint") is None:
        pytest.skip("actionlint is not installed")
    written("github", *EVERYTHING)
    (project / "actionlint.yaml").write_text("self-hosted-runner: {labels: [rtx3090, xavier]}\n")
    asked = ["actionlint", "-config-file", "actionlint.yaml", "github.yml"]
    done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", SCHEMAS)
def test_every_line_is_a_shell_line(project: Path, service: str) -> None:
    """bash reads each script without running it."""
    found = written(service, *EVERYTHING)
    scripts: List[str] = []
    for job in found["jobs"].values() if service == "github" else found.values():
        if isinstance(job, dict):
            scripts += [step["run"] for step in job.get("steps", []) if "run" in step]
            scripts += [*job.get("before_script", []), *job.get("script", [])]
    assert len(scripts) > 10
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, stderr=subprocess.PIPE, encoding="utf-8")
        assert done.returncode == 0, script + done.stderr


def test_check_tells_a_stale_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written("gitlab")
    assert cli.main(["ci", "gitlab", "--check", "--output", "gitlab.yml"]) == 0
    with (project / "gitlab.yml").open("a") as file:
        file.write("# mine\n")
    assert cli.main(["ci", "gitlab", "--check", "--output", "gitlab.yml"]) == 2
    assert "is not what the matrix gives" in capsys.readouterr().err


def test_targets_without_a_runner_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ci", "github"]) == 0
    said = capsys.readouterr()
    assert "no `runner:` is named for cpu_onnxruntime" in said.err
    assert re.search(r"# No runner is named for: .*orin_jp6", said.out)


@pytest.mark.parametrize("label", ["${{ secrets.X }}", "a\\nb", "", "-x"])
def test_a_label_that_is_none_is_refused(project: Path, label: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (project / "matrix.yaml").read_text()
    (project / "matrix.yaml").write_text(text.replace("runner: [xavier]", f'runner: ["{label}"]'))
    assert cli.main(["ci", "github"]) == 2
    assert "is no label of a runner" in capsys.readouterr().err


def test_wrong_words(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ci", "jenkins"]) == 2
    assert cli.main(["ci", "github", "-m", "nowhere.yaml"]) == 2
    assert cli.main(["ci", "github", "--publish", "oci://x/${{ secrets.KEY }}"]) == 2
    assert "would be read as an expression" in capsys.readouterr().err
