"""Findings for a person, in plain text. Nothing is looked at here."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from builder import terminal
from builder.inspection.contents import Contents, Layers, Tensor
from builder.inspection.findings import Findings
from builder.store.sidecar import Sidecar

_FORMATS = {
    "onnx": "ONNX",
    "openvino-ir": "OpenVINO IR",
    "tensorrt-plan": "TensorRT engine",
    "tensorrt-rtx-plan": "TensorRT-RTX engine",
}
_WIDTH = 20
_SHOWN = 10
_UNKNOWN = "nothing beside it says what it was made as, and no manifest here holds these bytes"


def as_text(findings: Findings) -> str:
    named = [findings.name] if findings.name != findings.cell else []
    cell = [f"{findings.cell} of v{findings.version}, {findings.verdict}"] if findings.cell else []
    lines = [": ".join([*named, *cell])]
    if findings.identity is not None:
        lines += _identity(findings.identity, findings)
    else:
        lines.append(_line("identity", _UNKNOWN))
    for contents in findings.contents:
        lines += ["", *_contents(contents)]
    alarms = [*findings.problems, *findings.warnings]
    if alarms:
        lines += ["", *(terminal.wrapped(f"WARNING: {said}", "", hanging=2) for said in alarms)]
    return "\n".join(lines)


def _identity(known: Sidecar, findings: Findings) -> List[str]:
    platform = known.platform
    machine = f"{platform.os} on {platform.arch}"
    machine += f", compute capability {platform.sm}" if platform.sm else ""
    machine += f", GPU {platform.gpu}" if platform.gpu else ""
    machine += f", JetPack {platform.jetpack}" if platform.jetpack else ""
    machine += f", {' '.join(platform.features)}" if platform.features else ""
    rows = [
        ("declared", f"{known.precision}, opened with {known.compute}"),
        ("runtime", f"{platform.runtime} {platform.version}"),
        ("machine", machine),
        ("portability", known.portability),
        *(
            (f"profile {p.name}", "; ".join(_range(r.name, r.min, r.opt, r.max) for r in p.inputs))
            for p in known.profiles
        ),
        ("made from", f"ONNX {known.onnx}"),
        ("made by", f"action {known.action}"),
        ("made with", ", ".join(f"{tool.name} {tool.version}" for tool in known.tools)),
        ("bytes", _bytes(findings)),
    ]
    return [_line(what, said) for what, said in rows if said]


def _bytes(findings: Findings) -> str:
    if findings.problems:
        return f"not as {findings.identified_by} says: see below"
    return f"as {findings.identified_by} says"


def _range(name: str, *shapes: Sequence[int]) -> str:
    return f"{name} " + " .. ".join("x".join(map(str, shape)) for shape in shapes)


def _contents(contents: Contents) -> List[str]:
    rows: List[Tuple[str, str]] = [(fact.name, fact.value) for fact in contents.facts]
    rows += [("input", _tensor(tensor)) for tensor in contents.inputs]
    rows += [("output", _tensor(tensor)) for tensor in contents.outputs]
    if contents.operators:
        total = sum(one.count for one in contents.operators)
        rows.append(("nodes", f"{total}: " + ", ".join(f"{one.count} {one.operator}" for one in contents.operators)))
    if contents.weights:
        total = sum(one.count for one in contents.weights)
        listed = ", ".join(f"{one.count} {one.dtype} ({_size(one.bytes)})" for one in contents.weights)
        rows.append(("constants", f"{total}: {listed}"))
    lines = [f"{contents.file}: {_FORMATS[contents.format]}, {_size(contents.size)}"]
    lines += [_line(what, said) for what, said in rows]
    for word, layers in (("asks for", contents.declared), ("runs", contents.realised)):
        if layers is not None:
            lines += _layers(word, layers)
    return [*lines, *(_line("note", said) for said in contents.notes)]


def _layers(word: str, layers: Layers) -> List[str]:
    """The shares, and by name the layers that are not in int8, or not like the most where none is."""
    if not layers.layers:
        return [_line(word, "no convolution and no matrix product")]
    shares = layers.shares()
    counts = {precision: [one for one in layers.layers if one.precision == precision] for precision in shares}
    said = ", ".join(f"{p} {share:.0%} ({terminal.counted(len(counts[p]), 'layer')})" for p, share in shares.items())
    at = f" at {layers.at}" if layers.at else ""
    lines = [_line(word, f"{said} of the {layers.unit}{at}, {layers.source}")]
    usual = "int8" if "int8" in shares else next(iter(shares))
    for precision in shares:
        if precision != usual:
            names = [f"{one.name} ({one.why})" if one.why else one.name for one in counts[precision]]
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(_line(f"  in {precision}", ", ".join(names[:_SHOWN]) + more))
    return lines


def _size(count: int) -> str:
    return terminal.size(count) if count >= 1024 else f"{count} bytes"


def _tensor(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.dtype} [{', '.join(map(str, tensor.shape))}]"


def _line(what: str, said: str) -> str:
    return terminal.wrapped(said, f"  {what.ljust(_WIDTH)}", hanging=_WIDTH + 2)
