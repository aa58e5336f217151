"""`build inspect`: find an artifact, read its files, report findings.

An artifact is a cell, a pulled folder, an artifact's folder or a lone file. The identity of a file comes from
artifact.json beside it; without one, from a manifest with the file's digest.
"""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from builder import digest, terminal
from builder.actions.action import SIDECAR
from builder.errors import DeployError, StoreDamaged, UsageError
from builder.host import install
from builder.inspection import formats
from builder.inspection.contents import MOSTLY, Contents, Layers, Tensor, flag
from builder.platforms.machines import Machine
from builder.store import sidecar, versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest
from builder.store.sidecar import Sidecar


@dataclass(frozen=True)
class Subject:
    """One artifact.

    `file`: the named one, empty for a whole folder; `entry`: its entry in version `version`.
    """

    name: str
    folder: Path
    file: str = ""
    sidecar: Optional[Sidecar] = None
    entry: Optional[Entry] = None
    version: int = 0

    @property
    def identity(self) -> Optional[Sidecar]:
        """Its sidecar, or the same facts from the manifest."""
        entry = self.entry
        if self.sidecar is not None or entry is None or entry.artifact is None or entry.platform is None:
            return self.sidecar
        made = entry.artifact
        return Sidecar(
            1, entry.precision, made.compute, entry.platform, entry.profiles, made.onnx, made.action, (), made.files
        )

    @property
    def files(self) -> Tuple[Path, ...]:
        """Those that hold a model: the named one, or each that is recognised."""
        if self.file:
            return (self.folder / self.file,)
        found = sorted(p for p in self.folder.iterdir() if p.is_file() and p.name != SIDECAR)
        return tuple(path for path in found if formats.recognised(path) is not None)


def find(word: str, store: Layout, scratch: Path) -> Tuple[Subject, ...]:
    """The subjects of `word`: a path, or a cell of the latest version, whose files are linked into `scratch`."""
    path = Path(word)
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return (_lone(path, store),)
    if "/" in word or path.suffix in (".onnx", ".xml", ".engine", ".plan", ".json"):
        raise UsageError("there is no such file", where=word)
    entry, manifest = cell(word, store)
    if entry.artifact is None:
        raise UsageError(
            f"{word} has no artifact in v{manifest.version}: it is {entry.verdict.status}",
            hint=entry.verdict.reason or None,
        )
    for blob in entry.artifact.files:
        (scratch / blob.name).symlink_to(store.fetch(blob.digest).absolute())
    return (Subject(word, scratch, "", sidecar.read(scratch), entry, manifest.version),)


def cell(word: str, store: Layout) -> Tuple[Entry, Manifest]:
    """The entry of a cell in the latest version.

    Raises UsageError with the nearest names.
    """
    manifest = versions.latest(store)
    if manifest is None:
        raise UsageError(
            f"{word!r} is no file, and {store.root} holds no version to look it up in",
            hint="name a file, or a store with --store DIR",
        )
    entry = manifest.entry(word)
    if entry is None:
        near = difflib.get_close_matches(word, [e.cell for e in manifest.entries], n=3, cutoff=0.4)
        raise UsageError(
            f"{word!r} is neither a file nor a cell of v{manifest.version} in {store.root}",
            hint=f"did you mean: {', '.join(near)}?" if near else "list the cells with: build plan --print-ids",
        )
    return entry, manifest


def _in_folder(folder: Path) -> Tuple[Subject, ...]:
    if (folder / "index.json").is_file():
        raise UsageError(
            "is a store", where=str(folder), hint=f"name a cell of it: build inspect CELL --store {folder}"
        )
    heads = sorted(link.resolve() for link in folder.glob("*/current"))
    placed = [folder] if (folder / "deploy.json").is_file() else heads
    if placed:
        return tuple(subject for place in placed for subject in _pulled(place))
    subject = Subject(str(folder), folder, "", sidecar.read(folder))
    if subject.sidecar is None and not subject.files:
        raise UsageError(
            "holds no artifact: neither artifact.json nor a model",
            where=str(folder),
            hint="name a pulled folder, an artifact's folder or one file",
        )
    return (subject,)


def _pulled(folder: Path) -> List[Subject]:
    manifest = install.described(folder)
    return [
        Subject(e.cell, folder / e.cell, "", sidecar.read(folder / e.cell), e, manifest.version)
        for e in manifest.entries
        if (folder / e.cell).is_dir()
    ]


def _lone(path: Path, store: Layout) -> Subject:
    if path.name == SIDECAR:
        return Subject(str(path.parent), path.parent, "", sidecar.read(path.parent))
    if path.name == "deploy.json":
        raise UsageError("describes a pulled folder", where=str(path), hint=f"build inspect {path.parent}")
    subject = Subject(str(path), path.parent, path.name, sidecar.read(path.parent))
    return subject if subject.sidecar is not None else _looked_up(subject, path, store)


def _looked_up(subject: Subject, path: Path, store: Layout) -> Subject:
    """With the entry of the latest version that holds these very bytes, if any."""
    with contextlib.suppress(StoreDamaged, OSError):
        manifest = versions.latest(store)
        found = digest.of_file(path) if manifest is not None else ""
        for entry in manifest.entries if manifest is not None else ():
            if entry.artifact is not None and any(blob.digest == found for blob in entry.artifact.files):
                return replace(subject, entry=entry, version=manifest.version if manifest else 0)
    return subject


# ------------------------------------------------------------------------------------------- findings


@dataclass(frozen=True)
class Findings:
    """The result for one subject.

    `identity` is from `identified_by`; `problems`: differences of the bytes.
    """

    name: str
    cell: str = ""
    version: int = 0
    verdict: str = ""
    identity: Optional[Sidecar] = None
    identified_by: str = ""
    problems: Tuple[str, ...] = ()
    contents: Tuple[Contents, ...] = ()
    warnings: Tuple[str, ...] = ()


def look(subject: Subject, machine: Machine) -> Findings:
    """Read a subject.

    Raises UsageError or StoreDamaged for a file that is unknown and no artifact.
    """
    identity = subject.identity
    by = SIDECAR if subject.sidecar is not None else f"the manifest of v{subject.version}" if identity else ""
    problems = list(_disagreements(subject, identity, by))
    known = formats.Known()
    if identity is not None and not problems:
        known = formats.Known(identity.platform, identity.compute, identity.profiles)
    contents: List[Contents] = []
    for path in subject.files:
        try:
            contents.append(formats.read(path, path.name, known, machine))
        except DeployError as problem:
            if identity is None:
                raise
            problems.append(f"{path.name}: {problem.what}")
    flags = [flag(_declared(identity, one), one.realised or one.declared) for one in contents]
    entry = subject.entry
    return Findings(
        name=subject.name,
        cell=entry.cell if entry else "",
        version=subject.version,
        verdict=entry.verdict.status if entry else "",
        identity=identity,
        identified_by=by,
        problems=tuple(problems),
        contents=tuple(contents),
        warnings=tuple(said for said in flags if said),
    )


def _declared(identity: Optional[Sidecar], contents: Contents) -> str:
    """The declared precision of the artifact.

    For an unknown file, the one of its graph.
    """
    if identity is not None:
        return identity.precision
    shares = contents.declared.shares() if contents.declared is not None and contents.declared.layers else {}
    return "int8" if shares.get("int8", 0.0) >= MOSTLY else ""


def _disagreements(subject: Subject, identity: Optional[Sidecar], by: str) -> Tuple[str, ...]:
    """Differences of the named file and its weights, or of all files of a folder."""
    if identity is None or (subject.file and subject.sidecar is None):
        return ()  # nothing is known, or it was found by its digest
    stem = subject.file[: -len(".xml")] if subject.file.endswith(".xml") else ""
    only = (subject.file, *([f"{stem}.bin"] if stem else [])) if subject.file else ()
    return sidecar.disagreements(identity, subject.folder, by, only)


# ------------------------------------------------------------------------------------------- text


_FORMATS = {
    "onnx": "ONNX",
    "openvino-ir": "OpenVINO IR",
    "tensorrt-plan": "TensorRT engine",
    "tensorrt-rtx-plan": "TensorRT-RTX engine",
}
_WIDTH = 20
_SHOWN = 10
_UNKNOWN = "nothing beside it says what it was made as, and no manifest here holds these bytes"


def as_text(findings: Findings) -> str:
    named = [findings.name] if findings.name != findings.cell else []
    cell = [f"{findings.cell} of v{findings.version}, {findings.verdict}"] if findings.cell else []
    lines = [": ".join([*named, *cell])]
    if findings.identity is not None:
        lines += _identity(findings.identity, findings)
    else:
        lines.append(_line("identity", _UNKNOWN))
    for contents in findings.contents:
        lines += ["", *_contents(contents)]
    alarms = [*findings.problems, *findings.warnings]
    if alarms:
        lines += ["", *(terminal.wrapped(f"WARNING: {said}", "", hanging=2) for said in alarms)]
    return "\n".join(lines)


def _identity(known: Sidecar, findings: Findings) -> List[str]:
    platform = known.platform
    machine = f"{platform.os} on {platform.arch}"
    machine += f", compute capability {platform.sm}" if platform.sm else ""
    machine += f", GPU {platform.gpu}" if platform.gpu else ""
    machine += f", JetPack {platform.jetpack}" if platform.jetpack else ""
    machine += f", {' '.join(platform.features)}" if platform.features else ""
    rows = [
        ("declared", f"{known.precision}, opened with {known.compute}"),
        ("runtime", f"{platform.runtime} {platform.version}"),
        ("machine", machine),
        ("portability", known.portability),
        *(
            (f"profile {p.name}", "; ".join(_range(r.name, r.min, r.opt, r.max) for r in p.inputs))
            for p in known.profiles
        ),
        ("made from", f"ONNX {known.onnx}"),
        ("made by", f"action {known.action}"),
        ("made with", ", ".join(f"{tool.name} {tool.version}" for tool in known.tools)),
        ("bytes", _bytes(findings)),
    ]
    return [_line(what, said) for what, said in rows if said]


def _bytes(findings: Findings) -> str:
    if findings.problems:
        return f"not as {findings.identified_by} says: see below"
    return f"as {findings.identified_by} says"


def _range(name: str, *shapes: Sequence[int]) -> str:
    return f"{name} " + " .. ".join("x".join(map(str, shape)) for shape in shapes)


def _contents(contents: Contents) -> List[str]:
    rows: List[Tuple[str, str]] = [(fact.name, fact.value) for fact in contents.facts]
    rows += [("input", _tensor(tensor)) for tensor in contents.inputs]
    rows += [("output", _tensor(tensor)) for tensor in contents.outputs]
    if contents.operators:
        total = sum(one.count for one in contents.operators)
        rows.append(("nodes", f"{total}: " + ", ".join(f"{one.count} {one.operator}" for one in contents.operators)))
    if contents.weights:
        total = sum(one.count for one in contents.weights)
        listed = ", ".join(f"{one.count} {one.dtype} ({_size(one.bytes)})" for one in contents.weights)
        rows.append(("constants", f"{total}: {listed}"))
    lines = [f"{contents.file}: {_FORMATS[contents.format]}, {_size(contents.size)}"]
    lines += [_line(what, said) for what, said in rows]
    for word, layers in (("asks for", contents.declared), ("runs", contents.realised)):
        if layers is not None:
            lines += _layers(word, layers)
    return [*lines, *(_line("note", said) for said in contents.notes)]


def _layers(word: str, layers: Layers) -> List[str]:
    """The shares, and the names of layers that are not in int8, or unlike the majority where none is."""
    if not layers.layers:
        return [_line(word, "no convolution and no matrix product")]
    shares = layers.shares()
    counts = {precision: [one for one in layers.layers if one.precision == precision] for precision in shares}
    said = ", ".join(f"{p} {share:.0%} ({terminal.counted(len(counts[p]), 'layer')})" for p, share in shares.items())
    at = f" at {layers.at}" if layers.at else ""
    lines = [_line(word, f"{said} of the {layers.unit}{at}, {layers.source}")]
    usual = "int8" if "int8" in shares else next(iter(shares))
    for precision in shares:
        if precision != usual:
            names = [f"{one.name} ({one.why})" if one.why else one.name for one in counts[precision]]
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(_line(f"  in {precision}", ", ".join(names[:_SHOWN]) + more))
    return lines


def _size(count: int) -> str:
    return terminal.size(count) if count >= 1024 else f"{count} bytes"


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.dtype} [{', '.join(map(str, tensor.shape))}]"


def _line(what: str, said: str) -> str:
    return terminal.wrapped(said, f"  {what.ljust(_WIDTH)}", hanging=_WIDTH + 2)
