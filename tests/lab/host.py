"""One host of the lab: an sshd in namespaces of its own, with a network card, a small disk and processes that end with it.

The disk outlives a reboot; what is in memory does not, nor does any connection: nobody says goodbye on them. It is this
machine's kernel and processor, and for an x86_64 host its files too; an aarch64 one has the root of `tests/lab/aarch64.py`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from pathlib import Path
from typing import List, Optional, Sequence

import pytest

from tests.fakes import REPOSITORY
from tests.lab import client, spaces
from tests.sshd import SSHD

_CHASSIS = """
mount -t tmpfs -o size=$2m,mode=0755 disk "$1"
echo up
exec sleep infinity
"""

# The first process of the host. It is given its network card after it has said `up`.
_BOOT = """
echo up
read go
mount -t tmpfs -o mode=0755 run /run
ip link set lo up
ip address add "$1" dev eth0
ip link set eth0 up
mount -t tmpfs -o mode=1777 tmp "$2"
mkdir /run/sshd
{more}
exec {sshd} -D -e -f "$3" </dev/null
"""
_ROOT = "/srv"  # where an aarch64 host has its root; every folder above it is root's, as sshd demands
_FOREIGN_DISK = f"""
mount --bind "$3" {_ROOT}
mount -o remount,bind,ro {_ROOT}
"""
# qemu passes on what the kernel says of this machine's processor; every aarch64 has these two features.
_FOREIGN_BOOT = f"""
mount -t proc proc {_ROOT}/proc
mount --rbind /dev {_ROOT}/dev
printf 'processor\t: 0\nFeatures\t: fp asimd\n' > /run/cpuinfo
mount --bind /run/cpuinfo {_ROOT}/proc/cpuinfo
"""


class Host:
    """Made by `tests/lab/network.py`, and off until `start`. `switch` holds the network that it is plugged into."""

    def __init__(
        self, folder: Path, name: str, number: int, key: Path, switch: spaces.Held, mib: int, root: Optional[Path]
    ) -> None:
        self.folder, self.name, self.address, self._switch = folder, name, f"10.77.0.{10 + number}", switch
        self._port, self._number = f"port{number}", number
        (folder / "home").mkdir(parents=True)
        (folder / "tmp").mkdir()
        self._foreign = root is not None
        inside = _ROOT if self._foreign else str(folder)
        self.home = f"{inside}/root" if self._foreign else f"{inside}/home"
        self._tmp = f"{inside}/tmp"
        seen = ("/root", "/tmp") if self._foreign else (self.home, self._tmp)
        lines = [f"SetEnv HOME={seen[0]} TMPDIR={seen[1]}", f"ListenAddress {self.address}"]
        lines += [f"ChrootDirectory {_ROOT}"] if self._foreign else []
        self._config = client.configure_sshd(folder, key, *lines)
        script = (_FOREIGN_DISK if self._foreign else "") + _CHASSIS
        words = [self.home, str(mib), *([str(root)] if root else [])]
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "chassis", *words]
        self._chassis = spaces.Held(command, folder / "log")
        self._system: Optional[spaces.Held] = None
        self._first, self._joined, self._rate = 0, True, ""
        self._share: Optional[spaces.Share] = None
        self._refused = ""
        try:
            self._share = spaces.Share(name)
        except OSError as problem:
            self._refused = str(problem)

    @property
    def host_key(self) -> Path:
        return self.folder / "host.pub"

    @property
    def disk(self) -> Path:
        """Its home folder, as it is seen from here, whether it is on or off."""
        return Path(f"/proc/{self._chassis.pid}/root{self.home}")

    def start(self) -> None:
        log = self.folder / "log"
        said = len(log.read_bytes())
        script = _BOOT.format(sshd=shlex.quote(SSHD), more=_FOREIGN_BOOT if self._foreign else "")
        apart = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        words = [f"{self.address}/24", self._tmp, str(self._config)]
        held = spaces.Held([*self._chassis.enter("mount"), *apart, "sh", "-ec", script, "boot", *words], log)
        self._system, self._first = held, held.first
        if self._share is not None:
            self._share.take(self._first)
        self._plug()
        held.go()
        heard = spaces.until(lambda: b"Server listening" in log.read_bytes()[said:], 15)
        assert heard, f"{self.name} does not start: {log.read_text()}"

    def off(self) -> None:
        """Its power is gone: what talks to it hears nothing any more. Its disk is kept."""
        if self._system is not None:
            waiting = spaces.inside(self._first)
            self._system.end()
            self._system = None
            assert spaces.until(lambda: not any(map(spaces.words_of, waiting)), 10), self.name
            self._unplug()

    def reboot(self) -> None:
        self.off()
        self.start()

    def cut(self) -> None:
        """Its cable is pulled."""
        self._joined = False
        self._in_switch("ip", "link", "set", self._port, "down")

    def join(self) -> None:
        self._joined = True
        self._in_switch("ip", "link", "set", self._port, "up")

    def slow(self, *, processors: Optional[float] = None, rate: str = "") -> None:
        """From now on it has so many processors (0.1: a tenth of one), and hears at most so much (`2mbit`). Without
        either: as fast as it can again."""
        if self._share is not None:
            self._share.limit(processors)
        elif processors is not None:
            pytest.skip(f"no host can be slowed down here: {self._refused}")
        if rate:
            shaped = ["tc", "qdisc", "replace", "dev", self._port, "root", "tbf", "rate", rate]
            self._in_switch(*shaped, "burst", "16kb", "latency", "500ms")
        elif self._rate:
            self._in_switch("tc", "qdisc", "delete", "dev", self._port, "root")
        self._rate = rate

    def fill(self, *, leave: int = 0) -> None:
        """Its disk is full, but for `leave` bytes."""
        state = os.statvfs(self.disk)
        with contextlib.suppress(OSError), (self.disk / "filler").open("ab") as filler:
            left = state.f_bavail * state.f_frsize - leave
            while left > 0:
                filler.write(bytes(min(left, 1 << 20)))
                filler.flush()
                left -= 1 << 20

    def drain(self) -> None:
        (self.disk / "filler").unlink()

    def run(self, command: Sequence[str]) -> None:
        """Start a program there, which ends with the host. What it prints stands in the host's log."""
        into = ["nsenter", f"--target={self._first}", "--net", "--pid", "--mount", "--", *command]
        environ = {**os.environ, "HOME": self.home, "TMPDIR": self._tmp, "PYTHONPATH": str(REPOSITORY)}
        with (self.folder / "log").open("ab") as log:
            subprocess.Popen(
                into, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, start_new_session=True
            )

    def processes(self) -> List[str]:
        """The command lines of all that runs there, but for the sshd that listens."""
        others = (pid for pid in spaces.inside(self._first) if pid != self._first)
        return [words for words in map(spaces.words_of, others) if words]

    def at_work(self) -> bool:
        """Is an action being performed there?"""
        return any(spaces.STEP in words for words in self.processes())

    def kill_worker(self) -> None:
        """The process that talks to us over ssh, with -9."""
        assert self._kill(spaces.WORKER), f"no worker runs on {self.name}"

    def kill_step(self) -> None:
        """The process that performs an action, with -9: what the kernel does when memory runs out."""
        assert self._kill(spaces.STEP), f"no action is performed on {self.name}"

    def end(self) -> None:
        self.off()
        self._chassis.end()
        if self._share is not None:
            self._share.end()

    def _kill(self, mark: str) -> int:
        found = [pid for pid in spaces.inside(self._first) if spaces.is_python(pid, mark)]
        for pid in found:
            spaces.kill(pid)
        return len(found)

    def _plug(self) -> None:
        """A cable from the switch to the host, which has none."""
        assert self._system is not None
        peer = ["peer", "name", "eth0", "address", f"02:00:0a:4d:00:{self._number:02x}"]
        self._in_switch("ip", "link", "add", self._port, "type", "veth", *peer, "netns", str(self._system.pid))
        self._in_switch("ip", "link", "set", self._port, "master", "br0", "up" if self._joined else "down")
        if self._rate:
            self.slow(rate=self._rate)

    def _unplug(self) -> None:
        """The kernel takes the cable out when it comes to clear away the namespace of the last boot, which may be after
        the next one has begun."""
        with contextlib.suppress(AssertionError):  # it has come to it already
            self._in_switch("ip", "link", "delete", self._port)

    def _in_switch(self, *command: str) -> None:
        done = subprocess.run([*self._switch.enter("net"), *command], stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
