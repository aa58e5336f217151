"""A real sshd on loopback with keys of its own, and a home of its own for the OpenSSH client that talks to it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from tests.ports import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def needed() -> None:
    """Skips, with the reason, where there is no sshd."""
    for program in (SSHD, "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install openssh-server")


class Sshd:
    """`environ` has an `ssh` first on its path that reads the client's configuration of this folder, so that the machine
    is called `there` and nothing of the person's own is read or written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True)
        for name in ("host", "client", "stranger"):
            _quietly("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        shutil.copy(folder / "client.pub", folder / "authorized_keys")
        self.learn(folder / "host.pub")
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nMaxStartups 50\nSubsystem sftp internal-sftp\n"
        )
        self.configure("client")
        (folder / "bin").mkdir()
        ssh = folder / "bin" / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        ssh.chmod(0o755)
        self.environ: Dict[str, str] = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        self.environ.pop("SSH_AUTH_SOCK", None)
        self._process: "subprocess.Popen[bytes]"

    def configure(self, key: str) -> None:
        (self.folder / "config").write_text(
            f"Host there\n  HostName 127.0.0.1\n  Port {self.port}\n  User {pwd.getpwuid(os.getuid()).pw_name}\n"
            f"  IdentityFile {self.folder}/{key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/known_hosts\n"
            "  GlobalKnownHostsFile /dev/null\n"
        )

    def knows(self, other: "Sshd", name: str) -> None:
        """Let this one's client reach another server too, as the machine `name`."""
        with (self.folder / "config").open("a") as config:
            config.write((other.folder / "config").read_text().replace("Host there", f"Host {name}"))

    def learn(self, key: Path) -> None:
        """Let the client know this host key, and no other."""
        public = " ".join(key.read_text().split()[:2])
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n")

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # for privilege separation
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        self._process = subprocess.Popen(command, stderr=(self.folder / "log").open("ab"), start_new_session=True)
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError("sshd does not answer")

    def stop(self) -> None:
        """The listener; what is connected stays connected."""
        self._process.terminate()
        self._process.wait()

    def cut(self, *, off: bool = False) -> None:
        """Kill what serves the connections: for both ends, the wire is gone. `off`: and nobody answers any more."""
        found = descendants(self._process.pid)
        if off:
            self.stop()
        for pid, name in found:
            if name.startswith("sshd"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def processes(self, mark: str) -> List[str]:
        """Command lines on this machine that speak of `mark`, but for ssh itself."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if mark in line and not line.startswith(("ssh ", "sshd")):
                        found.append(line)
        return found


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    needed()
    server = Sshd(folder)
    server.start()
    try:
        yield server
    finally:
        server.cut(off=True)


def python_at(folder: Path, **environ: str) -> Path:
    """A Python for the other side, with an environment of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "python"
    said = " ".join(f"{name}='{value}'" for name, value in environ.items())
    script.write_text(f'#!/bin/sh\nexec env {said} {sys.executable} "$@"\n')
    script.chmod(0o755)
    return script


def descendants(pid: int) -> "List[tuple[int, str]]":
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in children.read_text().split():
                    waiting.append(int(child))
                    found.append((int(child), (Path("/proc") / child / "comm").read_text().strip()))
    return found


def _quietly(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
