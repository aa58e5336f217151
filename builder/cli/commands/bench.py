"""`build bench`: time what could run on this host, side by side, so that `build pull` chooses by it on machines of this class."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from builder import clock, files
from builder.actions.measurements import Latency
from builder.config import contract
from builder.config.contract import PACKAGE
from builder.errors import NothingFits, StepFailed, StoreBusy, StoreDamaged, UsageError
from builder.host import bench, bench_records, install
from builder.host.bench import Order
from builder.host.bench_records import Benched, BenchRecord
from builder.host.choose import Asked, Choice, accepts, choose
from builder.platforms import machines
from builder.platforms.machines import Machine
from builder.records import to_json
from builder.release import VERSION
from builder.store import referrers, supply, trust, versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest
from builder.store.referrers import OfferedBench
from builder.store.supply import Supply
from builder.store.trust import secret_key
from builder.trust import minisign
from builder.trust.keyring import Keyring

# A measurement record in words: what is fastest here, what did not run, and what changes by it.


def as_text(record: BenchRecord, before: Choice, after: Choice) -> str:
    timed = sorted(
        ((row.latency, row) for row in record.rows if row.latency is not None), key=lambda p: p[0].artifact.p50
    )
    machine = f"{record.machine.cpu} x{record.machine.cores}{''.join(f', {gpu}' for gpu in record.machine.gpus)}"
    shape = "x".join(map(str, timed[0][0].shape)) if timed else ""
    lines: List[str] = [
        f"{record.model} v{record.version}, head {record.head}, on {machine}{f', at {shape}' if shape else ''}:"
    ]
    width = max((len(row.cell) for row in record.rows), default=0)
    for number, (latency, row) in enumerate(timed, 1):
        noise = f", noise {latency.noise:.1%}" if latency.noise is not None else ""
        times = f"p50 {latency.artifact.p50:.4g} ms, p90 {latency.artifact.p90:.4g} ms{noise}"
        lines.append(f"  {number}. {row.cell.ljust(width)}  {times}  ({row.runtime} {row.version})")
    lines += [f"  -  {row.cell.ljust(width)}  did not run: {row.problem}" for row in record.rows if row.problem]
    if len(timed) > 1 and timed[1][0].artifact.p50 - timed[0][0].artifact.p50 < _noise(timed[0][0]) + _noise(
        timed[1][0]
    ):
        lines.append(
            "  the first two differ by less than their noise: for a sure answer take --seconds 30 on a quiet machine"
        )
    return "\n".join([*lines, _effect(before, after)])


def _noise(latency: Latency) -> float:
    """Milliseconds."""
    return latency.artifact.p50 * (latency.noise or 0.0)


def _effect(before: Choice, after: Choice) -> str:
    first, then = _first(before), _first(after)
    if first == then:
        return f"build pull places {then} here, as before" if then else "Nothing may be placed here, as before"
    return f"build pull will place {then or 'nothing'} here; without this it was {first}"


def _first(choice: Choice) -> str:
    return choice.ranked[0].cell if choice.ranked else ""


def left_out(cells: Tuple[str, ...], shape: Tuple[int, ...]) -> str:
    named = ", ".join(cells)
    return f"note: not timed, since {'x'.join(map(str, shape))} is outside the profile: {named}"


_MOST = 8 << 20  # bytes of a record that is added


def arguments(parser: argparse.ArgumentParser) -> None:
    where = "a store's folder, or the address that it was published to (artifacts)"
    parser.add_argument("source", nargs="?", default="artifacts", metavar="SOURCE", help=where)
    parser.add_argument("--head", metavar="NAME", help="head of the model (default: the first)")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    parser.add_argument("--size", type=_size, metavar="HxW", help="image size (default: the opt size of the best one)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="measuring time per artifact (3)")
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="threads for CPU runtimes; 0 takes every core"
    )
    parser.add_argument("--timeout", type=float, default=120.0, metavar="S", help="for opening, and for one run (120)")
    parser.add_argument("--unverified", action="store_true", help="also time artifacts that were never measured")
    parser.add_argument("--key", type=Path, metavar="FILE", help="sign the record with this secret key of the host")
    parser.add_argument("--allow-unsigned", action="store_true", help="take what nobody trusted here has signed")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the record to this file, not into the store")
    parser.add_argument("--add", type=Path, metavar="FILE", help="measure nothing; put this record into --store")
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="for --add (artifacts)")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    if args.add is not None:
        return _add(args)
    if not 0 < args.seconds <= 600 or not 0 < args.timeout <= 3600 or args.threads < 0:
        raise UsageError("--seconds is up to 600, --timeout up to 3600, --threads not negative")
    key = secret_key(args.key) if args.key else None
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as folder:
        supplied, machine = supply.opened(args.source, Path(folder), os.environ), machines.here()
        with supplied.reading():
            manifest, about = _manifest(supplied, args)
            record = _measured(supplied, manifest, about, machine, args, Path(folder))
            asked = Asked(unverified=args.unverified)
            before = choose(manifest, machine, record.head, asked)
            after = choose(manifest, machine, record.head, asked, bench_records.holding([record], machine, record.head))
    data, signature = bench_records.text(record), None
    if key is not None:
        comment = f"build bench of {record.model} v{record.version} at {record.created}"
        signature = (key.public.name, minisign.sign(key, data, comment).file)
    kept = _keep(supplied, record, data, signature, args.out)
    if args.format == "json":
        print(json.dumps(to_json(record), indent=1, ensure_ascii=False))
        return 0
    print(as_text(record, before, after))
    print(f"The record is {kept}{f', signed by {key.public.name}' if key else ', not signed'}")
    return 0


def _manifest(supplied: Supply, args: argparse.Namespace) -> Tuple[Manifest, str]:
    """The version, signed by someone who is trusted here if anyone is, and the digest of its bytes."""
    version = supplied.version(args.version, "name a store: build bench SOURCE, or make one: build matrix")
    store = supplied.store
    ring = trust.these(None, os.environ, store)
    if ring and not args.allow_unsigned:
        trust.proof(store, version, ring)
    return supplied.offered(versions.read(store, version)), versions.manifest_digest(store, version)


def _measured(
    supplied: Supply, manifest: Manifest, about: str, machine: Machine, args: argparse.Namespace, folder: Path
) -> BenchRecord:
    head = args.head or manifest.model.heads[0].name
    if head not in [h.name for h in manifest.model.heads]:
        raise UsageError(
            f"the model has no head {head!r}", hint=f"heads: {', '.join(h.name for h in manifest.model.heads)}"
        )
    ranked = choose(manifest, machine, head, Asked(unverified=args.unverified)).ranked
    if not ranked:
        hint = f"see why with: build pull {args.source} --explain"
        raise NothingFits(f"no artifact of head {head!r} in v{manifest.version} may be used on this machine", hint=hint)
    shape, name = _shape(manifest, ranked, args.size), manifest.model.inputs[0].name
    fitting = [entry for entry in ranked if accepts(entry, name, shape)]
    if len(fitting) < len(ranked):
        print(left_out(tuple(e.cell for e in ranked if e not in fitting), shape), file=sys.stderr)
    if not fitting:
        raise NothingFits(f"no artifact accepts {'x'.join(map(str, shape))}", hint="leave --size out")
    supplied.bring(blob for _, blob in install.contents(fitting))
    placed = install.place(manifest, fitting, supplied.store, folder / "placed")
    orders = [_order(entry, placed, name, shape, args.threads) for entry in fitting]

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    found = bench.side_by_side(orders, machine.kind, args.seconds, args.timeout, say)
    if not any(one.latency for one in found):
        told = "\n  ".join(f"{entry.cell}: {one.problem}" for entry, one in zip(fitting, found))
        raise StepFailed("no artifact ran here, so nothing is recorded", hint=told)
    rows = []
    for entry, one in zip(fitting, found):
        assert entry.platform is not None and entry.artifact is not None
        runtime = entry.platform.runtime
        version = machine.version(PACKAGE[runtime]) or ""
        rows.append(Benched(entry.cell, entry.artifact.digest, runtime, version, one.latency, one.problem))
    return BenchRecord(
        1, bench_records.class_of(machine), manifest.model.name, head, manifest.version, about, clock.text(clock.now()),
        VERSION, machine.python, machine.driver, tuple(rows),
    )  # fmt: skip


def _shape(manifest: Manifest, ranked: Sequence[Entry], size: Optional[Tuple[int, int]]) -> Tuple[int, ...]:
    """The input's shape: at `size`, or the usual one of the artifact that is best so far. Raises UsageError."""
    image = manifest.model.inputs[0]
    if size is None:
        return next(r.opt for profile in ranked[0].profiles for r in profile.inputs if r.name == image.name)
    try:
        return contract.with_size(image.shape, size)
    except ValueError as problem:
        raise UsageError(f"the model takes no image of {size[0]}x{size[1]}: {problem}", where="--size") from None


def _order(entry: Entry, folder: Path, name: str, shape: Tuple[int, ...], threads: int) -> Order:
    assert entry.artifact is not None and entry.platform is not None
    place, artifact = str((folder / entry.cell).absolute()), entry.artifact
    return Order(place, entry.platform, artifact.compute, artifact.static, threads, name, shape)


# ---------------------------------------------------------------------------------------------- keeping the record


def _keep(
    supplied: Supply, record: BenchRecord, data: bytes, signature: Optional[Tuple[str, str]], out: Optional[Path]
) -> str:
    """Put the record into the store that was measured, or else into a file. Where it is, in words."""
    if supplied.place is None and out is None:
        try:
            with supplied.store.locked(wait=30):
                referrers.attach_bench(supplied.store, record.version, record.tag, data, signature)
            return f"{record.tag} in {supplied.name}/"
        except (OSError, StoreBusy) as problem:
            print(f"note: {supplied.name} cannot be written ({problem})", file=sys.stderr)
    file = out or Path(f"{record.tag}.json")
    files.write(file, bench_records.packed(data, signature))
    return f"in {file} (where the store is: build bench --add {file.name} --store DIR)"


def _add(args: argparse.Namespace) -> int:
    """Put a record that was measured elsewhere into a store, once it is believed."""
    store, where = Layout(args.store), str(args.add)
    try:
        if args.add.stat().st_size > _MOST:
            raise StoreDamaged("too large for a measurement record", where=where)
        carried = bench_records.unpacked(args.add.read_bytes(), where)
    except OSError as problem:
        raise UsageError(f"cannot be read: {problem.strerror}", where=where) from None
    signed = (carried.signature,) if carried.signature else ()
    version = bench_records.parsed(carried.bench.encode(), where).version
    with store.locked():
        manifest, about = versions.read(store, version), versions.manifest_digest(store, version)
        ring = Keyring() if args.allow_unsigned else trust.these(None, os.environ, store)
        record = bench_records.believed(
            OfferedBench(where, carried.bench.encode(), signed), manifest, about, ring, where
        )
        key = minisign.key_name(minisign.signature(carried.signature, where).key_id) if signed else ""
        signature = (key, carried.signature) if signed else None
        referrers.attach_bench(store, version, record.tag, carried.bench.encode(), signature)
    print(
        f"{record.tag}: {len(record.rows)} times of {record.machine.cpu} x{record.machine.cores} are in {args.store}/ now"
    )
    print("Next, for hosts that pull from elsewhere: build publish DEST")
    return 0


def _size(word: str) -> Tuple[int, int]:
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", word)
    if not match:
        raise argparse.ArgumentTypeError(f"{word!r} is not HEIGHTxWIDTH, such as 480x640")
    return int(match.group(1)), int(match.group(2))
