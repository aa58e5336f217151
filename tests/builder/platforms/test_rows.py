"""A row that is added to a table counts, without a change to any module; a row that is wrong is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Iterator

import pytest

from builder.config.cells import Cell
from builder.errors import UsageError
from builder.planning.planner import plan
from builder.platforms import tables
from builder.platforms.gpus import Gpu
from builder.platforms.install import how_to_build
from tests.fakes import LAPTOP, REPOSITORY, RTX3090, Project, _with, with_version

TENSORRT_11_5 = """
[series."11.5"]
newest = "11.5.0.7"
sm = ["8.0", "8.6", "13.0"]
cuda = ["13.5 to 13.6"]
sbsa = "13.6"
python = "3.12 to 3.15"
opset = 26
source = "a made-up document"
edition = "11.5"
"""
JETPACK_8 = """
[series."8.0"]
newest = "8.0.1"
l4t = "40.1 to 40.2"
tensorrt = "11.5.0"
cuda = "13.5"
cudnn = "9.30"
python = "3.14"
sm = ["11.0"]
source = "a made-up document"
edition = "8.0"
"""
L4T_40 = """
[l4t."40.1"]
jetpack = "8.0"
source = "a made-up document"
edition = "L4T 40.1"
"""
GPU_13 = """
[gpus."13.0"]
architecture = "Made-up"
example = "RTX 6090"
cuda_from = "13.5"
source = "a made-up document"
edition = "13.5"
"""


def forget() -> None:
    for value in vars(tables).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the tables, which this process reads instead."""
    copy = tmp_path / "tables"
    shutil.copytree(tables.FOLDER, copy)
    monkeypatch.setattr(tables, "FOLDER", copy)
    forget()
    yield copy
    monkeypatch.undo()
    forget()


def add(folder: Path, name: str, row: str) -> None:
    with (folder / f"{name}.toml").open("a", encoding="utf-8") as file:
        file.write(row)
    forget()


def planned(root: Path, target: str) -> Cell:
    """The fp32 cell of one target."""
    project = Project(root)
    project.edit("matrix.yaml", 'trt: {runtime: tensorrt, version: "10.16", sm: "8.6", machine: RTX 3090}', target)
    (cell,) = plan(project.load().matrix, LAPTOP, only=("tiny-dense-fp32-trt",)).cells
    return cell


def test_a_new_tensorrt_is_one_row(folder: Path, tmp_path: Path) -> None:
    target = 'trt: {runtime: tensorrt, version: "11.5", sm: "8.6", machine: RTX 3090, cuda: "13.5"}'
    before = planned(tmp_path / "before", target)
    assert (before.fate, before.rule) == ("skipped", "tensorrt-version")
    assert (REPOSITORY / before.source).is_file(), "it names the table where the row is missing"
    add(folder, "tensorrt", TENSORRT_11_5)
    after = planned(tmp_path / "after", target)
    assert (after.fate, after.rule) == ("waiting", "")
    assert "tensorrt-cu13==11.5.*" in after.remedies[0] and "Python 3.12 to 3.15" in after.remedies[0]


def test_the_columns_of_a_new_row_are_judged(folder: Path, tmp_path: Path) -> None:
    add(folder, "tensorrt", TENSORRT_11_5)
    start = 'trt: {runtime: tensorrt, version: "11.5", machine: it, '
    gpu = planned(tmp_path / "gpu", start + 'sm: "7.5"}')
    assert gpu.reason == "TensorRT 11.5 supports compute capability 8.0 and newer; it is 7.5"
    assert gpu.source == "a made-up document"
    assert planned(tmp_path / "cuda", start + 'sm: "8.6", cuda: "12.9"}').rule == "tensorrt-cuda"
    assert planned(tmp_path / "python", start + 'sm: "8.6", python: "3.11"}').rule == "tensorrt-python"
    unknown = planned(tmp_path / "unknown", start + 'sm: "13.0"}')
    assert unknown.rule == "gpu-known"
    add(folder, "cuda", GPU_13)
    assert planned(tmp_path / "known", start + 'sm: "13.0"}').fate == "waiting"


def test_a_new_tensorrt_is_what_works_instead(folder: Path, tmp_path: Path) -> None:
    add(folder, "tensorrt", TENSORRT_11_5)
    skipped = planned(tmp_path / "p", 'trt: {runtime: tensorrt, version: "8.4", sm: "8.9", machine: it}')
    assert "11.5" not in skipped.remedies[0]
    skipped = planned(tmp_path / "q", 'trt: {runtime: tensorrt, version: "9.0", sm: "8.6", machine: it}')
    assert skipped.remedies[0].startswith("TensorRT 11.5.0 (CUDA 13.6, driver 580.65.06 or newer, Python 3.12 to 3.15)")


def test_a_new_jetpack_is_one_row(folder: Path, tmp_path: Path) -> None:
    target = 'trt: {runtime: tensorrt, version: "11.5", sm: "11.0", arch: aarch64, jetpack: "8.0", machine: Thor}'
    before = planned(tmp_path / "before", target)
    assert (before.fate, before.rule) == ("skipped", "jetpack-version")
    add(folder, "jetpack", JETPACK_8)
    add(folder, "tensorrt", TENSORRT_11_5)
    after = planned(tmp_path / "after", target)
    assert (after.fate, after.rule) == ("waiting", "")
    assert "JetPack 8.0: CUDA 13.5, cuDNN 9.30, Python 3.14" in after.remedies[0]
    other = planned(tmp_path / "other", target.replace("11.5", "11.4"))
    assert other.reason == "JetPack 8.0 brings TensorRT 11.5.0, not 11.4"


def test_a_new_release_of_l4t_is_one_row(folder: Path) -> None:
    assert tables.jetpack_of("40.1.2") is None
    add(folder, "jetson", L4T_40)
    assert tables.jetpack_of("40.1.2") == "8.0"


def test_a_machine_with_a_new_gpu_is_met(folder: Path, tmp_path: Path) -> None:
    add(folder, "tensorrt", TENSORRT_11_5)
    add(folder, "cuda", GPU_13)
    machine = _with(with_version(RTX3090, "tensorrt", "11.5.0.7"), gpus=(Gpu("NVIDIA GeForce RTX 6090", "13.0"),))
    project = Project(tmp_path / "p")
    project.edit("matrix.yaml", 'version: "10.16", sm: "8.6"', 'version: "11.5", sm: "13.0"')
    matrix = project.load().matrix
    (cell,) = plan(matrix, machine, only=("tiny-dense-fp32-trt",)).cells
    assert (cell.fate, cell.unverified) == ("build", "")
    assert "needs a GPU" not in how_to_build(matrix.target("trt"), machine, "store")


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("tensorrt", 'edition = "10.16"\n', "", "series.10.16: missing key 'edition'"),
        ("tensorrt", 'source = "NVIDIA/TensorRT#3815"', 'source = " "', "elements: `source` and `edition` must not be"),
        ("tensorrt", "sbsa = \"13.2\"", 'sbsas = "13.2"', "series.10.16.sbsas: unknown key 'sbsas'"),
        ("tensorrt", 'python = "3.10 to 3.14"', "python = 3.10", 'series.11.1 to 11.4.python: expected text, found a number 3.1 (write it in quotes: "3.1")'),
        ("tensorrt", '[series."10.16"]', '[series."10.16 or so"]', "'10.16 or so' is not a version"),
        ("tensorrt", '"12.0 to 12.1"', '"12.0 - 12.1"', "series.8.6.cuda[1]: '12.0 - 12.1' is not a version"),
        ("tensorrt", "[topk]", "[topks]", "topks: unknown key 'topks'"),
        ("cuda", 'last = "12.9"\n', "", "toolkits.12: missing key 'last'"),
        ("precision", "times = 0.015625", 'times = "slow"', "rates[0].times: expected a number, found text 'slow'"),
        ("jetpack", '[series."6.0"]', '[series."5.0"]', "is not TOML: "),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_with_its_file_and_name(name: str, old: str, new: str, said: str, folder: Path) -> None:
    path = folder / f"{name}.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    at = text.index('[series."10.16"]') if 'sbsa = "13.2"' in old else 0
    path.write_text(text[:at] + text[at:].replace(old, new, 1), encoding="utf-8")
    forget()
    with pytest.raises(UsageError) as raised:
        getattr(tables, name)()
    assert said in raised.value.what, raised.value.what
    assert raised.value.where == str(path)


def test_an_unknown_column_is_told_with_those_that_are_known(folder: Path) -> None:
    add(folder, "rtx", '[series."9.9"]\nnewest = "9.9"\nsms = []\n')
    with pytest.raises(UsageError, match="known there: versions, newest, sm, cuda, python, source, edition"):
        tables.rtx()
