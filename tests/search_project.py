"""A project whose model has one layer that ruins int8, or one that ruins fp16: for the tests of the search."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

MATRIX = """\
schema: 1
model:
  name: small
  source: {onnx: model.onnx, sha256: SHA}
  inputs:
    image: {shape: [batch, 1, 8*h8, 8*w8]}
  preprocess: {multiple: 8}
  heads:
    map:
      outputs: {out: [batch, 3, 8*h8, 8*w8]}
  profiles:
    small: {image: {min: [1, 1, 16, 16], opt: [1, 1, 32, 32], max: [1, 1, 64, 64]}}
precisions: [PRECISION]
targets:
  ort: {runtime: onnxruntime}
  ov: {runtime: openvino}
  trt: {runtime: tensorrt, version: "10.16", sm: "8.6", machine: RTX 3090}
parity:
  photographs: {folder: photographs, files: [a.png, b.png]}
  sizes: [[32, 32], [48, 40]]
calibration:
  photographs: {folder: photographs, files: [c.png, d.png]}
  size: [48, 48]
  method: minmax
latency: {seconds: 0.05}
gates:
  - {select: "*", outputs: {"*": {snr_db: 20}}}
defaults: {search: {trials: 12}}
"""


def lay_out(folder: Path, model: Any, precision: str, build: str = "*-ort") -> Path:
    """The folder of a project that builds the cells `build`; photographs are smooth noise, each of its own seed."""
    import cv2
    import numpy as np
    import onnx

    (folder / "photographs").mkdir(parents=True)
    for seed, name in enumerate("abcd"):
        noise = np.random.default_rng(seed).random((12, 12), dtype=np.float32)
        smooth = cv2.resize(noise, (96, 96), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "photographs" / f"{name}.png"), (255 * smooth.clip(0, 1)).astype(np.uint8))
    onnx.save(model, str(folder / "model.onnx"))
    sha = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    text = MATRIX.replace("SHA", sha).replace("PRECISION", precision) + f'build: ["{build}"]\n'
    (folder / "matrix.yaml").write_text(text, encoding="utf-8")
    return folder
