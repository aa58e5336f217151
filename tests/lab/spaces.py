"""Namespaces of the kernel that live no longer than the process that made them, and a share of the processors.

Nothing here has a name on this machine: a namespace is held by a process, the process is killed by the kernel when its
maker ends, and the namespace with all its processes, links and mounts goes with it, after a `kill -9` too. Only a control
group stays behind then; whoever makes the next one removes it. It knows nothing of hosts.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List, Optional, Sequence

PREFIX = "deploymatrix-lab"
WORKER, STEP = (
    "s=sys.stdin.buffer",
    "builder.execution.worker",
)  # in the command lines of a session there, and of an action
_PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "mount")
_PACKAGES = "apt-get install util-linux iproute2 mount"
_GROUPS = Path("/sys/fs/cgroup")
_PERIOD = 50_000  # microseconds; a short one, so that a slow host is slow evenly


@functools.lru_cache(maxsize=None)
def missing() -> Optional[str]:
    """Why no hosts can be made of namespaces here; None when they can."""
    if not sys.platform.startswith("linux"):
        return "namespaces are Linux's"
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed: {_PACKAGES}"
    if os.getuid() != 0:
        return "it needs root, for namespaces, links and mounts"
    trial = "ip link add br0 type bridge && ip link add port0 type veth peer name eth0 && mount -t tmpfs lab /proc"
    said = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-ec", trial], capture_output=True, text=True
    )
    return f"this machine refuses: {said.stderr.strip() or said.stdout.strip()}" if said.returncode else None


class Held:
    """A process that holds namespaces. It has said `up` when this returns. To be made by a thread that outlives it: the
    kernel ends it with the thread that started it."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.pid = self._process.pid
        assert self._process.stdin and self._process.stdout
        if self._process.stdout.readline() != b"up\n":
            self.end()
            raise AssertionError(f"{' '.join(command)}: {log.read_text()}")

    def go(self) -> None:
        """What it waits for, after `up`."""
        assert self._process.stdin
        self._process.stdin.write(b"go\n")
        self._process.stdin.close()

    @property
    def first(self) -> int:
        """The first process of its namespace of processes, as it is numbered here."""
        return self._children()[0]

    def _children(self) -> List[int]:
        with contextlib.suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def enter(self, kind: str) -> List[str]:
        """What a command begins with that is to run in there. `kind`: net or mount."""
        name = {"net": "net", "mount": "mnt"}[kind]
        return ["nsenter", f"--{kind}=/proc/{self.pid}/ns/{name}", "--"]

    def end(self) -> None:
        """And all in its namespace of processes, if it has one."""
        for (
            child
        ) in self._children():  # from within, so that their maker collects them and not the machine's first process
            kill(child)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5 if self._children() else 0)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def inside(first: int) -> List[int]:
    """The processes, by their numbers here, that share the namespace of processes of `first`."""
    try:
        wanted = os.readlink(f"/proc/{first}/ns/pid")
    except OSError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended, or is ending
                if os.readlink(entry / "ns" / "pid") == wanted:
                    found.append(int(entry.name))
    return found


def words_of(pid: int) -> str:
    """Its command line; empty when it is gone, or only waits to be."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def is_python(pid: int, mark: str) -> bool:
    """Is it a Python whose command line has `mark`, and not a shell that starts one?"""
    words = words_of(pid)
    return mark in words and not words.startswith(("sshd", "sh ", "bash ", "dash "))


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def until(true: Callable[[], object], seconds: float = 60.0) -> bool:
    """Wait for it, at most so long."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Share:
    """A control group for the processes of one host, whose share of the processors can be cut."""

    def __init__(self, name: str) -> None:
        """Raises OSError where control groups cannot be made, or have no `cpu`."""
        old = (_GROUPS / "cpu" / "cpu.cfs_quota_us").exists() or (_GROUPS / "cpu").is_dir()
        parent = _GROUPS / "cpu" if old else _GROUPS
        _sweep(parent)
        self._folder, self._old = parent / f"{PREFIX}-{os.getpid()}-{name}-{os.urandom(4).hex()}", old
        self._folder.mkdir()
        if not (self._folder / self._knob).exists():
            self._folder.rmdir()
            raise OSError(f"{parent} does not control processors")

    @property
    def _knob(self) -> str:
        return "cpu.cfs_quota_us" if self._old else "cpu.max"

    def take(self, pid: int) -> None:
        """This process, and what it will start."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def limit(self, processors: Optional[float]) -> None:
        """So many processors at most; None: as many as there are."""
        quota = None if processors is None else int(_PERIOD * processors)
        if self._old:
            (self._folder / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (self._folder / self._knob).write_text(str(-1 if quota is None else quota))
        else:
            (self._folder / self._knob).write_text(f"{'max' if quota is None else quota} {_PERIOD}")

    def end(self) -> None:
        """Once its processes have ended."""
        assert until(lambda: _removed(self._folder), 10), f"{self._folder} is still in use"


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _sweep(parent: Path) -> None:
    """What runs left that were killed."""
    for folder in parent.glob(f"{PREFIX}-*-*"):
        owner = folder.name[len(PREFIX) + 1 :].partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _removed(folder)
