"""What a person may hand over by mistake, one by one: what is wrong, where, and what to type next; nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import List, Optional

import pytest

from builder import cli
from builder.actions.action import Action
from builder.actions.recipes import CalibrationData
from builder.config.contract import Preprocess
from builder.config.gates import Limit
from builder.errors import StepFailed
from builder.execution.worker import Order, perform
from builder.store.layout import Layout
from builder.store.manifest import TaskResult
from validation import verdict


def test_orders_of_another_version_are_no_silence(store: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    folder = store.root / ".deploymatrix" / "pending"
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps({"cell": "cell", "engine": {"of": "another version"}}))
    assert cli.main(["perform", "*", "--store", str(store.root)]) == 2
    said = capsys.readouterr().err
    assert "its 1 orders are of another version" in said and "install here the wheel" in said


def test_a_broken_calibration_image_is_named_by_its_step(tmp_path: Path) -> None:
    for package in ("numpy", "cv2"):
        pytest.importorskip(package)
    inputs = tmp_path / "in"
    (inputs / "photographs").mkdir(parents=True)
    (inputs / "photographs" / "cut.png").write_bytes(b"\x89PNG\r\n cut short")
    recipe = CalibrationData(("photographs/cut.png",), "", (8, 16), Preprocess())
    (tmp_path / "out").mkdir()
    outcome = perform(Order(Action(recipe, (), ()), str(inputs), str(tmp_path / "out"), str(tmp_path)))
    assert outcome.problem == "photographs/cut.png: is not an image that OpenCV can decode"
    assert outcome.hint == "give a PNG or JPEG photograph"
    assert not list((tmp_path / "out").iterdir())


class Config:
    """As IBuilderConfig answers: no cache from bytes that are none, False for a cache of another GPU."""

    def __init__(self, made: bool, taken: bool) -> None:
        self.made, self.taken = made, taken
        self.set: List[bytes] = []

    def create_timing_cache(self, data: bytes) -> Optional[bytes]:
        return data if self.made or not data else None

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        self.set.append(cache)
        return self.taken or not cache


@pytest.mark.parametrize(("made", "taken"), [(False, False), (True, False)])
def test_a_timing_cache_of_another_version_is_said(made: bool, taken: bool, tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    from builder.runtimes.tensorrt import timings_refused

    (tmp_path / "timing.cache").write_bytes(b"other")
    config = Config(made, taken)
    (said,) = timings_refused(config, tmp_path / "timing.cache", strict=False)
    assert "timed anew" in said and config.set[-1] == b"", "an empty cache takes its place"
    with pytest.raises(StepFailed, match="none of this TensorRT"):
        list(timings_refused(Config(made, taken), tmp_path / "timing.cache", strict=True))
    assert list(timings_refused(Config(True, True), tmp_path / "timing.cache", strict=True)) == []
    assert list(timings_refused(config, tmp_path / "none", strict=True)) == []


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("repeatibility_3px", ["did you mean 'repeatability_3px'?"]),
        ("zzz", ["it gives repeatability_3px, homography_5px"]),
        ("homography_5px", []),
    ],
)
def test_a_misspelt_metric_of_a_task_is_told_with_the_nearest(metric: str, said: List[str]) -> None:
    given = [TaskResult("views", name, 0.7, 0.7) for name in ("repeatability_3px", "homography_5px")]
    limit = Limit("task", "views", metric, "value", 0.6, "*", False)
    found = verdict.unknown_metrics([limit], given)
    assert [words in line for words, line in zip(said, found)] == [True] * len(said) and len(found) == len(said)
    assert verdict.unknown_metrics([limit], []) == (), "a task that was not scored is another matter"
