"""Is a version whole, and signed by those who are trusted? Every file is read again, and every problem is found, not only the
first. Of a store, of a place outside, and of what a host has placed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from builder import files
from builder.errors import DeployError, StoreDamaged, Unreachable, Untrusted
from builder.host import install
from builder.platforms.platform import Blob
from builder.plugins import Repository
from builder.store import attestations, oci, referrers, versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest
from builder.store.oci import OCTETS, Descriptor
from builder.trust.keyring import MOST_SIGNATURES, Keyring, SignatureProof, proven

# The signed manifest beside what was placed: manifest.json as it was signed, and its signatures as files of minisign.
#
# deploy.json says what was placed, and nobody signed it; with these it can be held against what was. Any host can do so without
# the store: `build verify --pulled`, or `minisign -Vm manifest.json -x manifest.json.KEY.minisig`.


MANIFEST, _SIGNATURE = "manifest.json", "manifest.json.{}.minisig"
_MOST_BYTES = 256 << 20
_MOST_TEXT = 4096


def write(folder: Path, store: Layout, version: int) -> None:
    """Keep the manifest of `version` and its signatures in a placed folder; what is there already is left alone."""
    wanted: Dict[str, bytes] = {MANIFEST: store.read(versions.manifest_digest(store, version))}
    for number, text in enumerate(referrers.signatures_of(store, version)[:MOST_SIGNATURES], 1):
        wanted[_SIGNATURE.format(number)] = text.encode()
    for stale in {path.name for path in folder.glob(_SIGNATURE.format("*"))} - set(wanted):
        (folder / stale).unlink()
    for name, data in wanted.items():
        with contextlib.suppress(OSError):
            if (folder / name).read_bytes() == data:
                continue
        files.write(folder / name, data)


def read(folder: Path) -> Optional[Tuple[bytes, Tuple[str, ...]]]:
    """(the manifest's bytes, its signatures); None where they were not kept."""
    path = folder / MANIFEST
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    texts = (
        found.read_bytes().decode("utf-8", errors="replace")
        for found in sorted(folder.glob(_SIGNATURE.format("*")))[:MOST_SIGNATURES]
        if found.stat().st_size <= _MOST_TEXT
    )
    return path.read_bytes(), tuple(texts)


_PIECE = 1 << 20
NOBODY = "nobody is trusted here, so its maker is not known"


@dataclass(frozen=True)
class Problem:
    """`code` is the exit code of its kind."""

    what: str
    where: str = ""
    hint: str = ""
    code: int = StoreDamaged.exit_code

    def __str__(self) -> str:
        return f"{f'{self.where}: ' if self.where else ''}{self.what}"


@dataclass(frozen=True)
class Found:
    """`files` were read again; `said` is who signed, and whatever else was found to be right."""

    version: int
    where: str
    files: int = 0
    said: Tuple[str, ...] = ()
    problems: Tuple[Problem, ...] = ()

    @property
    def code(self) -> int:
        """0 when it is whole; else that of damage, which weighs more than a missing signature."""
        return min((problem.code for problem in self.problems), default=0)


@dataclass(frozen=True)
class Judge:
    """`least`: so many signatures are asked for."""

    ring: Keyring
    least: int = 1

    def proven(
        self, data: bytes, texts: Tuple[str, ...], version: int, where: str
    ) -> Tuple[Optional[SignatureProof], List[Problem]]:
        """The proof that `data` is `version`, None where nobody is trusted or it cannot be proven."""
        if not self.ring:
            return None, []
        try:
            hint = f"where it was built: build sign --version {version} --key FILE"
            what = f"v{version}"
            return proven(data, texts, self.ring, what=what, where=where, hint=hint, least=self.least), []
        except Untrusted as problem:
            return None, [_as_problem(problem)]


def of_store(
    store: Layout, version: int, judge: Judge, where: str, read: Optional[Callable[[Blob], str]] = None
) -> Found:
    """A version in `store`; its artifacts are read by `read` (size and digest to what is wrong), or from the store too."""
    problems: List[Problem] = []
    data = store.read(versions.manifest_digest(store, version))
    proof, wrong = judge.proven(data, referrers.signatures_of(store, version), version, where)
    problems += wrong
    try:
        manifest = versions.parsed(store, version, data)
    except StoreDamaged as problem:
        return Found(version, where, 0, (), (*problems, _as_problem(problem)))
    count = 0
    check = read or (lambda blob: _in_store(store, blob))
    for about, blob in _files(manifest):
        wrong_with = check(blob)
        count += 1
        if wrong_with:
            problems.append(Problem(f"{blob.name} of {about} is not what the manifest says: {wrong_with}", where))
    problems += list(_objects(store, manifest, where))
    said = [str(proof)] if proof else [NOBODY] if not judge.ring else []
    stated, wrong = _attested(store, version, manifest, judge, where)
    return Found(version, where, count, (*said, *stated), (*problems, *wrong))


def of_folder(folder: Path, judge: Judge) -> Found:
    """What was placed in `folder`: files against deploy.json, and that against the signed manifest."""
    where, kept = str(folder), read(folder)
    try:
        placed = install.described(folder)
        names = list(install.contents(placed.entries))
    except DeployError as problem:
        return Found(0, where, 0, (), (_as_problem(problem),))
    problems: List[Problem] = []
    said: List[str] = []
    if kept is None:
        needed = Untrusted.exit_code if judge.ring else StoreDamaged.exit_code
        problems.append(Problem("its signed manifest is not here", where, "run `build pull` again", needed))
    else:
        proof, wrong = judge.proven(kept[0], kept[1], placed.version, where)
        said += [str(proof)] if proof else [NOBODY] if not judge.ring else []
        problems += [*wrong, *_against_manifest(placed, kept[0], where)]
    for path, blob in names:
        wrong_with = _on_disk(folder / path, blob)
        if wrong_with:
            hint = "run `build pull` again"
            problems.append(Problem(f"{path} is not what was placed: {wrong_with}", where, hint))
    known = {path for path, _ in names}
    for entry in placed.entries:
        for stray in sorted((folder / entry.cell).rglob("*")):
            name = str(stray.relative_to(folder))
            if not stray.is_dir() and name not in known:
                problems.append(Problem(f"{name} is no file of the version", where, f"delete it: {stray}"))
    return Found(placed.version, where, len(names), tuple(said), tuple(problems))


def from_place(place: Repository) -> Callable[[Blob], str]:
    """Reads a file of a place outside and keeps nothing of it."""

    def read(blob: Blob) -> str:
        sha, count = hashlib.sha256(), 0
        try:
            with place.stream(Descriptor(OCTETS, blob.digest, blob.size)) as stream:
                for piece in stream.pieces:
                    sha.update(piece)
                    count += len(piece)
                    if count > blob.size:
                        return f"it has more than its {blob.size:,} bytes"
        except (StoreDamaged, Unreachable) as problem:
            return problem.what
        return _wrong(count, f"sha256:{sha.hexdigest()}", blob)

    return read


def _files(manifest: Manifest) -> Iterator[Tuple[str, Blob]]:
    """(cell, file) of every file that hosts are given, each once."""
    seen = set()
    for entry in manifest.entries:
        golden = (entry.golden.sample,) if entry.golden else ()
        for blob in (*(entry.artifact.files if entry.artifact else ()), *golden):
            if blob not in seen:
                seen.add(blob)
                yield entry.cell, blob


def _objects(store: Layout, manifest: Manifest, where: str) -> Iterator[Problem]:
    """What other programs copy by: the OCI objects of artifacts name the same files as the manifest. One that was not
    brought from a place outside is not looked at."""
    for entry in manifest.entries:
        artifact = entry.artifact
        if artifact is None or not store.holds(artifact.digest):
            continue
        try:
            layers = oci.as_list(oci.load(store, artifact.digest).get("layers"))
            named = [oci.digest_of(layer) for layer in layers]
        except StoreDamaged as problem:
            yield _as_problem(problem)
            continue
        if named != [blob.digest for blob in artifact.files]:
            yield Problem(f"the OCI object of {entry.cell} names other files than the manifest", where)


def _attested(
    store: Layout, version: int, manifest: Manifest, judge: Judge, where: str
) -> Tuple[List[str], List[Problem]]:
    """An attached in-toto statement is about this version, and signed by someone trusted here if anyone is."""
    name = f"v{version}.intoto"
    try:
        data = referrers.statements_of(store, version, "intoto")
        if data is None:
            return [], []
        payload, kind, by = attestations.open_envelope(data, judge.ring.keys, name)
        about = attestations.slsa_problems(payload, manifest, versions.manifest_digest(store, version))
    except StoreDamaged as problem:
        return [], [_as_problem(problem)]
    if kind != attestations.IN_TOTO or about:
        return [], [Problem(f"{name}: {about or f'it is a {kind}'}", where, "build attest --attach --key FILE")]
    if judge.ring and not by:
        hint = "build attest --attach --key FILE"
        return [], [Problem(f"{name} is not signed by anyone trusted here", where, hint, Untrusted.exit_code)]
    signed = f", signed by {' and '.join(map(str, by))}" if by else ""
    return [f"{name} is about it{signed}"], []


def _against_manifest(placed: Manifest, data: bytes, where: str) -> Iterator[Problem]:
    try:
        manifest = versions.in_bytes(data)
    except StoreDamaged as problem:
        yield _as_problem(dataclasses.replace(Problem(problem.what, where)))
        return
    bare = dataclasses.replace(manifest, entries=())
    if bare != dataclasses.replace(placed, entries=()):
        yield Problem("deploy.json says other things of the version than its manifest", where, "run `build pull` again")
    for entry in placed.entries:
        if manifest.entry(entry.cell) != entry:
            hint = "run `build pull` again"
            yield Problem(f"deploy.json says other things of {entry.cell} than the manifest", where, hint)


def _in_store(store: Layout, blob: Blob) -> str:
    try:
        return _on_disk(store.fetch(blob.digest), blob)
    except StoreDamaged as problem:
        return problem.what


def _on_disk(path: Path, blob: Blob) -> str:
    if not path.is_file():
        return "it is missing"
    size = path.stat().st_size
    if size != blob.size:
        return _wrong(size, "", blob)
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in iter(lambda: stream.read(_PIECE), b""):
            sha.update(piece)
    return _wrong(size, f"sha256:{sha.hexdigest()}", blob)


def _wrong(size: int, found: str, blob: Blob) -> str:
    """Empty when size and digest are those of `blob`."""
    if size != blob.size:
        return f"it has {size:,} bytes instead of {blob.size:,}"
    return "" if found == blob.digest else f"it has the digest {found}"


def _as_problem(problem: "DeployError | Problem") -> Problem:
    if isinstance(problem, Problem):
        return problem
    return Problem(problem.what, problem.where or "", problem.hint or "", problem.exit_code)
