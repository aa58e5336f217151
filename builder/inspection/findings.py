"""A subject, looked at: what it was made as, whether its bytes are still those, what is in it, and what is odd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Tuple

from builder.actions.action import SIDECAR
from builder.errors import DeployError
from builder.inspection import formats
from builder.inspection.contents import MOSTLY, Contents, flag
from builder.inspection.subject import Subject
from builder.platforms.machines import Machine
from builder.store import sidecar
from builder.store.sidecar import Sidecar


@dataclass(frozen=True)
class Findings:
    """`identity` is what `identified_by` says; `problems` are where the bytes say otherwise."""

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
    """UsageError or StoreDamaged for a file that is no artifact and of which nothing else is known."""
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
    """The precision that the artifact was made for; of a file of which nothing is known, the one its graph asks for."""
    if identity is not None:
        return identity.precision
    shares = contents.declared.shares() if contents.declared is not None and contents.declared.layers else {}
    return "int8" if shares.get("int8", 0.0) >= MOSTLY else ""


def _disagreements(subject: Subject, identity: Optional[Sidecar], by: str) -> Tuple[str, ...]:
    """Of the named file and the weights that it cannot do without, or of all files of a folder."""
    if identity is None or (subject.file and subject.sidecar is None):
        return ()  # nothing is known, or it was found by its digest
    stem = subject.file[: -len(".xml")] if subject.file.endswith(".xml") else ""
    only = (subject.file, *([f"{stem}.bin"] if stem else [])) if subject.file else ()
    return sidecar.disagreements(identity, subject.folder, by, only)
