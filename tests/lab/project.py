"""A small convolutional project with a target on each host of a lab, and `build` run in it as a person would.

Equal work is done once, on whichever host comes first: where it is done is part of no key. So each target has a profile of
its own, of which every step is another: the artifact, the samples that parity takes, the shape that is timed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

from tests import search_project
from tests.e2e.test_main_path import latest_manifest
from tests.fakes import REPOSITORY

_TARGET = (
    "  {name}: {{runtime: onnxruntime, arch: {arch}, where: ssh://{name}, worker: {{python: {python}, free: 8MiB}}}}\n"
)
_PROFILE = "    {name}: {{image: {{min: [1, 1, 16, 16], opt: [1, 1, {size}, {size}], max: [1, 1, {size}, {size}]}}}}\n"
_OVERRIDE = '  - {{select: "*-{name}", set: {{profiles: [{name}]}}}}\n'


class Project:
    def __init__(self, folder: Path, environ: Dict[str, str]) -> None:
        self.folder, self.environ = folder, environ
        self._runs: List[Run] = []

    def begin(self, *words: str, through: Sequence[str] = ()) -> "Run":
        """`through`: what it is started with, to be in another network."""
        self._runs.append(Run(self, words, through))
        return self._runs[-1]

    def end(self) -> None:
        """No run of it goes on."""
        for run in self._runs:
            run.end()

    def build(self, *words: str) -> "Run":
        run = self.begin(*words)
        run.wait()
        return run

    def verdicts(self) -> Dict[str, str]:
        """What the newest version says of each target."""
        return {entry["target"]: entry["verdict"]["status"] for entry in self.entries()}

    def entries(self) -> List[Dict[str, Any]]:
        """Of the newest version's manifest."""
        return list(latest_manifest(self.folder / "artifacts")["entries"])

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "matrix.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


class Run:
    """`build` with some words, in a session of its own, as a terminal would start it. What it says may be read before it
    ends."""

    def __init__(self, project: Project, words: Sequence[str], through: Sequence[str] = ()) -> None:
        self._out, self._said = project.folder.parent / "out", project.folder.parent / "said"
        with self._out.open("wb") as out, self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [*through, sys.executable, "-m", "builder.cli", *words],
                cwd=str(project.folder),
                env={**project.environ, "PYTHONPATH": str(REPOSITORY)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=said,
                start_new_session=True,
                preexec_fn=_heed_interrupts,
            )

    @property
    def text(self) -> str:
        """All that it has said so far, progress first."""
        return self._said.read_text(encoding="utf-8") + self._out.read_text(encoding="utf-8")

    def wait(self, seconds: float = 120) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"build hangs: {self.text}") from None

    def going(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self) -> None:
        """Whatever it does."""
        if self.going():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _heed_interrupts() -> None:
    """A shell starts its background jobs, and so perhaps this test, with SIGINT ignored, which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def lay_out(folder: Path, environ: Dict[str, str], names: Sequence[str], foreign: Sequence[str] = ()) -> Project:
    """`foreign`: those that are aarch64."""
    from tests import onnx_models  # here, so that a machine without onnx can collect the tests

    search_project.lay_out(folder, onnx_models.convolutional(), "fp32")
    text = (folder / "matrix.yaml").read_text(encoding="utf-8")
    targets = "".join(
        _TARGET.format(
            name=name,
            arch="aarch64" if name in foreign else "x86_64",
            python="/usr/bin/python3" if name in foreign else sys.executable,
        )
        for name in names
    )
    sizes = [32 + 8 * number for number in range(len(names))]
    profiles = "".join(_PROFILE.format(name=name, size=size) for name, size in zip(names, sizes))
    overrides = "".join(_OVERRIDE.format(name=name) for name in names)
    start, end = text.index("targets:"), text.index("parity:")
    text = f"{text[:start]}targets:\n{targets}{text[end:]}overrides:\n{overrides}"
    text = text.replace("[batch, 3, 8*h8, 8*w8]", "[batch, 3, 4*h8, 4*w8]").replace('build: ["*-ort"]\n', "")
    start, end = text.index("  profiles:"), text.index("precisions:")
    text = f"{text[:start]}  profiles:\n{profiles}{text[end:]}"
    text = text.replace("[[32, 32], [48, 40]]", str([[size, size] for size in sizes]))
    (folder / "matrix.yaml").write_text(text, encoding="utf-8")
    return Project(folder, environ)


def with_nobody_there(folder: Path, names: Sequence[str]) -> Project:
    """A project whose hosts were all away so far: what is done on this machine is done, and every cell waits."""
    nobody = folder / "bin" / "ssh"
    nobody.parent.mkdir(parents=True)
    nobody.write_text("#!/bin/sh\nexit 255\n")
    nobody.chmod(0o755)
    path = f"{nobody.parent}{os.pathsep}{os.environ['PATH']}"
    made = lay_out(folder / "project", {**os.environ, "PATH": path}, names)
    run = made.build("matrix")
    assert run.wait() == 0, run.text
    assert made.verdicts() == dict.fromkeys(names, "waiting"), run.text
    return made


def copied(made: Project, folder: Path, environ: Dict[str, str]) -> Project:
    """Another one that has done what `made` has, for other hosts."""
    shutil.copytree(made.folder, folder, symlinks=True)
    return Project(folder, environ)
