"""Debian's docker-registry, started on loopback by the test that needs it, with passwords and TLS where it wants them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Iterator, Optional

import pytest

from tests.ports import free_port

USER, PASSWORD = "publisher", "a long pass:word"


def needs(program: str, package: str) -> str:
    """The path of a program; skips the test where it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: apt install {package})")
    return found


@contextlib.contextmanager
def registry(folder: Path, *, password: bool = False, certificate: Optional[Path] = None) -> Iterator[str]:
    """HOST:PORT of a running registry whose data is below `folder`. `password`: only USER may do anything."""
    program, port = needs("docker-registry", "docker-registry"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["version: 0.1", "log: {level: error}", "storage:", f"  filesystem: {{rootdirectory: {folder}/data}}"]
    lines += ["http:", f"  addr: 127.0.0.1:{port}"]
    if certificate is not None:
        lines.append(f"  tls: {{certificate: {certificate}, key: {certificate}}}")
    if password:
        made = [needs("htpasswd", "apache2-utils"), "-Bbc", "-C", "4", str(folder / "htpasswd"), USER, PASSWORD]
        subprocess.run(made, check=True, capture_output=True)
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}")
    (folder / "config.yml").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        _wait(f"{'https' if certificate else 'http'}://127.0.0.1:{port}/v2/", process, folder / "log")
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(400):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except urllib.error.HTTPError:
            return  # it wants a login
        except urllib.error.URLError as problem:
            if "CERTIFICATE" in str(problem):
                return
        except OSError:
            pass
        assert process.poll() is None, log.read_text()
        time.sleep(0.025)
    raise AssertionError(log.read_text())
