"""The photographs of matrix.yaml on this disk: their paths, patterns and draws.

Files are found, not opened.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import List, Optional

from builder.config.matrix import Calibration, Matrix, Photographs
from builder.errors import UsageError
from builder.records import KeyPath as RecordPath
from builder.records import RecordError


def locate(photographs: Photographs, file: str, root: Path) -> Path:
    """UsageError when the package is not installed or the file is not there."""
    folder = _package_folder(photographs.package) if photographs.package else root
    path = folder / photographs.folder / file
    if not path.is_file():
        raise UsageError(
            f"no photograph {file!r}", where=str(path.parent), hint="correct `files:` or `folder:` in matrix.yaml"
        )
    return path


def declared(matrix: Matrix, root: Path) -> Matrix:
    """`matrix` with patterns expanded to file names, and the calibration's draw made.

    Raises RecordError for a pattern without a match, or a draw of more files than there are.
    """
    parity = replace(
        matrix.parity, photographs=_written_out(matrix.parity.photographs, root, ("parity", "photographs"))
    )
    tasks = tuple(replace(t, data=_written_out(t.data, root, ("tasks", t.name, "data"))) for t in matrix.tasks)
    return replace(matrix, parity=parity, tasks=tasks, calibration=_drawn(matrix.calibration, root))


def _drawn(chosen: Optional[Calibration], root: Path) -> Optional[Calibration]:
    if chosen is None or chosen.photographs is None:
        return chosen
    all_of = _written_out(chosen.photographs, root, ("calibration", "photographs"))
    if chosen.count is not None and chosen.count > len(all_of.files):
        raise RecordError(
            ("calibration", "count"), f"{chosen.count} of {len(all_of.files)} photographs cannot be drawn"
        )
    return replace(chosen, photographs=all_of if chosen.count is None else draw(all_of, chosen.count, chosen.seed))


def draw(all_of: Photographs, count: int, seed: int) -> Photographs:
    """`count` of them, in their order: all when there are no more."""
    if count >= len(all_of.files):
        return all_of
    import random  # here, since it loads hashes and statistics that a plan has no use for

    places = sorted(random.Random(seed).sample(range(len(all_of.files)), max(count, 0)))
    return replace(all_of, files=tuple(all_of.files[place] for place in places))


def undrawn(matrix: Matrix, root: Path) -> Optional[Photographs]:
    """The photographs that a calibration draws from.

    None without one. For a matrix before `declared`.
    """
    chosen = matrix.calibration
    if chosen is None or chosen.photographs is None:
        return None
    return _written_out(chosen.photographs, root, ("calibration", "photographs"))


def _written_out(photographs: Photographs, root: Path, path: RecordPath) -> Photographs:
    if not any("*" in file for file in photographs.files):
        return photographs
    folder = (_package_folder(photographs.package) if photographs.package else root) / photographs.folder
    names: List[str] = []
    for i, file in enumerate(photographs.files):
        found = (
            sorted(p.relative_to(folder).as_posix() for p in folder.glob(file) if p.is_file())
            if "*" in file
            else [file]
        )
        if not found:
            raise RecordError((*path, "files", i), f"no file in {folder} matches {file!r}", wrong=file)
        names += [name for name in found if name not in names]
    return replace(photographs, files=tuple(names))


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
