"""A model that is only an ONNX file: the file is the export, and onnxruntime on it is the reference."""

from __future__ import annotations

from pathlib import Path

from builder import onnx_file, onnx_session
from builder.actions.recipes import Export, Made, ModelItself
from builder.plugins import Runner


class OnnxFile:
    def export(self, recipe: Export, files: Path, root: Path, out: Path) -> Made:
        model = onnx_file.load(files / "source.onnx")
        onnx_file.strip(model)
        onnx_file.name_dimensions(model, recipe.inputs, recipe.outputs)
        onnx_file.save(model, out / "model.onnx")
        return Made(nodes=len(model.graph.node), remarks=())

    def open(self, recipe: ModelItself, files: Path, root: Path) -> Runner:
        return onnx_session.session_on(files / "source.onnx", threads=0, frugal=True)
