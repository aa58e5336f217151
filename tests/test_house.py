"""Rules checked on the source itself: the order of rooms, heavy imports, sizes, names, errors.

docs/decisions/0025-rooms.md has the reasons. The order itself is the contract of import-linter in pyproject.toml.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
from pathlib import Path
from typing import Dict, Iterator, Set, Tuple

import pytest

from builder import errors
from tests.fakes import REPOSITORY

FILES = sorted([*(REPOSITORY / "builder").rglob("*.py"), *(REPOSITORY / "validation").rglob("*.py")])


def _module(path: Path) -> str:
    name = str(path.relative_to(REPOSITORY).with_suffix("")).replace(os.sep, ".")
    return name[: -len(".__init__")] if name.endswith(".__init__") else name


MODULES = {_module(path): path for path in FILES}


@functools.lru_cache(maxsize=None)
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------- rooms

ROOMS = re.findall(
    r'^  "([^"]+)",$', (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8").partition("\nlayers = [")[2], re.M
)


def _names(tree: ast.AST) -> Iterator[str]:
    """Everything imported, at any depth: `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used here"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def test_imports_point_one_way_between_rooms() -> None:
    """What `lint-imports` says, and why an import is wrong, it says at length on the command line."""
    pytest.importorskip("importlinter")
    from importlinter import cli

    assert (
        cli.lint_imports(config_filename=str(REPOSITORY / "pyproject.toml"), no_cache=True) == cli.EXIT_STATUS_SUCCESS
    )


def test_the_contract_names_every_room() -> None:
    named = {room for layer in ROOMS for room in layer.split(" | ")}
    there = {module for module in MODULES if module.count(".") == 1 and module.startswith("builder.")} | {"validation"}
    assert named == there


# ------------------------------------------------------------------------------------------- heavy imports

# What takes long to import, or is not installed everywhere, and the rooms that may import it.
HEAVY: Dict[str, str] = {
    "torch": "models",
    "onnx": "inspection models steps",
    "onnxruntime": "inspection runtimes",
    "onnxsim": "steps",
    "openvino": "inspection runtimes",
    "polygraphy": "inspection runtimes validation",
    "tensorrt": "",
    "tensorrt_rtx": "runtimes",
    "cv2": "models validation",
    "numpy": "cli host models plugins runtimes steps validation",
    "nats": "execution",
    "boto3": "store",
    "botocore": "store",
    "nacl": "execution trust",
    "shtab": "cli",
    "yaml": "config",
    "packaging": "platforms",
    "tomli": "platforms",
    "rich": "cli",
    "jinja2": "audit execution",
    "safetensors": "models",
}


def _room(module: str) -> str:
    return module.split(".")[0] if module.startswith("validation") else module.split(".")[1]


@pytest.mark.parametrize("package", HEAVY)
def test_only_these_rooms_import(package: str) -> None:
    found = {_room(m) for m in MODULES if any(name.split(".")[0] == package for name in _names(_tree(m)))}
    assert found == set(HEAVY[package].split())


def test_nothing_else_is_imported() -> None:
    """The standard library and the packages above: a new dependency is a line in a table, seen in review."""
    allowed = {*HEAVY, "builder", "validation", *_standard()}
    found = {name.split(".")[0] for module in MODULES for name in _names(_tree(module))}
    assert found <= allowed, sorted(found - allowed)


def _standard() -> Set[str]:
    names = getattr(sys, "stdlib_module_names", None)  # from Python 3.10 on
    if names is None:
        pytest.skip("this Python does not list its standard library")
    return set(names)


# ------------------------------------------------------------------------------------------- sizes and names

LONGEST_FILE, LONGEST_FUNCTION = 500, 60
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_small_and_named_for_a_thing(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    assert module.rsplit(".", 1)[-1] not in VAGUE
    assert ast.get_docstring(_tree(module)), "a module docstring says what the file is"
    for node in ast.walk(_tree(module)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (getattr(node, "end_lineno", None) or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("module", MODULES)
def test_a_broad_except_says_why(module: str) -> None:
    for number, line in enumerate(MODULES[module].read_text(encoding="utf-8").splitlines(), 1):
        assert not re.match(r"\s*except\s*:", line), f"line {number}: bare except"
        if re.match(r"\s*except (Exception|BaseException)\b", line):
            assert re.search(r":\s+# \S+", line), f"line {number}: a broad except needs a comment on its line"


@pytest.mark.parametrize("module", MODULES)
def test_no_global_is_changed(module: str) -> None:
    assert not [node for node in ast.walk(_tree(module)) if isinstance(node, ast.Global)]


# ------------------------------------------------------------------------------------------- errors

TREE = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, Exception)}
# Inside the program only; each is caught and given a place by its caller.
INNER = {"Dropped", "RecordError", "YamlProblem", "Stopped"}
OTHERS: Dict[str, Set[str]] = {
    # their docstrings say so; callers add the place, and of signing's two it would be a bug of ours
    "ValueError": {
        "builder.config.contract",
        "builder.store.channels",
        "builder.clock",
        "builder.files",
        "builder.platforms.tables",
        "builder.platforms.versions",
        "builder.trust.key_statements",
        "builder.config.remote_machines",
        "builder.trust.minisign",
        "builder.digest",
        "builder.execution.fleet.messages",
    },
    "OSError": {"builder.execution.ssh.boot"},  # nothing of ours is there yet, and it catches it itself
    "TypeError": {"builder.records"},  # a record that has no JSON form is a bug of ours
    "ArgumentTypeError": {
        "builder.cli.commands.bench",
        "builder.cli.commands.pull",
        "builder.cli.commands.run",
        "builder.cli.commands.matrix",
        "builder.cli.commands.calibrate",
        "builder.cli.commands.report",
        "builder.cli.flags",
        "builder.cli.commands.worker",
    },  # argparse's own protocol
    "Error": {"builder.execution.fleet.broker"},  # the library's own protocol: who raises it makes no connection
    "HTTPException": {
        "builder.store.http.wire"
    },  # the library's own protocol: its callers catch what reading may raise
    "KeyboardInterrupt": {"builder.cli"},
    "AttributeError": {"builder.host"},  # the protocol of a module's __getattr__ (PEP 562)
    "SystemExit": {
        "builder.cli.__main__",
        "builder.host.bench",
        "builder.cli",
        "builder.host.prove",
        "builder.execution.worker",
    },
}


def _raised(module: str) -> Iterator[Tuple[str, int]]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")
            if name[:1].isupper():
                yield name, node.lineno


@pytest.mark.parametrize("module", MODULES)
def test_what_is_raised_comes_from_the_tree(module: str) -> None:
    for name, line in _raised(module):
        allowed = name in TREE or name in INNER or module in OTHERS.get(name, ())
        assert allowed, f"{module}:{line} raises {name}"


def test_exit_codes_are_distinct_and_documented() -> None:
    codes = {name: cls.exit_code for name, cls in TREE.items() if name != "DeployError"}
    assert len(set(codes.values())) == len(codes), codes
    assert not {0, 1, 130} & set(codes.values()), "these mean done, a bug of ours, an interrupt"
    for name, code in codes.items():
        assert re.search(rf"\b{name}\s+{code}\b", errors.__doc__ or ""), f"{name} {code} is not in the drawing"
        assert issubclass(TREE[name], errors.DeployError)


# ------------------------------------------------------------------------------------------- the oldest Python


@pytest.mark.parametrize("path", [p for p in FILES if "sources" not in p.parts], ids=lambda p: _module(p))
def test_the_syntax_is_that_of_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
