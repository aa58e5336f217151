"""The export, simplify and parse steps.

`model.onnx` has symbolic dimensions. The simplified graph is used only when it keeps the model's function and every
dynamic dimension. Parsing finds what TensorRT refuses before a graph is sent to a machine with the GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import numpy as np
import onnx

from builder import plugins
from builder.actions.action import Action
from builder.actions.recipes import Export, Facts, Made, Simplify
from builder.config.matrix import OnnxSource
from builder.errors import StepFailed, first_line
from builder.models import onnx_files
from builder.runtimes import onnxruntime, tensorrt


def export(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    if not isinstance(action.recipe, Export):
        raise StepFailed("an export action needs an export recipe")
    kind = "onnx" if isinstance(action.recipe.source, OnnxSource) else "torch"
    return plugins.source(kind).export(action.recipe, inputs, root, out)


# ------------------------------------------------------------------------------------------- simplify, with onnxsim


_TOLERANCE = 1e-3  # of the output's largest value: a rewrite may re-associate sums, not change the function


def simplify(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    recipe = action.recipe
    if not isinstance(recipe, Simplify):
        raise StepFailed("a simplify action needs a simplify recipe")
    original = onnx_files.load(inputs / "model.onnx")
    simplified, complaint = _simplified(original)
    if simplified is not None:
        onnx_files.strip(simplified)
        complaint = complaint or _harm(recipe, original, simplified)
    if simplified is None or complaint is not None:
        onnx_files.save(original, out / "model.onnx")
        return Made(len(original.graph.node), (f"kept unsimplified: {complaint}",))
    onnx_files.save(simplified, out / "model.onnx")
    return Made(len(simplified.graph.node), ())


def _simplified(model: onnx.ModelProto) -> Tuple[Optional[onnx.ModelProto], Optional[str]]:
    import onnxsim

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        simplified, checked = onnxsim.simplify(copy)
    except Exception as problem:  # onnxsim raises RuntimeError and protobuf errors of its C++ core
        return None, f"onnxsim failed: {first_line(problem)}"
    return simplified, None if checked else "onnxsim's own check found other outputs"


def _harm(recipe: Simplify, original: onnx.ModelProto, simplified: onnx.ModelProto) -> Optional[str]:
    lost = onnx_files.frozen(original, simplified)
    if lost:
        return f"onnxsim froze {lost[0]}"
    try:
        onnx.checker.check_model(simplified, full_check=True)
        return _difference(recipe, original, simplified)
    except Exception as problem:  # a broken graph may fail in the checker, shape inference or the session
        return f"the simplified model does not run: {first_line(problem)}"


def _difference(recipe: Simplify, original: onnx.ModelProto, simplified: onnx.ModelProto) -> Optional[str]:
    """Both models on the same random input at every checked shape."""
    before, after = (onnxruntime.session_of(m.SerializeToString()) for m in (original, simplified))
    random = np.random.default_rng(0)
    for shape in recipe.checks:
        feed = {tensor.name: random.random(shape, dtype=np.float32) for tensor in recipe.inputs}
        wanted, found = before(feed), after(feed)
        for name, value in wanted.items():
            if value.dtype.kind != "f":
                continue
            other = found[name]
            if recipe.unordered:  # rows of a top-k may swap places at equal scores
                value, other = np.sort(value.ravel()), np.sort(other.ravel())
            worst = float(np.abs(value - other).max(initial=0.0))
            if not worst <= _TOLERANCE * max(float(np.abs(value).max(initial=0.0)), 1e-6):
                return f"output {name} differs by {worst:.3g} at {list(shape)}"
    return None


# ------------------------------------------------------------------------------------------- parse


def parse(action: Action, inputs: Path, out: Path, root: Path) -> Facts:
    return Made(tensorrt.parsed(inputs / "model.onnx"), ())
