"""The main job for real: export, simplify, lower, build, verify, publish, pull, run; then run again."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.e2e.conftest import Project
from tests.fakes import REPOSITORY

pytestmark = pytest.mark.e2e


def summary(project: Project, *words: str, code: int = 0) -> Dict[str, Any]:
    done = project.build("matrix", "--quiet", "--format", "json", *words, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def verdicts(result: Dict[str, Any]) -> Dict[str, str]:
    return {row["cell"]: row["verdict"]["status"] for row in result["cells"]}


def performed_steps(result: Dict[str, Any]) -> List[str]:
    return sorted({job.split("/")[0] for job in result["performed"]})


def test_every_cell_ends_as_it_should(built: Project) -> None:
    found = verdicts(summary(built))
    for precision in ("fp32", "fp16", "int8"):
        assert found[f"corners-map-{precision}-cpu_onnxruntime"] == "passed"
        assert found[f"corners-map-{precision}-cpu_openvino"] == "passed"
    assert found["corners-map-bf16-cpu_onnxruntime"] == "skipped"
    assert found["corners-map-int8-rtx3090_rtx"] == "skipped"
    assert found["corners-map-fp16-gtx1060_trt86"] == "skipped"
    assert found["corners-map-fp32-gtx1060_trt86"] == "waiting"
    rtx = "unverified" if importlib.util.find_spec("tensorrt_rtx") else "waiting"
    assert found["corners-map-fp16-rtx3090_rtx"] == rtx


def test_a_second_run_does_nothing_and_publishes_nothing(built: Project) -> None:
    again = summary(built)
    assert again["performed"] == []
    assert again["new"] is False


def test_a_comment_in_the_model_or_the_matrix_performs_nothing(fresh: Project) -> None:
    fresh.edit("network.py", "class Corners", "# a comment\nclass Corners")
    fresh.edit("matrix.yaml", "schema: 1", "# another\nschema: 1")
    again = summary(fresh)
    assert again["performed"] == []
    assert again["new"] is False


def test_code_that_exports_to_the_same_graph_stops_at_the_export(fresh: Project) -> None:
    fresh.edit("network.py", "def corners(head: str, width: int = 16)", "def corners(head: str, width: int = 8 + 8)")
    assert performed_steps(summary(fresh)) == ["export", "reference", "task-reference"]


def test_another_parity_photograph_measures_parity_only(fresh: Project) -> None:
    shutil.copy(fresh.folder / "photographs" / "rocket.jpg", fresh.folder / "photographs" / "camera.png")
    assert performed_steps(summary(fresh)) == ["parity", "reference"]


def test_another_calibration_photograph_rebuilds_int8_only(fresh: Project) -> None:
    shutil.copy(fresh.folder / "photographs" / "rocket.jpg", fresh.folder / "photographs" / "brick.png")
    result = summary(fresh)
    steps = set(performed_steps(result))
    assert {"calibration-data", "lower-int8"} <= steps
    assert steps <= {"calibration-data", "lower-int8", "lower-opset", "parse", "engine", "parity", "task", "latency"}
    assert all("int8" in job for job in result["performed"] if job != "calibration-data")


def test_a_tighter_gate_fails_its_cells_and_measures_nothing(fresh: Project) -> None:
    fresh.edit("matrix.yaml", "cosine: 0.9}", "cosine: 1.5}")
    result = summary(fresh, code=3)
    assert result["performed"] == []
    assert result["new"] is True
    assert verdicts(result)["corners-map-int8-cpu_openvino"] == "failed"


def test_only_rebuilds_the_selection_and_keeps_the_rest(fresh: Project) -> None:
    before = verdicts(summary(fresh))
    result = summary(fresh, "--only", "*-fp32-cpu_onnxruntime", "--force")
    assert list(verdicts(result)) == ["corners-map-fp32-cpu_onnxruntime"]
    assert "export" in performed_steps(result)
    assert verdicts(summary(fresh)) == before


def test_force_in_parallel_gives_the_same_graphs(fresh: Project) -> None:
    def digests() -> Dict[str, str]:
        manifest = latest_manifest(fresh.folder / "artifacts")
        return {e["cell"]: e["artifact"]["onnx"] for e in manifest["entries"] if "artifact" in e}

    before = digests()
    summary(fresh, "--force", "--jobs", "2", "--skip", "*-rtx3090_rtx")
    assert digests() == before


def latest_manifest(store: Path) -> Dict[str, Any]:
    """By hand, as another tool would read the layout."""

    def blob(digest: str) -> Any:
        return json.loads((store / "blobs" / "sha256" / digest.split(":")[1]).read_bytes())

    index = json.loads((store / "index.json").read_bytes())
    version = blob(index["manifests"][-1]["digest"])
    manifest = blob(version["manifests"][0]["digest"])
    return dict(blob(manifest["layers"][0]["digest"]))


def test_the_manifest_tells_what_was_measured(built: Project) -> None:
    manifest = latest_manifest(built.folder / "artifacts")
    entry = next(e for e in manifest["entries"] if e["cell"] == "corners-map-int8-cpu_openvino")
    assert manifest["model"]["weights"] == "seed 3"
    assert entry["latency"]["artifact"]["runs"] >= 7
    assert {row["output"] for row in entry["parity"]} == {"scores", "descriptors"}
    assert {row["sample"] for row in entry["parity"]} == {
        f"{photo}-{size}" for photo in ("camera", "coffee") for size in ("64x64", "72x104", "128x160")
    }
    assert all(row["cosine"] > 0.9 for row in entry["parity"])


def test_exported_dimensions_keep_their_names(built: Project) -> None:
    onnx = pytest.importorskip("onnx")
    manifest = latest_manifest(built.folder / "artifacts")
    entry = next(e for e in manifest["entries"] if e["cell"] == "corners-map-fp32-cpu_onnxruntime")
    digest = entry["artifact"]["files"][-1]["digest"].split(":")[1]
    model = onnx.load(str(built.folder / "artifacts" / "blobs" / "sha256" / digest))
    found = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    assert found == {
        "image": ["batch", 1, "8*h8", "8*w8"],
        "scores": ["batch", "8*h8", "8*w8"],
        "descriptors": ["batch", 16, "h8", "w8"],
    }


# ------------------------------------------------------------------------------------------- tasks

SCORED = [
    *(f"corners-map-{precision}-cpu_onnxruntime" for precision in ("fp32", "fp16", "int8")),
    *(f"corners-map-{precision}-cpu_openvino" for precision in ("fp32", "fp16", "int8")),
]


def task_rows(project: Project, cell: str) -> Dict[str, Dict[str, Any]]:
    """`task metric` -> its row in the manifest."""
    manifest = latest_manifest(project.folder / "artifacts")
    entry = next(e for e in manifest["entries"] if e["cell"] == cell)
    return {f"{row['task']} {row['metric']}": row for row in entry.get("tasks", ())}


def metrics_of_the_model(folder: Path) -> Dict[str, float]:
    """Of the task `edges`, by hand: no case is stored, and no artifact built."""
    script = (
        "import json, torch; from pathlib import Path; import network, score;"
        "torch.manual_seed(3); model = network.corners('map').eval();"
        "metric = score.Edges(power=0.5);"
        "files = {name: Path('photographs', name) for name in ('coins.png', 'chelsea.png')};"
        "images = [(case, torch.from_numpy(case.images[0][None, None] / 255.0).float())"
        " for case in metric.cases(files, (96, 128))];"
        "scores = [metric.score(None, case.truth, [{'scores': model(image)[0].detach().numpy()}])"
        " for case, image in images];"
        "print(json.dumps({name: float(value) for name, value in metric.total(scores).items()}))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=str(folder), env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_artifact_is_scored_beside_the_model(built: Project) -> None:
    by_hand = metrics_of_the_model(built.folder)
    for cell in SCORED:
        rows = task_rows(built, cell)
        assert [name for name in rows if name.startswith("edges")] == ["edges correlation", "edges spread"]
        for name, value in by_hand.items():
            row = rows[f"edges {name}"]
            assert row["reference"] == pytest.approx(value, abs=1e-5)
            near = {"fp32": 1e-5, "fp16": 1e-3, "int8": 0.1}[cell.split("-")[2]]
            assert row["value"] == pytest.approx(value, abs=near)
            assert row.get("lower_is_better", False) == (name == "spread")
    int8 = task_rows(built, "corners-map-int8-cpu_onnxruntime")["edges correlation"]
    assert abs(int8["value"] - int8["reference"]) > 1e-6, "the artifact's own outputs were scored"


def test_a_task_is_scored_where_its_size_is_allowed_and_nowhere_else(built: Project) -> None:
    wide = task_rows(built, "corners-map-fp32-cpu_onnxruntime")
    assert {name for name in wide if name.startswith("views")} == {
        "views repeatability_1px",
        "views repeatability_3px",
        "views matching_score_3px",
        *(f"views homography_{n}px" for n in (1, 3, 5)),
    }
    for name, row in wide.items():
        if name.startswith("views"):
            assert 0 <= row["value"] <= 1
            assert row["value"] == pytest.approx(row["reference"], abs=0.02)
    assert wide["views repeatability_3px"]["value"] > 0, "keypoints were found"
    assert not [name for name in task_rows(built, "corners-map-fp32-cpu_openvino") if name.startswith("views")]


def test_a_raised_task_gate_fails_its_cells_and_performs_nothing(fresh: Project) -> None:
    gate = '- {select: "*-cpu_openvino", tasks: {edges: {correlation: {threshold: 2}}}}'
    fresh.edit("matrix.yaml", "defaults:", f"  {gate}\ndefaults:")
    result = summary(fresh, code=3)
    assert (result["performed"], result["new"]) == ([], True)
    failed = {cell for cell, status in verdicts(result).items() if status == "failed"}
    built = {
        cell for cell, status in verdicts(result).items() if status != "skipped"
    }  # bf16 needs a processor that has it
    assert failed == {cell for cell in built if cell.endswith("cpu_openvino")} != set()
    row = next(row for row in result["cells"] if row["cell"] == "corners-map-fp32-cpu_openvino")
    assert re.fullmatch(r"edges correlation 0\.\d+ < 2, gate .*", row["verdict"]["reason"])


def test_an_edited_metric_performs_task_steps_only(fresh: Project) -> None:
    before = {cell: task_rows(fresh, cell) for cell in SCORED}
    fresh.edit("edges.py", "np.hypot(", "2 * np.hypot(")  # a module that the metric imports; correlation knows no scale
    result = summary(fresh)
    assert performed_steps(result) == ["task", "task-cases", "task-reference"]
    assert all("edges" in job for job in result["performed"]), "the other task has no code of the project"
    for cell in SCORED:
        for name, row in task_rows(fresh, cell).items():
            assert row["value"] == pytest.approx(before[cell][name]["value"], abs=1e-5)


def test_a_metric_that_raises_fails_its_cells_with_its_own_line(fresh: Project) -> None:
    fresh.edit("score.py", "        together = ", "        truth['corners']\n        together = ")
    line = 1 + (fresh.folder / "score.py").read_text().splitlines().index("        truth['corners']")
    done = fresh.build("matrix", "--quiet", "--only", "*-fp32-cpu_*", check=False)
    assert done.returncode == 5, done.stdout + done.stderr
    assert f"score:Edges raised KeyError at score.py:{line}: 'corners'" in done.stdout


def test_a_metric_travels_in_the_store(fresh: Project, tmp_path: Path) -> None:
    """What waits for a GPU machine carries the metric's code and the cases. Here a CPU target stands for it, in a
    folder with nothing but the copied store."""
    from builder.actions.action import Pending
    from builder.config.loader import load
    from builder.execution.scheduler import prospect
    from builder.planning.planner import plan
    from builder.planning.resolver import Pinner
    from builder.platforms import machines
    from builder.store.layout import Layout

    loaded, store, machine = load(fresh.folder / "matrix.yaml"), Layout(fresh.folder / "artifacts"), machines.here()
    planned, pinner = plan(loaded.matrix, machine), Pinner(fresh.folder, machine, store)
    outcome = prospect(planned, pinner, store)
    cell = next(cell for cell in planned.cells if cell.id == "corners-map-fp32-cpu_openvino")
    ((job, before),) = [(planned.job(task.job), outcome.results[task.job]) for task in cell.tasks]
    there = tmp_path / "there"
    there.mkdir()
    shutil.copytree(str(store.root), str(there / "store"), symlinks=True)
    shutil.rmtree(str(fresh.folder))

    copied = Layout(there / "store")
    for path in (copied.root / ".deploymatrix" / "pending").glob("*.json"):
        path.unlink()
    measure = pinner.pin(job, outcome.results, without=cell.engine)
    copied.remember(Pending(cell.id, outcome.actions[cell.engine], (measure,)))
    (copied.root / ".deploymatrix" / "results" / f"{before.key.split(':')[1]}.json").unlink()
    assert copied.recall(before.key) is None
    Project(there).build("perform", "*", "--store", "store")
    after = copied.recall(before.key)
    assert after is not None
    assert after.facts == before.facts


def test_pull_and_run_on_a_photograph(fresh: Project) -> None:
    fresh.build("pull")
    explained = fresh.build("pull", "--explain").stdout
    assert "corners-map-fp32-gtx1060_trt86: waiting" in explained
    done = fresh.build("run", "photographs/rocket.jpg", "--size", "96x128")
    assert "keypoints by corners-map-" in done.stdout
    assert (fresh.folder / "rocket.keypoints.png").stat().st_size > 1000


def test_a_size_outside_the_profile_falls_back_with_a_warning(built: Project, tmp_path: Path) -> None:
    import builder.host
    from builder.host import install
    from builder.store import versions
    from builder.store.layout import Layout

    store = Layout(built.folder / "artifacts")
    manifest = versions.latest(store)
    assert manifest is not None
    # Placed in this order, so that the answer does not depend on which of them was faster today.
    chain = [manifest.entry("corners-map-int8-cpu_openvino"), manifest.entry("corners-map-fp32-cpu_onnxruntime")]
    install.place(manifest, [e for e in chain if e is not None], store, tmp_path)
    deploy = builder.host.open(tmp_path)
    photo = built.folder / "photographs" / "rocket.jpg"
    with pytest.warns(builder.host.FallbackWarning, match="corners-map-fp32-cpu_onnxruntime answers"):
        found = deploy(photo, size=(256, 320))
    assert found.cell == "corners-map-fp32-cpu_onnxruntime"  # type: ignore[union-attr]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = deploy(photo, size=(96, 128))
    assert inside.cell == "corners-map-int8-cpu_openvino"  # type: ignore[union-attr]


def test_the_python_api_opens_a_store(built: Project) -> None:
    import numpy as np

    import builder.host

    deploy = builder.host.open(built.folder / "artifacts")
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    found = deploy(image)
    assert found.points.shape == (len(found.scores), 2)  # type: ignore[union-attr]
    assert found.descriptors.shape == (len(found.scores), 16)  # type: ignore[union-attr]


def test_a_size_that_nothing_accepts_is_refused_with_the_ranges(fresh: Project) -> None:
    fresh.build("pull")
    done = fresh.build("run", "photographs/rocket.jpg", "--size", "512x512", check=False)
    assert done.returncode == 6
    assert "64x64 to 256x320" in done.stderr


def test_weights_that_do_not_fit_fail_their_cells_and_list_the_keys(fresh: Project) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    torch = pytest.importorskip("torch")
    from builder import digest

    path = fresh.folder / "other.safetensors"
    safetensors.save_file({"features.0.weight": torch.zeros(1), "extra": torch.zeros(1)}, str(path))
    sha = digest.of_file(path)[len("sha256:") :]
    fresh.edit("matrix.yaml", "weights: {seed: 3}", f"weights: {{file: other.safetensors, sha256: {sha}}}")
    done = fresh.build("matrix", "--only", "*-fp32-cpu_onnxruntime", check=False)
    assert done.returncode == 5
    assert "missing: describe.bias" in done.stdout
    assert "unknown: extra" in done.stdout
    assert "of another shape: features.0.weight" in done.stdout


def test_work_of_another_machine_is_kept_and_refused_here(built: Project) -> None:
    done = built.build("perform", "*-gtx1060_trt86", check=False)
    assert done.returncode == 6
    assert "compute capability 6.1" in done.stderr


def test_a_model_that_is_only_an_onnx_file(fresh: Project) -> None:
    from builder import digest

    manifest = latest_manifest(fresh.folder / "artifacts")
    entry = next(e for e in manifest["entries"] if e["cell"] == "corners-map-fp32-cpu_onnxruntime")
    blob = fresh.folder / "artifacts" / "blobs" / "sha256" / entry["artifact"]["files"][-1]["digest"].split(":")[1]
    shutil.copy(blob, fresh.folder / "model.onnx")
    sha = digest.of_file(fresh.folder / "model.onnx")[len("sha256:") :]
    fresh.edit(
        "matrix.yaml",
        "source:\n    factory: network:corners\n    weights: {seed: 3}",
        f"source: {{onnx: model.onnx, sha256: {sha}}}",
    )
    (fresh.folder / "network.py").unlink()
    found = verdicts(summary(fresh, "--only", "*-{fp32,int8}-cpu_openvino"))
    assert set(found.values()) == {"passed"}
