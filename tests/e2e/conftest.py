"""A project of its own for the end-to-end tests: a small real model and metric, real photographs, small shapes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from tests.once import once

MODEL = '''"""A three-layer network with a score map, for the end-to-end tests."""
import torch
from torch import nn


class Corners(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4),
        )
        self.score = nn.Conv2d(width, 64, 1)
        self.describe = nn.Conv2d(width, 16, 1)

    def forward(self, image):
        features = self.features(image)
        scores = nn.functional.pixel_shuffle(self.score(features).softmax(1), 8).squeeze(1)
        return scores, nn.functional.normalize(self.describe(features), dim=1)


def corners(head: str, width: int = 16) -> nn.Module:
    return Corners(width)
'''

METRIC = '''"""How the best scores follow the edges of the photograph, for the end-to-end tests."""
import cv2
import numpy as np

from edges import in_cells, strength
from validation.task import Case, mean


class Edges:
    lower_is_better = ("spread",)

    def __init__(self, power=1.0):
        self.power = power

    def cases(self, files, size):
        for name, path in files.items():
            photograph = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            image = cv2.resize(photograph, size[::-1], interpolation=cv2.INTER_AREA)
            yield Case(name.split(".")[0], (image,), {"edges": in_cells(strength(image)) ** self.power})

    def score(self, head, truth, outputs):
        scores = outputs[0]["scores"][0]
        together = np.corrcoef(in_cells(scores).ravel(), truth["edges"].ravel())[0, 1]
        return {"correlation": float(together), "spread": float(scores.std() / scores.mean())}

    def total(self, scores):
        return mean(scores)
'''

EDGES = '''"""Where a photograph changes."""
import cv2
import numpy as np


def strength(image):
    grey = image.astype(np.float32) / 255
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def in_cells(values):
    """The largest value of each cell of 8x8 pixels."""
    height, width = values.shape
    return values.reshape(height // 8, 8, width // 8, 8).max(axis=(1, 3))
'''

MATRIX = """schema: 1
model:
  name: corners
  source:
    factory: network:corners
    weights: {seed: 3}
  inputs:
    image: {shape: [batch, 1, 8*h8, 8*w8]}
  preprocess: {color: grayscale, multiple: 8}
  heads:
    map:
      outputs: {scores: [batch, 8*h8, 8*w8], descriptors: [batch, 16, h8, w8]}
      postprocess: {kind: keypoints, threshold: 0.01, top_k: 100}
  profiles:
    small: {image: {min: [1, 1, 64, 64], opt: [1, 1, 96, 128], max: [1, 1, 128, 160]}}
    wide: {image: {min: [1, 1, 64, 64], opt: [1, 1, 96, 128], max: [1, 1, 256, 320]}}
precisions: [fp32, bf16, fp16, int8]
targets:
  cpu_onnxruntime: {runtime: onnxruntime}
  cpu_openvino: {runtime: openvino}
  rtx3090_rtx: {runtime: tensorrt-rtx, version: "1.7", sm: "8.6", machine: RTX 3090}
  gtx1060_trt86: {runtime: tensorrt, version: "8.6", sm: "6.1", machine: GTX 1060}
parity:
  photographs: {folder: photographs, files: [camera.png, coffee.png]}
  sizes: [[64, 64], [72, 104], [128, 160], [256, 320]]
calibration:
  photographs: {folder: photographs, files: [brick.png, grass.png]}
  size: [96, 128]
  method: minmax
tasks:
  edges:
    metric: score:Edges
    options: {power: 0.5}
    data: {folder: photographs, files: [coins.png, chelsea.png]}
    size: [96, 128]
  views:
    metric: validation.keypoint_tasks:Homographies
    options: {kinds: rotation blur, keypoints: 60}
    data: {folder: photographs, files: [coins.png]}
    size: [192, 256]
latency: {seconds: 0.2}
gates:
  - {select: "*", outputs: {"*": {cosine: 0.9}}}
  - {select: "*-fp32-*", outputs: {"*": {max_abs: 1e-4}}}
  - {select: "*-fp32-*", tasks: {edges: {correlation: {max_degradation: 1e-4}}, views: {homography_5px: {max_degradation: 0}}}}
defaults: {profiles: [small]}
overrides:
  - {select: "*-cpu_onnxruntime", set: {profiles: [wide]}}
"""

PHOTOGRAPHS = ("camera.png", "coffee.png", "brick.png", "grass.png", "rocket.jpg", "coins.png", "chelsea.png")


class Project:
    """A folder with a matrix, and `build` run in it as a person would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(self.command(*words), cwd=str(self.folder), capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    @staticmethod
    def command(*words: str) -> List[str]:
        return [sys.executable, "-m", "builder.cli", *words]

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def lay_out(folder: Path) -> Project:
    import skimage

    data = Path(skimage.__file__).parent / "data"
    (folder / "photographs").mkdir(parents=True)
    for name in PHOTOGRAPHS:
        shutil.copy(data / name, folder / "photographs" / name)
    (folder / "network.py").write_text(MODEL)
    (folder / "score.py").write_text(METRIC)
    (folder / "edges.py").write_text(EDGES)
    (folder / "matrix.yaml").write_text(MATRIX)
    return Project(folder)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after one whole `build matrix`. Tests that change it take a copy (`fresh`)."""
    for package in ("torch", "onnx", "onnxsim", "onnxruntime", "openvino", "polygraphy", "skimage", "cv2"):
        pytest.importorskip(package)

    def make(folder: Path) -> None:
        lay_out(folder).build("matrix", "--quiet")

    # Each worker has a copy: a run takes the lock of the store that it only looks at, and another's copying would meet it.
    folder = tmp_path_factory.mktemp("built") / "project"
    shutil.copytree(once(tmp_path_factory, "corners", make), folder, symlinks=True)
    return Project(folder)


@pytest.fixture
def fresh(built: Project, tmp_path: Path) -> Project:
    """A copy of the built project, store included."""
    shutil.copytree(built.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")
