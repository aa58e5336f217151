"""Actions for the report: pictures of worst cases, and error by layer.

A picture or a table that cannot be made has a reason instead; a report never fails for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from builder.actions.action import Action, Result
from builder.actions.measurements import LayerError, LayerErrors, WorstCase
from builder.actions.recipes import DrawWorstCase
from builder.audit.report import cells
from builder.config.loader import Loaded
from builder.errors import DeployError, StepFailed, StoreDamaged
from builder.execution.scheduler import perform_here, prospect
from builder.host.choose import other_version
from builder.planning.job_graph import layer_errors
from builder.planning.jobs import Job
from builder.planning.planner import plan
from builder.planning.resolver import Pinner
from builder.platforms.machines import Machine
from builder.platforms.platform import Pinned, Tool, cannot_run
from builder.plugins import Executor
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest
from builder.store.provenance import Provenance

_TOOLS = ("numpy", "opencv-python-headless")


@dataclass(frozen=True)
class PictureFile:
    name: str
    digest: str
    data: bytes


@dataclass(frozen=True)
class Picture:
    """A cell on its worst photograph; without `facts`, `why_not` is the reason."""

    cell: str
    sample: str
    facts: Optional[WorstCase] = None
    files: Tuple[PictureFile, ...] = ()
    why_not: str = ""

    def file(self, name: str) -> Optional[PictureFile]:
        return next((file for file in self.files if file.name == name), None)


def chosen(manifest: Manifest, most: int) -> Tuple[Entry, ...]:
    """The measured cells with a picture.

    Failed ones, then the worst of each head and precision, then the rest. Among equals, cells that use most of a gate
    come first.
    """
    measured = [entry for entry in manifest.entries if entry.parity and entry.artifact is not None]
    measured.sort(key=lambda entry: (-_used(entry), entry.cell))
    seen: Dict[Tuple[str, str], int] = {}
    order: Dict[str, int] = {}
    for entry in measured:
        key = (entry.head, entry.precision)
        order[entry.cell] = seen[key] = seen.get(key, -1) + 1
    measured.sort(key=lambda entry: (entry.verdict.status != "failed", order[entry.cell] > 0))
    return tuple(measured[:most])


def worst_sample(entry: Entry) -> str:
    """The photograph to show.

    One with tensors that could not be compared, else the one with the tightest gate on tensors, else the lowest
    signal-to-noise ratio.
    """
    broken = next((row.sample for row in entry.parity if row.problem is not None), None)
    known = {row.sample for row in entry.parity}
    gated = (m.check.worst for m in cells.margins_of(entry) if m.check.level == "tensor" and m.check.worst in known)
    noisiest = min(entry.parity, key=lambda row: (row.snr_db is None, row.snr_db or 0.0)).sample
    return broken or next(gated, noisiest)


def _used(entry: Entry) -> float:
    """The used share of the tightest gate on tensors, which a picture can show."""
    return max((m.used for m in cells.margins_of(entry) if m.check.level == "tensor"), default=0.0)


def pictures(
    manifest: Manifest,
    made_of: Optional[Provenance],
    store: Layout,
    machine: Machine,
    executor: Executor,
    say: Callable[[str], None],
    most: int,
) -> Tuple[Picture, ...]:
    """Pictures of the `most` chosen cells.

    Missing actions are performed here, where possible.
    """
    found: List[Picture] = []
    for entry in chosen(manifest, most):
        action, why_not = _action(manifest, entry, made_of, machine)
        if action is None:
            found.append(Picture(entry.cell, worst_sample(entry), why_not=why_not))
            continue
        try:
            result = store.recall(action.key) or _perform(action, store, machine, executor, say, entry.cell)
            found.append(_picture(entry, store, result))
        except (DeployError, OSError) as problem:
            said = problem.what if isinstance(problem, DeployError) else f"the store: {problem.strerror}"
            found.append(Picture(entry.cell, worst_sample(entry), why_not=f"it could not be drawn: {said}"))
    return tuple(found)


def _action(
    manifest: Manifest, entry: Entry, made_of: Optional[Provenance], machine: Machine
) -> Tuple[Optional[Action], str]:
    """The action that draws the cell, or why there is none here."""
    assert entry.platform is not None and entry.artifact is not None
    problem = cannot_run(entry.platform, machine)
    if problem is not None:
        return None, f"drawing it runs the artifact: {problem}"
    another = other_version(entry, machine)
    if another is not None or entry.platform.features not in ((), machine.features):
        what = f"{entry.platform.runtime} {another}" if another else "another kind of processor"
        return None, f"it was measured with {entry.platform.runtime} {entry.platform.version}; here is {what}"
    sample = worst_sample(entry)
    inputs = _inputs(entry, sample, made_of)
    if inputs is None:
        return None, "the version does not record what it was measured with; publish another one with: build matrix"
    head, image = manifest.head(entry.head), manifest.model.inputs[0].name
    recipe = DrawWorstCase(
        sample=sample,
        input=image,
        outputs=tuple(output.name for output in head.outputs),
        postprocess=head.postprocess,
        preprocess=manifest.model.preprocess,
        compute=entry.artifact.compute,
        static=entry.artifact.static,
    )
    tools = tuple(Tool(name, machine.version(name) or "absent") for name in _TOOLS)
    return Action(recipe, inputs, tools, entry.platform), ""


def _inputs(entry: Entry, sample: str, made_of: Optional[Provenance]) -> Optional[Tuple[Pinned, ...]]:
    """The artifact and the sample that parity was measured with."""
    if made_of is None:
        return None
    keys = [link.key for link in made_of.chain(entry.cell) if link.job == f"parity/{entry.cell}"]
    steps = made_of.by_key
    pins = [pin for key in keys if key in steps for pin in steps[key].inputs]
    wanted = [pin for pin in pins if pin.name.startswith("artifact/") or pin.name == f"reference/{sample}.npz"]
    return tuple(wanted) if any(pin.name.startswith("reference/") for pin in wanted) else None


def _perform(
    action: Action, store: Layout, machine: Machine, executor: Executor, say: Callable[[str], None], cell: str
) -> Result:
    for pin in action.inputs:
        if not store.holds(pin.digest):
            raise StoreDamaged(f"this store does not hold {pin.name}, which it was measured with")
    files: Dict[str, Path] = {pin.name: store.fetch(pin.digest) for pin in action.inputs}
    say(f"drawing {cell}")
    with store.locked():
        return perform_here(action, files, store.root, store, executor, machine, lambda line: None)


def _picture(entry: Entry, store: Layout, result: Result) -> Picture:
    if not isinstance(result.facts, WorstCase):
        raise StepFailed("the record of its drawing holds something else")
    files = tuple(PictureFile(blob.name, blob.digest, store.read(blob.digest)) for blob in result.outputs)
    return Picture(entry.cell, worst_sample(entry), result.facts, files)


# ------------------------------------------------------------------------- error by layer: one action per lowered graph
#
# Cells that share a lowered graph share its table. A graph whose action is not in the store (another matrix, a copy
# without records) has a reason instead.


@dataclass(frozen=True)
class LayerTable:
    """The table of the lowered graph of `cells`.

    Without `layers`, `why_not` is the reason.
    """

    cells: Tuple[str, ...]
    layers: Tuple[LayerError, ...] = ()
    why_not: str = ""


def layer_tables(
    loaded: Loaded,
    manifest: Manifest,
    store: Layout,
    machine: Machine,
    executor: Optional[Executor],
    say: Callable[[str], None],
) -> Tuple[LayerTable, ...]:
    """Tables of every lowered graph of the built cells, in the order of the matrix.

    Without `executor` only those in the store, without reasons for the others.
    """
    wanted, pinner = plan(loaded.matrix, machine), Pinner(loaded.root, machine, store)
    outcome = prospect(wanted, pinner, store)
    jobs: Dict[str, Job] = {}
    cells: Dict[str, List[str]] = {}
    stale: Dict[str, str] = {}
    for planned in wanted.cells:
        entry = manifest.entry(planned.id)
        if entry is None or entry.artifact is None or planned.platform is None:
            continue
        drawn = layer_errors(loaded.matrix, machine, planned)
        if drawn:
            jobs.setdefault(drawn[-1].id, drawn[-1])
            cells.setdefault(drawn[-1].id, []).append(planned.id)
            made = outcome.results.get(planned.onnx)
            if made is None or made.output("model.onnx").digest != entry.artifact.onnx:
                stale[drawn[-1].id] = f"{planned.onnx} is not the graph of this version any more: build matrix"
    found: List[LayerTable] = []
    for id, job in jobs.items():
        if id in stale:
            found.append(LayerTable(tuple(cells[id]), why_not=stale[id]))
        else:
            found.append(_table(tuple(cells[id]), job, outcome.results, pinner, store, machine, executor, say))
    return tuple(table for table in found if executor is not None or table.layers)


def _table(
    cells: Tuple[str, ...],
    job: Job,
    results: Mapping[str, Result],
    pinner: Pinner,
    store: Layout,
    machine: Machine,
    executor: Optional[Executor],
    say: Callable[[str], None],
) -> LayerTable:
    missing = [need for need in job.needs if need not in results]
    if missing:
        return LayerTable(cells, why_not=f"{missing[0]} is not in the store as matrix.yaml has it now: build matrix")
    try:
        result = _recall_or_perform(job, results, pinner, store, machine, executor, say)
    except (DeployError, OSError) as problem:
        said = problem.what if isinstance(problem, DeployError) else f"the store: {problem.strerror}"
        return LayerTable(cells, why_not=said)
    layers: Optional[LayerErrors] = result.facts if isinstance(result.facts, LayerErrors) else None
    return LayerTable(cells, layers.layers) if layers else LayerTable(cells, why_not="its record holds something else")


def _recall_or_perform(
    job: Job,
    results: Mapping[str, Result],
    pinner: Pinner,
    store: Layout,
    machine: Machine,
    executor: Optional[Executor],
    say: Callable[[str], None],
) -> Result:
    action = pinner.pin(job, results)
    found = store.recall(action.key)
    if found is not None:
        return found
    if executor is None:
        raise StepFailed("not measured yet")
    say(f"measuring {job.id}")
    with store.locked():
        files = pinner.files(job, action)
        return perform_here(action, files, pinner.root, store, executor, machine, lambda line: None)
