"""How long N hosts take at once, beside one of them alone, in one run.

    python bench/lab.py [--hosts 8] [--seconds 90] [--folder DIR]

The hosts are those of `tests/lab`: an sshd each, with a network, a disk and processes of its own, on this one machine. Each
has a cell to build and to measure. What cannot be had here is N machines' processors, so the work is made of what a measuring
is made of with a fast model: `--seconds` of timing, of which each run waits 50 ms for a runtime's threads to rest. The times
that are measured so mean nothing; how long the whole takes does. Longer timing, less is left of the hosts' common processors.
Needs root and the packages of the end-to-end tests.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.lab import network, project, spaces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=8, help="how many (default 8)")
    parser.add_argument("--seconds", type=float, default=90, help="of timing on each (default 90)")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    args = parser.parse_args()
    why = spaces.missing()
    if why is not None:
        raise SystemExit(f"no hosts can be made: {why}")
    names = [f"host{number}" for number in range(args.hosts)]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {args.seconds:g} s of timing on each host")
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="bench-lab-") as name:
        folder = Path(name)
        base = project.with_nobody_there(folder / "base", names)
        base.edit("seconds: 0.05", f"seconds: {args.seconds:g}")
        with network.lab(folder / "lab", names) as hosts:
            alone = _seconds(project.copied(base, folder / "alone", hosts.environ), ["--only", f"*-{names[0]}"])
            print(f"one alone           {alone:8.1f} s")
            together = _seconds(project.copied(base, folder / "together", hosts.environ), [])
            print(f"{args.hosts} at once           {together:8.1f} s   {together / alone:.2f} of one alone")
            print(f"one after the other {args.hosts * alone:8.1f} s   (reckoned)")


def _seconds(made: project.Project, words: Sequence[str]) -> float:
    began = time.monotonic()
    run = made.begin("matrix", *words)
    code = run.wait(3600)
    taken = time.monotonic() - began
    if code != 0:
        raise SystemExit(run.text)
    return taken


if __name__ == "__main__":
    main()
