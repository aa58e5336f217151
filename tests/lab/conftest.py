"""The lab as fixtures: hosts with a project that has a target on each, whose work on this machine is done already."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Callable, Iterator, Sequence, Tuple

import pytest

from tests import sshd
from tests.lab import network, project

NAMES = ("alpha", "beta", "gamma")
Made = Tuple[network.Lab, project.Project]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> project.Project:
    """A project for three hosts, whose work on this machine is done."""
    for module in ("onnx", "onnxruntime", "onnxsim", "polygraphy", "cv2"):
        pytest.importorskip(module)
    sshd.needed()
    return project.with_nobody_there(tmp_path_factory.mktemp("prepared"), NAMES)


@pytest.fixture
def lab(prepared: project.Project, tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """lab(): three hosts, and a project for them. `options`: lines for ssh's configuration; `plain`: on loopback."""
    with contextlib.ExitStack() as stack:

        def make(options: Sequence[str] = (), *, plain: bool = False) -> Made:
            folder = tmp_path / "lab"
            if plain:
                there = stack.enter_context(network.plain_lab(folder, NAMES, "asked for", options))
            else:
                there = stack.enter_context(network.lab(folder, NAMES, options=options))
            made = project.copied(prepared, tmp_path / "project", there.environ)
            stack.callback(made.end)
            return there, made

        yield make
