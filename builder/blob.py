"""The nouns that hosts and builds share: files by content, and what an artifact depends on.

Apart from builder/action.py, so that a host that pulls need not load every recipe of a build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple


@dataclass(frozen=True)
class Platform:
    """All that an artifact depends on outside its inputs. `gpu` is a canonical name of a GPU model (builder/gpu_model.py),
    None where any of compute capability `sm` will do."""

    runtime: str
    version: str
    os: str
    arch: str
    sm: Optional[str] = None
    jetpack: Optional[str] = None
    features: Tuple[str, ...] = ()
    gpu: Optional[str] = None


@dataclass(frozen=True)
class Pinned:
    """`name` is the path of the file in the step's input folder; a name without a file is a fact (code, ...)."""

    name: str
    digest: str


@dataclass(frozen=True)
class Tool:
    name: str
    version: str


@dataclass(frozen=True)
class Blob:
    """A file made by a step, by content."""

    name: str
    digest: str
    size: int

    @property
    def is_plain(self) -> bool:
        """Is the name one part, that hides nothing? It becomes a file's, wherever it comes from."""
        plain = bool(self.name) and "/" not in self.name and not self.name.startswith(".") and self.name.isprintable()
        return plain and len(self.name.encode()) < 250
