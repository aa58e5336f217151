"""Where the photographs named in matrix.yaml lie on this disk. They are found here, not opened."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from builder.errors import UsageError
from builder.matrix import Photographs


def locate(photographs: Photographs, file: str, root: Path) -> Path:
    """UsageError when the package is not installed or the file is not there."""
    folder = _package_folder(photographs.package) if photographs.package else root
    path = folder / photographs.folder / file
    if not path.is_file():
        raise UsageError(
            f"no photograph {file!r}", where=str(path.parent), hint="correct `files:` or `folder:` in matrix.yaml"
        )
    return path


def _package_folder(package: str) -> Path:
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        distribution = {"skimage": "scikit-image"}.get(package, package)
        raise UsageError(
            f"the package {package!r}, which ships the photographs, is not installed",
            hint=f"pip install {distribution}",
        )
    return Path(next(iter(spec.submodule_search_locations)))
