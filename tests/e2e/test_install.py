"""What a host installs: bench/install.py on the Pythons that are here, with a signed store of artifacts that run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from builder.store.layout import Layout
from tests.fakes import REPOSITORY

pytestmark = pytest.mark.e2e
WANTED = ("3.8", "3.10", "3.13")
CELL = "tiny-dense-fp32-ort"


def _python(version: str) -> str:
    """`python3.8` on the path, or one that pyenv keeps beside it; "" for none."""
    kept = sorted(
        Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))).glob(f"versions/{version}.*/bin/python")
    )
    for candidate in (shutil.which(f"python{version}"), *map(str, kept)):
        if candidate and not subprocess.run([candidate, "-c", "import venv"], capture_output=True).returncode:
            return candidate
    return ""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Any]:
    """Python's version -> what bench/install.py says of it, all in one run."""
    for needed in ("onnx", "onnxruntime", "cv2"):
        pytest.importorskip(needed)
    import cv2
    import numpy as np

    from tests.real_artifacts import Made, publish

    pythons: List[str] = [python for python in map(_python, WANTED) if python]
    if not pythons:
        pytest.skip(f"none of Python {', '.join(WANTED)} is here")
    folder = tmp_path_factory.mktemp("install")
    publish(Layout(folder / "artifacts"), Made(CELL))
    cv2.imwrite(str(folder / "photo.png"), np.full((40, 40), 128, np.uint8))
    words = ["--store", str(folder / "artifacts"), "--photo", str(folder / "photo.png"), "--json"]
    flags = [word for python in pythons for word in ("--python", python)]
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "bench" / "install.py"), *words, *flags],
        capture_output=True,
        text=True,
        # pip compiles all that it installs; here a few modules are imported, which compiles those.
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PIP_COMPILE": "0"},
    )
    if "No module named pip" in done.stderr:
        pytest.skip("no wheel can be made here: pip is missing")
    assert done.returncode == 0, done.stderr
    return {".".join(one["python"].split(".")[:2]): one for one in json.loads(done.stdout)}


@pytest.mark.parametrize("version", WANTED)
def test_a_bare_host_installs_verifies_pulls_and_runs(tried: Dict[str, Any], version: str) -> None:
    if version not in tried:
        pytest.skip(f"Python {version} is not here")
    one = tried[version]
    if one["problem"].startswith("python -m pip"):
        pytest.skip(f"pip cannot install here: {one['problem']}")
    assert one["problem"] == ""
    names = {name.lower() for name in one["packages"]}
    assert {"deploymatrix", "pynacl", "onnxruntime", "openvino", "numpy", "opencv-python-headless"} <= names
    assert not names & {"torch", "onnx", "onnxsim", "polygraphy", "cryptography"}
    assert "is whole" in one["said"]["verify"] and "signed by release" in one["said"]["verify"]
    assert f"{CELL} of v1 -> pulled" in one["said"]["pull"]
    assert f"self-test: {CELL} answered golden-16x16.npz within 1 limit" in one["said"]["pull"]
    assert "out [1, 3, 20, 20]" in one["said"]["run"]
    assert 100 < one["size"] / 2**20 < 1000
