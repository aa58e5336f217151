"""What `build completion` prints, in the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder import cli

SHELLS = {"bash": ["bash", "--norc", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "--no-config"]}
FILE = {"bash": "build", "zsh": "_build", "fish": "build.fish"}  # as the shells look for it
LOAD = {"bash": "source {}/build", "zsh": "fpath+={}; autoload -Uz compinit; compinit -D -u"}
LIMIT = 60  # seconds


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab", minversion="1.10")
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        with (folder / FILE[shell]).open("w") as script, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", script)
            assert cli.main(["completion", shell]) == 0
    return folder


def completed(shell: str, scripts: Path, line: str, folder: Path) -> str:
    """The line after TAB."""
    if shell == "fish":
        asked = f"source {scripts}/build.fish; complete -C '{line}'"
        done = subprocess.run(
            [*SHELLS[shell], "-c", asked], cwd=folder, stdout=subprocess.PIPE, text=True, timeout=LIMIT
        )
        words = [found.split("\t")[0] for found in done.stdout.splitlines()]
        return f"{line.rpartition(' ')[0]} {' '.join(words)}"
    return _typed(shell, f'build() {{ echo build "$@" > whole; }}; {LOAD[shell].format(scripts)}\n{line}\t\n', folder)


def _typed(shell: str, keys: str, folder: Path) -> str:
    """What the file `whole` holds after these keys were pressed in an interactive shell."""
    keyboard, terminal = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder), "INPUTRC": "/dev/null"}
    running = subprocess.Popen(
        SHELLS[shell], cwd=folder, stdin=terminal, stdout=terminal, stderr=terminal, env=env, start_new_session=True
    )
    os.close(terminal)
    shown, end = b"", time.monotonic() + LIMIT
    try:
        os.write(keyboard, keys.encode())
        while not (folder / "whole").exists() or not (folder / "whole").read_text().endswith("\n"):
            assert time.monotonic() < end, shown.decode(errors="replace")
            if select.select([keyboard], [], [], 0.1)[0]:
                shown += os.read(keyboard, 65536)
        return (folder / "whole").read_text().strip()
    finally:
        running.kill()
        running.wait()
        os.close(keyboard)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("build mat", "build matrix"),
        ("build matrix --resu", "build matrix --resume"),
        ("build keys n", "build keys new"),
        ("build plan --format js", "build plan --format json"),
        ("build plan --matrix othe", "build plan --matrix other.yaml"),
    ],
    ids=["verb", "flag", "verb of a verb", "choice", "file"],
)
def test_tab(shell: str, line: str, whole: str, scripts: Path, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "other.yaml").touch()
    assert completed(shell, scripts, line, tmp_path) == whole


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 2
    assert "pip install 'shtab>=1.10'" in capsys.readouterr().err
