"""Real faults, planted in a real project after a clean release: each is caught when the next one is judged, in words that name
gate, number, limit, photograph and tensor, and the audit says what was changed.

The project is the segmentation example with its trained weights, in three cells on CPU runtimes. Every test takes a copy of
the store after the clean release, plants one fault and builds only the cells that it bears on.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest

from tests.e2e.conftest import Project
from tests.e2e.test_main_path import latest_manifest
from tests.fakes import REPOSITORY

pytestmark = pytest.mark.e2e

FP32, FP16, INT8 = "fp32-cpu_openvino", "fp16-cpu_onnxruntime", "int8-cpu_openvino"
CELL = "segmenter-classes-"
PHOTOGRAPHS = {"astronaut-256x320", "coffee-256x320"}

# An OpenVINO that does not heed the precision it is asked for, as one of another version might.
FORGETFUL = """
import importlib.abc, importlib.util, sys


class Forgetful(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "openvino":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        real = spec.loader.exec_module

        def exec_module(module):
            real(module)
            compile_model = module.Core.compile_model

            def forgetting(core, model, device=None, config=None):
                kept = {key: value for key, value in (config or {}).items() if key != "INFERENCE_PRECISION_HINT"}
                return compile_model(core, model, device, kept)

            module.Core.compile_model = forgetting

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Forgetful())
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after a release in which every cell passed."""
    for package in (
        "torch",
        "onnx",
        "onnxsim",
        "onnxruntime",
        "openvino",
        "polygraphy",
        "skimage",
        "cv2",
        "safetensors",
    ):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("faults") / "project"
    shutil.copytree(REPOSITORY / "examples" / "segmentation", folder, ignore=shutil.ignore_patterns("artifacts"))
    project = Project(folder)
    matrix = (folder / "matrix.yaml").read_text(encoding="utf-8")
    matrix = re.sub(r"  (rtx3090_rtx|gtx1060_trt86|orin_jp6): .*\n", "", matrix)
    matrix = matrix.replace(
        "[astronaut.png, chelsea.png, coffee.png, rocket.jpg]\n  sizes", "[astronaut.png, coffee.png]\n  sizes"
    )
    matrix = matrix.replace("scenes: 24", "scenes: 6").replace("seconds: 1}", "seconds: 0.1}")
    matrix += f'build: ["*-{FP32}", "*-{FP16}", "*-{INT8}"]\n'
    (folder / "matrix.yaml").write_text(matrix, encoding="utf-8")
    done = project.build("matrix", "--quiet")
    assert "3 cells: 3 passed" in done.stdout
    return project


@pytest.fixture
def planted(released: Project, tmp_path: Path) -> Project:
    shutil.copytree(released.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


class Judged:
    """The next release with only some cells built, and what the audit says of it."""

    def __init__(
        self, project: Project, cells: List[str], code: int, env: Optional[Dict[str, str]] = None, *words: str
    ):
        only = [word for cell in cells for word in ("--only", f"{CELL}{cell}")]
        done = self._run(project, env, "matrix", "--quiet", *only, *words)
        assert done.returncode == code, done.stdout + done.stderr
        self.entries = {e["cell"]: e for e in latest_manifest(project.folder / "artifacts")["entries"]}
        audited = self._run(project, None, "audit", "--all")
        assert audited.returncode == 4, audited.stdout + audited.stderr
        self.audit = " ".join(audited.stdout.split())

    @staticmethod
    def _run(project: Project, env: Optional[Dict[str, str]], *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            Project.command(*words),
            cwd=str(project.folder),
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def status(self, cell: str) -> str:
        return str(self.entries[CELL + cell]["verdict"]["status"])

    def reason(self, cell: str) -> str:
        return str(self.entries[CELL + cell]["verdict"]["reason"])

    def misses(self, cell: str, subject: str, metric: str) -> List[Dict[str, Any]]:
        """The checks of this name that were missed."""
        return [
            check
            for check in self.entries[CELL + cell]["verdict"]["checks"]
            if (check["subject"], check["metric"]) == (subject, metric)
            and (check["found"] > check["limit"] if check["at_most"] else check["found"] < check["limit"])
        ]


def reweighted(project: Project, change: Callable[[Dict[str, Any]], None]) -> None:
    """The weights file with `change` applied, and its new digest in the matrix, as a person would release it."""
    from safetensors.numpy import load_file, save_file

    path = project.folder / "weights" / "segmenter.safetensors"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    project.edit("matrix.yaml", before, hashlib.sha256(path.read_bytes()).hexdigest())


def scaled(by: float) -> Callable[[Dict[str, Any]], None]:
    """One block's first convolution larger, the next one smaller: the same model in float32 (a ReLU lies between)."""

    def change(tensors: Dict[str, Any]) -> None:
        for name in ("weight", "bias"):
            tensors[f"encoder.3.1.look.1.{name}"] = tensors[f"encoder.3.1.look.1.{name}"] * by
        tensors["encoder.3.1.mix.0.weight"] = tensors["encoder.3.1.mix.0.weight"] / by

    return change


def test_a_layer_whose_weights_leave_the_range_of_fp16(planted: Project) -> None:
    reweighted(planted, scaled(1e6))
    found = Judged(planted, [FP32, FP16], 5)
    assert found.status(FP32) == "passed", "in float32 it is the same model"
    assert found.status(FP16) == "failed"
    assert re.search(
        r"lower-fp16: the weight encoder\.3\.1\.look\S* reaches \S+, beyond float16's 65504", found.reason(FP16)
    )
    assert "weights 772a2c77 -> " in found.audit


def test_a_calibration_set_of_another_world(planted: Project) -> None:
    import cv2
    import numpy as np

    (planted.folder / "night").mkdir()
    for number in range(3):
        dark = np.random.default_rng(number).integers(0, 6, (256, 320, 3), dtype=np.uint8)
        cv2.imwrite(str(planted.folder / "night" / f"dark{number}.png"), dark)
    text = (planted.folder / "matrix.yaml").read_text()
    start, end = (
        text.index("    package: skimage", text.index("calibration:")),
        text.index("  size:", text.index("calibration:")),
    )
    planted.edit("matrix.yaml", text[start:end], '    folder: night\n    files: ["dark*.png"]\n')
    found = Judged(planted, [FP32, INT8], 3)
    assert found.status(FP32) == "passed", "it is not calibrated"
    assert found.status(INT8) == "failed"
    (miss,) = found.misses(INT8, "logits", "cosine")
    assert (miss["level"], miss["limit"], miss["gate"]) == ("tensor", 0.99, "*-int8-*")
    assert miss["worst"] in PHOTOGRAPHS
    assert f"logits cosine {miss['found']:.4g} < 0.99 on {miss['worst']}, gate *-int8-*" in found.reason(INT8)
    assert re.search(r"calibration[^.]*\+dark0\.png", found.audit), found.audit


EXPORTED = "        stages = [image]\n"


def test_channels_that_only_the_export_swaps(planted: Project) -> None:
    planted.edit(
        "network.py", EXPORTED, "        stages = [image.flip(1) if torch.compiler.is_exporting() else image]\n"
    )
    planted.edit("network.py", "from torch import Tensor, nn", "import torch\nfrom torch import Tensor, nn")
    found = Judged(planted, [FP32], 3)
    (miss,) = found.misses(FP32, "logits", "max_abs")
    assert (miss["level"], miss["limit"], miss["gate"]) == ("tensor", 0.01, "*-fp32-*")
    assert miss["worst"] in PHOTOGRAPHS
    assert f"logits max_abs {miss['found']:.4g} > 0.01 on {miss['worst']}" in found.reason(FP32)
    assert "code" in found.audit
    assert "v1 -> v2" in found.audit


def test_a_preprocessing_contract_that_is_not_what_the_model_was_trained_with(planted: Project) -> None:
    """Parity holds, since the truth is as wrong as the artifact; what the model is for does not."""
    planted.edit("matrix.yaml", "range: [0, 1]", "range: [0, 0.05]")
    found = Judged(planted, [FP32], 3)
    (miss,) = found.misses(FP32, "scenes", "mean_iou")
    assert (miss["level"], miss["limit"], miss["gate"]) == ("task", 0.75, "*")
    assert found.reason(FP32).startswith(f"scenes mean_iou {miss['found']:.4g} < 0.75")
    assert "logits" not in found.reason(FP32)
    assert "preprocess.range none -> 0.0, 0.05" in found.audit, found.audit


def test_a_resize_that_is_exported_with_another_interpolation(planted: Project) -> None:
    planted.edit(
        "network.py",
        'functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)',
        'functional.interpolate(x, scale_factor=2.0, mode="nearest" if torch.compiler.is_exporting() else "bilinear")',
    )
    planted.edit("network.py", "from torch import Tensor, nn", "import torch\nfrom torch import Tensor, nn")
    found = Judged(planted, [FP32], 3)
    for metric, sign, limit in (("max_abs", ">", 0.01), ("cosine", "<", 0.9999)):
        (miss,) = found.misses(FP32, "logits", metric)
        assert miss["worst"] in PHOTOGRAPHS
        assert f"logits {metric} {miss['found']:.4g} {sign} {limit} on {miss['worst']}" in found.reason(FP32)
    assert "code" in found.audit


def test_a_runtime_that_lowers_precision_by_itself(planted: Project, tmp_path: Path) -> None:
    """No gate on tensors of this project sees it: bf16 is right enough. The runtime's own word does."""
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bf16, so OpenVINO does not choose it")
    (tmp_path / "forgetful").mkdir()
    (tmp_path / "forgetful" / "sitecustomize.py").write_text(FORGETFUL)
    before = [str(tmp_path / "forgetful"), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = Judged(planted, [FP32], 3, {"PYTHONPATH": os.pathsep.join(before)}, "--force")
    (miss,) = found.misses(FP32, "compute", "f32")
    assert (miss["level"], miss["found"], miss["gate"]) == ("arithmetic", 0.0, "built in")
    assert re.search(r"declared compute f32, but \d+ of \d+ layers ran in bf16, says the runtime", found.reason(FP32))
    assert set(found.entries[CELL + FP32]["arithmetic"]) == {"bf16"}
    assert re.search(r"layers by what they computed in \d+ fp32 -> \d+ bf16", found.audit)
