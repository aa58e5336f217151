"""deploymatrix: one model, the right inference artifact for every machine it must run on.

onnxruntime from 1.29 on (names and hashes of models: its docs/Privacy.md and pull request 27379) and OpenVINO send
usage data to their makers from the moment of their import. Every process of this program imports this package first,
and it switches both off.

OpenCV decodes a PNG of a hundred kilobytes to gigabytes unless a limit is set before it is imported. The limit is that
of the environment, or 200 million pixels: 600 MB. A program that imports cv2 before this package has OpenCV's own,
2^30.
"""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "200000000")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO works without it
