"""Which files a pattern means, and the draw of calibration photographs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Tuple

import pytest

from builder.config import datasets
from builder.config.matrix import Calibration, Matrix, Photographs
from builder.errors import UsageError
from builder.records import RecordError
from tests.fakes import Project


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.png", "c.jpg", "deep/d.png"):
        path = tmp_path / "other" / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "other"


def drawn(project: Project, folder: Path, **calibration: object) -> Matrix:
    matrix = project.load().matrix
    chosen = Calibration(**calibration)  # type: ignore[arg-type]
    return datasets.declared(dataclasses.replace(matrix, calibration=chosen), folder)


def files(matrix: Matrix) -> Tuple[str, ...]:
    assert matrix.calibration is not None and matrix.calibration.photographs is not None
    return matrix.calibration.photographs.files


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (("*.png",), ("a.png", "b.png")),
        (("*",), ("a.png", "b.png", "c.jpg")),
        (("c.jpg", "*.png"), ("c.jpg", "a.png", "b.png")),
        (("b.png", "*.png"), ("b.png", "a.png")),
        (("**/*.png",), ("a.png", "b.png", "deep/d.png")),
        (("absent.png",), ("absent.png",)),  # a name is looked for when it is needed
    ],
)
def test_patterns_are_written_out_in_order(
    given: Tuple[str, ...], meant: Tuple[str, ...], project: Project, folder: Path
) -> None:
    assert files(drawn(project, folder, photographs=Photographs(given, "photos"))) == meant


def test_a_pattern_without_a_file_is_an_error_at_its_place(project: Project, folder: Path) -> None:
    with pytest.raises(RecordError, match=r"no file in .*photos matches '\*\.bmp'") as caught:
        drawn(project, folder, photographs=Photographs(("a.png", "*.bmp"), "photos"))
    assert caught.value.path == ("calibration", "photographs", "files", 1)


def test_a_pattern_in_a_missing_folder_is_an_error(project: Project, folder: Path) -> None:
    with pytest.raises(RecordError, match="matches"):
        drawn(project, folder, photographs=Photographs(("*.png",), "nowhere"))
    with pytest.raises(UsageError, match="is not installed"):
        drawn(project, folder, photographs=Photographs(("*.png",), "x", "no_such_package"))


def test_the_draw_is_the_seeds(project: Project, folder: Path) -> None:
    chosen = Photographs(("*",), "photos")
    all_of = files(drawn(project, folder, photographs=chosen))
    draws = {files(drawn(project, folder, photographs=chosen, count=2, seed=seed)) for seed in range(12)}
    assert draws == {("a.png", "b.png"), ("a.png", "c.jpg"), ("b.png", "c.jpg")}, "every pair comes up, in order"
    for seed in range(3):
        again = [files(drawn(project, folder, photographs=chosen, count=2, seed=seed)) for _ in range(2)]
        assert again[0] == again[1]
    assert files(drawn(project, folder, photographs=chosen, count=3)) == all_of


def test_more_than_there_are_cannot_be_drawn(project: Project, folder: Path) -> None:
    with pytest.raises(RecordError, match="4 of 3 photographs"):
        drawn(project, folder, photographs=Photographs(("*",), "photos"), count=4)


def test_without_patterns_nothing_changes(project: Project) -> None:
    matrix = project.load().matrix
    assert datasets.declared(matrix, project.root) == matrix
