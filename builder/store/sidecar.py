"""artifact.json: the facts that identify an artifact, in a file beside it.

The engine step writes it, and every host gets it with the artifact. It has no time, machine or path, so two builds of
one action differ only in the digests of the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Optional, Tuple

from builder import digest
from builder.actions.action import BY_PRODUCTS, SIDECAR, Action
from builder.actions.recipes import Engine
from builder.config.contract import Compute, Profile
from builder.errors import StepFailed, StoreDamaged
from builder.platforms import dialects
from builder.platforms.platform import Blob, Platform, Tool
from builder.records import KEYED, RecordError, from_json, to_json

_GRAPH = "model.onnx"


@dataclass(frozen=True)
class Sidecar:
    """Facts of an artifact.

    `onnx`: digest of its graph. `action`: key of the action that built it. `portability`: on which other machines a
    TensorRT engine loads; empty for other runtimes.
    """

    schema: Literal[1]
    precision: str
    compute: Compute
    platform: Platform
    profiles: Tuple[Profile, ...] = field(metadata=KEYED)
    onnx: str
    action: str
    tools: Tuple[Tool, ...] = field(metadata=KEYED)
    files: Tuple[Blob, ...]
    portability: str = ""


def described(action: Action, files: Tuple[Blob, ...]) -> Sidecar:
    """The sidecar of an engine action with the output `files`."""
    recipe, platform = action.recipe, action.platform
    if not isinstance(recipe, Engine) or platform is None:
        raise StepFailed("an engine action needs an engine recipe and a platform")
    tensorrt = platform.runtime.startswith("tensorrt")
    return Sidecar(
        schema=1,
        precision=recipe.precision,
        compute=recipe.compute,
        platform=platform,
        profiles=recipe.profiles,
        onnx=next((pinned.digest for pinned in action.inputs if pinned.name == _GRAPH), ""),
        action=action.key,
        tools=action.tools,
        files=files,
        portability=dialects.portability(recipe.tensorrt, platform.runtime) if tensorrt else "",
    )


def text(sidecar: Sidecar) -> str:
    return json.dumps(to_json(sidecar), indent=1, ensure_ascii=False) + "\n"


def write(action: Action, out: Path) -> None:
    """Describe the files in `out`, where an engine step has just written them."""
    names = sorted(p.name for p in out.iterdir() if p.is_file() and p.name not in (*BY_PRODUCTS, SIDECAR))
    files = tuple(Blob(name, digest.of_file(out / name), (out / name).stat().st_size) for name in names)
    (out / SIDECAR).write_text(text(described(action, files)), encoding="utf-8")


def read(folder: Path) -> Optional[Sidecar]:
    """The sidecar in `folder`; None for none. Raises StoreDamaged."""
    path = folder / SIDECAR
    if not path.is_file():
        return None
    try:
        return from_json(Sidecar, json.loads(path.read_bytes()))
    except (ValueError, RecordError) as problem:
        raise StoreDamaged(
            f"does not read: {problem}",
            where=str(path),
            hint="it is damaged, or from a newer deploymatrix; without it, name the file itself",
        ) from None


def disagreements(sidecar: Sidecar, folder: Path, by: str, only: Tuple[str, ...] = ()) -> Tuple[str, ...]:
    """How the files (those in `only`, when given) differ from the sidecar.

    Empty when they match.
    """
    found = []
    for blob in sidecar.files:
        path = folder / blob.name
        if (only and blob.name not in only) or blob.name == SIDECAR:
            continue
        if not path.is_file():
            found.append(f"{blob.name} is missing")
        elif path.stat().st_size != blob.size:
            found.append(f"{blob.name} has {path.stat().st_size} bytes, {by} says {blob.size}")
        elif digest.of_file(path) != blob.digest:
            found.append(f"{blob.name} has the digest {digest.of_file(path)}, {by} says {blob.digest}")
    known = {blob.name for blob in sidecar.files}
    return (*found, *(f"{by} does not speak of {name}" for name in only if name not in known))
