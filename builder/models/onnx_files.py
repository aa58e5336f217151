"""ONNX files as equal bytes for equal models, and a model that is one."""

from __future__ import annotations

import difflib
import fnmatch
from pathlib import Path
from typing import FrozenSet, Iterable, Iterator, List, Set, Tuple, Union

import onnx

from builder.actions.recipes import Export, Made, ModelItself
from builder.config import contract
from builder.config.contract import Input, Output
from builder.errors import StepFailed, first_line
from builder.plugins import Runner
from builder.runtimes import onnxruntime


def load(path: Path) -> onnx.ModelProto:
    """A self-contained model.

    External data is refused, since it could name any file on this disk.
    """
    try:
        model = onnx.load(str(path.resolve()), load_external_data=False)
    except Exception as problem:  # protobuf's DecodeError is not exported by onnx
        raise StepFailed(f"{path.name} is not an ONNX model: {problem}") from problem
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors(model.graph)):
        raise StepFailed(
            f"{path.name} keeps its weights in another file",
            hint="save it in one piece: onnx.save(onnx.load(PATH), NEW, save_as_external_data=False)",
        )
    return model


def label(node: onnx.NodeProto) -> str:
    """The name of a node, or its first output when it has none."""
    return str(node.name or node.output[0])


def labelled(model: onnx.ModelProto, patterns: Iterable[str]) -> FrozenSet[str]:
    """The labels of the nodes that match the patterns.

    Raises StepFailed for a pattern without a match.
    """
    known = [label(node) for node in model.graph.node]
    found: Set[str] = set()
    for pattern in patterns:
        hit = {name for name in known if name == pattern} or {n for n in known if fnmatch.fnmatchcase(n, pattern)}
        if not hit:
            near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.4) or known[:3]
            raise StepFailed(
                f"keep: the model has no node {pattern!r}",
                hint=f"nodes of it: {', '.join(near)}; correct `keep:` in matrix.yaml",
            )
        found |= hit
    return frozenset(found)


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every constant of a graph.

    Initializers, sparse ones, attributes, and those of subgraphs.
    """
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from tensors(inner)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Checked, and serialized deterministically."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as problem:  # checker and shape inference raise different errors
        raise StepFailed(f"the ONNX checker refuses the model: {first_line(problem)}") from problem
    path.write_bytes(model.SerializeToString(deterministic=True))


def strip(model: onnx.ModelProto) -> None:
    """Remove data that depends on the checkout.

    Stack traces with line numbers, paths, doc strings.
    """
    model.producer_name = model.producer_version = model.doc_string = ""
    graph = model.graph
    graph.name, graph.doc_string = "main", ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        item.doc_string = ""
        del item.metadata_props[:]


def dimensions(value: onnx.ValueInfoProto) -> Tuple[contract.Dim, ...]:
    """[batch, 1, 8*h8, 8*w8] of a graph input or output; 0 for an unknown dimension."""
    return tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)


def name_dimensions(model: onnx.ModelProto, inputs: Tuple[Input, ...], outputs: Tuple[Output, ...]) -> None:
    """Set the names and symbolic dimensions of inputs and outputs that matrix.yaml declares.

    Raises StepFailed when a declared dynamic dimension is frozen, a fixed one differs, or a tensor is missing.
    """
    for kind, values, declared in (("input", model.graph.input, inputs), ("output", model.graph.output, outputs)):
        found = {value.name: value for value in values}
        for tensor in declared:
            if tensor.name not in found:
                raise StepFailed(
                    f"the model has no {kind} {tensor.name!r}", hint=f"it has: {', '.join(found)}; correct matrix.yaml"
                )
            _name(found[tensor.name], tensor, kind)


def _name(value: onnx.ValueInfoProto, declared: Union[Input, Output], kind: str) -> None:
    dims = value.type.tensor_type.shape.dim
    place = f"{kind} {declared.name!r}"
    if len(dims) != len(declared.shape):
        raise StepFailed(f"{place} has {len(dims)} dimensions, matrix.yaml declares {list(declared.shape)}")
    for axis, (dim, wanted) in enumerate(zip(dims, declared.shape)):
        multiple, symbol = contract.parse(wanted)
        if symbol is None and dim.dim_value not in (0, multiple):
            raise StepFailed(f"{place} has {dim.dim_value} in dimension {axis}, matrix.yaml declares {multiple}")
        if symbol is not None and dim.dim_value:
            raise StepFailed(
                f"{place}: dimension {axis} is frozen at {dim.dim_value}, matrix.yaml declares {wanted}",
                hint="declare the fixed size, or find what makes it constant in the model",
            )
        if symbol is None:
            dim.dim_value = multiple
        else:
            dim.dim_param = contract.spelled(wanted)


def frozen(before: onnx.ModelProto, after: onnx.ModelProto) -> List[str]:
    """Dynamic dimensions of `before` that `after` has lost.

    'input image: dimension 2 (8*h8) became 240'.
    """
    lost = []
    for kind in ("input", "output"):
        now = {value.name: dimensions(value) for value in getattr(after.graph, kind)}
        for value in getattr(before.graph, kind):
            for axis, dim in enumerate(dimensions(value)):
                found = now.get(value.name, ())
                if isinstance(dim, str) and (axis >= len(found) or found[axis] != dim):
                    became = found[axis] if axis < len(found) else "nothing"
                    lost.append(f"{kind} {value.name}: dimension {axis} ({dim}) became {became}")
    return lost


# The file is the export; onnxruntime runs it as the reference.


class OnnxFile:
    def export(self, recipe: Export, files: Path, root: Path, out: Path) -> Made:
        model = load(files / "source.onnx")
        strip(model)
        name_dimensions(model, recipe.inputs, recipe.outputs)
        save(model, out / "model.onnx")
        return Made(nodes=len(model.graph.node), remarks=())

    def open(self, recipe: ModelItself, files: Path, root: Path) -> Runner:
        return onnxruntime.session_on(files / "source.onnx", threads=0, frugal=True)
