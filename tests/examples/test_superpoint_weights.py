"""The shipped weights, and files as people bring them: PyTorch state dicts, wrong ones, and hostile ones."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("numpy")
pytest.importorskip("onnx")
safetensors: Any = pytest.importorskip("safetensors.torch")
from builder.actions.recipes import Export, Reference
from builder.config import loader as matrix_file
from builder.config.matrix import TorchSource, WeightsFile
from builder.errors import StepFailed
from builder.models import pytorch
from builder.planning.planner import plan
from examples.superpoint.model import superpoint
from tests import fakes

EXAMPLE = fakes.REPOSITORY / "examples" / "superpoint"
SHIPPED = EXAMPLE / "weights" / "superpoint.safetensors"
HEADS = ("dense", "keypoints")
LISTED = 8  # an error names so many keys of a kind, and counts the others

both_heads = pytest.mark.parametrize("head", HEADS)


def export_recipe(head: str) -> Export:
    """The recipe of the shipped matrix's export, as `build matrix` plans it."""
    planned = plan(matrix_file.load(fakes.REPOSITORY / "matrix.yaml").matrix, fakes.LAPTOP)
    recipe = planned.job(f"export/{head}").recipe
    assert isinstance(recipe, Export)
    return recipe


def made(head: str, folder: Path) -> Dict[str, Any]:
    """The state of the module that the builder makes with the weights in `folder`."""
    module = pytorch.make(export_recipe(head), folder, fakes.REPOSITORY)
    assert not module.training
    return dict(module.state_dict())


def random_state(seed: int = 1) -> Dict[str, Any]:
    """Weights of the public names, all different from what a new module starts with."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(tensor.shape, generator=generator) + 0.5
        if tensor.is_floating_point()
        else torch.tensor(seed + 100)
        for name, tensor in superpoint().state_dict().items()
    }


def assert_same(found: Dict[str, Any], wanted: Dict[str, Any]) -> None:
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def saved(folder: Path, what: Any, name: str = "weights.pth") -> Path:
    path = folder / name
    torch.save(what, path)
    return path


# ------------------------------------------------------------------------------------------- the shipped weights


@both_heads
def test_the_shipped_weights_load_strictly(head: str) -> None:
    module = superpoint(head)
    module.load_state_dict(safetensors.load_file(str(SHIPPED)), strict=True)


@both_heads
def test_the_builder_loads_the_shipped_weights(head: str, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").symlink_to(SHIPPED)
    assert_same(made(head, tmp_path), safetensors.load_file(str(SHIPPED)))


def test_the_shipped_weights_are_finite_numbers_of_one_precision() -> None:
    for name, tensor in safetensors.load_file(str(SHIPPED)).items():
        assert tensor.dtype == (torch.int64 if name.endswith("num_batches_tracked") else torch.float32), name
        assert bool(torch.isfinite(tensor).all()), name
        assert not name.endswith("running_var") or bool((tensor >= 0).all()), name


def test_the_digest_of_the_shipped_weights_is_the_one_in_the_matrix_and_on_the_model_card() -> None:
    found = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    source = matrix_file.load(fakes.REPOSITORY / "matrix.yaml").matrix.model.source
    assert isinstance(source, TorchSource)
    assert source.weights == WeightsFile(str(SHIPPED.relative_to(fakes.REPOSITORY)), found)
    card = (EXAMPLE / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert re.findall(r"\b[0-9a-f]{64}\b", card) == [found]


# ------------------------------------------------------------------------------------------- PyTorch files

WRAPPINGS: List[Tuple[str, Callable[[Dict[str, Any]], Dict[str, Any]]]] = [
    ("plain", lambda state: state),
    ("wrapped", lambda state: {"state_dict": state}),
    ("checkpoint", lambda state: {"epoch": 3, "state_dict": state, "loss": 0.25}),
]


@both_heads
@pytest.mark.parametrize("wrap", [wrap for _, wrap in WRAPPINGS], ids=[name for name, _ in WRAPPINGS])
def test_a_pytorch_file_is_read(head: str, wrap: Callable[[Dict[str, Any]], Dict[str, Any]], tmp_path: Path) -> None:
    state = random_state()
    path = saved(tmp_path, wrap(state))
    assert_same(pytorch.read_weights(path), state)
    assert_same(made(head, tmp_path), state)


def test_a_modules_own_state_dict_is_read(tmp_path: Path) -> None:
    """An OrderedDict with metadata of the modules' versions, which is what `torch.save(module.state_dict())` writes."""
    module = superpoint("keypoints")
    saved(tmp_path, module.state_dict())
    assert_same(made("dense", tmp_path), dict(module.state_dict()))


def test_a_file_of_the_older_format_is_read(tmp_path: Path) -> None:
    state = random_state()
    torch.save(state, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    assert_same(made("dense", tmp_path), state)


def test_the_reference_has_the_same_weights_as_the_export(tmp_path: Path) -> None:
    """The truth that artifacts are compared with is the network that was exported, and not a new one."""
    planned = plan(matrix_file.load(fakes.REPOSITORY / "matrix.yaml").matrix, fakes.LAPTOP)
    recipe = planned.job("reference/keypoints").recipe
    assert isinstance(recipe, Reference)
    state = random_state()
    saved(tmp_path, state)
    module = pytorch.make(recipe, tmp_path, fakes.REPOSITORY)
    assert_same(dict(module.state_dict()), state)


def test_code_under_a_name_of_this_program_says_what_to_rename(tmp_path: Path) -> None:
    (tmp_path / "builder").mkdir()
    (tmp_path / "builder" / "layers.py").write_text("WIDTH = 1\n")
    (tmp_path / "hidden.py").write_text("__import__('builder.layers')\n")
    recipe = export_recipe("dense")
    recipe = replace(recipe, source=replace(recipe.source, factory="hidden:make"))
    with pytest.raises(StepFailed, match=r"importing hidden: No module named 'builder\.layers'") as caught:
        pytorch.make(recipe, tmp_path, tmp_path)
    assert "the name belongs to this program: rename builder beside matrix.yaml" in (caught.value.hint or "")


# ------------------------------------------------------------------------------------------- files that do not fit


def complaint(folder: Path, head: str = "dense") -> str:
    with pytest.raises(StepFailed) as caught:
        made(head, folder)
    assert caught.value.hint
    return caught.value.what


def listed(said: str, kind: str) -> List[str]:
    """The keys that a complaint names after `kind: `."""
    parts = dict(part.split(": ", 1) for part in said.split("the weights do not fit the model: ")[1].split("; "))
    return [key.strip() for key in parts[kind].split(",")]


@both_heads
def test_missing_unknown_and_misshaped_keys_are_all_named(head: str, tmp_path: Path) -> None:
    state = random_state()
    missing = ["backbone.0.0.conv.weight", "detector.1.bn.running_mean", "descriptor.1.bn.num_batches_tracked"]
    for name in missing:
        del state[name]
    unknown = ["conv1a.weight", "module.backbone.0.0.conv.weight"]
    state.update({name: torch.zeros(2) for name in unknown})
    misshaped = {"detector.1.conv.weight": (64, 256, 1, 1), "backbone.2.0.bn.bias": (64,)}
    state.update({name: torch.zeros(shape) for name, shape in misshaped.items()})
    saved(tmp_path, state)
    said = complaint(tmp_path, head)
    assert listed(said, "missing") == sorted(missing)
    assert listed(said, "unknown") == sorted(unknown)
    assert listed(said, "of another shape") == sorted(misshaped)


@pytest.mark.parametrize("count", [1, LISTED, LISTED + 1, 84])
def test_up_to_eight_keys_are_named_and_the_others_counted(count: int, tmp_path: Path) -> None:
    state = random_state()
    gone = sorted(state)[:count]
    for name in gone:
        state[f"net.{name}"] = state.pop(name)
    saved(tmp_path, state)
    said = complaint(tmp_path)
    more = f" and {count - LISTED} more" if count > LISTED else ""
    assert ", ".join(gone[:LISTED]) + more == ", ".join(listed(said, "missing"))
    assert ", ".join(f"net.{name}" for name in gone[:LISTED]) + more == ", ".join(listed(said, "unknown"))
    assert "of another shape" not in said


def test_a_file_without_tensors_misses_all_of_them(tmp_path: Path) -> None:
    saved(tmp_path, {})
    said = complaint(tmp_path)
    assert "and 76 more" in said
    assert "unknown" not in said


@pytest.mark.parametrize("what", [[1, 2], 3.5, {"state_dict": [torch.zeros(1)]}], ids=["list", "number", "inner list"])
def test_a_file_that_holds_no_state_dict_is_refused(what: Any, tmp_path: Path) -> None:
    saved(tmp_path, what)
    with pytest.raises(StepFailed, match=r"weights\.pth holds no state dict"):
        made("dense", tmp_path)


@pytest.mark.parametrize("data", [b"", b"not a pickle", b"PK\x03\x04 not a zip either"], ids=["empty", "text", "zip"])
def test_a_damaged_pytorch_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(data)
    said = complaint(tmp_path)
    assert "weights.pth cannot be read as plain weights" in said or "is no PyTorch file" in said
    assert "weights_only" not in said


@pytest.mark.parametrize(
    "data",
    [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5249000\n", b"\x10" + bytes(30)],
    ids=["empty", "LFS pointer", "garbage"],
)
def test_a_damaged_safetensors_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(data)
    with pytest.raises(StepFailed, match=r"weights\.safetensors cannot be read as safetensors") as caught:
        made("dense", tmp_path)
    assert "git lfs pull" in str(caught.value.hint)


@pytest.mark.parametrize("value", [3, 0.5, None, [1.0]], ids=str)
def test_a_value_that_is_no_tensor_is_named(value: Any, tmp_path: Path) -> None:
    saved(tmp_path, {**random_state(), "backbone.0.0.bn.num_batches_tracked": value})
    assert "backbone.0.0.bn.num_batches_tracked hold no tensor" in complaint(tmp_path)


def test_keys_that_are_no_names_are_named(tmp_path: Path) -> None:
    saved(tmp_path, {0: torch.zeros(1), "a": torch.zeros(1), 1: torch.zeros(1)})
    assert "0, 1 hold no tensor" in complaint(tmp_path)


def test_a_sparse_tensor_is_refused(tmp_path: Path) -> None:
    state = random_state()
    saved(tmp_path, {**state, "detector.1.conv.bias": state["detector.1.conv.bias"].to_sparse()})
    assert "cannot be copied into the model" in complaint(tmp_path) or "plain" in complaint(tmp_path)


def test_a_cut_off_pytorch_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, random_state())
    path.write_bytes(path.read_bytes()[:-1000])
    assert "weights.pth cannot be read as plain weights" in complaint(tmp_path)


# ------------------------------------------------------------------------------------------- files that are code


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Tuple[Any, Tuple[str]]:
        return os.mkdir, (str(self.folder),)


def in_a_zip(what: Any, path: Path) -> None:
    torch.save(what, path)


def in_the_older_format(what: Any, path: Path) -> None:
    torch.save(what, path, _use_new_zipfile_serialization=False)


def in_a_bare_pickle(what: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(what, protocol=2))


@pytest.mark.parametrize("write", [in_a_zip, in_the_older_format, in_a_bare_pickle])
@pytest.mark.parametrize("place", ["alone", "beside the weights", "as a tensor"])
@pytest.mark.parametrize("insist", [False, True], ids=["", "forced by the environment"])
def test_a_file_that_needs_code_is_refused_and_the_code_does_not_run(
    insist: bool, place: str, write: Callable[[Any, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap, state = Trap(tmp_path / "sprung"), random_state()
    what: Any = {
        "alone": trap,
        "beside the weights": {"state_dict": state, "config": trap},
        "as a tensor": {**state, "detector.1.conv.bias": trap},
    }[place]
    write(what, tmp_path / "weights.pth")
    if insist:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(StepFailed, match=r"weights\.pth holds more than plain tensors.* was not run") as caught:
        made("dense", tmp_path)
    assert "weights_only" not in str(caught.value), "torch's own message advises to run the code"
    assert "safetensors" in str(caught.value.hint)
    assert not trap.folder.exists()


@pytest.mark.parametrize("write", [in_a_zip, in_the_older_format])
def test_the_trap_would_have_sprung(write: Callable[[Any, Path], None], tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    trap = Trap(tmp_path / "sprung")
    write({"config": trap}, tmp_path / "weights.pth")
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert trap.folder.is_dir()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, superpoint())
    assert "weights.pth holds more than plain tensors" in complaint(tmp_path)
