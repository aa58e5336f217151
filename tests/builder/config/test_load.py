"""Wrong matrix files: one clear error with a place, exit code 2, nothing written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import cli
from builder.config.loader import load
from builder.errors import DeployError
from tests.fakes import MATRIX, REPOSITORY, TASK_MATRIX

SHIPPED = (REPOSITORY / "matrix.yaml").read_text(encoding="utf-8")


class Wrong(NamedTuple):
    """`old` in the small matrix (or `text`) becomes `new`; the error is on the line of `at`, says `says`, names `near`."""

    name: str
    old: str
    new: str
    at: str
    says: str
    near: str = ""
    text: str = MATRIX


WRONG = [
    Wrong("key", "opset: 20", "opsett: 20", "opsett", "unknown key 'opsett'", "opset"),
    Wrong("key at the top", "precisions:", "precision:", "precision:", "unknown key 'precision'", "precisions"),
    Wrong("key in a target", "{runtime: openvino}", "{runtim: openvino}", "runtim:", "unknown key", "runtime"),
    Wrong("type", "opset: 20", "opset: twenty", "twenty", "expected a whole number, found text 'twenty'"),
    Wrong("true for a number", "opset: 20", "opset: true", "true", "expected a whole number"),
    Wrong(
        "list for a mapping", "  ort: {runtime: onnxruntime}", "  ort: [onnxruntime]", "  ort:", "expected a mapping"
    ),
    Wrong("mapping for a list", "[fp32, fp16, int8]", "{fp32: 1}", "fp32: 1", "expected a list"),
    Wrong("nothing", "opset: 20", "opset:", "opset:", "expected a whole number, found nothing"),
    Wrong("missing key", "{runtime: onnxruntime}", "{machine: any}", "  ort:", "missing key 'runtime'"),
    Wrong("version as a number", 'version: "10.16"', "version: 10.16", "  trt:", 'write it in quotes: "10.16"'),
    Wrong("sm as a number", 'sm: "8.6", machine', "sm: 8.6, machine", "  rtx:", 'write it in quotes: "8.6"'),
    Wrong("sm with a letter", 'sm: "8.6", machine', 'sm: "sm_86", machine', "  rtx:", "is not a version number"),
    Wrong("sm on a CPU", "{runtime: openvino}", '{runtime: openvino, sm: "8.6"}', "  ov:", "has no meaning for it"),
    Wrong(
        "gpu on a CPU", "{runtime: openvino}", "{runtime: openvino, gpu: T4}", "  ov:", "`gpu` has no meaning for it"
    ),
    Wrong("gpu of no model", 'sm: "8.6", machine', 'sm: "8.6", gpu: the GPU, machine', "  rtx:", "is no GPU model"),
    Wrong("gpu as a number", 'sm: "8.6", machine', 'sm: "8.6", gpu: 3090, machine', "  rtx:", "expected text"),
    Wrong(
        "no sm on a GPU",
        'tensorrt, version: "10.16", sm: "8.6",',
        'tensorrt, version: "10.16",',
        "  trt:",
        "needs `sm`",
    ),
    Wrong("runtime", "openvino}", "openvno}", "openvno", "'openvno' is not one of", "openvino"),
    Wrong("schema version", "schema: 1", "schema: 2", "schema: 2", "2 is not one of 1"),
    Wrong("precision", "fp16, int8", "fp61, int8", "fp61", "'fp61' is not one of", "fp16"),
    Wrong("duplicate precision", "fp16, int8", "fp16, fp16", "fp16, fp16", "listed twice"),
    Wrong("no precision", "[fp32, fp16, int8]", "[]", "precisions", "at least one precision"),
    Wrong(
        "duplicate key", "opset: 20", "opset: 20\n  opset: 19", "opset: 19", "'opset' is here twice; first on line 5"
    ),
    Wrong("duplicate target", "  ov: {", "  ort: {", "  ort: {runtime: openvino", "is here twice"),
    Wrong("target in a selector", '- select: "*"', '- select: "*-orrt"', "orrt", "selects no cell"),
    Wrong(
        "output in a gate",
        '"*": {max_abs',
        "scoress: {max_abs",
        "scoress",
        "output 'scoress' is not declared",
        "scores",
    ),
    Wrong("metric in a gate", "max_abs", "max_abz", "max_abz", "unknown key 'max_abz'", "max_abs"),
    Wrong("min above opt", "min: [1, 1, 16, 16]", "min: [1, 1, 48, 16]", "48", "not min <= opt <= max"),
    Wrong("opt above max", "max: [1, 1, 64, 64]", "max: [1, 1, 24, 64]", "24, 64", "not min <= opt <= max"),
    Wrong(
        "profile off the grid",
        "opt: [1, 1, 32, 32], max: [1, 1, 64",
        "opt: [1, 1, 33, 32], max: [1, 1, 64",
        "33",
        "33 is not a multiple of 8",
    ),
    Wrong("profile with few dimensions", "min: [1, 1, 16, 16]", "min: [1, 16, 16]", "1, 16, 16", "has 3 dimensions"),
    Wrong("profile with other channels", "min: [1, 1, 16, 16]", "min: [1, 3, 16, 16]", "1, 3, 16", "fixed dimension 1"),
    Wrong(
        "profile of no input",
        "      image: {min: [1, 1, 16",
        "      imag: {min: [1, 1, 16",
        "imag: {min",
        "has no min, opt and max",
    ),
    Wrong(
        "parity size off the grid",
        "[[16, 16], [32, 32]]",
        "[[16, 17], [32, 32]]",
        "16, 17",
        "17 is not a multiple of 8",
    ),
    Wrong(
        "parity outside a profile",
        "[[16, 16], [32, 32]]",
        "[[8, 8]]",
        "[[8, 8]]",
        "no size lies inside the profile 'small'",
    ),
    Wrong("parity size with units", "[[16, 16], [32, 32]]", "[16px, 16px]", "16px", "expected a list"),
    Wrong("calibration size", "  size: [32, 32]", "  size: [32, 36]", "36", "36 is not a multiple of 8"),
    Wrong(
        "int8 without calibration",
        MATRIX[MATRIX.index("calibration:") : MATRIX.index("gates:")],
        "",
        "precisions",
        "int8 needs",
    ),
    Wrong("no photograph", "[a.png, b.png]", "[]", "files: []", "at least one photograph"),
    Wrong(
        "unknown profile",
        "gates:",
        "defaults: {profiles: [smal]}\ngates:",
        "smal]",
        "profile 'smal' is not declared",
        "small",
    ),
    Wrong(
        "unknown profile in an override",
        "gates:",
        'overrides:\n  - select: "*"\n    set: {profiles: [larg]}\ngates:',
        "larg]",
        "is not declared",
        "large",
    ),
    Wrong("unit", "gates:", "defaults: {workspace: 4GB}\ngates:", "4GB", "write a whole number with KiB, MiB or GiB"),
    Wrong("no unit", "gates:", 'defaults: {workspace: "4"}\ngates:', '"4"', "is not a size"),
    Wrong("factory", '"model:make"', '"model.make"', "model.make", "is not of the form module:attr"),
    Wrong("sha256", "weights: {seed: 7}", "weights: {file: w.pth, sha256: ABC}", "sha256", "is not a SHA-256"),
    Wrong("dimension", "8*h8, 8*w8]}", "8xh8, 8*w8]}", "8xh8", "'8xh8' is not a dimension"),
    Wrong("dimension 0", "[batch, 4, h8, w8]", "[batch, 0, h8, w8]", "batch, 0", "dimension 0 is not positive"),
    Wrong("three dimensions", "[batch, 1, 8*h8, 8*w8]", "[1, 8*h8, 8*w8]", "shape", "four dimensions"),
    Wrong("a dash in a name", "    dense:", "    den-se:", "den-se", "is not a name"),
    Wrong("opset", "opset: 20", "opset: 99", "99", "not an opset"),
    Wrong(
        "postprocess output",
        "  profiles:\n",
        "      postprocess: {scores: scorez}\n  profiles:\n",
        "scorez",
        "output 'scorez' is not declared",
        "scores",
    ),
    Wrong("negative seconds", "gates:", "latency: {seconds: -1}\ngates:", "-1", "must be positive"),
    Wrong("sweep of nothing", "gates:", 'sweep: {select: "*-ovv"}\ngates:', "*-ovv", "'*-ovv' selects no cell"),
    Wrong("sweep of no size", "gates:", 'sweep: {select: "*", points: 0}\ngates:', "0", "must be from 1 to 200"),
    Wrong("sweep of no time", "gates:", 'sweep: {select: "*", seconds: 0}\ngates:', "0", "must be above 0"),
    Wrong(
        "sweep of another photograph",
        "gates:",
        'sweep: {select: "*", photograph: e.png}\ngates:',
        "e.png",
        "parity photograph 'e.png' is not declared",
    ),
    Wrong("endless seconds", "gates:", "latency: {seconds: 1e999}\ngates:", "1e999", "finite"),
    Wrong("a huge number", "opset: 20", "opset: " + "9" * 5000, "99999", ""),
    Wrong("a huge number for a float", "gates:", "latency: {seconds: " + "9" * 400 + "}\ngates:", "99999", ""),
    Wrong("tag", "opset: 20", "opset: !!python/object:os.system 20", "!!python", "tag"),
    Wrong("own tag", "opset: 20", "opset: !mine 20", "!mine", "the tag !mine is not read here"),
    Wrong("two documents", "gates:", "---\ngates:", "---", "document"),
    Wrong("a key that is a list", "opset: 20", "? [opset]\n  : 20", "? [opset]", "a key must be text"),
    Wrong("a number for a key", "opset: 20", "20: opset", "20: opset", "unknown key '20'"),
    Wrong("a tab", "  opset: 20", "\topset: 20", "\topset", "cannot start any token"),
    Wrong("an open bracket", "[fp32, fp16, int8]", "[fp32, fp16, int8", "targets", ""),
    Wrong(
        "an anchor in itself",
        "precisions: [fp32, fp16, int8]",
        "precisions: &a [*a]",
        "&a",
        "an anchor contains itself",
    ),
    Wrong("an unknown alias", "opset: 20", "opset: *twenty", "*twenty", "undefined alias"),
    Wrong("a merge of a list", "  ov: {runtime: openvino}", "  ov: {<<: [1], runtime: openvino}", "<<", "<< takes"),
    Wrong("percentile", "  size: [32, 32]", "  size: [32, 32]\n  percentile: 150", "150", ""),
    Wrong("mean of three for one channel", "{multiple: 8}", "{multiple: 8, mean: [0.5, 0.5, 0.5]}", "mean", ""),
    Wrong("std of 0", "{multiple: 8}", "{multiple: 8, std: [0]}", "std", ""),
    Wrong("photographs that would share a name", "[a.png, b.png]", "[a.png, a.jpg]", "a.jpg", ""),
    Wrong("the same photograph twice", "[a.png, b.png]", "[a.png, a.png]", "a.png, a.png", ""),
    Wrong("a head that is a folder", "    dense:", "    ..:", "    ..:", ""),
    Wrong("negative radius", "  profiles:\n", "      postprocess: {nms_radius: -1}\n  profiles:\n", "-1", ""),
]


def _wrong_task(name: str, old: str, new: str, at: str, says: str, near: str = "") -> Wrong:
    return Wrong(name, old, new, at, says, near, TASK_MATRIX)


DATA = "data: {folder: photos, files: [a.png, b.png]}"
LIMITS = "value: {threshold: 0.5, max_degradation: 0.1}"
GATED = "    tasks:\n      good:\n"
OUTPUTS = '    outputs:\n      "*": {max_abs: 0.01, cosine: 0.99}\n'

WRONG += [
    _wrong_task("task key", "metric: score", "metrik: score", "metrik", "unknown key 'metrik'", "metric"),
    _wrong_task("task without a metric", "    metric: score:Score\n", "", "options: {", "missing key 'metric'"),
    _wrong_task("task with a dash", "  good:\n    metric", "  go-od:\n    metric", "go-od", "'go-od' is not a name"),
    _wrong_task("metric without a colon", "score:Score", "score.Score", "score.Score", "not of the form module:attr"),
    _wrong_task("metric in a folder", "score:Score", "metrics/score:Score", "metrics/", "not of the form module:attr"),
    _wrong_task("option of a metric", "{strict: true}", "{strict: [1, 2]}", "[1, 2]", "expected"),
    _wrong_task("unknown head", DATA, DATA + "\n    heads: [dens]", "dens]", "head 'dens' is not declared", "dense"),
    _wrong_task("no data", DATA, DATA.replace("a.png, b.png", ""), "files: []", "at least one file"),
    _wrong_task("data twice", DATA, DATA.replace("b.png", "a.png"), "a.png, a.png", "'a.png' is listed twice"),
    _wrong_task("size off the grid", "    size: [32, 32]\n", "    size: [32, 36]\n", "36", "36 is not a multiple of 8"),
    _wrong_task("size of one side", "    size: [32, 32]\n", "    size: [32]\n", "[32]", "expected 2 items, found 1"),
    _wrong_task(
        "size outside", "    size: [32, 32]\n", "    size: [136, 32]\n", "136", "136x32 lies inside no profile"
    ),
    _wrong_task(
        "too small a size", "    size: [32, 32]\n", "    size: [0, 32]\n", "[0, 32]", "0 is not a multiple of 8"
    ),
    _wrong_task(
        "task in a gate", "      good:\n        value", "      god:\n        value", "god", "task 'god'", "good"
    ),
    _wrong_task("limit in a task gate", "{threshold", "{treshold", "treshold", "unknown key 'treshold'", "threshold"),
    _wrong_task("a bare limit", LIMITS, "value: 0.5", "value: 0.5", "expected a mapping"),
    _wrong_task("no limit", LIMITS, "value: {}", "value: {}", "no limit is given"),
    _wrong_task("text for a limit", "threshold: 0.5", "threshold: half", "half", "expected a number"),
    _wrong_task(
        "a gate on nothing", OUTPUTS + GATED + "        " + LIMITS + "\n", "", "select", "`outputs`, `tasks` or `speed`"
    ),
]


def _listing(folder: Path) -> List[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def _refused(path: Path, capsys: pytest.CaptureFixture[str], verb: str = "matrix") -> str:
    """The one error that the program prints for the matrix at `path`."""
    before = _listing(path.parent)
    code = cli.main([verb, "-m", str(path)])
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("error: ") == 1
    assert "Traceback" not in said.err
    assert _listing(path.parent) == before, "something was written"
    return said.err


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: w.name.replace(" ", "-"))
def test_a_wrong_value_has_a_place(wrong: Wrong, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wrong.text.count(wrong.old) >= 1
    text = wrong.text.replace(wrong.old, wrong.new, 1)
    path = tmp_path / "matrix.yaml"
    path.write_text(text, encoding="utf-8")
    said = _refused(path, capsys)
    place = re.match(rf"error: {re.escape(str(path))}:(\d+):(\d+): ", said)
    assert place, said
    lines = [number for number, line in enumerate(text.splitlines(), 1) if wrong.at in line]
    assert int(place.group(1)) in lines, said
    assert wrong.says in said
    if wrong.near:
        assert f"did you mean '{wrong.near}'?" in said


def _written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "matrix.yaml"
    path.write_bytes(data)
    return path


BOMB = "\n".join(
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]",
        *(f"{c}: &{c} [{', '.join(['*' + p] * 10)}]" for p, c in zip("abcdefg", "bcdefgh")),
    ]
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: *a{i - 1}, <<: *a{i - 1}}}\n" for i in range(1, 18))
MERGES_BELOW = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: *a{i - 1}, x: {{<<: *a{i - 1}}}}}\n" for i in range(1, 18)
)
DEEP_ALIASES = "a0: &a0 1\n" + "".join(f"a{i}: &a{i} {'[' * 60}*a{i - 1}{']' * 60}\n" for i in range(1, 30))


@pytest.mark.parametrize(
    ("data", "place", "says"),
    [
        (b"", "", "the file is empty"),
        (b"# only a comment\n", "", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", ":1:1", "not UTF-8 text: a binary file?"),
        (b"schema: 1\nmodel: \xff\xfe", ":2:1", "not UTF-8 text"),
        (b"schema: 1\n\0\0", ":2:1", "NUL bytes"),
        (b"x" * (10 << 20), "", "10.0 MiB is too large"),
        (b"[" * 100_000, ":1:", "nest"),  # "nested more than"; PyYAML 6.0.4 has a limit of its own, on "nesting depth"
        (b"a:\n" + b"".join(b" " * i + b"- \n" for i in range(1, 600)), ":", "deep"),
        (BOMB.encode(), ":", "more than 100000 values"),
        (MERGES.encode(), ":", "more than 100000 values"),
        (MERGES_BELOW.encode(), ":", "more than 100000 values"),
        (DEEP_ALIASES.encode(), ":2:", "nested more than 64 deep"),
        (b"just text", ":1:1", "expected a mapping, found text"),
        (b"- a\n- b\n", ":1:1", "expected a mapping, found a list"),
        (b"{}", ":1:1", "missing key 'schema'"),
    ],
    ids=[
        "empty",
        "comment",
        "binary",
        "not-utf8",
        "nul",
        "10MB",
        "brackets",
        "indent",
        "bomb",
        "merges",
        "merges-below",
        "deep-aliases",
        "text",
        "list",
        "bare",
    ],
)
def test_a_file_that_is_no_matrix(
    data: bytes, place: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _written(tmp_path, data)
    said = _refused(path, capsys)
    assert said.startswith(f"error: {path}{place}")
    assert says in said


def test_a_folder_and_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    assert "this is a folder" in _refused(tmp_path / "folder", capsys)
    assert "no such file" in _refused(tmp_path / "nowhere.yaml", capsys)
    assert "no such file" in _refused(tmp_path / "nowhere.yaml", capsys, "plan")


HOSTILE = {
    "brackets behind comments": "a: " + "[[[[ # ]]]]\n" * 25_000,
    "dashes": "-  " * 100_000,
    "question marks": "? " * 100_000,
    "brackets behind strings": "a: " + '[[[["]]]]",\n' * 25_000,
    "braces": '{"a":' * 100_000,
    "selector": MATRIX + 'skip: ["' + "{a,b}" * 40 + '"]\n',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_does_not_crash_the_program(text: str, tmp_path: Path) -> None:
    """In a process of its own: what goes wrong here is a segmentation fault or an endless loop."""
    path = _written(tmp_path, text.encode())
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30));"
        "from builder.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "plan", "-m", str(path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-500:]
    assert done.stderr.startswith("error: ")


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(str(tmp_path / "fifo"))
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", "plan", "-m", str(tmp_path / "fifo")],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 2, done.stderr


@pytest.mark.parametrize(
    "text",
    [
        MATRIX,
        "\ufeff" + MATRIX,
        MATRIX.replace("\n", "\r\n"),
        MATRIX.replace("  ov: {runtime: openvino}", "  ov: {<<: *base, machine: mine}").replace(
            "  ort: {runtime: onnxruntime}", "  ort: &base {runtime: onnxruntime}"
        ),
        MATRIX + "".join(f"# note [{i}\n" for i in range(100)),
        MATRIX.replace("machine: RTX 3090", 'machine: "[[[ RTX {{{ 3090"'),
        MATRIX + "# " + "[" * 200 + "\n",
        TASK_MATRIX,
        TASK_MATRIX.replace("    size: [32, 32]", "    size: [128, 8]\n    heads: [dense]"),
        TASK_MATRIX.replace("[a.png, b.png]}\n    size", "[a.png, a.npz, masks/a.png]}\n    size"),
        TASK_MATRIX.replace(OUTPUTS, ""),
        TASK_MATRIX.replace("score:Score", "my.metrics.score:Score"),
    ],
    ids=[
        "plain",
        "bom",
        "crlf",
        "merge",
        "brackets-in-comments",
        "brackets-in-text",
        "a-row-of-brackets",
        "task",
        "task-of-a-head",
        "stems",
        "gate-on-tasks-only",
        "package",
    ],
)
def test_good_files_load(text: str, tmp_path: Path) -> None:
    loaded = load(_written(tmp_path, text.encode()))
    assert [t.name for t in loaded.matrix.targets] == ["ort", "ov", "rtx", "trt"]


def test_a_task_is_what_its_section_says(tmp_path: Path) -> None:
    matrix = load(_written(tmp_path, TASK_MATRIX.encode())).matrix
    task = matrix.task("good")
    assert (task.metric, task.size, task.heads, task.data.files) == ("score:Score", (32, 32), (), ("a.png", "b.png"))
    assert [(option.name, option.value) for option in task.options] == [("strict", True)]
    ((gated,),) = [gate.tasks for gate in matrix.gates]
    assert gated.task == "good"
    assert [(m.metric, m.threshold, m.max_degradation) for m in gated.metrics] == [("value", 0.5, 0.1)]


def test_a_merge_keeps_what_is_written_beside_it(tmp_path: Path) -> None:
    text = MATRIX.replace("  ort: {runtime: onnxruntime}", "  ort: &base {runtime: onnxruntime, machine: one}")
    text = text.replace("  ov: {runtime: openvino}", "  ov: {machine: two, <<: *base}")
    ov = load(_written(tmp_path, text.encode())).matrix.target("ov")
    assert (ov.runtime, ov.machine) == ("onnxruntime", "two")


def test_of_two_merges_the_last_one_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = MATRIX.replace("  ort: {runtime: onnxruntime}", "  ort: &one {runtime: onnxruntime, machine: one}")
    text = text.replace("  ov: {runtime: openvino}", "  ov:\n    <<: *one\n    <<: {runtime: openvino}")
    ov = load(_written(tmp_path, text.encode())).matrix.target("ov")
    assert (ov.runtime, ov.machine) == ("openvino", "one")
    text = text.replace("<<: {runtime: openvino}", "<<: {runtime: openvno}")
    path = _written(tmp_path, text.encode())
    line = next(n for n, words in enumerate(text.splitlines(), 1) if "openvno" in words)
    assert f"{path}:{line}:" in _refused(path, capsys)


def test_a_machine_without_a_name_is_called_by_its_gpu(tmp_path: Path) -> None:
    text = MATRIX.replace(
        'version: "10.16", sm: "8.6", machine: RTX 3090}', 'version: "10.16", sm: "8.6", gpu: RTX 3080}'
    )
    text = text.replace('sm: "8.6", machine: RTX 3090}', 'sm: "8.6", gpu: RTX 3090, machine: the one in rack 4}')
    matrix = load(_written(tmp_path, text.encode())).matrix
    assert [matrix.target(name).machine for name in ("ort", "rtx", "trt")] == ["any", "the one in rack 4", "RTX 3080"]


def test_an_error_beside_a_merge_has_its_own_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = MATRIX.replace("  ort: {runtime: onnxruntime}", "  ort: &base {runtime: onnxruntime}")
    text = text.replace("  ov: {runtime: openvino}", "  ov: {runtime: openvno, <<: *base}")
    path = _written(tmp_path, text.encode())
    line = next(n for n, words in enumerate(text.splitlines(), 1) if "openvno" in words)
    assert f"{path}:{line}:" in _refused(path, capsys)


def test_the_shipped_matrix_names_the_machines_of_the_mission() -> None:
    matrix = load(REPOSITORY / "matrix.yaml").matrix
    found = {(t.runtime, t.version, t.sm, t.jetpack) for t in matrix.targets}
    assert {
        ("tensorrt", "10.16", "8.6", None),
        ("tensorrt", "8.6", "6.1", None),
        ("tensorrt", "10.3", "8.7", "6.2"),
        ("tensorrt", "8.5.2", "7.2", "5.1"),
        ("onnxruntime", None, None, None),
        ("openvino", None, None, None),
    } <= found


# ------------------------------------------------------------------------------------------- mutations


def _mutated(draw: Callable[..., int], text: str) -> str:
    """One to three random edits: a line or a character deleted, doubled or replaced."""
    for _ in range(draw(1, 3)):
        lines = text.split("\n")
        kind, i = draw(0, 4), draw(0, len(lines) - 1)
        j = draw(0, max(len(text) - 1, 0))
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines.insert(i, lines[i])
        elif kind == 2:
            lines[i] = lines[draw(0, len(lines) - 1)]
        text = (
            "\n".join(lines)
            if kind < 3
            else text[:j] + _CHARACTERS[draw(0, len(_CHARACTERS) - 1)] + text[j + kind - 3 :]
        )
    return text


_CHARACTERS = [
    "",
    "x",
    "9",
    "-",
    ":",
    " ",
    "\n",
    "\t",
    "[",
    "]",
    "{",
    "}",
    "&",
    "*",
    "!",
    "'",
    '"',
    "#",
    "|",
    ">",
    "%",
    "@",
    "\0",
    "é",
    "\u2028",
    "?",
    ",",
    "<<:",
]


@given(data=st.data())
@settings(max_examples=120)
def test_mutations_load_or_are_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = _mutated(lambda low, high: data.draw(st.integers(low, high)), SHIPPED)
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(text, encoding="utf-8")
    problem: Optional[DeployError] = None
    try:
        load(path)
    except DeployError as caught:
        problem = caught
    assert problem is None or problem.exit_code == 2
