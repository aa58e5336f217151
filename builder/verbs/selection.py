"""The flags that several verbs share: which matrix, which store, which cells."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Tuple

from builder.config.cells import all_cells, selects
from builder.config.loader import Loaded, load
from builder.config.matrix import Matrix
from builder.errors import UsageError


def add_matrix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m", "--matrix", type=Path, default=Path("matrix.yaml"), metavar="FILE", help="default: matrix.yaml"
    )
    parser.add_argument("--store", type=Path, metavar="DIR", help="default: what the matrix says (artifacts)")
    parser.add_argument(
        "--machines", type=Path, metavar="FILE", help="which machines do the work of which target, instead of `where:`"
    )


def add_selectors(parser: argparse.ArgumentParser) -> None:
    text = "cell ids with * and {a,b}; may be repeated"
    parser.add_argument("--only", action="append", default=[], metavar="CELLS", help=f"only these cells: {text}")
    parser.add_argument("--skip", action="append", default=[], metavar="CELLS", help=f"all but these cells: {text}")


def load_matrix(args: argparse.Namespace) -> Tuple[Loaded, Path]:
    """The loaded matrix and the store's folder."""
    loaded = load(args.matrix, args.machines)
    return loaded, args.store if args.store is not None else loaded.store


def selectors(args: argparse.Namespace, matrix: Matrix) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """(only, skip), each known to select something."""
    for flag, given in (("--only", args.only), ("--skip", args.skip)):
        for selector in given:
            if not any(selects(selector, cell) for cell in all_cells(matrix)):
                raise UsageError(
                    f"{flag} {selector!r} selects no cell", hint="list the cells with: build plan --print-ids"
                )
    return tuple(args.only), tuple(args.skip)


def known_cells(selector: str, matrix: Matrix) -> Tuple[str, ...]:
    """`selector` as (only,), when it selects a cell; else UsageError with the nearest ids."""
    cells = all_cells(matrix)
    if any(selects(selector, cell) for cell in cells):
        return (selector,)
    near = difflib.get_close_matches(selector, [cell.id for cell in cells], n=3, cutoff=0.5)
    hint = f"the nearest: {', '.join(near)}" if near else "list the cells with: build plan"
    raise UsageError(f"{selector!r} is no cell of this matrix", hint=hint)
