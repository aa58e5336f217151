"""The digest of the Python code behind a `module:attr`.

It covers the module and every project module that it imports. Modules are found as files below the matrix's folder and
parsed, never imported, so this takes milliseconds and runs no code. The digest is over syntax trees: comments and
layout do not count. Installed packages are not followed; their versions enter a key as tools. A module of the project
with the name of one of this program is not followed either: Python imports this program's.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from builder import digest
from builder.errors import UsageError

_OURS = Path(__file__).absolute().parent.parent.parent


def of_factory(factory: str, root: Path) -> str:
    """Raises UsageError when the module is not a file below `root` or does not parse."""
    module = factory.partition(":")[0]
    _must_be_found(factory, root)
    trees: Dict[str, digest.Json] = {
        name: digest.of_bytes(ast.dump(tree).encode()) for name, (_, tree) in _reached(module, root).items()
    }
    return digest.of_json(trees)


def files_of(factory: str, root: Path) -> Tuple[Path, ...]:
    """The files of the same modules, relative to `root`, to send to another machine with an action.

    Modules of this program are left out: every machine that performs an action has them.
    """
    module = factory.partition(":")[0]
    if is_our_own(module):
        if find(module, _OURS) is None:
            if find(module, root) is not None:
                raise _taken(module, repr(factory))
            raise UsageError(f"this program has no module {module!r}", where=f"metric {factory!r}")
        return ()
    _must_be_found(factory, root)
    reached = _reached(module, root)
    return tuple(sorted(path.relative_to(root) for name, (path, _) in reached.items() if not is_our_own(name)))


def is_our_own(module: str) -> bool:
    return module.partition(".")[0] in ("builder", "validation")


def rename(module: str) -> str:
    """The hint to rename a module whose name belongs to this program."""
    top = module.partition(".")[0]
    return f"rename {top} beside matrix.yaml, and in every import of it, for example to my_{top}"


def _taken(module: str, where: str) -> UsageError:
    top = module.partition(".")[0]
    return UsageError(
        f"{module} cannot be imported: the name {top} belongs to this program", where=where, hint=rename(module)
    )


def _is_this_program(module: str, root: Path) -> bool:
    """Whether the module below `root` is this program's own, as in a clone."""
    theirs, ours = find(module, root), find(module, _OURS)
    return theirs is not None and ours is not None and theirs.samefile(ours)


def _must_be_found(factory: str, root: Path) -> None:
    module = factory.partition(":")[0]
    if find(module, root) is None:
        raise UsageError(
            f"no module {module!r} below {root}",
            where=repr(factory),
            hint=f"expected {module.replace('.', '/')}.py beside matrix.yaml",
        )
    if is_our_own(module) and not _is_this_program(module, root):
        raise _taken(module, repr(factory))


def _reached(module: str, root: Path) -> Dict[str, Tuple[Path, ast.Module]]:
    """Every module below `root` that importing `module` may run, with its file and syntax tree."""
    found: Dict[str, Tuple[Path, ast.Module]] = {}
    waiting: List[str] = [module]
    while waiting:
        name = waiting.pop()
        if "." in name:
            waiting.append(name.rpartition(".")[0])  # importing a.b.c runs a/__init__.py and a/b/__init__.py
        path = find(name, root)
        if path is None or name in found:
            continue
        if is_our_own(name) and not _is_this_program(name, root):
            if find(name, _OURS) is None:
                raise _taken(name, str(path))
            continue
        found[name] = path, _parse(path)
        waiting.extend(_imports(found[name][1], name, is_package=path.name == "__init__.py"))
    return found


def find(module: str, root: Path) -> Optional[Path]:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as problem:
        raise UsageError(f"does not parse: {problem.msg}", where=f"{path}:{problem.lineno}:{problem.offset}") from None


def _imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Every name that an import in `tree` could mean as a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            start = _absolute(node, module, is_package=is_package)
            yield start
            for alias in node.names:
                yield f"{start}.{alias.name}" if start else alias.name


def _absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".") if is_package else module.split(".")[:-1]
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, node.module] if node.module else parts)
