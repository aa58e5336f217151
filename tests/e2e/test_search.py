"""The search for layers that must stay in float32, for real: one layer ruins int8, or fp16, and it is found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests import search_project
from tests.e2e.conftest import Project
from tests.e2e.test_main_path import latest_manifest
from tests.faults.test_interrupts import start, unsound, wait_until_gone

pytestmark = pytest.mark.e2e


def project(folder: Path, model: str, precision: str, build: str) -> Project:
    for package in ("onnx", "onnxsim", "onnxruntime", "openvino", "polygraphy", "cv2"):
        pytest.importorskip(package)
    from tests import onnx_models

    made = {"lopsided": onnx_models.lopsided, "overflowing": onnx_models.overflowing}[model]()
    return Project(search_project.lay_out(folder / "project", made, precision, build))


def built(of: Project, code: int = 0) -> Dict[str, Any]:
    done = of.build("matrix", "--quiet", "--format", "json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def onnx_of(of: Project) -> Any:
    import onnx

    entry = latest_manifest(of.folder / "artifacts")["entries"][0]
    digest = entry["artifact"]["onnx"].split(":")[1]
    return onnx.load(str(of.folder / "artifacts" / "blobs" / "sha256" / digest))


@pytest.fixture(scope="module")
def healed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """int8 under OpenVINO, after one `build matrix`."""
    made = project(tmp_path_factory.mktemp("int8"), "lopsided", "int8", "*-ov")
    result = built(made)
    assert result["new"] is True
    return made


def test_the_layer_that_ruins_int8_is_found_and_the_rest_is_int8(healed: Project) -> None:
    entry = latest_manifest(healed.folder / "artifacts")["entries"][0]
    search = entry["search"]
    assert entry["verdict"]["status"] == "passed"
    assert (search["ended"], search["kept"], search["layers"]) == ("found", ["mix"], 4)
    assert len(search["trials"]) == 2
    (recovered,) = search["recovered"]
    assert recovered["before"] < 5
    assert recovered["after"] > 20
    assert search["cost"]["kept"]["p50"] > 0
    weights = {i.name for i in onnx_of(healed).graph.initializer}
    assert {"w3", "w1_i8", "w2_i8", "w4_i8"} <= weights


def test_a_second_run_performs_nothing(healed: Project) -> None:
    again = built(healed)
    assert (again["performed"], again["new"]) == ([], False)
    assert json.loads(healed.build("plan", "--format", "json").stdout)["cells"][0]["plan"] == "recalled"


def test_the_layers_whose_weights_overflow_float16_are_found(tmp_path: Path) -> None:
    made = project(tmp_path, "overflowing", "fp16", "*-ort")
    assert built(made)["cells"][0]["verdict"]["status"] == "passed"
    entry = latest_manifest(made.folder / "artifacts")["entries"][0]
    assert entry["search"]["kept"][0] == "wild"
    assert entry["search"]["was"].startswith("wild: the weight w2 reaches")
    kinds = {i.name: i.data_type for i in onnx_of(made).graph.initializer}
    assert kinds["w2"] == 1, "float32"
    assert kinds["w1_f16"] == 10, "float16"
    again = built(made)
    assert (again["performed"], again["new"]) == ([], False)


def test_one_trial_is_too_few_and_more_go_on_from_there(tmp_path: Path) -> None:
    made = project(tmp_path, "lopsided", "int8", "*-ov")
    made.edit("matrix.yaml", "trials: 12", "trials: 1")
    done = made.build("matrix", check=False)
    assert done.returncode == 3
    assert "search ended after 1 trial; best: all 4 layers in float32" in " ".join(done.stdout.split())
    made.edit("matrix.yaml", "trials: 1", "trials: 2")
    done = made.build("matrix")
    assert "trial 1" not in done.stderr, "recalled"
    assert "trial 2 of at most 2, 1 of 4 layers in float32" in done.stderr


def test_a_gate_that_float32_misses_ends_at_once(tmp_path: Path) -> None:
    made = project(tmp_path, "lopsided", "int8", "*-ov")
    made.edit("matrix.yaml", "snr_db: 20", "snr_db: 900")
    result = built(made, code=3)
    assert len(result["cells"][0]["search"]["trials"]) == 1
    assert "even with every layer in float32 it misses out snr_db" in result["cells"][0]["verdict"]["reason"]


def test_kill_9_in_the_middle_of_a_search(tmp_path: Path, healed: Project) -> None:
    """Killed whenever it has got one step further; what was done is never done again, and the end is the same."""
    made = Project(tmp_path / "project")
    shutil.copytree(healed.folder, made.folder, ignore=shutil.ignore_patterns("artifacts"))
    results = made.folder / "artifacts" / ".deploymatrix" / "results"
    for _ in range(4):
        before = len(list(results.glob("*"))) if results.is_dir() else 0
        run = start(made, "*")
        while run.poll() is None and (len(list(results.glob("*"))) if results.is_dir() else 0) < before + 4:
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert run.stderr is not None
        run.stderr.close()
        assert wait_until_gone(made.folder) == []
        assert unsound(made.folder / "artifacts") == []
    result = built(made)
    assert result["cells"][0]["search"]["kept"] == ["mix"]
    times: List[str] = [trial["kept"] for trial in result["cells"][0]["search"]["trials"]]
    assert len(times) == 2


def test_a_graph_for_tensorrt_is_searched_here(tmp_path: Path) -> None:
    made = project(tmp_path, "lopsided", "int8", "*-trt")
    row = built(made)["cells"][0]
    assert row["verdict"]["status"] == "waiting"
    assert row["search"]["kept"] == ["mix"]
    assert row["search"]["estimated"] == "onnxruntime on this machine's CPU"
    pending = json.loads(next((made.folder / "artifacts" / ".deploymatrix" / "pending").glob("*")).read_bytes())
    assert "tensorrt" in json.dumps(pending["engine"]["platform"])
