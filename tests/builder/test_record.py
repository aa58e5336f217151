"""Records survive JSON: one strategy builder, driven by the same hints that the reader uses."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any, Literal, Optional, Tuple, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import digest
from builder.actions.action import Action, Pending, Result
from builder.actions.measurements import Cost, Latency, LayerErrors, Parity, Swept, TaskScores, WorstCase
from builder.actions.recipes import CalibrationData, Engine, Export, Facts, Made, Recipe, Sampled, TaskCases
from builder.config.contract import Output, Preprocess, Profile
from builder.config.matrix import Matrix, OnnxSource
from builder.config.tensorrt import TensorRtOptions
from builder.execution.worker import Order, Outcome
from builder.platforms.machines import FactFile
from builder.platforms.platform import Pinned, Platform, Tool
from builder.records import RecordError, Setting, dotted, fields_of, from_json, hints_of, keyed, to_json
from builder.store.manifest import Manifest

_SCALARS = {
    str: st.text(max_size=6),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
}


@functools.lru_cache(maxsize=None)
def strategy(hint: Any) -> "st.SearchStrategy[Any]":
    """Values of a type hint, as a record may hold them."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(args)
    if origin is Union:
        return st.one_of([strategy(arg) for arg in args])
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return st.lists(strategy(args[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(strategy, args))
    return _SCALARS[hint] if hint in _SCALARS else record(hint)


@functools.lru_cache(maxsize=None)
def record(cls: type) -> "st.SearchStrategy[Any]":
    return st.builds(cls, **{name: _field(cls, name) for name in fields_of(cls)})


def _field(cls: type, name: str) -> "st.SearchStrategy[Any]":
    hint = hints_of(cls)[name]
    if not keyed(fields_of(cls)[name]):
        return strategy(hint)
    item = get_args(hint)[0]
    key = next(iter(fields_of(item)))  # a mapping cannot hold one key twice
    return st.lists(record(item), max_size=2, unique_by=lambda made: getattr(made, key)).map(tuple)


@dataclass(frozen=True)
class Pair:
    """A record that may also be written as one text."""

    left: str
    right: str

    @classmethod
    def from_text(cls, text: str) -> Pair:
        left, plus, right = text.partition("+")
        if not plus:
            raise ValueError(f"{text!r} has no +")
        return cls(left, right)


@dataclass(frozen=True)
class Pairs:
    named: Tuple[Pair, ...]


def test_a_record_may_be_one_text() -> None:
    assert from_json(Pairs, {"named": ["a+b", {"left": "c", "right": "d"}]}) == Pairs((Pair("a", "b"), Pair("c", "d")))
    for wrong, said in (("ab", "named[0]: 'ab' has no +"), (3, "named[0]: expected text, found a whole number 3")):
        with pytest.raises(RecordError, match=re.escape(said)):
            from_json(Pairs, {"named": [wrong]})


RECIPES = get_args(Recipe)
FACTS = get_args(Facts)


def _through_text(value: object) -> object:
    return json.loads(json.dumps(to_json(value), allow_nan=False))


@pytest.mark.parametrize(
    "cls", [Matrix, Action, Result, Pending, Manifest, Order, Outcome, FactFile], ids=lambda c: c.__name__
)
def test_every_record_survives_json(cls: type) -> None:
    @given(record(cls))
    @settings(max_examples=12)
    def survives(value: object) -> None:
        assert from_json(cls, _through_text(value)) == value

    survives()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda c: c.__name__)
def test_an_action_survives_with_each_recipe(recipe: type) -> None:
    @settings(max_examples=12)
    @given(record(recipe), st.lists(record(Pinned), max_size=2, unique_by=lambda p: p.name).map(tuple))
    def survives(made: Any, inputs: Tuple[Pinned, ...]) -> None:
        action = Action(made, inputs, ())
        again = from_json(Action, _through_text(action))
        assert again == action
        assert type(again.recipe) is recipe
        assert again.key == action.key

    survives()


@pytest.mark.parametrize("facts", FACTS, ids=lambda c: c.__name__)
def test_a_result_survives_with_each_kind_of_facts(facts: type) -> None:
    @given(record(facts))
    def survives(made: Any) -> None:
        result = Result("sha256:" + 64 * "0", (), made, 0.5, 1)
        again = from_json(Result, _through_text(result))
        assert again == result
        assert type(again.facts) is facts

    survives()


def test_every_kind_is_tried_above() -> None:
    assert set(FACTS) == {Made, Sampled, Parity, LayerErrors, TaskScores, Latency, Swept, WorstCase, Cost}
    assert {cls.__dataclass_fields__["step"].default for cls in RECIPES} >= {
        *("export", "engine", "parity", "latency"),
        *("task-cases", "task-reference", "task", "sweep-reference", "sweep"),
    }


def fixed_action() -> Action:
    """One action whose key is in tests/golden/frozen/: if it changes, every store in the world is rebuilt."""
    recipe = CalibrationData(("photographs/ä.png",), "", (480, 640), Preprocess(multiple=8, mean=(0.5,)))
    inputs = (Pinned("model.onnx", digest.of_bytes(b"model")), Pinned("photographs/ä.png", digest.of_bytes(b"photo")))
    return Action(recipe, inputs, (Tool("onnx", "1.21.0"),), Platform("openvino", "2026.0", "linux", "x86_64"))


MINIMAL = json.dumps(
    {
        "schema": 1,
        "model": {
            "name": "m",
            "source": {"onnx": "m.onnx", "sha256": "0" * 64},
            "inputs": {"image": {"shape": ["batch", 1, "8*h8", "8*w8"]}},
            "heads": {"h": {"outputs": {"o": ["batch"]}}},
            "profiles": {"p": {"image": {"min": [1], "opt": [1], "max": [1]}}},
        },
        "precisions": ["fp32"],
        "targets": {"t": {"runtime": "openvino"}},
        "parity": {"photographs": {"files": ["a.png"]}, "sizes": [[8, 8]]},
        "gates": [],
    }
)


def test_keys_are_stable(frozen: Any) -> None:
    action = fixed_action()
    frozen("action_key.txt", digest.canonical(to_json(action)).decode() + "\n" + action.key + "\n")


def test_the_version_of_every_recipe_is_the_one_that_stores_have_keys_of() -> None:
    """If one changes, every action of that step is performed again everywhere. Most have never changed."""
    changed = {"lower-int8": 2, "engine": 2, "parity": 3, "layer-errors": 2, "latency": 2}
    for recipe in get_args(Recipe):
        fields = recipe.__dataclass_fields__
        wanted = changed.pop(fields["step"].default, 1)
        assert fields["version"].default == wanted, recipe
        assert get_args(hints_of(recipe)["version"]) == (wanted,), recipe
    assert not changed


def test_a_key_changes_with_every_part_of_an_action() -> None:
    action = fixed_action()
    others = [
        Action(action.recipe, action.inputs[:1], action.tools, action.platform),
        Action(action.recipe, action.inputs, (Tool("onnx", "1.21.1"),), action.platform),
        Action(action.recipe, action.inputs, action.tools, None),
    ]
    assert len({action.key, *(other.key for other in others)}) == 4


def _export(*outputs: str) -> Action:
    recipe = Export(
        source=OnnxSource("m.onnx", "0" * 64),
        head="h",
        options=(),
        inputs=(),
        outputs=tuple(Output(name, ("batch",)) for name in outputs),
        example=(1,),
        opset=20,
    )
    return Action(recipe, (), ())


def test_the_order_of_outputs_is_part_of_the_key() -> None:
    """A module returns a tuple: the names are given to its tensors in this order."""
    assert _export("scores", "descriptors").key != _export("descriptors", "scores").key


def test_the_order_of_a_tasks_files_is_part_of_the_key() -> None:
    """A metric may take the first for the left photograph and the second for the right one."""

    def cases(*files: str) -> Action:
        return Action(TaskCases("m:M", (), files, (8, 8), Preprocess()), (), ())

    assert cases("data/a.png", "data/b.png").key != cases("data/b.png", "data/a.png").key


def test_the_order_of_profiles_is_part_of_the_key() -> None:
    def engine(*names: str) -> Action:
        return Action(Engine("fp32", "f32", tuple(Profile(n, ()) for n in names), 1, TensorRtOptions(), ""), (), ())

    assert engine("a", "b").key != engine("b", "a").key


def test_pending_measures_with_the_built_files_first() -> None:
    action = fixed_action()
    built = from_json(
        Result,
        {
            "key": action.key,
            "outputs": [{"name": "model.engine", "digest": "sha256:1", "size": 1}],
            "facts": {"kind": "made", "nodes": 1, "remarks": []},
            "seconds": 1,
            "peak_mib": 1,
        },
    )
    (measure,) = Pending("cell", action, (action,)).measuring(built)
    assert measure.inputs == (Pinned("artifact/model.engine", "sha256:1"), *action.inputs)


def test_defaults_are_left_out_so_old_keys_stay() -> None:
    assert to_json(Preprocess()) == {}
    assert to_json(Preprocess(multiple=8)) == {"multiple": 8}


def test_tags_are_always_written() -> None:
    assert to_json(Made(1, ())) == {"nodes": 1, "remarks": [], "kind": "made"}


@pytest.mark.parametrize(
    ("hint", "data", "problem"),
    [
        (int, True, "expected a whole number, found true or false True"),
        (int, 1.5, "expected a whole number, found a number 1.5"),
        (float, True, "expected a number"),
        (float, float("inf"), "expected a finite number"),
        (float, float("nan"), "expected a finite number"),
        (float, 10**400, "expected a"),
        (str, 8.6, 'write it in quotes: "8.6"'),
        (Tuple[int, int], [1], "expected 2 items, found 1"),
        (Tuple[int, ...], "abc", "expected a list, found text 'abc'"),
        (Literal[1], True, "True is not one of 1"),
        (Optional[int], "x", "expected a whole number"),
        (OnnxSource, None, "expected a mapping, found nothing"),
        (OnnxSource, {"onnx": "a"}, "missing key 'sha256'"),
        (Recipe, {"step": "exprt"}, "'exprt' is not known"),
        (Recipe, {}, "None is not known"),
    ],
)
def test_what_does_not_fit_is_refused(hint: Any, data: object, problem: str) -> None:
    with pytest.raises(RecordError) as caught:
        from_json(hint, data)
    assert problem in caught.value.problem


def test_a_float_field_takes_a_whole_number() -> None:
    assert from_json(Tuple[float, float], [0, 1]) == (0.0, 1.0)


def test_a_union_of_scalars_keeps_the_type() -> None:
    for value in (True, 1, 1.0, "1"):
        read = from_json(Setting, {"name": "n", "value": value}).value
        assert read == value
        assert type(read) is type(value)


def test_paths_are_spelled_as_a_person_would() -> None:
    assert dotted(("targets", "cpu", "profiles", 0)) == "targets.cpu.profiles[0]"
    assert dotted(()) == "the document"
