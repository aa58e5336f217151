"""Finding what is plugged in, and performing one action from its order."""

from __future__ import annotations

import ast
import json
import sys
import types
from pathlib import Path
from typing import Any, get_args

import pytest

from builder import plugins, release
from builder.actions.action import Action
from builder.actions.recipes import Engine, LowerFp16, Made, Recipe
from builder.config.contract import PACKAGE, Runtime
from builder.config.tensorrt import TensorRtOptions
from builder.errors import StepFailed, UsageError
from builder.execution import worker
from builder.platforms.platform import Platform
from builder.records import from_json, to_json
from tests.fakes import REPOSITORY


def _defines(place: str) -> bool:
    """Is `module:Class` there? Looked up in the source: importing it would need the runtime."""
    module, _, name = place.partition(":")
    path = REPOSITORY.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name for node in tree.body)


@pytest.mark.parametrize("place", plugins.BUILT_IN.values())
def test_every_built_in_is_there(place: str) -> None:
    assert _defines(place)


def test_every_runtime_has_a_backend_and_a_package() -> None:
    assert {name for kind, name in plugins.BUILT_IN if kind == "backend"} == set(get_args(Runtime)) == set(PACKAGE)


@pytest.mark.parametrize("find", [plugins.backend, plugins.source])
def test_an_unknown_name_lists_the_known_ones(find: Any) -> None:
    with pytest.raises(UsageError, match="there is no") as caught:
        find("tensorflow")
    assert "onnx" in str(caught.value)


def test_other_packages_add_theirs_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine:
        pass

    entry = types.SimpleNamespace(name="mine", load=lambda: Mine)
    monkeypatch.setattr(plugins, "_entry_points", lambda group: [entry] if group == "deploymatrix.backend" else [])
    assert isinstance(plugins.backend("mine"), Mine)


def test_every_recipe_has_a_function_that_performs_it() -> None:
    assert {recipe.__dataclass_fields__["step"].default for recipe in get_args(Recipe)} == set(worker.STEPS)
    for named in worker.STEPS.values():
        module, _, function = named.partition(":")
        path = REPOSITORY.joinpath(*module.split(".")).with_suffix(".py")
        functions = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        assert function in functions, named


def order(tmp_path: Path, recipe: Any = None) -> worker.Order:
    action = Action(recipe or LowerFp16(), (), (), Platform("mine", "1", "linux", "x86_64"))
    return worker.Order(action, str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path))


def _step(monkeypatch: pytest.MonkeyPatch, perform: Any) -> None:
    module: Any = types.ModuleType("builder.steps.fp16")
    module.lower_fp16 = perform
    monkeypatch.setitem(sys.modules, "builder.steps.fp16", module)


def test_a_step_gets_its_folders_and_gives_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def perform(*given: Any) -> Made:
        seen.append(given)
        return Made(3, ())

    _step(monkeypatch, perform)
    asked = order(tmp_path)
    outcome = worker.perform(asked)
    assert seen == [(asked.action, tmp_path / "in", tmp_path / "out", tmp_path)]
    assert (outcome.facts, outcome.problem) == (Made(3, ()), None)
    assert outcome.peak_mib > 0


@pytest.mark.parametrize(
    ("error", "problem", "hint"),
    [
        (StepFailed("it broke", hint="mend it"), "it broke", "mend it"),
        (ImportError("No module named 'onnx'"), "No module named 'onnx'", release.pip_install("build")),
    ],
)
def test_a_step_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, problem: str, hint: str
) -> None:
    def perform(*_: Any) -> Made:
        raise error

    _step(monkeypatch, perform)
    outcome = worker.perform(order(tmp_path))
    assert (outcome.facts, outcome.problem, outcome.hint) == (None, problem, hint)


def test_an_order_is_one_file_that_a_person_can_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _step(monkeypatch, lambda *_: Made(3, ("a remark",)))
    monkeypatch.setattr("builder.execution.processes.hold", lambda: None)
    path = tmp_path / "order.json"
    path.write_text(json.dumps(to_json(order(tmp_path))))
    for _ in range(2):
        assert worker.main(path) == 0
        outcome = from_json(worker.Outcome, json.loads((tmp_path / "outcome.json").read_bytes()))
        assert outcome.facts == Made(3, ("a remark",))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["order.json", "outcome.json"]


def test_an_engine_goes_to_the_backend_of_its_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Mine:
        def build(self, recipe: Any, platform: Any, onnx: Path, out: Path) -> Made:
            asked.append((platform.runtime, onnx.name, out.name))
            return Made(1, ())

    monkeypatch.setattr(plugins, "backend", lambda name: Mine())
    (tmp_path / "out").mkdir()
    assert worker.perform(order(tmp_path, Engine("fp32", "f32", (), 1 << 30, TensorRtOptions(), ""))).facts == Made(
        1, ()
    )
    assert asked == [("mine", "model.onnx", "out")]
