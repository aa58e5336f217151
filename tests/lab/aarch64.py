"""Makes the aarch64 userland of the lab, once: `python -m tests.lab.aarch64`. It takes minutes, root and a network.

Debian's own packages by debootstrap, from the mirror that this machine's apt uses; the runtime from aarch64 wheels, put there
by this machine's pip, so that no compiler and no pip ever runs under qemu. It lies outside the checkout, appears under its
name only whole, and nothing changes it later: the lab mounts it read-only. It says nothing about speed: qemu interprets.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, Optional

COMMAND = "python -m tests.lab.aarch64"
# What a target lacks otherwise: the runtime and what measuring needs (builder/platforms/requirements.py). No task is scored there.
WHEELS = ("numpy>=2", "onnxruntime>=1.23", "polygraphy>=0.53")
_RECIPE = "1"  # bumped by hand when what is made below changes
_QEMU = "qemu-aarch64-static"
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_LINES = (Path("/usr/lib/binfmt.d/qemu-aarch64.conf"), Path("/usr/share/binfmts/qemu-aarch64"))


def cache() -> Path:
    own = os.environ.get("DEPLOYMATRIX_LAB_CACHE")
    if own:
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deploymatrix-lab"


def root() -> Path:
    return cache() / f"aarch64-{_RECIPE}"


def missing() -> Optional[str]:
    """Why aarch64 programs of the root cannot run here; None when they can."""
    if platform.machine() == "aarch64":
        return None if root().is_dir() else f"there is no {root()}"
    if shutil.which(_QEMU) is None:
        return f"{_QEMU} is not installed: apt-get install qemu-user-static"
    if not root().is_dir():
        return f"there is no {root()}; it is made once, as root, in some minutes: {COMMAND}"
    if not _registered():
        return f"the kernel does not hand aarch64 programs to {_QEMU}; this registers it: {COMMAND}"
    return None


def _registered() -> bool:
    """With the F flag, qemu is found from inside any root."""
    with contextlib.suppress(OSError):
        for entry in _BINFMT.iterdir():
            text = entry.read_text() if entry.name not in ("register", "status") else ""
            if "aarch64" in text and text.startswith("enabled") and "F" in _flags(text):
                return True
    return False


def _flags(text: str) -> str:
    return next((line.partition(":")[2] for line in text.splitlines() if line.startswith("flags:")), "")


def _register() -> None:
    if platform.machine() == "aarch64" or _registered():
        return
    if not (_BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)], check=True)
    line = next((line_of(path) for path in _LINES if path.exists()), None)
    if line is None:
        raise SystemExit("Debian's qemu-user-static ships the line for binfmt_misc; it is not here")
    (_BINFMT / "register").write_text(line, encoding="latin-1")


def line_of(path: Path) -> str:
    """The line that the kernel takes, with the flags that the lab needs: O, P and F as shipped, F in any case."""
    text = path.read_text().strip()
    if not text.startswith(":"):
        fields = dict(line.partition(" ")[::2] for line in text.splitlines())
        text = f":qemu-aarch64:M::{fields['magic']}:{fields['mask']}:{fields['interpreter']}:OPF"
    head, _, flags = text.rpartition(":")
    return f"{head}:{flags if 'F' in flags else flags + 'F'}"


def _mirror() -> "tuple[str, str]":
    """(address, suite) of Debian itself, as this machine's apt has them."""
    release = platform.freedesktop_os_release()
    form = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        check=True,
        capture_output=True,
        text=True,
    )
    for line in said.stdout.splitlines():
        address, suite, component = line.split("|")
        if suite == release.get("VERSION_CODENAME") and component == "main":
            return address, suite
    raise SystemExit(f"apt knows no `main` of {release.get('PRETTY_NAME', 'this system')}; the lab's root is Debian's")


def make() -> None:
    """The root, under its name only when all of it is there."""
    for program in ("debootstrap", *(() if platform.machine() == "aarch64" else (_QEMU,))):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed: apt-get install debootstrap qemu-user-static")
    if os.getuid() != 0:
        raise SystemExit("it needs root: devices are made, and root is changed")
    _register()
    with _alone():
        if root().is_dir():
            _say(f"{root()} is there")
            return
        for left in cache().glob("making-*"):  # of a killed run: we are alone
            shutil.rmtree(left)
        work = Path(tempfile.mkdtemp(prefix="making-", dir=cache()))
        work.chmod(0o755)
        try:
            _debian(work)
            _wheels(work)
            _within(work, "/usr/bin/python3", "-c", "import onnxruntime, polygraphy; print(onnxruntime.__version__)")
            work.rename(root())
        finally:
            shutil.rmtree(work, ignore_errors=True)
    _say(f"{root()} is made")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _debian(work: Path) -> None:
    address, suite = _mirror()
    _say(f"debootstrap: {suite} for arm64, unpacked (half a minute)")
    packages = ["--variant=minbase", "--include=python3,ca-certificates"]
    _run("debootstrap", "--arch=arm64", "--foreign", *packages, suite, str(work), address)
    _say("debootstrap: second stage, under qemu (some minutes)")
    _within(work, "/debootstrap/debootstrap", "--second-stage")
    for folder in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(work / folder, ignore_errors=True)


def _wheels(work: Path) -> None:
    _say(f"wheels: {', '.join(WHEELS)}")
    python = next(path.name for path in (work / "usr/lib").glob("python3.*"))
    there = work / "usr/local/lib" / python / "dist-packages"
    glibc = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 26, 27, 28, 31, 34)]
    tags = ["--platform=manylinux2014_aarch64", *glibc, "--implementation=cp", f"--python-version={python[6:]}"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    # What they name beside numpy is for converting models and for drawing logs, which no step of a target does.
    _run(*pip, "--no-deps", "--only-binary=:all:", *tags, f"--target={there}", *WHEELS)
    _say("wheels: compiled once, under qemu")
    _within(work, "/usr/bin/python3", "-m", "compileall", "-q", f"/usr/local/lib/{python}/dist-packages")


def _within(work: Path, *command: str) -> None:
    """In the new root; what is mounted for it ends with the command, however it ends."""
    mounts = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" "$@"'
    _run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", mounts, str(work), *command)


def _run(*command: str) -> None:
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    with tempfile.TemporaryFile() as said:
        environ = {**os.environ, **clean, "PATH": f"{os.environ.get('PATH', '')}:{clean['PATH']}"}
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environ).returncode
        if code:
            said.seek(0)
            lines = said.read().decode(errors="replace").splitlines()[-30:]
            raise SystemExit("\n".join([*lines, f"{command[0]} ended with code {code}"]))


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    make()
