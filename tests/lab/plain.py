"""Hosts without namespaces: an sshd each on loopback, for whoever is not root. They have one disk and one processor with us.

The interface is that of `tests/lab/host.py`; what such a host cannot suffer skips the test, with the reason. A process is
the host's when its home folder is, which its sshd sets.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import List, NoReturn, Optional

import pytest

from tests.lab import client, spaces
from tests.ports import free_port
from tests.sshd import SSHD, descendants


class PlainHost:
    def __init__(self, folder: Path, name: str, key: Path, why: str) -> None:
        self.folder, self.name, self.address, self._why = folder, name, "127.0.0.1", why
        self.disk, self._tmp = folder / "home", folder / "tmp"
        self.disk.mkdir(parents=True)
        self._tmp.mkdir()
        self.port = free_port()
        lines = [f"SetEnv HOME={self.disk} TMPDIR={self._tmp}", f"Port {self.port}", f"ListenAddress {self.address}"]
        self._config = client.configure_sshd(folder, key, *lines)
        self._sshd: "Optional[subprocess.Popen[bytes]]" = None

    @property
    def host_key(self) -> Path:
        return self.folder / "host.pub"

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # for privilege separation
        with (self.folder / "log").open("ab") as log:
            said = log.tell()
            command = ["setpriv", "--pdeathsig", "KILL", SSHD, "-D", "-e", "-f", str(self._config)]
            self._sshd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
        read = (self.folder / "log").read_bytes
        assert spaces.until(lambda: b"Server listening" in read()[said:], 15), read().decode()

    def off(self) -> None:
        if self._sshd is None:
            return
        found = self._sshds()  # first, since what they serve is found through them
        self._sshd.kill()
        self._sshd.wait()
        self._sshd = None
        found += self._own()
        for pid in found:
            spaces.kill(pid)
        assert spaces.until(lambda: not any(map(spaces.words_of, found)), 10), self.name

    def reboot(self) -> None:
        self.off()
        self.start()

    def cut(self) -> None:
        """Nothing is heard from it: its sshd stands still."""
        self._signal(signal.SIGSTOP)

    def join(self) -> None:
        self._signal(signal.SIGCONT)

    def slow(self, *, processors: Optional[float] = None, rate: str = "") -> NoReturn:
        pytest.skip(f"no host of its own speed: {self._why}")

    def fill(self, *, leave: int = 0) -> NoReturn:
        pytest.skip(f"no disk of its own: {self._why}")

    def drain(self) -> None:
        """Nothing was filled."""

    def processes(self) -> List[str]:
        found = {*self._own(), *self._sshds()}
        return [words for words in map(spaces.words_of, found) if words]

    def at_work(self) -> bool:
        return any(spaces.STEP in words for words in self.processes())

    def kill_worker(self) -> None:
        assert self._kill(spaces.WORKER), f"no worker runs on {self.name}"

    def kill_step(self) -> None:
        assert self._kill(spaces.STEP), f"no action is performed on {self.name}"

    def end(self) -> None:
        self.join()
        self.off()

    def _kill(self, mark: str) -> int:
        found = [pid for pid in self._own() if spaces.is_python(pid, mark)]
        for pid in found:
            spaces.kill(pid)
        return len(found)

    def _own(self) -> List[int]:
        mark, found = f"HOME={self.disk}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def _sshds(self) -> List[int]:
        """Those that serve connections."""
        if self._sshd is None:
            return []
        return [pid for pid, name in descendants(self._sshd.pid) if name.startswith("sshd")]

    def _signal(self, number: signal.Signals) -> None:
        if self._sshd is not None:
            for pid in (self._sshd.pid, *self._sshds()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
