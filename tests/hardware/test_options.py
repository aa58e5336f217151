"""Options of native TensorRT, seen to act: constraints, timing caches, refit and strip, portable engines, DLA, calibrator.

What the installed version lacks is skipped in the planner's words. Whether a portable engine loads under another version
or on another GPU takes a second machine; here it is built, opened and compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from builder.errors import StepFailed
from builder.platforms.versions import release
from tests.hardware.rig import LIMITS, Made, Rig, attempted

pytestmark = [pytest.mark.hardware, pytest.mark.e2e]


def agrees(made: Made, precision: str) -> None:
    for output in {row.output for row in made.parity.outputs}:
        assert made.worst(output)[0] >= LIMITS[precision][0]


def asked(rig: Rig, code: str, *words: str) -> Any:
    """What `code` prints as JSON, with `trt`, `logger` and `engine(path)` at hand, in a process of its own."""
    start = (
        "import json, sys; from pathlib import Path; import tensorrt as trt\n"
        "logger = trt.Logger(trt.Logger.ERROR); trt.init_libnvinfer_plugins(logger, '')\n"
        "runtime = trt.Runtime(logger)\n"
        "def engine(path):\n"
        "    if hasattr(runtime, 'engine_host_code_allowed'): runtime.engine_host_code_allowed = True\n"
        "    return runtime.deserialize_cuda_engine(Path(path).read_bytes())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + code, *words], capture_output=True, text=True, cwd=str(rig.folder)
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def layers(rig: Rig, made: Made) -> List[Dict[str, Any]]:
    """The layers of an engine, as TensorRT's own inspector tells them."""
    code = (
        "told = engine(sys.argv[1]).create_engine_inspector()\n"
        "print(told.get_engine_information(trt.LayerInformationFormat.JSON).replace(chr(10), ' '))"
    )
    found = asked(rig, code, str(made.files["model.engine"]))["Layers"]
    return [row for row in found if isinstance(row, dict)]


def convolutions(rig: Rig, made: Made) -> Dict[str, str]:
    """name -> the precision in which it computes, by the product's own reading of the inspector."""
    from builder.inspection import tensorrt

    told = tensorrt.parsed(json.dumps({"Layers": layers(rig, made)}))
    return {layer.name: layer.precision for layer in told.layers}


def test_a_constrained_layer_computes_in_the_precision_that_was_asked_for(rig: Rig) -> None:
    free = rig.made("tensorrt", "fp16", options="{typing: weak}")
    halves = [name for name, precision in convolutions(rig, free).items() if precision == "fp16"]
    if not halves:
        pytest.skip("TensorRT chose fp16 for no convolution on this GPU, so there is nothing to hold back")
    held = halves[0].split(" + ")[0] + "*"
    bound = rig.made("tensorrt", "fp16", options=f'{{typing: weak, layers: [{{pattern: "{held}", precision: fp32}}]}}')
    found = {name: precision for name, precision in convolutions(rig, bound).items() if name.startswith(held[:-1])}
    assert found and set(found.values()) == {"fp32"}, found
    agrees(bound, "fp16")


def test_a_pattern_that_meets_no_layer_is_remarked(rig: Rig) -> None:
    made = rig.made("tensorrt", "fp16", options="{typing: weak, layers: [{pattern: no such layer, precision: fp32}]}")
    assert "no layer is named no such layer" in getattr(made.engine.facts, "remarks", ())


def test_a_timing_cache_gives_the_same_kernels_again(rig: Rig) -> None:
    first = rig.made("tensorrt", "fp16")
    assert first.files["timing.cache"].stat().st_size > 0
    pinned = rig.keep("kept.cache", first.files["timing.cache"])
    again = rig.made("tensorrt", "fp16", options=f"{{timing_cache: {{{pinned}}}}}")
    assert again.engine.key != first.engine.key
    tactics = [[row.get("TacticName", "") for row in layers(rig, made)] for made in (first, again)]
    assert tactics[0] == tactics[1]
    agrees(again, "fp16")


def test_a_strict_timing_cache_lets_nothing_be_timed(rig: Rig) -> None:
    first = rig.made("tensorrt", "fp16")
    pinned = rig.keep("kept.cache", first.files["timing.cache"])
    agrees(rig.made("tensorrt", "fp16", options=f"{{timing_cache: {{{pinned}, strict: true}}}}"), "fp16")
    # The timings of fp16 kernels are none of fp32 kernels.
    with pytest.raises(StepFailed) as refused:
        rig.made("tensorrt", "fp32", measure=False, options=f"{{timing_cache: {{{pinned}, strict: true}}}}")
    assert refused.value.hint is not None and "timing_cache" in refused.value.hint


def test_a_timing_cache_of_something_else_is_said_or_ignored(rig: Rig, tmp_path: Path) -> None:
    """Bytes that are no cache of this TensorRT: an error with its remedy, or an engine that agrees all the same."""
    (tmp_path / "junk.cache").write_bytes(b"\x00not a timing cache" * 64)
    pinned = rig.keep("junk.cache", tmp_path / "junk.cache")
    ended = attempted(rig, "tensorrt", "fp16", options=f"{{timing_cache: {{{pinned}}}}}")
    if isinstance(ended, StepFailed):
        assert "timing" in str(ended)
    else:
        agrees(ended, "fp16")


REFIT = """
import numpy as np, onnx
from onnx import numpy_helper
from builder.runtimes import onnxruntime as onnx_session
from builder import plugins as seams
held = engine(sys.argv[1])
assert held.refittable
model, changed = onnx.load(sys.argv[2]), Path(sys.argv[3]) / "changed.onnx"
for tensor in model.graph.initializer:
    if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(0.5), tensor.name))
onnx.save(model, str(changed))
new = {tensor.name: np.ascontiguousarray(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
refitter = trt.Refitter(held, logger)
for name in refitter.get_all_weights():
    if name in new:
        assert refitter.set_named_weights(name, trt.Weights(new[name])), name
assert not refitter.get_missing_weights(), refitter.get_missing_weights()
assert refitter.refit_cuda_engine()
(Path(sys.argv[3]) / "model.engine").write_bytes(bytes(held.serialize()))
image = {"image": np.random.default_rng(0).random((1, 1, 96, 128), dtype=np.float32)}
found = seams.backend("tensorrt").open(Path(sys.argv[3]), seams.OpenOptions())(image)
far = lambda path: max(float(np.abs(v - found[n]).max()) for n, v in onnx_session.session_on(path, 1)(image).items())
print(json.dumps([far(changed), far(Path(sys.argv[2]))]))
"""


def test_new_weights_go_into_a_refittable_engine(rig: Rig, tmp_path: Path) -> None:
    """Halved weights, refitted by name: the engine follows the changed model and no longer the first one."""
    made = rig.made("tensorrt", "fp32", options="{refit: true}")
    agrees(made, "fp32")
    to_new, to_old = asked(rig, REFIT, str(made.files["model.engine"]), str(rig.graph(made)), str(tmp_path))
    assert to_new <= 1e-3 < to_old


def test_an_engine_is_refittable_only_when_that_was_asked_for(rig: Rig) -> None:
    code = "print(json.dumps(bool(engine(sys.argv[1]).refittable)))"
    assert asked(rig, code, str(rig.made("tensorrt", "fp32").files["model.engine"])) is False


def test_a_stripped_engine_is_smaller_and_whole_again_after_refitting(rig: Rig) -> None:
    whole = rig.made("tensorrt", "fp32")
    stripped = rig.made("tensorrt", "fp32", options="{strip: true}", measure=False)
    sizes = [made.files["model.engine"].stat().st_size for made in (whole, stripped)]
    assert sizes[1] < sizes[0]
    code = (
        "refitter = trt.Refitter(engine(sys.argv[1]), logger)\n"
        "ok = trt.OnnxParserRefitter(refitter, logger).refit_from_file(sys.argv[2]) and refitter.refit_cuda_engine()\n"
        "print(json.dumps(bool(ok)))"
    )
    assert asked(rig, code, str(stripped.files["model.engine"]), str(rig.graph(stripped))) is True


@pytest.mark.parametrize(
    "options",
    [
        "{version_compatible: true}",
        "{hardware_compatible: ampere_plus}",
        "{hardware_compatible: same_compute_capability}",
    ],
)
def test_a_portable_engine_agrees_on_the_machine_that_built_it(rig: Rig, options: str) -> None:
    rig.need("tensorrt")
    newest = max((gpu.sm for gpu in rig.machine.gpus), key=release)
    if "ampere_plus" in options and release(newest) < (8, 0):
        pytest.skip(f"ampere_plus is for compute capability 8.0 and newer; this machine has {newest}")
    agrees(rig.made("tensorrt", "fp16", options=options), "fp16")


@pytest.mark.parametrize(
    "options",
    ["{optimization_level: 0}", "{sparsity: true}", "{tf32: true}", "{profiling: none}", "{tactic_sources: []}"],
)
def test_an_option_is_taken_and_the_engine_agrees(rig: Rig, options: str) -> None:
    agrees(rig.made("tensorrt", "fp16", options=options), "fp16")


def test_tensorrts_own_calibrator_finds_the_ranges(rig: Rig) -> None:
    made = rig.made("tensorrt", "int8", options="{typing: weak, int8: calibrator}")
    assert made.files["calibration.cache"].read_bytes().startswith(b"TRT-")
    agrees(made, "int8")


def test_an_engine_for_dla(rig: Rig) -> None:
    rig.need("tensorrt")
    cores = asked(rig, "print(json.dumps(trt.Builder(logger).num_DLA_cores))")
    if not cores:
        pytest.skip("TensorRT finds no DLA core on this machine")
    agrees(rig.made("tensorrt", "fp16", options="{dla_core: 0}"), "fp16")
