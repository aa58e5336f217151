"""artifact.json: written beside the files of an engine step, read back, and held against them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder import digest, plugins
from builder.actions.action import SIDECAR, Action, Result
from builder.actions.recipes import Engine, LowerFp16, Made
from builder.config.tensorrt import TensorRtOptions
from builder.errors import StepFailed, StoreDamaged
from builder.platforms.platform import Blob, Pinned, Platform, Tool
from builder.steps import engine
from builder.store import sidecar
from tests.fakes import SHA, FakeExecutor, Project, profile, run_project

CPU = Platform("mine", "1.0", "linux", "x86_64")


def action(runtime: str = "mine", precision: str = "fp32", **options: Any) -> Action:
    recipe = Engine(precision, "f32", (profile("p", 16, 64),), 1 << 20, TensorRtOptions(**options), "")
    platform = Platform(runtime, "10.3", "linux", "x86_64", "8.6")
    return Action(recipe, (Pinned("model.onnx", SHA),), (Tool("mine", "1.0"),), platform)


class Mine:
    def build(self, recipe: Engine, platform: Platform, onnx: Path, out: Path) -> Made:
        for name in ("model.bin", "timing.cache", "calibration.cache"):
            (out / name).write_bytes(name.encode())
        return Made(3, ("as asked",))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plugins, "backend", lambda name: Mine())
    assert engine.build_engine(action(), tmp_path, tmp_path, tmp_path) == Made(3, ("as asked",))
    return tmp_path


def test_the_engine_step_says_what_it_made_and_leaves_by_products_out(made: Path) -> None:
    found = sidecar.read(made)
    assert found is not None
    assert found.files == (Blob("model.bin", digest.of_bytes(b"model.bin"), 9),)
    assert (found.precision, found.compute, found.onnx) == ("fp32", "f32", SHA)
    assert found.action == action().key
    assert found.tools == (Tool("mine", "1.0"),)
    assert sidecar.disagreements(found, made, SIDECAR) == ()


def test_what_is_written_is_the_same_for_the_same_build(made: Path) -> None:
    before = (made / SIDECAR).read_bytes()
    engine.build_engine(action(), made, made, made)
    assert (made / SIDECAR).read_bytes() == before


@pytest.mark.parametrize(
    ("runtime", "options", "tier"),
    [
        ("tensorrt", {}, "gpu-model"),
        ("tensorrt", {"version_compatible": True}, "gpu-model+version"),
        ("tensorrt-rtx", {}, "compute-capability"),
        ("openvino", {}, ""),
    ],
)
def test_an_engine_says_where_else_it_loads(runtime: str, options: Any, tier: str) -> None:
    assert sidecar.described(action(runtime, **options), ()).portability == tier


def test_only_an_engine_action_has_one() -> None:
    with pytest.raises(StepFailed):
        sidecar.described(Action(LowerFp16(), (), (), CPU), ())


def test_each_way_in_which_a_file_differs_is_said(made: Path) -> None:
    found = sidecar.read(made)
    assert found is not None
    (made / "model.bin").write_bytes(b"model.bim")
    assert "model.bin has the digest sha256:" in sidecar.disagreements(found, made, SIDECAR)[0]
    (made / "model.bin").write_bytes(b"model")
    assert sidecar.disagreements(found, made, SIDECAR) == ("model.bin has 5 bytes, artifact.json says 9",)
    (made / "model.bin").unlink()
    assert sidecar.disagreements(found, made, SIDECAR) == ("model.bin is missing",)
    assert sidecar.disagreements(found, made, SIDECAR, ("other",)) == ("artifact.json does not speak of other",)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 2}', "\x00\xff"])
def test_one_that_does_not_read_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    (tmp_path / SIDECAR).write_text(text, encoding="utf-8")
    with pytest.raises(StoreDamaged, match=r"does not read") as caught:
        sidecar.read(tmp_path)
    assert SIDECAR in str(caught.value)


def test_without_one_there_is_none(tmp_path: Path) -> None:
    assert sidecar.read(tmp_path) is None


def test_the_same_bytes_made_by_another_action_are_not_measured_again(project: Project) -> None:
    """The sidecar names its action; a measurement must not depend on that."""
    same = frozenset({"engine"})
    run_project(project, FakeExecutor(same=same))
    project.edit("matrix.yaml", "min: [1, 1, 16, 16]", "min: [1, 1, 8, 8]")
    again = run_project(project, FakeExecutor(same=same)).executor
    assert "engine" in again.steps
    assert "parity" not in again.steps


def test_a_result_knows_what_is_opened_and_what_is_carried() -> None:
    names = ("artifact.json", "model.engine", "timing.cache")
    result = Result(SHA, tuple(Blob(name, SHA, 1) for name in names), Made(0, ()), 0.0, 0)
    assert [blob.name for blob in result.product] == ["artifact.json", "model.engine"]
    assert [blob.name for blob in result.opened] == ["model.engine"]
