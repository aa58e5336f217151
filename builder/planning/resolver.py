"""A symbolic job to an action: every pin becomes a digest, and the place of its file on this disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Tuple

from builder import digest
from builder.actions.action import Action, Result
from builder.config import datasets
from builder.errors import UsageError
from builder.models import code_digest
from builder.planning.jobs import CodeFilesPin, CodePin, FilePin, Job, OutputPin, PhotographPin, Pin
from builder.platforms.machines import Machine
from builder.platforms.platform import Pinned, Tool
from builder.plugins import Store


@dataclass
class Pinner:
    """Remembers what it has hashed: a photograph is read once a run, whoever needs it."""

    root: Path
    machine: Machine
    store: Store
    _digests: Dict[Path, str] = field(default_factory=dict)
    _codes: Dict[str, str] = field(default_factory=dict)
    _code_paths: Dict[str, Tuple[Path, ...]] = field(default_factory=dict)

    def pin(self, job: Job, results: Mapping[str, Result], *, without: str = "") -> Action:
        """The action of `job`, given the results of the jobs it needs; outputs of the job `without` are left out.

        Raises UsageError for a file that is missing or is not the declared one.
        """
        inputs: List[Pinned] = []
        for pin in job.pins:
            if not (isinstance(pin, OutputPin) and pin.job == without):
                inputs.extend(self._pinned(pin, results))
        tools = tuple(Tool(name, self.machine.version(name) or "absent") for name in job.tools)
        return Action(job.recipe, tuple(inputs), tools, job.platform)

    def check(self, jobs: Iterable[Job]) -> None:
        """UsageError for the first file of the person's that is missing, unreadable or not the declared one."""
        for job in jobs:
            for pin in job.pins:
                if not isinstance(pin, OutputPin):
                    self._pinned(pin, {})

    def files(self, job: Job, action: Action) -> Dict[str, Path]:
        """Where each input file of `action` lies. Facts without a file (code) are left out."""
        disk = {pin.name: self._path(pin) for pin in job.pins if isinstance(pin, (FilePin, PhotographPin))}
        for pin in job.pins:
            if isinstance(pin, CodeFilesPin):
                disk.update(self._code_files(pin))
        facts = {pin.name for pin in job.pins if isinstance(pin, CodePin)}
        return {
            pinned.name: disk[pinned.name] if pinned.name in disk else self.store.fetch(pinned.digest)
            for pinned in action.inputs
            if pinned.name not in facts
        }

    def _pinned(self, pin: Pin, results: Mapping[str, Result]) -> Tuple[Pinned, ...]:
        if isinstance(pin, OutputPin):
            made = results[pin.job]
            if pin.output != "*":
                return (Pinned(pin.name, made.output(pin.output).digest),)
            return tuple(Pinned(f"{pin.name}/{blob.name}", blob.digest) for blob in made.opened)
        if isinstance(pin, CodePin):
            if pin.factory not in self._codes:
                self._codes[pin.factory] = code_digest.of_factory(pin.factory, self.root)
            return (Pinned(pin.name, self._codes[pin.factory]),)
        if isinstance(pin, CodeFilesPin):
            return tuple(Pinned(name, self._hash(path)) for name, path in self._code_files(pin))
        found = self._hash(self._path(pin))
        if isinstance(pin, FilePin) and pin.sha256 is not None and found != f"sha256:{pin.sha256}":
            raise UsageError(
                f"its SHA-256 is {found[7:]}, matrix.yaml says {pin.sha256}",
                where=pin.path,
                hint="get the declared file, or write the new digest into matrix.yaml if the change is meant",
            )
        return (Pinned(pin.name, found),)

    def _code_files(self, pin: CodeFilesPin) -> Tuple[Tuple[str, Path], ...]:
        """(input name, path) of each file that travels with the action."""
        if pin.factory not in self._code_paths:
            self._code_paths[pin.factory] = code_digest.files_of(pin.factory, self.root)
        return tuple((f"{pin.name}/{path.as_posix()}", self.root / path) for path in self._code_paths[pin.factory])

    def _path(self, pin: "FilePin | PhotographPin") -> Path:
        if isinstance(pin, PhotographPin):
            return datasets.locate(pin.photographs, pin.file, self.root)
        return self.root / pin.path

    def _hash(self, path: Path) -> str:
        if path not in self._digests:
            try:
                self._digests[path] = digest.of_file(path)
            except OSError as problem:
                raise UsageError(f"cannot be read: {problem.strerror}", where=str(path)) from None
        return self._digests[path]
