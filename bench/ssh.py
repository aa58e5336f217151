"""What working over SSH adds to an action, and how fast inputs travel beside scp, side by side in one run.

    python bench/ssh.py [--rounds 15] [--mb 200] [--folder DIR]

The machine on the other side is this one, through an sshd that the benchmark starts on loopback. Compared are the same
action (an engine for onnxruntime, of a tiny graph) performed by the local executor and over a warm connection, in turns; and
the time until `--mb` MB of random bytes have arrived, been held against their digest and flushed to disk, beside `scp` of
the same file and then `sha256sum` and `sync` of it. Needs openssh-server, onnx and onnxruntime.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, List

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import onnx

from builder import digest
from builder.actions.action import Action
from builder.actions.recipes import Engine
from builder.config.contract import Profile, ShapeRange
from builder.config.remote_machines import Reached, SshWorker
from builder.config.tensorrt import TensorRtOptions
from builder.execution.local import Local
from builder.execution.ssh.executor import Machines, Ssh
from builder.platforms import machines
from builder.platforms.platform import Pinned, Platform
from builder.store.layout import Layout
from tests import onnx_models
from tests.sshd import Sshd, sshd

_SHAPE = (1, 1, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="actions of each kind (default 15)")
    parser.add_argument("--mb", type=int, default=200, help="size of the file that travels (default 200)")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="bench-ssh-") as name:
        folder = Path(name)
        with sshd(folder / "sshd") as server, Machines(server.environ) as machines:
            worker = SshWorker(python=sys.executable, folder=str(folder / "far"))
            began = time.perf_counter()
            ssh = machines.at(Reached("ssh://there", worker))
            ssh.facts()
            print(f"first connection, the worker is sent: {time.perf_counter() - began:.2f} s")
            _overhead(folder, ssh, args.rounds)
            _transfer(folder, server, ssh, args.mb, max(3, args.rounds // 3))


def _overhead(folder: Path, ssh: Ssh, rounds: int) -> None:
    """Each action is another one, by its workspace, so that none is recalled."""
    model = folder / "model.onnx"
    onnx.save(onnx_models.convolutional(), str(model))
    local, here, there = Local(), [], []  # type: Local, List[float], List[float]
    for number in range(rounds + 1):
        action = _action(model, number)
        seconds = [
            _timed(lambda: local.perform(action, {"model.onnx": model}, folder, Layout(folder / "a"), _silent)),  # noqa: B023
            _timed(lambda: ssh.perform(action, {"model.onnx": model}, folder, Layout(folder / "b"), _silent)),  # noqa: B023
        ]
        if number:  # the first sends the input
            here.append(seconds[0])
            there.append(seconds[1])
    added = [b - a for a, b in zip(here, there)]
    print(f"an action here: {statistics.median(here):.3f} s; over a warm connection: {statistics.median(there):.3f} s")
    print(f"added per action: median {statistics.median(added):.3f} s, worst {max(added):.3f} s of {rounds}")


def _transfer(folder: Path, server: Sshd, ssh: Ssh, mb: int, rounds: int) -> None:
    ratios: List[float] = []
    for number in range(rounds):
        file = folder / f"bytes-{number}"
        file.write_bytes(os.urandom(mb << 20))
        known = digest.of_file(file)
        copied = folder / "copied"
        command = ["scp", "-q", "-F", str(server.folder / "config"), str(file), f"there:{copied}"]
        theirs = _timed(
            lambda: [
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
                for words in (command, ["sha256sum", str(copied)], ["sync", str(copied)])  # noqa: B023
            ]
        )
        ours = _timed(lambda: ssh.bring_there({known: file}, _silent))  # noqa: B023
        ratios.append(ours / theirs)
        print(f"{mb} MB: scp, sha256sum, sync {theirs:.2f} s; ours {ours:.2f} s ({ours / theirs:.2f}x)")
        for path in (file, copied):
            path.unlink()
    print(f"transfer beside scp: median {statistics.median(ratios):.2f}x of its time")


def _action(model: Path, number: int) -> Action:
    here = machines.here()
    profile = Profile("small", (ShapeRange("image", _SHAPE, _SHAPE, _SHAPE),))
    recipe = Engine("fp32", "f32", (profile,), number, TensorRtOptions(), "")
    platform = Platform("onnxruntime", "any", here.os, here.arch)
    return Action(recipe, (Pinned("model.onnx", digest.of_file(model)),), (), platform)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _silent(line: str) -> None:
    pass


if __name__ == "__main__":
    main()
