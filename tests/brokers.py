"""Real brokers on loopback, each with a folder and ports of its own: RabbitMQ and Redis of Debian's packages."""

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

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # what Debian's wrapper in /usr/sbin runs as its own user
EPMD = "epmd"


class Server:
    """A process that can be killed and started again on the same data."""

    def __init__(
        self, command: List[str], environ: Dict[str, str], folder: Path, port: int, ready: bytes = b""
    ) -> None:
        """`ready`: what it says when it is there; where it says nothing, its port on this machine is tried."""
        self._command, self._environ, self._folder, self.port = command, environ, folder, port
        self._ready = ready
        self.url = ""
        self._process: "subprocess.Popen[bytes]"

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            self._command, stdout=log, stderr=log, env=self._environ, start_new_session=True, cwd=str(self._folder)
        )
        for _ in range(600):
            if self._ready and self._ready in (self._folder / "log").read_bytes():
                return
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text())

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
def rabbitmq(folder: Path, secured: Optional[Secured] = None) -> Iterator[Server]:
    """Without a password on loopback, as RabbitMQ lets `guest` in there; or `secured`, beside a port without TLS."""
    if not RABBITMQ.is_file():
        pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
    folder.mkdir(parents=True)
    port, dist, names, tls = free_port(), free_port(), free_port(), free_port()
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = warning\nlog.file = false\n"
        "loopback_users.guest = true\nheartbeat = 10\ndisk_free_limit.absolute = 10MB\n" + _with_tls(secured, tls)
    )
    (folder / "plugins").write_text("[].\n")
    environ = {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_DIST_PORT": str(dist),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    names_server = subprocess.Popen([EPMD, "-port", str(names), "-address", "127.0.0.1"], env=environ, cwd=str(folder))
    server = Server([str(RABBITMQ)], environ, folder, port)
    server.url = f"amqps://{secured.login}@127.0.0.1:{tls}//" if secured else f"amqp://127.0.0.1:{port}//"
    try:
        server.start()
        yield server
    finally:
        server.stop()
        names_server.kill()
        names_server.wait()


def _with_tls(secured: Optional[Secured], port: int) -> str:
    if secured is None:
        return ""
    return (
        f"listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.verify = verify_none\nssl_options.cacertfile = {secured.authority}\n"
        f"ssl_options.certfile = {secured.certificate}\nssl_options.keyfile = {secured.key}\n"
        f"default_user = {secured.user}\ndefault_pass = {secured.password}\n"
    )


@contextlib.contextmanager
def redis(
    folder: Path, *, address: str = "127.0.0.1", through: Sequence[str] = (), secured: Optional[Secured] = None
) -> Iterator[Server]:
    """`through`: what it is started with, to be in another network, where it has `address` and is not waited for."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis is not installed: apt-get install redis-server")
    folder.mkdir(parents=True)
    port = free_port()
    listens = ["--port", str(port)]
    if secured:
        listens = [
            "--port",
            "0",
            "--tls-port",
            str(port),
            "--tls-auth-clients",
            "no",
            "--requirepass",
            secured.password,
        ]
        listens += ["--tls-cert-file", str(secured.certificate), "--tls-key-file", str(secured.key)]
        listens += ["--tls-ca-cert-file", str(secured.authority)]
    command = [*through, program, *listens, "--bind", address, "--appendonly", "yes", "--dir", str(folder)]
    command += ["--protected-mode", "no"]
    server = Server(command, dict(os.environ), folder, port, ready=b"Ready to accept connections" if through else b"")
    server.url = (
        f"rediss://:{quote(secured.password, safe='')}@{address}:{port}/0" if secured else f"redis://{address}:{port}/0"
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()
