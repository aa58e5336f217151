"""The lab as fixtures: hosts with a project that has a target on each, whose work on this machine is done already."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Callable, Iterator, Sequence, Tuple

import pytest

from tests import sshd
from tests.lab import network, project

NAMES = ("alpha", "beta", "gamma")
Made = Tuple[network.Lab, project.Project]
Making = Callable[..., "contextlib.AbstractContextManager[Made]"]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project whose hosts were all away so far: what is done here is done, every cell waits."""
    for module in ("onnx", "onnxruntime", "onnxsim", "polygraphy", "cv2"):
        pytest.importorskip(module)
    sshd.needed()
    folder = tmp_path_factory.mktemp("prepared")
    nobody = folder / "bin" / "ssh"
    nobody.parent.mkdir()
    nobody.write_text("#!/bin/sh\nexit 255\n")
    nobody.chmod(0o755)
    environ = {**os.environ, "PATH": f"{nobody.parent}{os.pathsep}{os.environ['PATH']}"}
    made = project.lay_out(folder / "project", environ, NAMES)
    run = made.build("matrix")
    assert run.wait() == 0, run.text
    assert made.verdicts() == dict.fromkeys(NAMES, "waiting"), run.text
    return made.folder


@pytest.fixture
def lab(prepared: Path, tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """lab(): three hosts, and a project for them. `options`: lines for ssh's configuration; `plain`: on loopback."""
    with contextlib.ExitStack() as stack:

        def make(options: Sequence[str] = (), *, plain: bool = False) -> Made:
            folder = tmp_path / "lab"
            hosts = (
                network.plain_lab(folder, NAMES, "asked for", options)
                if plain
                else network.lab(folder, NAMES, options=options)
            )
            there = stack.enter_context(hosts)
            shutil.copytree(prepared, tmp_path / "project", symlinks=True)
            made = project.Project(tmp_path / "project", there.environ)
            stack.callback(made.end)
            return there, made

        yield make
