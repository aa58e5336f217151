"""A PyTorch model from the factory in matrix.yaml.

Weights are data, never code.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Tuple, Union

import numpy as np
import torch
from torch import nn

from builder.actions.recipes import Export, Made, ModelItself
from builder.config import contract
from builder.config.contract import Input
from builder.config.matrix import TorchSource
from builder.errors import StepFailed, first_line
from builder.models import code_digest, onnx_files
from builder.plugins import Tensors

_LISTED_KEYS = 8


class TorchModule:
    def export(self, recipe: Export, files: Path, root: Path, out: Path) -> Made:
        """Export with torch.onnx's dynamo exporter.

        Dynamic dimensions keep their names (`8*h8`) and multiples.
        """
        module = make(recipe, files, root)
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(torch.zeros(_example(recipe, tensor)) for tensor in recipe.inputs),
                dynamo=True,
                opset_version=recipe.opset,
                dynamic_shapes=tuple(_dynamic(recipe.inputs)),
                input_names=[tensor.name for tensor in recipe.inputs],
                output_names=[output.name for output in recipe.outputs],
                verbose=False,
            )
        if program is None:
            raise StepFailed("torch.onnx.export gave no program")
        model = program.model_proto
        onnx_files.strip(model)
        onnx_files.name_dimensions(model, recipe.inputs, recipe.outputs)
        onnx_files.save(model, out / "model.onnx")
        return Made(nodes=len(model.graph.node), remarks=())

    def open(self, recipe: ModelItself, files: Path, root: Path) -> "Forward":
        return Forward(make(recipe, files, root), recipe.input.name, recipe.outputs)


class Forward:
    """The module in float32 as a runner: NumPy arrays in and out."""

    def __init__(self, module: nn.Module, input_name: str, outputs: Tuple[str, ...]) -> None:
        self._module, self._input, self._outputs = module, input_name, outputs

    def __call__(self, inputs: Tensors) -> Dict[str, "np.ndarray[Any, np.dtype[Any]]"]:
        with torch.inference_mode():
            made = self._module(torch.from_numpy(inputs[self._input]))
        tensors = made if isinstance(made, (tuple, list)) else (made,)
        if len(tensors) != len(self._outputs):
            raise StepFailed(
                f"the module returned {len(tensors)} tensors, matrix.yaml names {len(self._outputs)}",
                hint=f"outputs: {', '.join(self._outputs)}",
            )
        return {name: tensor.numpy() for name, tensor in zip(self._outputs, tensors)}


def make(recipe: Union[Export, ModelItself], files: Path, root: Path) -> nn.Module:
    """The factory's module in eval mode, with the declared weights."""
    source = recipe.source
    assert isinstance(source, TorchSource)
    weights = next(iter(sorted(files.glob("weights.*"))), None)
    if weights is None:
        torch.manual_seed(getattr(source.weights, "seed", 0))
    options: Dict[str, Any] = {setting.name: setting.value for setting in recipe.options}
    factory = _factory(source.factory, root)
    if _takes_head(factory):
        options["head"] = recipe.head
    try:
        module = factory(**options)
    except TypeError as problem:
        raise StepFailed(f"{source.factory} was called with {options}: {problem}") from problem
    if not isinstance(module, nn.Module):
        raise StepFailed(f"{source.factory} returned {type(module).__name__}, not a torch.nn.Module")
    if weights is not None:
        _load(module, read_weights(weights))
    return module.eval()


def _factory(place: str, root: Path) -> Any:
    module, _, attribute = place.partition(":")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as problem:
        hint = f"is it installed, or below {root}?"
        if code_digest.is_our_own(problem.name or ""):
            hint = f"the name belongs to this program: {code_digest.rename(problem.name or '')}"
        raise StepFailed(f"importing {module}: {problem}", hint=hint) from problem
    except AttributeError:
        raise StepFailed(f"{module} has no attribute {attribute!r}") from None


def _takes_head(factory: Any) -> bool:
    """Whether the factory takes `head`.

    A model with one head need not: an existing class works unchanged.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "head" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def read_weights(path: Path) -> Dict[str, torch.Tensor]:
    """A state dict from .safetensors, or from a PyTorch file read with `weights_only`: no code is unpickled."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        state = torch.load(path.resolve(), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:  # its own message advises to run the code
        raise StepFailed(
            f"{path.name} holds more than plain tensors, or is no PyTorch file; code in it was not run",
            hint="save a state dict, best with safetensors.torch.save_file",
        ) from problem
    except Exception as problem:  # torch raises zipfile's and other errors for a damaged file
        raise StepFailed(
            f"{path.name} cannot be read as plain weights: {first_line(problem)}", hint="get the file again"
        ) from problem
    inner = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(inner, dict):
        raise StepFailed(f"{path.name} holds no state dict")
    odd = [str(key) for key, value in inner.items() if not (isinstance(key, str) and isinstance(value, torch.Tensor))]
    if odd:
        listed = ", ".join(odd[:_LISTED_KEYS]) + (f" and {len(odd) - _LISTED_KEYS} more" if odd[_LISTED_KEYS:] else "")
        raise StepFailed(
            f"{path.name} is no state dict: {listed} hold no tensor",
            hint="save model.state_dict() itself; only a `state_dict` around it is unwrapped",
        )
    return inner


def _read_safetensors(path: Path) -> Dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(path.resolve())))
    except (SafetensorError, OSError) as problem:
        raise StepFailed(
            f"{path.name} cannot be read as safetensors: {first_line(problem)}",
            hint="get the file again; a Git LFS pointer is fetched with `git lfs pull`",
        ) from problem


def _load(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load strictly.

    The error lists keys that are missing, unknown or of another shape.
    """
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    unknown = sorted(set(state) - set(own))
    other = sorted(k for k in set(own) & set(state) if own[k].shape != state[k].shape)
    said = [
        f"{what}: {', '.join(keys[:_LISTED_KEYS])}"
        + (f" and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else "")
        for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", other))
        if keys
    ]
    if said:
        raise StepFailed(
            "the weights do not fit the model: " + "; ".join(said), hint="check `weights:` and the factory's options"
        )
    try:
        module.load_state_dict(dict(state), strict=True)
    except RuntimeError as problem:  # a sparse or meta tensor, of the right shape
        why = str(problem).splitlines()[-1].strip()  # the first line only announces the errors
        raise StepFailed(
            f"the weights cannot be copied into the model: {why}", hint="save dense tensors with their values"
        ) from problem


def _example(recipe: Export, tensor: Input) -> Tuple[int, ...]:
    """The smallest profile shape with dynamic dimensions doubled.

    A size of 1 would become a constant.
    """
    return tuple(
        size * 2 if isinstance(dim, str) and size // contract.parse(dim)[0] == 1 else size
        for dim, size in zip(tensor.shape, recipe.example)
    )


def _dynamic(inputs: Tuple[Input, ...]) -> Iterator[Dict[int, Any]]:
    for tensor in inputs:
        parsed = {axis: contract.parse(dim) for axis, dim in enumerate(tensor.shape)}
        yield {
            axis: torch.export.Dim(symbol) if multiple == 1 else multiple * torch.export.Dim(symbol)
            for axis, (multiple, symbol) in parsed.items()
            if symbol is not None
        }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints its progress, logs and warns."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
