"""One artifact, on this machine, on its golden sample: `python -m builder.host.prove FOLDER CELL OUT`.

FOLDER is a placed folder. The answer is written to OUT as JSON; a process that dies leaves none. Needs NumPy and the
artifact's runtime. `answer` is the same within a process, for a runner that is open already.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import List, Tuple

from builder import plugins
from builder.errors import DeployError, first_line
from builder.execution import processes
from builder.host import install
from builder.host.selftest import Answer, limits
from builder.records import to_json
from builder.store.manifest import Check, Entry, Manifest
from validation import comparison, verdict
from validation.comparison import compared
from validation.samples import Sample, load


def sample_of(folder: Path, entry: Entry) -> Sample:
    """The golden sample that was placed with an entry."""
    assert entry.golden is not None
    name = entry.golden.sample.name
    return load(
        folder / install.golden_path(entry.golden.sample), name[: -len(".npz")] if name.endswith(".npz") else name
    )


def answer(runner: plugins.Runner, manifest: Manifest, entry: Entry, sample: Sample) -> Answer:
    """What an open artifact answers to its golden sample, held to its limits. Where it has none on tensors, the answer has
    to have the right shapes and finite numbers."""
    assert entry.golden is not None
    try:
        found = runner(sample.inputs)
    except Exception as problem:  # whatever a runtime raises is this artifact's failure
        return Answer(f"it did not run: {first_line(problem)}")
    outputs = tuple(output.name for output in manifest.head(entry.head).outputs)
    rows = list(compared(sample, found, outputs, entry.golden.align, entry.golden.agreement, comparison.of))
    checks: Tuple[Check, ...] = verdict.checks(limits(entry), rows, (), None)
    missed = [verdict.describe(check) for check in checks if not check.kept]
    return Answer("; ".join([*verdict.problems(rows), *missed]), checks)


def opened(folder: Path, entry: Entry) -> plugins.Runner:
    assert entry.platform is not None and entry.artifact is not None
    options = plugins.OpenOptions(entry.artifact.compute, entry.artifact.static)
    return plugins.backend(entry.platform.runtime).open(folder / entry.cell, options)


def _of_placed(folder: Path, cell: str) -> Answer:
    manifest = install.described(folder)
    entry = manifest.entry(cell)
    assert entry is not None and entry.golden is not None
    try:
        sample = sample_of(folder, entry)
    except (OSError, ValueError, KeyError, EOFError) as problem:
        return Answer(f"its golden sample does not read: {first_line(problem)}")
    try:
        return answer(opened(folder, entry), manifest, entry, sample)
    except DeployError as problem:
        return Answer(f"it does not open: {problem.what}")
    except Exception as problem:  # a runtime that is broken here says so in any way it likes
        return Answer(f"it does not open: {type(problem).__name__}: {first_line(problem)}")


def main(words: List[str]) -> int:
    folder, cell, out = words
    processes.hold()
    found = _of_placed(Path(folder), cell)
    Path(out).write_text(json.dumps(to_json(found)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
