"""What a host installs, for several Pythons: `pip install 'WHEEL[host]'` into a bare virtual environment, then pull, verify,
run, and what it all weighs.

    python bench/install.py --store artifacts --photo coffee.png --python python3.8 --python python3.13

The wheel is made from this checkout. The store's newest version is signed with a key made for the occasion, in a copy
of the store; the host trusts that key alone. Where pip finds no wheel for a Python, that is what the table says. The
size is that of the files that pip says it installed, as they lie on disk, without compiled bytecode.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Sequence

CHECKOUT = Path(__file__).resolve().parent.parent

# Runs in the new environment: the distributions there and the bytes of their files.
_WEIGH = """
import importlib.metadata as m, json, os
found = {}
for d in m.distributions():
    files = [d.locate_file(f) for f in d.files or ()]
    size = sum(os.path.getsize(f) for f in files if os.path.isfile(f) and not str(f).endswith(".pyc"))
    found[d.metadata["Name"]] = [d.version, size]
print(json.dumps(found))
"""


@dataclass
class Tried:
    """What came of one Python. `packages`: name -> [version, bytes]; `problem` is the first thing that failed."""

    python: str
    seconds: float = 0.0
    packages: Dict[str, List[object]] = field(default_factory=dict)
    said: Dict[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def size(self) -> int:
        return sum(int(str(size)) for _, size in self.packages.values())


class Failed(Exception):
    """A command that ended with another code than 0."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("artifacts"))
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--python", action="append", required=True, metavar="PYTHON", help="may be repeated")
    parser.add_argument("--size", help="HxW, as for `build run`")
    parser.add_argument("--json", action="store_true", help="instead of the tables")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="install-") as folder:
        work = Path(folder)
        wheel, key = made(work), signed(args.store, work)
        tried = [on(python, wheel, key, work / f"host-{n}", args) for n, python in enumerate(args.python)]
    print(json.dumps([{**asdict(one), "size": one.size} for one in tried]) if args.json else _tables(tried))
    return 0


def made(work: Path) -> Path:
    """The wheel of this checkout, made from a copy: setuptools leaves its traces where it builds."""
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(str(CHECKOUT / name), str(source / name))
    for name in ("builder", "validation"):
        shutil.copytree(str(CHECKOUT / name), str(source / name), ignore=shutil.ignore_patterns("__pycache__"))
    _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(work), "."], source)
    return next(work.glob("*.whl"))


def signed(store: Path, work: Path) -> Path:
    """The public key whose secret one signed a copy of `store`, which lies in work/artifacts."""
    shutil.copytree(str(store), str(work / "artifacts"))
    build = [sys.executable, "-m", "builder.cli"]
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT), "DEPLOYMATRIX_TRUSTED": str(work / "trusted")}
    _run([*build, "keys", "new", "release.key", "--no-password"], work, environ)
    _run([*build, "sign", "--key", "release.key", "--store", "artifacts"], work, environ)
    return work / "release.key.pub"


def on(python: str, wheel: Path, key: Path, host: Path, args: argparse.Namespace) -> Tried:
    """Install into a new environment and use it as a host would."""
    host.mkdir()
    inside, build = str(host / "venv" / "bin" / "python"), str(host / "venv" / "bin" / "build")
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environ["DEPLOYMATRIX_TRUSTED"] = str(host / "trusted")
    tried = Tried(python)
    try:
        tried.python = _run([python, "-c", "import platform; print(platform.python_version())"], host, environ)
        started = time.monotonic()
        _run([python, "-m", "venv", "venv"], host, environ)
        pip = [inside, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-cache-dir"]
        _run([*pip, "--only-binary", ":all:", f"{wheel}[host]"], host, environ)
        tried.seconds = round(time.monotonic() - started, 1)
        tried.packages = json.loads(_run([inside, "-c", _WEIGH], host, environ))
        source = str(key.parent / "artifacts")
        tried.said["verify"] = _run([build, "verify", source, "--key", str(key)], host, environ)
        tried.said["pull"] = _run([build, "pull", source, "--key", str(key)], host, environ)
        size = ["--size", args.size] if args.size else []
        tried.said["run"] = _run([build, "run", str(args.photo.resolve()), *size], host, environ)
    except Failed as problem:
        tried.problem = str(problem)
    return tried


def _run(command: Sequence[str], cwd: Path, environ: Optional[Dict[str, str]] = None) -> str:
    try:
        done = subprocess.run(command, cwd=str(cwd), env=environ, capture_output=True, text=True, timeout=600)
    except OSError as problem:
        raise Failed(f"{command[0]}: {problem.strerror}") from None
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or [f"code {done.returncode}"]
        raise Failed(f"{' '.join(Path(word).name for word in command[:4])}: {last[0]}")
    return done.stdout.strip()


def _tables(tried: List[Tried]) -> str:
    lines = ["| Python | installed | packages | in seconds | pulled and run |", "|---|---|---|---|---|"]
    for one in tried:
        weight = f"{one.size / 2**20:.0f} MiB" if one.packages else "-"
        what = one.problem or one.said["pull"].split(" of v")[0]
        lines.append(f"| {one.python} | {weight} | {len(one.packages)} | {one.seconds:.0f} | {what} |")
    for one in tried:
        if one.packages:
            lines += ["", f"Python {one.python}:", "", "| package | version | MiB |", "|---|---|---|"]
            ordered = sorted(one.packages.items(), key=lambda item: -int(str(item[1][1])))
            lines += [f"| {name} | {version} | {int(str(size)) / 2**20:.1f} |" for name, (version, size) in ordered]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
