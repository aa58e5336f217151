"""The second and the third example: a segmentation network with a metric of its own, and a model that is only a file.

They are built from copies, outside the project, so that nothing of SuperPoint's can help them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest

from builder.execution.processes import worker_environment
from tests.fakes import REPOSITORY

pytestmark = pytest.mark.e2e
for package in ("onnx", "onnxsim", "onnxruntime", "openvino", "polygraphy", "cv2", "skimage"):
    pytest.importorskip(package)


def built(example: str, tmp_path: Path, *only: str) -> Dict[str, Any]:
    """The summary of `build matrix` in a copy of the example."""
    folder = tmp_path / example
    ignored = shutil.ignore_patterns("artifacts", "__pycache__")
    shutil.copytree(str(REPOSITORY / "examples" / example), str(folder), ignore=ignored)
    run = [sys.executable, "-m", "builder.cli", "matrix", "--quiet", "--format", "json", "--only", *only]
    ran = subprocess.run(run, cwd=str(folder), env=worker_environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    summary: Dict[str, Any] = json.loads(ran.stdout)
    return summary


def test_a_segmentation_network_passes_by_its_own_metric(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    summary = built("segmentation", tmp_path, "*-{fp32,int8}-cpu_openvino")
    assert [cell["verdict"]["status"] for cell in summary["cells"]] == ["passed", "passed"]
    for cell in summary["cells"]:
        (score,) = (row for row in cell["tasks"] if row["metric"] == "mean_iou")
        assert score["task"] == "scenes"
        assert score["value"] > 0.75
        assert abs(score["value"] - score["reference"]) < 0.05


def test_a_model_that_is_only_a_file_passes_without_torch(tmp_path: Path) -> None:
    summary = built("onnx_file", tmp_path, "*-{fp32,int8}-cpu_openvino")
    assert [cell["verdict"]["status"] for cell in summary["cells"]] == ["passed", "passed"]
    assert "export/classes" in summary["performed"] and "reference/classes" in summary["performed"]
    assert not list((tmp_path / "onnx_file").rglob("*.py")), "there is no source"
