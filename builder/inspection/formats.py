"""The format of a file, from its content, and the reader for it.

A reader is imported only for a file of its format. Without its package, the report has a note in place of the contents.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from importlib import util
from pathlib import Path
from typing import Optional, Tuple

from builder import release
from builder.config.contract import Profile
from builder.errors import DeployError, UsageError
from builder.inspection import tensorrt
from builder.inspection.contents import Contents, Format, Layers, Shapes, concrete
from builder.platforms.machines import Machine
from builder.platforms.platform import Platform, cannot_run
from builder.platforms.versions import first

_HEAD = 1 << 16
_ONNX_START = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42\x72]", re.DOTALL)


@dataclass(frozen=True)
class Known:
    """Facts beside the bytes, from a sidecar or a manifest.

    How a host opens the file, and for what.
    """

    platform: Optional[Platform] = None
    compute: str = "f32"
    profiles: Tuple[Profile, ...] = ()

    @property
    def sizes(self) -> Shapes:
        """The usual shapes of the first profile."""
        return {r.name: r.opt for r in self.profiles[0].inputs} if self.profiles else {}


def recognised(path: Path) -> Optional[Format]:
    """The format of a file, by its content; None for any other."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if tensorrt.is_plan(head):
        return "tensorrt-plan" if head[:4] == tensorrt.NATIVE else "tensorrt-rtx-plan"
    if re.match(rb"\s*(<\?xml[^>]*>\s*)?<net\s", head.lstrip(b"\xef\xbb\xbf")):
        return "openvino-ir"
    return "onnx" if _ONNX_START.match(head) else None


def read(path: Path, name: str, known: Known, machine: Machine) -> Contents:
    """The contents of `path`; `name` is for messages.

    Raises UsageError for another format.
    """
    found = recognised(path)
    if found is None:
        raise _unknown(path, name)
    if found == "onnx":
        return _onnx(path, name, known)
    if found == "openvino-ir":
        return _ir(path, name, known)
    return _plan(path, name, known, machine)


def _onnx(path: Path, name: str, known: Known) -> Contents:
    if util.find_spec("onnx") is None:
        return _closed(path, name, "onnx", "onnx")
    from builder.inspection import onnx

    contents = onnx.read(path, known.sizes, name)
    if known.platform is not None and known.platform.runtime != "onnxruntime":
        return contents  # another runtime than the one installed here
    if util.find_spec("onnxruntime") is None:
        return _noted(
            contents,
            f"what onnxruntime makes of it shows where onnxruntime is installed: {release.pip_install('build')}",
        )
    from builder.inspection import onnx

    try:
        sizes = concrete(contents.inputs, known.sizes)
        return replace(contents, realised=onnx.session_layers(path, sizes, name))
    except DeployError as problem:
        return _noted(contents, problem.what)


def _ir(path: Path, name: str, known: Known) -> Contents:
    if util.find_spec("openvino") is None:
        return _closed(path, name, "openvino-ir", "openvino")
    from builder.inspection import openvino

    return openvino.read(path, known.sizes, known.compute, name)


def _plan(path: Path, name: str, known: Known, machine: Machine) -> Contents:
    contents = tensorrt.read(path, name)
    platform = known.platform or _platform(contents, machine)
    problem = cannot_run(platform, machine)
    if problem is not None:
        return _noted(contents, f"not loaded: {problem}")
    if util.find_spec("polygraphy") is None:
        return _noted(contents, "not loaded: polygraphy is not installed here")

    try:
        return tensorrt.add(contents, path)
    except DeployError as failed:
        return _noted(contents, failed.what)


def _platform(contents: Contents, machine: Machine) -> Platform:
    """The platform of a plan without a sidecar.

    From its bytes, otherwise this machine.
    """
    said = {fact.name: fact.value for fact in contents.facts}
    version = first(said.get("built by", "").rpartition(" ")[2], 2) or "any"
    sm = said.get("compute capability") or next((gpu.sm for gpu in machine.gpus), "unknown")
    runtime = "tensorrt" if contents.format == "tensorrt-plan" else "tensorrt-rtx"
    return Platform(runtime, version, machine.os, machine.arch, sm)


def realised(path: Path, known: Known) -> Optional[Layers]:
    """The layers that run from a new file, where this machine can tell quickly.

    Else None.
    """
    runtime = known.platform.runtime if known.platform is not None else ""
    try:
        if runtime == "openvino" and path.suffix == ".xml":
            from builder.inspection import openvino

            return openvino.realised(path, known.sizes, known.compute, path.name)
        if runtime == "onnxruntime" and path.suffix == ".onnx" and util.find_spec("onnx") is not None:
            return _onnx(path, path.name, known).realised
        if runtime == "tensorrt-rtx" and recognised(path) == "tensorrt-rtx-plan":
            return tensorrt.read(path, path.name).realised
    except DeployError:
        return None  # measuring the artifact reports the error
    return None


def largest_tensor(path: Path, profiles: Tuple[Profile, ...]) -> str:
    """The largest tensor of a graph at the largest shapes of its profiles, as text.

    Empty if unknown.
    """
    if util.find_spec("onnx") is None or not profiles:
        return ""
    from builder.inspection import onnx

    widest = max(profiles, key=lambda profile: sum(math.prod(shape.max) for shape in profile.inputs))
    try:
        return onnx.largest_tensor(path, {shape.name: shape.max for shape in widest.inputs})
    except DeployError:
        return ""  # the error is not about the graph


def _closed(path: Path, name: str, kind: Format, package: str) -> Contents:
    size = path.stat().st_size
    return Contents(name, kind, size, notes=(f"to look inside, install {package}: pip install {package}",))


def _noted(contents: Contents, note: str) -> Contents:
    return replace(contents, notes=(*contents.notes, note))


def _unknown(path: Path, name: str) -> UsageError:
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    said = tensorrt.wrapped(head)
    hint = "it must be an ONNX file, an OpenVINO IR (.xml) or a TensorRT plan"
    if not size:
        said = "it is empty"
    elif re.match(rb"\s*(<!doctype html|<html)", head, re.IGNORECASE):
        said = "it is an HTML page, most likely an error page in place of a download"
    elif head.startswith(b"version https://git-lfs"):
        said, hint = "it is a pointer of Git LFS, not the file itself", "run: git lfs pull"
    elif path.suffix == ".bin" and path.with_suffix(".xml").is_file():
        said, hint = "it holds the weights of an OpenVINO IR", f"name {path.with_suffix('.xml').name} instead"
    return UsageError(said or f"its {size} bytes are no artifact that is known here", where=name, hint=hint)
