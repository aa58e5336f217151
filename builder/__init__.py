"""deploymatrix: one model, the right inference artifact for every machine it must run on.

Two of the runtimes report to their makers unless they are kept from it, and from the moment at which they are imported:
onnxruntime from 1.29 on (names and hashes of models: its docs/Privacy.md and pull request 27379) and OpenVINO. Here no model
and no machine is anybody else's business, so this package, which every process of ours imports first, keeps them from it.
"""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # importing it fails; OpenVINO does without
