"""A person's metric: found, called, and told of when it is wrong; its cases stored and scored."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import pytest

np: Any = pytest.importorskip("numpy")
pytest.importorskip("cv2")
from builder import plugins
from builder.actions.action import Action
from builder.actions.measurements import CaseScore, Score, TaskScores
from builder.actions.recipes import MeasureTask, Sampled, ScoreReference, TaskCases
from builder.config.contract import Input, Output, Preprocess
from builder.config.matrix import Head, OnnxSource, SeededWeights, TorchSource
from builder.errors import StepFailed
from builder.models import preprocessing
from builder.platforms.platform import Platform
from builder.records import Setting, from_json, to_json
from builder.steps import tasks
from builder.steps import tasks as task_step
from validation import task
from validation.task import Case

METRIC = '''\
"""How bright a picture is, as the model sees it."""
import numpy as np

from validation.task import Case, mean


class Brightness:
    lower_is_better = ("error",)

    def __init__(self, factor=1.0, fail=""):
        self.factor, self.fail = factor, fail

    def cases(self, files, size):
        for name, path in files.items():
            level = int(path.read_bytes())
            if self.fail == "cases" and level > 100:
                raise ValueError("too bright")  # in cases
            yield Case(name.partition(".")[0], (np.full(size, level, np.uint8),), {"level": np.asarray(level / 255)})

    def score(self, head, truth, outputs):
        if self.fail == "score":
            raise KeyError("mean")  # in score
        if self.fail == "helper":
            self.help()
        if self.fail == "numpy":
            np.linalg.inv(np.zeros((2, 2)))  # in numpy
        found = self.factor * float(outputs[0]["mean"][0])
        return {"brightness": found, "error": abs(found - float(truth["level"]))}

    def help(self):
        raise KeyError("help")  # in helper

    def total(self, scores):
        if self.fail == "total":
            return 1 / 0  # in total
        return mean(scores)
'''

HEAD = Head("main", (Output("mean", ("batch",)),))
SIZE = (8, 16)
GREY = Preprocess()


def line_of(remark: str) -> int:
    return next(number for number, line in enumerate(METRIC.splitlines(), 1) if line.endswith(f"# {remark}"))


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a metric. What is imported from it is forgotten afterwards."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "light_metric.py").write_text(METRIC)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def brightness(code: Path, **options: Any) -> task.Task:
    return task.find("light_metric:Brightness", tuple(Setting(k, v) for k, v in options.items()), code)


# ------------------------------------------------------------------------------------------- finding a metric


def test_a_metric_beside_the_matrix_is_called_with_its_options(code: Path) -> None:
    found: Any = brightness(code, factor=0.5, fail="no")
    assert (found.factor, found.fail) == (0.5, "no")


def test_a_metric_in_a_package_with_modules_beside_it(code: Path) -> None:
    (code / "zoo_of_metrics").mkdir()
    (code / "zoo_of_metrics" / "__init__.py").write_text("")
    (code / "zoo_of_metrics" / "one.py").write_text("from . import two\nimport light_metric\nMake = two.Make\n")
    (code / "zoo_of_metrics" / "two.py").write_text("class Make:\n    place = __file__\n")
    found: Any = task.find("zoo_of_metrics.one:Make", (), code)
    assert found.place == str(code / "zoo_of_metrics" / "two.py")


def test_the_metrics_own_folder_comes_before_what_is_installed(code: Path, tmp_path: Path) -> None:
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "light_metric.py").write_text("class Brightness: pass\n")
    sys.path.insert(0, str(tmp_path / "installed"))
    assert hasattr(brightness(code), "cases")


def test_a_metric_of_this_program_needs_no_code(tmp_path: Path) -> None:
    found = task.find("validation.keypoint_tasks:Stereo", (Setting("keypoints", 5),), tmp_path / "nothing")
    assert type(found).__name__ == "Stereo"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "wrong_metric has no function or class 'Make'"),
        ("make = 1\n", "wrong_metric has no function or class 'Make'"),
        ("import not_there_at_all\nclass Make: pass\n", "importing wrong_metric: No module named 'not_there_at_all'"),
        ("class Make:\n    pass\n", "wrong_metric:Make raised TypeError"),
        (
            "\nclass Make:\n    def __init__(self, x):\n        raise OSError('no disk')\n",
            "OSError at wrong_metric.py:4:",
        ),
        ("\nraise ValueError('at import')\nclass Make: pass\n", "ValueError at wrong_metric.py:2: at import"),
        ("from json import not_in_it\nclass Make: pass\n", "wrong_metric.py:1"),
        ("class Make(:\n", "wrong_metric"),
    ],
    ids=["empty", "other-name", "missing-import", "no-such-option", "init", "import-raises", "import-from", "syntax"],
)
def test_a_metric_that_cannot_be_had_is_told_with_the_reason(text: str, says: str, code: Path) -> None:
    (code / "wrong_metric.py").write_text(text)
    with pytest.raises(StepFailed) as caught:
        task.find("wrong_metric:Make", (Setting("x", 1),), code)
    assert says in str(caught.value)


def test_a_missing_module_is_told_with_a_hint(code: Path) -> None:
    with pytest.raises(StepFailed, match="No module named 'ligth_metric'") as caught:
        task.find("ligth_metric:Brightness", (), code)
    assert caught.value.hint == "it may need numpy and cv2"


def test_a_wrong_option_is_named_and_no_line_of_this_program(code: Path) -> None:
    with pytest.raises(StepFailed, match="unexpected keyword argument 'fuctor'") as caught:
        brightness(code, fuctor=1.0)
    assert "light_metric:Brightness" in str(caught.value)
    assert "task.py" not in str(caught.value)


# ------------------------------------------------------------------------------------------- cases on disk


def case(name: str = "a", level: int = 51, size: Tuple[int, int] = SIZE, **truth: Any) -> Case:
    return Case(name, (np.full(size, level, np.uint8),), {"level": np.asarray(level / 255), **truth})


def test_a_case_is_stored_as_the_models_own_input(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    images = tuple(rng.integers(0, 256, SIZE, dtype=np.uint8) for _ in range(12))
    colour = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    contract = Preprocess(range=(-1.0, 1.0))
    task.store(
        Case("many", (*images, colour), {"label": np.arange(3), "name": np.asarray("x")}), SIZE, contract, tmp_path
    )
    with np.load(tmp_path / "many.npz", allow_pickle=False) as file:
        assert set(file.files) == {*(f"image/{i}" for i in range(13)), "truth/label", "truth/name"}
        for number, image in enumerate((*images, colour)):
            np.testing.assert_array_equal(file[f"image/{number}"], preprocessing.tensor(image, contract, SIZE))
        assert file["image/12"].shape == (1, 1, *SIZE)
        assert file["truth/label"].tolist() == [0, 1, 2]
        assert str(file["truth/name"]) == "x"


def test_the_same_case_is_the_same_file(tmp_path: Path) -> None:
    """Its digest is in the key of every action that scores on it."""
    (tmp_path / "b").mkdir()
    for folder in (tmp_path, tmp_path / "b"):
        task.store(case(), SIZE, GREY, folder)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b" / "a.npz").read_bytes()


@pytest.mark.parametrize("size", [(16, 8), (8, 15), (9, 16), (80, 160)])
def test_an_image_of_another_size_is_refused(size: Tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=rf"case 'a': image 0 is uint8 \[{size[0]}, {size[1]}\], not uint8 \[8, 16\]"):
        task.store(case(size=size), SIZE, GREY, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (Case("a", (np.zeros(SIZE, np.float32),), {}), "image 0"),
        (Case("a", (np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint16)), {}), "image 1"),
        (Case("a", (np.zeros((*SIZE, 4), np.uint8),), {}), "image 0"),
        (case(boxes={"x": 1}), "boxes"),
        (case(boxes=np.asarray([None, 1])), "boxes"),
    ],
    ids=["floats", "sixteen-bits", "four-channels", "a-mapping", "objects"],
)
def test_what_could_not_be_scored_later_is_refused_at_once(wrong: Case, named: str, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=f"case 'a'.*{named}"):
        task.store(wrong, SIZE, GREY, tmp_path)


# ------------------------------------------------------------------------------------------- scoring


class Eye:
    """A runner that gives the mean of the image, and remembers what it was shown."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.seen = factor, []  # type: ignore[var-annotated]

    def __call__(self, inputs: Any) -> Dict[str, Any]:
        ((name, tensor),) = inputs.items()
        self.seen.append((name, tensor.shape, round(255 * float(tensor.mean()))))
        return {"mean": np.asarray([self.factor * tensor.mean()], np.float32)}


def stored(inputs: Path, *cases: Case) -> Path:
    """The input folder of an action with these cases."""
    (inputs / "cases").mkdir(exist_ok=True)
    for one in cases:
        task.store(one, SIZE, GREY, inputs / "cases")
    return inputs


def measured(metric: Any, inputs: Path, runner: Any = None) -> TaskScores:
    return task.measure("some:Metric", metric, HEAD, "image", runner or Eye(), inputs)


def test_every_case_is_scored_in_the_order_of_names(code: Path, tmp_path: Path) -> None:
    folder = stored(tmp_path, case("b", 51), case("a", 102), case("c.1", 204))
    eye = Eye(0.5)
    found = measured(brightness(code), folder, eye)
    assert eye.seen == [("image", (1, 1, *SIZE), level) for level in (102, 51, 204)]
    assert [(row.case, row.metric) for row in found.cases] == [
        (name, metric) for name in ("a", "b", "c.1") for metric in ("brightness", "error")
    ]
    assert [row.value for row in found.cases] == pytest.approx([0.2, 0.2, 0.1, 0.1, 0.4, 0.4])
    assert found.scores == (
        Score("brightness", pytest.approx(0.7 / 3), False),  # type: ignore[arg-type]
        Score("error", pytest.approx(0.7 / 3), True),  # type: ignore[arg-type]
    )


class Given:
    """A metric that says what it is told to say, and remembers what it was given."""

    def __init__(self, *rows: Any, total: Callable[[Sequence[Any]], Any] = task.mean) -> None:
        self._rows, self._total, self.given = list(rows), total, []  # type: ignore[var-annotated]

    def score(self, head: Head, truth: Any, outputs: Any) -> Any:
        self.given.append((head, truth, outputs))
        return self._rows[len(self.given) - 1]

    def total(self, scores: Sequence[Any]) -> Any:
        return self._total(scores)


def test_a_metric_gets_the_truth_and_the_outputs_of_all_images_in_order(tmp_path: Path) -> None:
    images = tuple(np.full(SIZE, level, np.uint8) for level in range(0, 240, 20))
    folder = stored(tmp_path, Case("a", images, {"one": np.ones(3), "two": np.asarray(["x", "y"])}))
    metric = Given({"m": 1.0})
    measured(metric, folder)
    ((head, truth, outputs),) = metric.given
    assert head is HEAD
    assert (truth["one"].tolist(), truth["two"].tolist()) == ([1, 1, 1], ["x", "y"])
    assert [round(255 * float(made["mean"][0])) for made in outputs] == list(range(0, 240, 20))


def test_what_is_no_number_is_none_and_fits_json(tmp_path: Path) -> None:
    folder = stored(tmp_path, case("a"), case("b"))
    rows = ({"m": math.nan, "n": math.inf}, {"m": np.float32(0.5), "n": -math.inf})
    found = measured(Given(*rows), folder)
    assert [(row.metric, row.value) for row in found.cases] == [("m", None), ("n", None), ("m", 0.5), ("n", None)]
    assert [(row.metric, row.value) for row in found.scores] == [("m", 0.5), ("n", None)]
    assert from_json(TaskScores, json.loads(json.dumps(to_json(found), allow_nan=False))) == found


def test_numbers_have_seven_digits(tmp_path: Path) -> None:
    found = measured(Given({"m": 1 / 3, "n": 123456789.0}), stored(tmp_path, case()))
    assert [row.value for row in found.scores] == [0.3333333, 123456800.0]


def test_a_total_need_not_be_a_mean(tmp_path: Path) -> None:
    """The cases may carry numbers that only the total makes use of."""
    folder = stored(tmp_path, case("a"), case("b"))
    metric = Given(
        {"hits": 1.0, "all": 2.0},
        {"hits": 1.0, "all": 6.0},
        total=lambda rows: {"share": sum(r["hits"] for r in rows) / sum(r["all"] for r in rows)},
    )
    found = measured(metric, folder)
    assert found.scores == (Score("share", 0.25),)
    assert found.cases[3] == CaseScore("b", "all", 6.0)


@pytest.mark.parametrize("fail", ["score", "helper", "numpy", "total"])
def test_a_metric_that_raises_is_told_with_its_own_line(fail: str, code: Path, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=f" at light_metric.py:{line_of(f'in {fail}')}: ") as caught:
        measured(brightness(code, fail=fail), stored(tmp_path, case()))
    assert str(caught.value).startswith("some:Metric raised ")


def test_a_step_failed_of_the_metric_is_passed_on(tmp_path: Path) -> None:
    def total(scores: Sequence[Any]) -> Any:
        raise StepFailed("this head cannot be scored", hint="take another")

    with pytest.raises(StepFailed) as caught:
        measured(Given({"m": 1.0}, total=total), stored(tmp_path, case()))
    assert str(caught.value) == "this head cannot be scored\n  take another"


@pytest.mark.parametrize(
    "row", [None, 0.5, {"m": None}, {"m": "0.5"}, {"m": np.asarray([0.5, 0.5])}, {"m": {}}], ids=repr
)
def test_what_is_no_mapping_of_numbers_is_told_as_the_metrics(row: Any, tmp_path: Path) -> None:
    folder = stored(tmp_path, case())
    with pytest.raises(StepFailed, match="some:Metric"):
        measured(Given(row), folder)
    with pytest.raises(StepFailed, match="some:Metric"):
        measured(Given({"m": 1.0}, total=lambda rows: row), folder)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], {}),
        ([{"m": 1.0}, {"m": 2.0}], {"m": 1.5}),
        ([{"m": 1.0, "n": 4.0}, {"m": 2.0}], {"m": 1.5, "n": 4.0}),
        ([{"m": math.nan}, {"m": 2.0}], {"m": 2.0}),
        ([{"m": math.inf}, {"m": 2.0}, {"m": -math.inf}], {"m": 2.0}),
        ([{"n": 1.0, "m": 1.0}, {"o": 1.0}], {"n": 1.0, "m": 1.0, "o": 1.0}),
    ],
)
def test_mean_is_over_the_cases_that_have_a_number(rows: List[Dict[str, float]], expected: Dict[str, float]) -> None:
    assert task.mean(rows) == expected
    assert list(task.mean(rows)) == list(expected), "in the order in which they were met"


def test_the_mean_of_no_number_is_none() -> None:
    assert math.isnan(task.mean([{"m": math.nan}, {"m": math.nan}])["m"])


# ------------------------------------------------------------------------------------------- the steps


@pytest.fixture
def inputs(code: Path) -> Path:
    """The input folder of an action: code/ and data/."""
    folder = code.parent
    (folder / "data").mkdir()
    for name, level in (("dark.txt", 51), ("bright.txt", 204), ("my photo.txt", 9), ("dark.text", 5)):
        (folder / "data" / name).write_text(str(level))
    return folder


def cases_action(*files: str, **options: Any) -> Action:
    settings = tuple(Setting(name, value) for name, value in options.items())
    return Action(
        TaskCases("light_metric:Brightness", settings, tuple(f"data/{f}" for f in files), SIZE, GREY), (), (), None
    )


def make_cases(inputs: Path, *files: str, **options: Any) -> Tuple[Any, Path]:
    out = inputs / "cases"
    out.mkdir(exist_ok=True)
    return tasks.make_cases(cases_action(*files, **options), inputs, out, inputs), out


def test_cases_are_made_in_the_order_of_the_matrix(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts, out = make_cases(inputs, "dark.txt", "bright.txt")
    assert facts == Sampled(("dark", "bright"))
    assert sorted(path.name for path in out.iterdir()) == ["bright.npz", "dark.npz"]
    assert capsys.readouterr().out.split() == ["case", "dark", "case", "bright"]


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        (("dark.txt", "dark.text"), {}, "'dark' is no name for a case, or the second one"),
        ((), {}, "light_metric:Brightness made no case"),
        (
            ("dark.txt", "bright.txt"),
            {"fail": "cases"},
            f"ValueError at light_metric.py:{line_of('in cases')}: too bright",
        ),
        (("gone.txt",), {}, "FileNotFoundError at light_metric.py:"),
    ],
    ids=["twice", "none", "raises", "missing"],
)
def test_cases_that_cannot_be_made_are_told(
    files: Tuple[str, ...], options: Dict[str, Any], says: str, inputs: Path
) -> None:
    with pytest.raises(StepFailed) as caught:
        make_cases(inputs, *files, **options)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "/root", ".hidden", "a\nb", "a\0"])
def test_a_case_has_a_name_that_a_file_may_have(name: str, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named:
        def cases(self, files: Any, size: Any) -> Iterator[Case]:
            yield case(name)

    monkeypatch.setattr(task, "find", lambda *given: Named())
    with pytest.raises(StepFailed, match="is no name for a case"):
        make_cases(inputs, "dark.txt")
    assert list((inputs / "cases").iterdir()) == []


def test_a_photograph_with_a_space_in_its_name_makes_a_case(inputs: Path) -> None:
    """Of the ready-made metrics, which name a case after its file."""
    cv2: Any = pytest.importorskip("cv2")
    cv2.imwrite(str(inputs / "data" / "my photo.png"), np.zeros((40, 60), np.uint8))
    recipe = TaskCases("validation.keypoint_tasks:Homographies", (), ("data/my photo.png",), (16, 16), GREY)
    out = inputs / "cases"
    out.mkdir()
    facts = tasks.make_cases(Action(recipe, (), (), None), inputs, out, inputs)
    assert isinstance(facts, Sampled)
    assert len(facts.samples) == len(list(out.iterdir())) == 1


class Backend:
    """Opens an artifact as an Eye; `opened` is how."""

    def __init__(self, factor: float) -> None:
        self.factor, self.opened = factor, []  # type: ignore[var-annotated]

    def open(self, *given: Any) -> Eye:
        self.opened.append(given)
        return Eye(self.factor)


def score_artifact(inputs: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    monkeypatch.setattr(plugins, "backend", lambda name: {"openvino": backend}[name])
    settings = tuple(Setting(name, value) for name, value in options.items())
    recipe = MeasureTask(HEAD, "image", "light_metric:Brightness", settings, "bf16", True)
    action = Action(recipe, (), (), Platform("openvino", "1", "linux", "x86_64"))
    return task_step.score_artifact(action, inputs, inputs, inputs)


def rounded(found: TaskScores) -> Dict[str, float]:
    return {score.metric: round(score.value or 0.0, 5) for score in found.scores}


def test_an_artifact_is_scored_on_the_cases_as_it_will_be_opened(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cases(inputs, "dark.txt", "bright.txt")
    backend = Backend(0.5)
    found = score_artifact(inputs, backend, monkeypatch)
    assert backend.opened == [(inputs / "artifact", plugins.OpenOptions("bf16", static=True, threads=0, frugal=True))]
    assert rounded(found) == {"brightness": 0.25, "error": 0.25}
    doubled = score_artifact(inputs, backend, monkeypatch, factor=2)
    assert rounded(doubled) == {"brightness": 0.5, "error": 0.0}


@pytest.mark.parametrize(
    ("source", "kind"),
    [(TorchSource("network:make", SeededWeights(1)), "torch"), (OnnxSource("m.onnx", "0" * 64), "onnx")],
    ids=["torch", "onnx"],
)
def test_the_model_itself_is_scored_on_the_same_cases(
    source: Any, kind: str, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cases(inputs, "dark.txt", "bright.txt")
    model = Backend(1.0)
    monkeypatch.setattr(plugins, "source", lambda name: {kind: model}[name])
    image = Input("image", ("batch", 1, "h", "w"))
    recipe = ScoreReference(source, "main", (), image, ("mean",), HEAD, "light_metric:Brightness", ())
    found = tasks.score_reference(Action(recipe, (), (), None), inputs, inputs, inputs / "root")
    assert model.opened == [(recipe, inputs, inputs / "root")]
    assert rounded(found) == {"brightness": 0.5, "error": 0.0}
    assert found == score_artifact(inputs, Backend(1.0), monkeypatch), "the same tensors, the same numbers"


# ------------------------------------------------------------------------------------------- what is remembered


class Remembering(Given):
    """The share of the model's own brightness."""

    def remember(self, head: Head, outputs: Any) -> Any:
        return {"own": outputs[0]["mean"]}

    def score(self, head: Head, truth: Any, outputs: Any) -> Any:
        return {"share": float(outputs[0]["mean"][0] / truth["own"][0])}


def test_the_models_own_answer_is_kept_for_the_artifacts(tmp_path: Path) -> None:
    folder, metric = stored(tmp_path, case("a", 51), case("b", 102)), Remembering()
    kept = folder / "model"
    kept.mkdir()
    own = task.measure("some:Metric", metric, HEAD, "image", Eye(), folder, remember=kept)
    assert sorted(path.name for path in kept.iterdir()) == ["a.npz", "b.npz"]
    assert own.scores == (Score("share", 1.0),)
    found = task.measure("some:Metric", metric, HEAD, "image", Eye(0.5), folder)
    assert [row.value for row in found.cases] == [0.5, 0.5]


def test_a_task_that_remembers_nothing_keeps_nothing(code: Path, tmp_path: Path) -> None:
    folder = stored(tmp_path, case("a"))
    (folder / "model").mkdir()
    task.measure("some:Metric", brightness(code), HEAD, "image", Eye(), folder, remember=folder / "model")
    assert not list((folder / "model").iterdir())
