"""The self-test: that engine, this machine, the recorded outputs. Before `current` moves, every artifact answers its golden
sample here, and the answer is held to the gates that the artifact passed where it was made.

It runs in a process of its own with a time limit (builder/host/prove.py), since an engine that does not suit its machine may
crash, or never answer. What an artifact answered is remembered in DEST/HEAD/self-test.json, and asked again only when
something changed that the answer depends on. A failure is never remembered: it is tried again with the next pull.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Optional, Tuple

from builder import clock, digest, files
from builder.config.contract import PACKAGE
from builder.config.gates import Limit
from builder.execution.processes import worker_environment
from builder.platforms.machines import Machine
from builder.records import RecordError, from_json, to_json
from builder.store.manifest import Check, Entry
from builder.terminal import counted

# What an artifact answered to its golden sample on this host, and what the answer is held to. Data only.


@dataclass(frozen=True)
class Answer:
    """`problem` is empty when every limit was kept."""

    problem: str = ""
    checks: Tuple[Check, ...] = ()


@dataclass(frozen=True)
class Proof:
    """What `cell`, the artifact of that digest, answered to `sample` on this host, when, and in how many seconds, with
    opening. `asked` is the digest of all that the answer depends on."""

    cell: str
    artifact: str
    sample: str
    asked: str
    at: str
    seconds: float
    answer: Answer

    @property
    def passed(self) -> bool:
        return not self.answer.problem


def limits(entry: Entry) -> Tuple[Limit, ...]:
    """What the answer is held to: the gates on tensors that were judged when it was made, else those it carries."""
    judged = tuple(
        Limit("tensor", check.subject, check.metric, check.bound, check.limit, check.gate)
        for check in entry.verdict.checks
        if check.level == "tensor" and not check.report_only
    )
    return judged or (entry.golden.limits if entry.golden else ())


# A placed artifact is asked in a process of its own, with a time limit. What runs there is `builder/host/prove.py`.


def ask(folder: Path, cell: str, seconds: float) -> Answer:
    """The answer of a placed artifact, from a process of its own that is given `seconds`."""
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as work:
        out = Path(work) / "answer.json"
        command = [sys.executable, "-m", "builder.host.prove", str(folder.absolute()), cell, str(out)]
        with open(Path(work) / "said", "w+b") as said:
            # in an empty folder: `-m` looks for modules where it is started
            with subprocess.Popen(
                command, cwd=work, env=worker_environment(), stdin=subprocess.PIPE, stdout=said, stderr=said
            ) as process:
                try:
                    code = process.wait(seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                    return Answer(f"no answer within {seconds:g} s")
            said.seek(0)
            last = said.read()[-4096:].decode(errors="replace").strip().splitlines()
        try:
            return from_json(Answer, json.loads(out.read_bytes()))
        except (OSError, ValueError, RecordError):
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            return Answer(f"the process that ran it {how}" + (f": {last[-1][:200]}" if last else ""))


FILE = "self-test.json"
SECONDS = 120.0
_MOST_REMEMBERED = 64


def proof(folder: Path, entry: Entry, machine: Machine, seconds: float = SECONDS) -> Optional[Proof]:
    """Test a placed artifact on `machine`, this host, unless it has passed the same test before.

    None for an artifact without a golden sample (of an older release).
    """
    if entry.golden is None:
        return None
    asked = what_is_asked(entry, machine)
    known = remembered(folder.parent)
    before = next((proof for proof in known if proof.asked == asked and proof.passed), None)
    if before is not None:
        return before
    started = time.monotonic()
    answer = ask(folder, entry.cell, seconds)
    made = Proof(
        cell=entry.cell,
        artifact=entry.artifact.digest if entry.artifact else "",
        sample=entry.golden.sample.name,
        asked=asked,
        at=clock.text(clock.now()),
        seconds=round(time.monotonic() - started, 3),
        answer=answer,
    )
    _remember(folder.parent, (made, *(other for other in known if other.asked != asked)))
    return made


def what_is_asked(entry: Entry, machine: Machine) -> str:
    """The digest of all that an answer depends on: the artifact, the sample, the limits, and of this machine the
    runtime's version, the driver, the GPUs and the processor."""
    runtime = entry.platform.runtime if entry.platform else ""
    return digest.of_json(
        {
            "artifact": to_json(entry.artifact.files) if entry.artifact else None,
            "compute": [entry.artifact.compute, entry.artifact.static] if entry.artifact else None,
            "golden": to_json(entry.golden) if entry.golden else None,
            "limits": [to_json(limit) for limit in limits(entry)],
            "runtime": [runtime, machine.version(PACKAGE.get(runtime, runtime)), machine.version("numpy")],
            "driver": [machine.driver, machine.cuda, machine.cudnn, *(gpu.described for gpu in machine.gpus)],
            "processor": [machine.kind, *machine.features],
        }
    )


def said(chain: Iterable[Entry], proofs: Iterable[Proof], *, skipped: bool) -> Dict[str, str]:
    """The self-test of each artifact that was placed, by cell, in words."""
    known = {proof.cell: proof for proof in proofs}
    return {entry.cell: _said(entry, known.get(entry.cell), skipped) for entry in chain}


def _said(entry: Entry, proof: Optional[Proof], skipped: bool) -> str:
    if skipped:
        return "was not run on this host, as --no-self-test asks"
    if proof is None:
        return "has no golden sample (an older release made it): not run on this host"
    kept = sum(1 for check in proof.answer.checks if check.kept)
    held = f"within {counted(kept, 'limit')}" if kept else "in shape and finite; it has no limit on tensors"
    return f"answered {proof.sample} {held} in {proof.seconds:.1f} s, on {proof.at}"


def remembered(head: Path) -> Tuple[Proof, ...]:
    """What this host's artifacts of a head (DEST/HEAD) answered, the newest first. What does not read is not known."""
    try:
        data = json.loads((head / FILE).read_bytes())
        return tuple(from_json(Proof, item) for item in data) if isinstance(data, list) else ()
    except (OSError, ValueError, RecordError):
        return ()


def of(folder: Path, entry: Entry) -> Optional[Proof]:
    """The last answer of a placed artifact on this host."""
    artifact = entry.artifact.digest if entry.artifact else None
    return next((p for p in remembered(folder.parent) if (p.cell, p.artifact) == (entry.cell, artifact)), None)


def _remember(head: Path, proofs: Iterable[Proof]) -> None:
    kept = [to_json(proof) for proof in proofs][:_MOST_REMEMBERED]
    files.write(head / FILE, json.dumps(kept, indent=1, ensure_ascii=False).encode())
