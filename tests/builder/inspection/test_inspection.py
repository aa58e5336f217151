"""`build inspect` on files that no runtime is needed for: cells, sidecars, plans by their bytes, and what is no artifact."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest

from builder import cli, digest
from builder.actions.action import SIDECAR, Action, Result
from builder.actions.recipes import Engine, Made
from builder.config.tensorrt import TensorRtOptions
from builder.inspection import formats, tensorrt
from builder.inspection.contents import Layer, Layers, OperatorCount, Weights, concrete, counted, flag, summed
from builder.inspection.contents import Tensor as T
from builder.platforms.platform import Pinned, Platform, Tool
from builder.store import sidecar, versions
from builder.store.layout import Layout
from builder.store.manifest import Artifact
from tests.fakes import LAPTOP, SHA, FakeExecutor, Project, entry, manifest, profile, stored
from tests.test_light import _loaded

Said = Tuple[int, str, str]


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)

    def run(*words: str) -> Said:
        code = cli.main(["inspect", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


# ------------------------------------------------------------------------------------------- plans by their bytes

_TEXT = (
    b"\nheader {\n  accelerators={sm86 }\ndescriptors {"
    b'\n  tensor={ alignment=128 dims={ 1 "n" } name="a.1" offset=0 strides={ 1 } type=int8 }'
    b'\n  tensor={ alignment=128 dims={ 1 } name="b.1" offset=0 strides={ 1 } type=float }'
    b'\n  corrltn={ name="conv1" output={"b.1" } input={"a.1" "w" } stream=0 relu=false }'
    b'\n  corrltn={ name="conv2" output={"c.1" } input={"b.1" "w" } stream=0 relu=false }'
    b'\n  fully_connected={ name="gemm" output={"d.1" } input={"b.1" "w" } stream=0 }'
    b'\n  corrltn={ name="conv1 [profile 1]" output={"b.1" } input={"a.1" "w" } stream=0 }\n'
)


def plan(magic: bytes = b"vtrt", version: Tuple[int, ...] = (1, 7, 1, 116), body: bytes = _TEXT) -> bytes:
    length = (28 + len(body)).to_bytes(8, "little")
    return magic + bytes(4) + bytes(8) + length + bytes(version) + body


def artifact(folder: Path, data: bytes, *, precision: str = "int8", runtime: str = "tensorrt-rtx") -> Path:
    """A folder with an engine and its sidecar."""
    folder.mkdir()
    (folder / "model.engine").write_bytes(data)
    recipe = Engine(precision, "f32", (profile("small", 16, 64),), 1 << 20, TensorRtOptions(), "")
    platform = Platform(runtime, "1.7", "linux", "x86_64", "8.6")
    sidecar.write(Action(recipe, (Pinned("model.onnx", SHA),), (Tool("tensorrt_rtx", "1.7.1"),), platform), folder)
    return folder


def test_a_plan_of_rtx_tells_version_gpu_and_layers(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(plan())
    told = tensorrt.read(tmp_path / "e", "e")
    assert {f.name: f.value for f in told.facts} == {
        "built by": "TensorRT-RTX 1.7.1.116",
        "compute capability": "8.6",
    }
    assert told.realised is not None
    assert [(layer.name, layer.kind, layer.precision) for layer in told.realised.layers] == [
        ("conv1", "convolution", "int8"),
        ("conv2", "convolution", "fp32"),
        ("gemm", "matrix product", "fp32"),
    ]


def test_a_plan_of_tensorrt_tells_its_version_as_trtexec_reads_it(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(plan(b"ftrt", (10, 3, 0, 26), b"whatever"))
    told = tensorrt.read(tmp_path / "e", "e")
    assert [f.value for f in told.facts] == ["TensorRT 10.3.0.26"]
    assert told.realised is None


def test_a_serialization_that_is_not_known_gives_no_version(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"ftrt" + bytes([9]) + bytes(60))
    told = tensorrt.read(tmp_path / "e", "e")
    assert told.facts == ()
    assert "no version found" in told.notes[0]


def test_an_int8_engine_that_mostly_computes_in_fp32_is_flagged(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    code, out, _ = inspect(str(artifact(tmp_path / "a", plan())))
    assert code == 0
    words = " ".join(out.split())
    assert "WARNING: declared int8, but 33% of its compute layers run in int8" in words
    assert "in fp32 conv2, gemm" in words
    assert "runtime tensorrt-rtx 1.7" in words
    assert "portability compute-capability" in words
    assert "profile small image 1x1x16x16 .. 1x1x64x64 .. 1x1x64x64" in words
    assert "bytes as artifact.json says" in words
    assert "not loaded: no GPU of compute capability 8.6 here" in words


def test_one_that_keeps_its_word_is_not(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    mostly = plan(body=_TEXT.replace(b'"b.1" offset=0 strides={ 1 } type=float', b'"b.1" offset=0 type=int8'))
    assert "WARNING" not in inspect(str(artifact(tmp_path / "a", mostly)))[1]
    assert "WARNING" not in inspect(str(artifact(tmp_path / "b", plan(), precision="fp32")))[1]


def test_a_lone_engine_is_looked_at_without_a_sidecar(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    (tmp_path / "some.plan").write_bytes(plan())
    code, out, _ = inspect("some.plan")
    assert code == 0
    assert "nothing beside it says what it was made as" in " ".join(out.split())
    assert "TensorRT-RTX 1.7.1.116" in out


def test_json_has_the_same(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    code, out, _ = inspect(str(artifact(tmp_path / "a", plan())), "--format", "json")
    found = json.loads(out)["artifacts"][0]
    assert code == 0
    assert found["identity"]["precision"] == "int8"
    assert found["contents"][0]["facts"]["compute capability"] == "8.6"
    assert found["contents"][0]["realised"]["layers"][0] == {
        "name": "conv1",
        "kind": "convolution",
        "precision": "int8",
    }
    assert found["warnings"]


# ------------------------------------------------------------------------------------------- damaged, foreign, nothing


def test_a_truncated_engine_is_said_and_its_identity_still_shown(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    folder = artifact(tmp_path / "a", plan())
    (folder / "model.engine").write_bytes(plan()[:100])
    code, out, _ = inspect(str(folder))
    words = " ".join(out.split())
    assert code == 7
    assert f"WARNING: model.engine has 100 bytes, artifact.json says {len(plan())}" in words
    assert "the plan is cut short: it has 100 bytes, its header says" in words
    assert "declared int8" in words


@pytest.mark.parametrize("kept", [27, 100])
def test_a_truncated_engine_alone_is_an_error(tmp_path: Path, inspect: Callable[..., Said], kept: int) -> None:
    (tmp_path / "model.engine").write_bytes(plan()[:kept])
    code, out, err = inspect("model.engine")
    assert (code, out) == (7, "")
    assert "cut short" in err


def test_other_bytes_than_the_sidecar_names_are_said(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    folder = artifact(tmp_path / "a", plan())
    (folder / "model.engine").write_bytes(plan().replace(b"sm86", b"sm89"))
    code, out, _ = inspect(str(folder / "model.engine"))
    words = " ".join(out.split())
    assert code == 7
    assert "bytes not as artifact.json says: see below" in words
    assert "compute capability 8.9" in words
    assert "WARNING: model.engine has the digest sha256:" in words


def test_a_file_beside_a_sidecar_that_does_not_speak_of_it(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    folder = artifact(tmp_path / "a", plan())
    (folder / "other.engine").write_bytes(plan())
    code, out, _ = inspect(str(folder / "other.engine"))
    assert code == 7
    assert "artifact.json does not speak of other.engine" in out


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("model.engine", b"", "it is empty"),
        ("model.onnx", b"", "it is empty"),
        ("model.onnx", b"<!DOCTYPE html><html>404</html>", "it is an HTML page"),
        ("model.xml", b"<html><body>no</body></html>", "it is an HTML page"),
        ("model.xml", b"<?xml version='1.0'?><rss></rss>", "no artifact that is known here"),
        ("model.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
        ("model.engine", bytes(range(7, 255)) * 9, "no artifact that is known here"),
        ("model.engine", (2).to_bytes(4, "little") + b"{}" + b"ftrt" + bytes(60), "behind 6 bytes of metadata"),
        ("weights.safetensors", (2).to_bytes(8, "little") + b"{}", "no artifact that is known here"),
    ],
)
def test_what_is_no_artifact_is_said(
    tmp_path: Path, inspect: Callable[..., Said], name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    code, out, err = inspect(name)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith(f"error: {name}: ")


def test_a_folder_without_anything_and_a_file_that_is_not_there(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    (tmp_path / "empty").mkdir()
    assert inspect("empty")[0] == 2
    assert "there is no such file" in inspect("gone.onnx")[2]
    assert "there is no such file" in inspect("no/such")[2]
    assert "holds no version" in inspect("some-cell")[2]


def test_the_weights_of_an_ir_name_its_other_half(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    (tmp_path / "model.xml").write_text("<net ")
    (tmp_path / "model.bin").write_bytes(b"\x00" * 9)
    assert "name model.xml instead" in inspect("model.bin")[2]


# ------------------------------------------------------------------------------------------- cells and pulled folders


@pytest.fixture
def built(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    inspect: Callable[..., Said],
    capsys: pytest.CaptureFixture[str],
) -> Project:
    """The small project, built by a fake executor and published; its artifacts are `model.bin` and artifact.json."""
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("builder.cli.commands.matrix.Local", FakeExecutor)
    assert cli.main(["matrix", "--quiet"]) == 0
    capsys.readouterr()
    return project


def test_a_cell_is_looked_up_in_the_store(built: Project, inspect: Callable[..., Said]) -> None:
    code, out, err = inspect("tiny-dense-fp32-ov")
    assert (code, err) == (0, "")
    words = " ".join(out.split())
    assert words.startswith("tiny-dense-fp32-ov of v1, passed declared fp32, opened with f32 runtime openvino")
    assert "bytes as artifact.json says" in words


def test_a_wrong_name_gets_the_nearest(built: Project, inspect: Callable[..., Said]) -> None:
    code, _, err = inspect("tiny-dense-fp32-ow")
    assert code == 2
    assert "did you mean: tiny-dense-fp32-ov" in err
    code, _, err = inspect("tiny-dense-fp32-trt")
    assert code == 2
    assert "it is waiting" in err


def test_a_store_is_told_apart_from_an_artifact(built: Project, inspect: Callable[..., Said]) -> None:
    code, _, err = inspect("artifacts")
    assert code == 2
    assert "build inspect CELL --store artifacts" in err


def test_a_pulled_folder_shows_what_was_placed(built: Project, inspect: Callable[..., Said]) -> None:
    assert cli.main(["pull", "--no-self-test"]) == 0
    pulled = next(path for path in (built.root / "pulled").rglob(SIDECAR))
    for place in ("pulled", str(pulled.parent), str(pulled)):
        code, out, _ = inspect(place)
        assert code == 0, place
        assert "as artifact.json says" in out
    (pulled.parent / "model.bin").write_bytes(b"other")
    assert inspect("pulled")[0] == 7


def test_a_lone_file_is_found_by_its_digest(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    store = Layout(tmp_path / "artifacts")
    blob = stored(store, "model.engine", plan())
    one = entry("tiny-dense-int8-rtx", runtime="tensorrt-rtx", version="1.7", sm="8.6", files=(blob,), artifact=False)
    made = versions.put_artifact(store, one.cell, (blob,))
    held = Artifact(made.digest, blob.size, (blob,), SHA, SHA, "f32", False, 1.0)
    with store.locked():
        versions.publish(store, manifest(dataclasses.replace(one, artifact=held)))
    (tmp_path / "lone.engine").write_bytes(plan())
    code, out, _ = inspect("lone.engine")
    words = " ".join(out.split())
    assert code == 0
    assert words.startswith("lone.engine: tiny-dense-int8-rtx of v1, passed declared int8")
    assert "bytes as the manifest of v1 says" in words
    assert "WARNING: declared int8" in words


def test_a_cell_imports_no_runtime(built: Project, tmp_path: Path) -> None:
    assert _loaded(["inspect", "tiny-dense-fp32-ov"], built.root) == ["0"]


# ------------------------------------------------------------------------------------------- timing caches


def with_native(tmp_path: Path, *names: str) -> Layout:
    """A store with one native TensorRT cell whose build left `names`."""
    store = Layout(tmp_path / "artifacts")
    blobs = tuple(stored(store, name, name.encode()) for name in names)
    key = digest.of_bytes(b"action")
    store.record(Result(key, blobs, Made(1, ()), 1.0, 1))
    one = entry("tiny-dense-fp16-trt", runtime="tensorrt", version="10.3", sm="8.6")
    made = versions.put_artifact(store, one.cell, blobs[:1])
    held = Artifact(made.digest, 1, blobs[:1], SHA, key, "f32", False, 1.0)
    with store.locked():
        versions.publish(
            store, manifest(dataclasses.replace(one, artifact=held), entry("tiny-dense-fp32-ort", artifact=False))
        )
    return store


def test_the_timing_cache_of_a_build_is_copied_with_the_line_to_write(
    tmp_path: Path, inspect: Callable[..., Said]
) -> None:
    with_native(tmp_path, "model.engine", "timing.cache")
    code, out, _ = inspect("tiny-dense-fp16-trt", "--timing-cache", "kept.cache")
    assert code == 0
    assert (tmp_path / "kept.cache").read_bytes() == b"timing.cache"
    wanted = digest.of_bytes(b"timing.cache")[7:]
    assert f"tensorrt: {{timing_cache: {{file: kept.cache, sha256: {wanted}}}}}" in out


def test_without_one_the_reason_is_said(tmp_path: Path, inspect: Callable[..., Said]) -> None:
    with_native(tmp_path, "model.engine")
    code, _, err = inspect("tiny-dense-fp16-trt", "--timing-cache", "kept.cache")
    assert code == 2
    assert "its build kept none" in err
    code, _, err = inspect("tiny-dense-fp32-ort", "--timing-cache", "kept.cache")
    assert code == 2
    assert "only a build with TensorRT itself times kernels" in err
    assert not (tmp_path / "kept.cache").exists()


# ------------------------------------------------------------------------------------------- what all formats share


def layers(*rows: Any) -> Layers:
    return Layers("a test", tuple(Layer(f"l{i}", "Conv", word, macs) for i, (word, macs) in enumerate(rows)))


def test_shares_are_of_the_work_and_of_the_layers_where_that_is_not_known() -> None:
    assert layers(("int8", 30), ("fp32", 10)).shares() == {"int8": 0.75, "fp32": 0.25}
    assert layers(("int8", None), ("fp32", 10)).shares() == {"int8": 0.5, "fp32": 0.5}


@pytest.mark.parametrize(
    ("precision", "given", "flagged"),
    [
        ("int8", layers(("int8", 49), ("fp32", 51)), True),
        ("int8", layers(("int8", 50), ("fp32", 50)), False),
        ("int8", layers(("fp32", None)), True),
        ("int8", layers(), False),
        ("int8", None, False),
        ("fp32", layers(("fp32", 1)), False),
    ],
)
def test_the_flag_is_raised_below_half(precision: str, given: Any, flagged: bool) -> None:
    assert (flag(precision, given) is not None) is flagged


def test_counts_and_sums() -> None:
    assert counted(["b", "a", "b"]) == (OperatorCount("b", 2), OperatorCount("a", 1))
    assert summed([Weights("f32", 1, 4), Weights("i8", 9, 9), Weights("f32", 2, 8)]) == (
        Weights("f32", 3, 12),
        Weights("i8", 9, 9),
    )


def test_a_shape_for_counting() -> None:
    image = T("image", "f32", ("batch", 1, "8*h8", "?"))
    assert concrete([image], {}) == {"image": (1, 1, 256, 256)}
    assert concrete([image], {"image": (2, 1, 8, 8)}) == {"image": (2, 1, 8, 8)}
    assert concrete([image], {"image": (2,)}) == {"image": (1, 1, 256, 256)}


_TOLD: List[Any] = [
    {
        "Name": "c1",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Format/Datatype": "Thirty-two wide Int8"}],
    },
    {
        "Name": "c2",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "y", "Format/Datatype": "Row major FP16 format"}],
    },
    {"Name": "m", "LayerType": "gemm", "Inputs": [{"Name": "z", "Datatype": "BFloat16"}]},
    {"Name": "p", "LayerType": "CaskPooling", "Inputs": []},
]


def test_what_the_inspector_of_an_engine_says_is_read() -> None:
    found = tensorrt.parsed(json.dumps({"Layers": _TOLD}))
    assert [(layer.name, layer.precision) for layer in found.layers] == [("c1", "int8"), ("c2", "fp16"), ("m", "bf16")]
    assert tensorrt.kinds(json.dumps({"Layers": _TOLD}))[-1] == "CaskPooling"


@pytest.mark.parametrize("told", ["", "[]", "{}", '{"Layers": ["c1", "c2"]}', "no JSON"])
def test_an_inspector_that_gives_names_only_gives_no_layers(told: str) -> None:
    assert tensorrt.parsed(told).layers == ()


def test_a_blob_of_an_unknown_format_is_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x08\xff\xff\xff")
    assert formats.recognised(tmp_path / "x") is None
