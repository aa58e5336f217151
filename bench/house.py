"""The size and the shape of the code: what the structure is held to, counted from the source.

    python bench/house.py [--json]

Statements and characters are counted without docstrings, comments and imports (imports do count as statements), so that
explaining a thing costs nothing. `up` counts imports from a room to one that stands after it in the contract of
`pyproject.toml`, `cycles` the groups of rooms that import each other. The standard library only; nothing is imported.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import tokenize
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

ROOT = Path(__file__).parent.parent
PACKAGES = ("builder", "validation")
SMALL, WIDE = 60, 120
# What the structure was rebuilt for: at most this many.
GOALS = {
    "statements": 19_000,
    "characters": 780_000,
    "modules": 210,
    "flat modules": 8,
    "files under 60 lines": 15,
    "lines over 120 characters": 0,
    "class names defined twice": 3,
    "imports that point up": 0,
    "cycles of rooms": 0,
}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def size(text: str) -> Tuple[int, int]:
    """(statements, characters) of one module."""
    tree = ast.parse(text)
    statements, skipped = 0, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            docstring = (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            )
            if docstring or isinstance(node, (ast.Import, ast.ImportFrom)):
                skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            statements += not docstring
    layout = (tokenize.COMMENT, tokenize.INDENT, tokenize.NEWLINE, tokenize.NL)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return statements, sum(len(t.string) for t in tokens if t.type not in layout and t.start[0] not in skipped)


def layers() -> List[List[str]]:
    """The rooms of the contract, top layer first: a room imports those after it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^layers = \[(.*?)^\]", text, re.S | re.M)
    return [re.findall(r"[\w.]+", line) for line in re.findall(r'"([^"]+)"', block.group(1))] if block else []


def room_imports() -> Dict[str, Set[str]]:
    """What each room imports of the others, at any depth of the code but not for types alone."""
    rooms = {room for layer in layers() for room in layer}

    def room_of(module: str) -> str:
        parts = module.split(".")
        found = [".".join(parts[:i]) for i in range(len(parts), 0, -1) if ".".join(parts[:i]) in rooms]
        return found[0] if found else ""

    imported: Dict[str, Set[str]] = {}
    for path in sources():
        own = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and id(node) not in for_types:
                for alias in node.names:
                    other = room_of(f"{node.module}.{alias.name}")
                    if own and other and other != own:
                        imported.setdefault(own, set()).add(other)
    return imported


def cycles(imported: Dict[str, Set[str]]) -> List[Set[str]]:
    """Groups of rooms each of which reaches all others."""

    def reached(start: str) -> Set[str]:
        found: Set[str] = set()
        waiting = [start]
        while waiting:
            for other in imported.get(waiting.pop(), set()) - found:
                found.add(other)
                waiting.append(other)
        return found

    reach = {room: reached(room) for room in imported}
    groups = [{other for other in reach[room] if room in reach.get(other, set())} for room in imported]
    return [group for index, group in enumerate(groups) if group and group not in groups[:index]]


def figures() -> Dict[str, int]:
    texts = {path: path.read_text(encoding="utf-8") for path in sources()}
    sizes = [size(text) for text in texts.values()]
    classes = Counter(
        node.name for text in texts.values() for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)
    )
    order = {room: place for place, layer in enumerate(layers()) for room in layer}
    imported = room_imports()
    return {
        "statements": sum(statements for statements, _ in sizes),
        "characters": sum(characters for _, characters in sizes),
        "lines": sum(text.count("\n") for text in texts.values()),
        "modules": len(texts),
        "flat modules": sum(path.parent == ROOT / "builder" for path in texts),
        "files under 60 lines": sum(
            path.name != "__init__.py" and text.count("\n") < SMALL for path, text in texts.items()
        ),
        "lines over 120 characters": sum(len(line) > WIDE for text in texts.values() for line in text.splitlines()),
        "class names defined twice": sum(count > 1 for name, count in classes.items() if not name.startswith("_")),
        "imports that point up": sum(
            order[other] <= order[room] for room, others in imported.items() for other in others
        ),
        "cycles of rooms": len(cycles(imported)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="as JSON")
    found = figures()
    if parser.parse_args().json:
        print(json.dumps(found, indent=1))
        return
    print("| | counted | at most |\n|---|---|---|")
    for name, number in found.items():
        print(f"| {name} | {number:,} | {format(GOALS[name], ',') if name in GOALS else '-'} |")


if __name__ == "__main__":
    main()
