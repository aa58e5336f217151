"""Real brokers on loopback, each with a folder and a port of its own: NATS of Debian's package."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence
from urllib.parse import quote

import pytest

from tests.ports import free_port


class Server:
    """A process that can be killed and started again on the same data."""

    def __init__(
        self, command: List[str], environ: Dict[str, str], folder: Path, port: int, ready: bytes = b""
    ) -> None:
        """`ready`: what it says when it is there; where it says nothing, its port on this machine is tried."""
        self._command, self._environ, self.folder, self.port = command, environ, folder, port
        self._ready = ready
        self.url = ""
        self._process: "subprocess.Popen[bytes]"

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self._command, stdout=log, stderr=log, env=self._environ, start_new_session=True, cwd=str(self.folder)
        )
        for _ in range(600):
            if self._ready and self._ready in (self.folder / "log").read_bytes():
                return
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        self._process.wait()


@dataclass(frozen=True)
class Secured:
    """TLS with a certificate of `authority`, and a user with a password. Files."""

    certificate: Path
    key: Path
    authority: Path
    user: str = "worker"
    password: str = "open/sesame@home"

    @property
    def login(self) -> str:
        return f"{self.user}:{quote(self.password, safe='')}"


@contextlib.contextmanager
def nats(
    folder: Path, *, address: str = "127.0.0.1", through: Sequence[str] = (), secured: Optional[Secured] = None
) -> Iterator[Server]:
    """`through`: what it is started with, to be in another network, where it has `address` and is not waited for."""
    program = shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("NATS is not installed: apt-get install nats-server")
    folder.mkdir(parents=True)
    port = free_port()
    lines = [f"listen: {address}:{port}", "max_payload: 8MB", f'jetstream {{ store_dir: "{folder}" }}']
    if secured:
        lines += [f'tls {{ cert_file: "{secured.certificate}", key_file: "{secured.key}" }}']
        lines += [f'authorization {{ user: "{secured.user}", password: "{secured.password}" }}']
    (folder / "nats.conf").write_text("\n".join(lines) + "\n")
    command = [*through, program, "-c", str(folder / "nats.conf")]
    server = Server(command, dict(os.environ), folder, port, ready=b"Server is ready" if through else b"")
    login = f"{secured.login}@" if secured else ""
    server.url = f"{'tls' if secured else 'nats'}://{login}{address}:{port}"
    try:
        server.start()
        yield server
    finally:
        server.stop()
