"""What a verified pull costs beside copying and hashing the same bytes by hand, side by side in one run.

    python bench/transfer.py [--mb 500] [--rounds 7] [--large 2000] [--folder DIR]

Compared are `build pull` from a store on this machine with `cp` and then `sha256sum` (and `openssl dgst -sha256`, which uses
the processor's SHA instructions where coreutils does not), and `build pull` from a registry on loopback with `curl` and then
the same. One of each per round, in turns; the ratio is taken in each round. `build pull` also chooses, flushes to disk
and places; `cp` and `curl` leave the bytes to the page cache. Needs onnxruntime (only its metadata is looked at); for the
registry docker-registry, curl; 3 times `--large` MB of disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import queue
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from builder import files
from builder.platforms import machines
from builder.store import versions
from builder.store.layout import Layout
from tests.fakes import entry, manifest, stored
from tests.registries import registry

# Peak memory is asked of the kernel at the end of the process itself: what a parent is told of a child counts the parent in.
_BUILD = """
import sys
from builder.cli import main
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("PEAK", int(peak.split()[1]) // 1024, file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=500, help="size of the artifact (default 500)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--large", type=int, default=2000, help="size of the large one, for memory (default 2000; 0: none)"
    )
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="bench-transfer-") as folder:
        _measure(Path(folder), args.mb, args.rounds)
        if args.large:
            _large(Path(folder), args.large)


def _measure(folder: Path, mb: int, rounds: int) -> None:
    store = _store(folder / "store", mb)
    blob = _model(store)
    print(f"one artifact of {mb} MB, {rounds} rounds in turns; ratio of wall time, median and range\n")
    print("| `build pull` | against | times as long | seconds | by hand, seconds | peak MB |")
    print("|---|---|---|---|---|---|")
    pull = [str(store.root), "--to", str(folder / "host")]
    for hashing in ("sha256sum", "openssl dgst -sha256"):
        by_hand = ["sh", "-c", f"cp {blob} {folder / 'copy'} && {hashing} {folder / 'copy'}"]
        _row("from a store", f"`cp`, `{hashing}`", pull, by_hand, rounds, folder)
    if shutil.which("docker-registry") and shutil.which("curl"):
        with registry(folder / "registry") as host:
            _from_registry(host, store, rounds, folder)
    else:
        print("docker-registry or curl is not installed: the registry is left out", file=sys.stderr)
    _no_op(pull)
    _overlapped(blob, folder, rounds)
    shutil.rmtree(store.root)


def _from_registry(host: str, store: Layout, rounds: int, folder: Path) -> None:
    address = f"oci+http://{host}/models/bench"
    _, sent = _build("publish", address, "--store", str(store.root), "--quiet")
    for hashing in ("sha256sum", "openssl dgst -sha256"):
        url = f"http://{host}/v2/models/bench/blobs/sha256:{_model(store).name}"
        by_hand = ["sh", "-c", f"curl -sSfo {folder / 'copy'} {url} && {hashing} {folder / 'copy'}"]
        pull = [address, "--to", str(folder / "host")]
        _row("from a registry", f"`curl`, `{hashing}`", pull, by_hand, rounds, folder)
    print(f"\n`build publish` to the registry: peak {sent} MB")


def _row(what: str, against: str, pull: List[str], by_hand: List[str], rounds: int, folder: Path) -> None:
    ours, theirs, peaks = [], [], []
    for number in range(2 * rounds):
        _clean(folder)
        if number % 4 in (0, 3):  # each begins a round as often as the other: the second one finds the machine warmer
            seconds, peak = _build("pull", *pull, "--quiet")
            ours.append(seconds)
            peaks.append(peak)
        else:
            theirs.append(_wall(lambda: subprocess.run(by_hand, check=True, stdout=subprocess.DEVNULL)))
    ratios = sorted(a / b for a, b in zip(ours, theirs))
    print(
        f"| {what} | {against} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
        f"| {statistics.median(ours):.2f} | {statistics.median(theirs):.2f} | {max(peaks)} |",
        flush=True,
    )
    _clean(folder)
    _build("pull", *pull, "--quiet")


def _clean(folder: Path) -> None:
    """Nothing is there, and nothing is still being written."""
    shutil.rmtree(folder / "host", ignore_errors=True)
    (folder / "copy").unlink(missing_ok=True)
    os.sync()


def _overlapped(blob: Path, folder: Path, rounds: int) -> None:
    """Is it worth a thread to hash one piece while the next is read and written? In turns with what `build pull` does."""
    wanted, one, two = f"sha256:{blob.name}", [], []
    for number in range(2 * rounds):
        _clean(folder)
        if number % 4 in (0, 3):
            one.append(_wall(lambda: files.verified(blob, folder / "copy", wanted, "")))
        else:
            two.append(_wall(lambda: _two_threads(blob, folder / "copy")))
    ratios = [b / a for a, b in zip(one, two)]
    print(f"\nhashing in a second thread: {statistics.median(ratios):.2f} times as long as in one "
          f"({min(ratios):.2f} to {max(ratios):.2f}), flushed to disk")  # fmt: skip
    _clean(folder)


def _two_threads(source: Path, dest: Path) -> None:
    sha = hashlib.sha256()
    pieces: "queue.Queue[bytes]" = queue.Queue(8)

    def hashed() -> None:
        for piece in iter(pieces.get, b""):
            sha.update(piece)

    thread = threading.Thread(target=hashed)
    thread.start()
    with source.open("rb", buffering=0) as theirs, dest.open("xb", buffering=0) as ours:
        for piece in iter(lambda: theirs.read(256 << 10), b""):
            pieces.put(piece)
            ours.write(piece)
        pieces.put(b"")
        thread.join()
        assert sha.hexdigest() == source.name
        os.fsync(ours.fileno())


def _no_op(pull: List[str]) -> None:
    """In turns with the interpreter alone, which is the floor."""
    _build("pull", *pull, "--quiet")
    program = [sys.executable, "-m", "builder.cli", "pull", *pull]
    times: Dict[str, List[float]] = {"`build pull`, nothing changed": [], "`python -c pass`": []}
    for _ in range(21):
        for name, command in zip(times, (program, [sys.executable, "-c", "pass"])):
            times[name].append(_wall(lambda command=command: _quietly(command)))  # type: ignore[misc]
    print()
    for name, seconds in times.items():
        print(f"{name}: {statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})")


def _large(folder: Path, mb: int) -> None:
    store = _store(folder / "large", mb)
    seconds, peak = _build("pull", str(store.root), "--to", str(folder / "host"), "--quiet")
    print(f"\n{mb} MB from a store: {seconds:.1f} s, peak {peak} MB")
    if shutil.which("docker-registry"):
        _clean(folder)
        with registry(folder / "registry") as host:
            address = f"oci+http://{host}/models/large"
            _, sent = _build("publish", address, "--store", str(store.root), "--quiet")
            seconds, peak = _build("pull", address, "--to", str(folder / "host"), "--quiet")
            print(f"{mb} MB from a registry: {seconds:.1f} s, peak {peak} MB; publishing it: peak {sent} MB")


def _store(root: Path, mb: int) -> Layout:
    """A store with one artifact of one file, which may be used on this machine."""
    version = machines.here().version("onnxruntime")
    if version is None:
        raise SystemExit("bench/transfer.py: needs onnxruntime: pip install onnxruntime")
    store, block = Layout(root), os.urandom(16_000_000)
    with store.workspace() as work:
        with (work / "model.bin").open("wb") as file:
            for left in range(mb * 1_000_000, 0, -len(block)):
                file.write(block[:left])
        model = store.put(work / "model.bin")
    one = entry(version=version, arch=machines.here().arch, files=(model, stored(store, "artifact.json", b"{}")))
    assert one.artifact is not None
    named = versions.put_artifact(store, one.cell, one.artifact.files)
    versions.publish(
        store, manifest(dataclasses.replace(one, artifact=dataclasses.replace(one.artifact, digest=named.digest)))
    )
    return store


def _model(store: Layout) -> Path:
    return max((store.root / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


def _build(*words: str) -> Tuple[float, int]:
    """(seconds, peak MiB) of a command of ours."""
    since = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, *words],
        cwd=str(REPOSITORY),
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - since
    said = re.search(r"PEAK (\d+)", done.stderr)
    if done.returncode or said is None:
        raise SystemExit(f"build {' '.join(words)}: {done.stderr}")
    return seconds, int(said.group(1))


def _quietly(command: List[str]) -> None:
    subprocess.run(command, cwd=str(REPOSITORY), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wall(do: Callable[[], object]) -> float:
    since = time.perf_counter()
    do()
    return time.perf_counter() - since


if __name__ == "__main__":
    main()
