"""The rules of the house, checked on the source itself: layers, heavy imports, sizes, names, errors.

`shared/design/house.md` has the reasons. Where a file may do what others may not, it is named in a table here.
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


# ------------------------------------------------------------------------------------------- layers

LAYERS: Dict[int, str] = {
    0: "atomic attest audit backends benchmark blob byte_size choosing ci compat consistent detect drawing errors "
    "executors fleet hosting http inspection leash locks openvino_layers release remote report "
    "repositories search setting shapes signing sources steps stores text transfers trusting verbs compat.tables "
    "detect.gpu detect.probe hosting.following http.patience remote.parcel remote.watch report.axes report.plot "
    "search.strategy transfers.meter validation.homography",
    1: "cli clock digest tensorrt_words compat.cuda compat.jetpack compat.onnxruntime_gpu compat.precision compat.rtx "
    "compat.tensorrt detect.libcuda detect.nvidia_smi detect.nvml detect.packages detect.processor "
    "detect.surroundings hosting.placed http.address signing.minisign transfers.pace validation.keypoints "
    "validation.light validation.samples",
    2: "code_digest descriptor manifest_upgrade onnx_parser record strict_json detect.jetson detect.nvidia "
    "http.logins http.proxies remote.framing transfers.copies trusting.keyring verbs.completion verbs.transferring",
    3: "budget channel contract drift_limits facts gates measurements reach tensorrt_options yaml_marks "
    "attest.envelope consistent.expect fleet.sealing fleet.settings hosting.freshness http.problems http.wire "
    "inspection.contents trusting.key_statement",
    4: "campaign evidence fact_file gpu_model keypoints onnx_file portrait preprocess searched site sweep yaml_file "
    "compat.dialects fleet.broker hosting.pull_memory http.reply inspection.engine_layers inspection.engine_plan "
    "inspection.openvino_ir remote.ssh_words trusting.key_changes trusting.key_memory validation.comparison "
    "validation.comparison validation.timing",
    5: "manifest matrix provenance sweep_grid fleet.mail fleet.presence fleet.taking http.client "
    "inspection.onnx_graph remote.site_lock search.words steps.fold_norms steps.placement validation.comparison",
    6: "cells merge photographs recipes revision schema attest.materials choosing.accuracy choosing.tiers "
    "compat.install consistent.consistency_gates hosting.proof http.challenge inspection.ranges "
    "inspection.session_graph report.margins validation.verdict builder.audit.history validation.verdict "
    "validation.verdict",
    7: "action calibration_study jobs places attest.bill attest.slsa backends.tensorrt_build ci.pipeline compat.asked "
    "consistent.consistency_drift consistent.consistency_sweep consistent.reachable hosting.apart report.overview "
    "repositories.registry_access builder.audit.drift_limits builder.audit.history validation.verdict builder.audit.ledger "
    "validation.verdict validation.worst_case verbs.schema",
    8: "abilities calibration_table fitness inventory placing seams sidecar sweep_table worker choosing.fits "
    "ci.rendering compat.gpu_rules compat.graph_rules compat.native_rules compat.precision_rules "
    "consistent.consistency drawing.draw_source fleet.queues inspection.reading remote.messages report.cells "
    "report.speed repositories.registry_upload steps.emulate_fp16 steps.lower_fp16 steps.lower_opset steps.parse "
    "stores.layout builder.audit.ledger builder.audit.causes",
    9: "crew load onnx_session pinning backends.openvino_cpu backends.tensorrt_native backends.tensorrt_rtx "
    "benchmark.bench_worker choosing.choose compat.rules drawing.draw_measurements drawing.draw_sweep "
    "executors.local fleet.words hosting.pool hosting.pull remote.cache remote.link repositories.registry "
    "sources.torch_module steps.cost steps.engine steps.export steps.reference steps.sweep_reference "
    "steps.worst_case stores.claims stores.oci stores.ongoing transfers.transfer builder.audit.causes "
    "validation.parity validation.task",
    10: "gate_words audit.phrases backends.onnxruntime_cpu backends.onnxruntime_cuda benchmark.bench_record "
    "benchmark.benching choosing.choice_words compat.alternatives drawing.draw executors.ssh fleet.book fleet.roll "
    "hosting.prove hosting.selftest remote.workbench sources.onnx_file steps.calibrate "
    "steps.calibration_data steps.latency steps.parity steps.simplify steps.sweep steps.task steps.task_cases "
    "steps.task_reference stores.reach stores.tags builder.audit.ledger validation.keypoint_tasks verbs.ci "
    "verbs.selection",
    11: "difference plan audit.junit audit.markdown audit.plain benchmark.bench_words drawing.draw_layers "
    "fleet.coordinator fleet.station hosting.opened remote.serve report.drift steps.shifts stores.by_path "
    "stores.folder stores.statements stores.versions verbs.doctor verbs.fleet",
    12: "difference_words live progress audit.at_length audit.github audit.reading fleet.serving hosting.answering "
    "inspection.subject remote.boot repositories.bundle repositories.web steps.lower_int8 stores.attached "
    "stores.benches stores.channels stores.copying stores.merging stores.signatures",
    13: "run hosting.seal inspection.findings repositories.bucket steps.layer_errors stores.collecting stores.moving "
    "trusting.trust verbs.audit verbs.merge",
    14: "explanation layer_tables pending pictures summary tracing choosing.measured hosting.golden inspection.report "
    "stores.supply trusting.passwords trusting.verifying verbs.channels verbs.gc verbs.sweep",
    15: "assemble host promotion fleet.joining hosting.offered report.layers report.worst stores.bringing verbs.attest verbs.bench "
    "verbs.diff verbs.inspect verbs.key_statements verbs.perform verbs.sign verbs.verify",
    16: "executors.fleet report.view search.trials stores.bundling verbs.calibrate verbs.keys verbs.pin "
    "verbs.promoting verbs.publish verbs.pull verbs.run verbs.worker",
    17: "report.page search.heal verbs.bundle verbs.promote verbs.rollback",
    18: "verbs.plan verbs.report",
    19: "verbs.explain verbs.matrix",
}


def _full(name: str) -> str:
    return name if name.startswith("validation") else f"builder.{name}"


LEVEL = {_full(name): level for level, names in LAYERS.items() for name in names.split()}
LEVEL.update({"builder": -1, "validation": -1})

# In builder/compat the tables are data, the rules read tables, and `alternatives` puts its own to the rules.
_COMPAT: Dict[str, str] = {
    "dialects": "tables",
    "cuda": "tables",
    "jetpack": "tables",
    "onnxruntime_gpu": "tables",
    "precision": "tables",
    "rtx": "tables",
    "tensorrt": "tables",
    "install": "tables cuda jetpack onnxruntime_gpu rtx tensorrt",
    "native_rules": "asked tables cuda dialects jetpack tensorrt",
    "gpu_rules": "asked tables cuda onnxruntime_gpu rtx",
    "precision_rules": "asked onnxruntime_gpu precision rtx",
    "graph_rules": "asked tensorrt",
    "rules": "asked precision native_rules gpu_rules precision_rules graph_rules",
    "alternatives": "asked tables install jetpack onnxruntime_gpu precision precision_rules rtx rules tensorrt",
}
COMPAT = {(f"builder.compat.{a}", f"builder.compat.{b}") for a, names in _COMPAT.items() for b in names.split()}
# Siblings of these folders do not know each other, but for these.
APART = ("steps", "backends", "sources", "executors", "compat", "repositories", "verbs")
SIBLINGS = {
    *(
        ("builder.steps.layer_errors", f"builder.steps.{step}")
        for step in ("calibrate", "emulate_fp16", "lower_fp16", "lower_int8", "placement")
    ),
    *(
        ("builder.steps.quantization.int8", f"builder.steps.{part}")
        for part in ("calibrate", "fold_norms", "placement", "shifts")
    ),
    *(("builder.steps.quantization.int8", f"builder.steps.{part}") for part in ("calibrate", "placement")),
    ("builder.runtimes.tensorrt", "builder.runtimes.tensorrt"),
    ("builder.runtimes.tensorrt", "builder.runtimes.tensorrt"),
    *COMPAT,
    *(("builder.store.remotes.registry", f"builder.repositories.registry_{part}") for part in ("access", "upload")),
    ("builder.store.remotes.registry", "builder.store.remotes.registry"),
    ("builder.cli.commands.keys", "builder.cli.commands.keys"),
    ("builder.cli.commands.promote", "builder.cli.commands.promoting"),
    ("builder.cli.commands.rollback", "builder.cli.commands.promoting"),
    ("builder.cli.commands.matrix", "builder.cli.commands.plan"),
    ("builder.cli.commands.explain", "builder.cli.commands.plan"),
    *((f"builder.verbs.{verb}", "builder.cli.flags") for verb in ("sweep", "plan", "explain", "matrix", "calibrate")),
    *((f"builder.verbs.{verb}", "builder.cli.flags") for verb in ("bundle", "publish", "pull")),
}


def _names(tree: ast.AST) -> Iterator[str]:
    """Everything imported, at any depth: `from a import b` gives a.b (and a, when b is no module)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used here"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _ours(module: str) -> Set[str]:
    found = set()
    for name in _names(_tree(module)):
        if name.split(".")[0] in ("builder", "validation"):
            found.add(name if name in MODULES else name.rsplit(".", 1)[0])
    return found - {module}


def test_every_module_has_a_layer_and_every_layer_its_modules() -> None:
    assert set(LEVEL) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    upward = sorted(name for name in _ours(module) if LEVEL.get(name, 99) >= LEVEL[module])
    assert not upward, f"{module} (layer {LEVEL[module]}) imports {[(n, LEVEL.get(n)) for n in upward]}"


def test_there_is_no_cycle() -> None:
    """Follows from the layers; checked on its own, since a table can be edited."""
    done: Set[str] = set()

    def visit(module: str, trail: Tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for name in sorted(_ours(module) & set(MODULES)):
                visit(name, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_siblings_do_not_know_each_other() -> None:
    found = set()
    for module in MODULES:
        folder = module.rsplit(".", 1)[0]
        if folder.split(".")[-1] in APART:
            found |= {(module, name) for name in _ours(module) if name.rsplit(".", 1)[0] == folder}
    assert found == SIBLINGS


# ------------------------------------------------------------------------------------------- heavy imports

HEAVY: Dict[str, Set[str]] = {
    "torch": {"sources.torch_module"},
    "onnx": {
        "inspection.onnx_graph",
        "inspection.ranges",
        "onnx_file",
        "steps.calibrate",
        "steps.emulate_fp16",
        "steps.layer_errors",
        "steps.fold_norms",
        "steps.lower_fp16",
        "steps.lower_int8",
        "steps.lower_opset",
        "steps.placement",
        "steps.shifts",
        "steps.simplify",
    },
    "onnxruntime": {"inspection.session_graph", "onnx_session"},
    "onnxsim": {"steps.simplify"},
    "openvino": {"backends.openvino_cpu", "inspection.openvino_ir"},
    "polygraphy": {"onnx_parser", "backends.tensorrt_build", "inspection.engine_layers", "validation.parity"},
    "tensorrt": set(),
    "tensorrt_rtx": {"backends.tensorrt_rtx"},
    "cv2": {
        "preprocess",
        "keypoints",
        "validation.homography",
        "validation.keypoints",
        "validation.keypoint_tasks",
        "validation.light",
        "validation.worst_case",
    },
    "numpy": {
        "hosting.answering",
        "backends.openvino_cpu",
        "backends.tensorrt_build",
        "benchmark.bench_worker",
        "host",
        "keypoints",
        "onnx_session",
        "hosting.opened",
        "preprocess",
        "seams",
        "sources.torch_module",
        "steps.calibrate",
        "steps.calibration_data",
        "steps.cost",
        "steps.emulate_fp16",
        "steps.fold_norms",
        "steps.latency",
        "steps.layer_errors",
        "steps.lower_fp16",
        "steps.lower_int8",
        "steps.lower_opset",
        "steps.shifts",
        "steps.simplify",
        "validation.comparison",
        "validation.homography",
        "validation.keypoints",
        "validation.keypoint_tasks",
        "validation.light",
        "validation.samples",
        "validation.task",
        "validation.worst_case",
        "verbs.run",
    },
    "celery": {"fleet.broker", "fleet.presence", "fleet.serving", "fleet.taking"},
    "kombu": {"fleet.broker", "fleet.mail"},
    "nacl": {"signing.minisign"},
    "boto3": {"repositories.bucket"},
    "botocore": {"repositories.bucket"},
    "yaml": {"yaml_marks"},
    "rich": {"live"},
    "jinja2": {"ci.rendering", "report.page"},
    "safetensors": {"sources.torch_module"},
    "shtab": {"verbs.completion"},
}


@pytest.mark.parametrize("package", HEAVY)
def test_only_these_files_import(package: str) -> None:
    found = {m for m in MODULES if any(name.split(".")[0] == package for name in _names(_tree(m)))}
    assert found == {_full(name) for name in HEAVY[package]}


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

LONGEST_FILE, LONGEST_FUNCTION = 350, 60
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
        "builder.trust.key_statements",
        "builder.config.remote_machines",
        "builder.trust.minisign",
        "builder.digest",
        "builder.execution.fleet.words",
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
    "ConnectionResetError": {
        "builder.execution.fleet.taking"
    },  # as the library's own loop says that it is to connect again
    "HTTPException": {
        "builder.store.http.wire"
    },  # the library's own protocol: its callers catch what reading may raise
    "KeyboardInterrupt": {"builder.cli"},
    "SystemExit": {
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
