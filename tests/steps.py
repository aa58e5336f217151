"""Steps that any machine with onnxruntime can perform, for tests of those that have them performed."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from builder import digest
from builder.actions.action import Action
from builder.actions.recipes import Engine, MeasureLatency
from builder.config.contract import Profile, ShapeRange
from builder.config.tensorrt import TensorRtOptions
from builder.platforms import machines
from builder.platforms.platform import Pinned, Platform

SHAPE = (1, 1, 32, 32)


def model(folder: Path) -> Path:
    """A small one, in a file. Where it could not be run, the test skips."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests import onnx_models

    onnx.save(onnx_models.convolutional(), str(folder / "given.onnx"))
    return folder / "given.onnx"


def platform(version: str = "any", arch: str = "") -> Platform:
    """This machine, unless said otherwise."""
    here = machines.here()
    return Platform("onnxruntime", version, here.os, arch or here.arch)


def engine(of: Path, on: Optional[Platform] = None) -> Action:
    profile = Profile("small", (ShapeRange("image", SHAPE, SHAPE, SHAPE),))
    recipe = Engine("fp32", "f32", (profile,), 1 << 30, TensorRtOptions(), "")
    return Action(recipe, (Pinned("model.onnx", digest.of_file(of)),), (), on or platform())


def latency(of: Path, seconds: float) -> Action:
    found = digest.of_file(of)
    recipe = MeasureLatency("image", SHAPE, seconds, 1, "f32", False, "any")
    return Action(recipe, (Pinned("artifact/model.onnx", found), Pinned("naive.onnx", found)), (), platform())
