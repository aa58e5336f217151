"""The tables of docs/reference/compatibility.md, drawn from those in builder/platforms/tables, and the rules by name."""

from __future__ import annotations

import ast
from typing import Dict, Iterable, List, Sequence, Set, Tuple

from builder.config.matrix import WAIVABLE
from builder.platforms import tables
from builder.platforms.versions import listed
from tests.docs.doc_pages import ROOT

BEGIN, END = "<!-- generated: tables -->", "<!-- end of generated -->"

# What each rule asks. `*` stands for a precision or an option.
RULES: Dict[str, str] = {
    "gpu-known": "Is the compute capability one that the tables know?",
    "cuda-known": "Is the declared CUDA one that the tables know?",
    "cuda-sm": "Does the declared CUDA still, or already, know the compute capability?",
    "driver-cuda": "Is the declared driver new enough for the CUDA?",
    "driver-sm": "Does the declared driver still have the GPU?",
    "tensorrt-version": "Is the TensorRT series known?",
    "tensorrt-platform": "Are there packages for the operating system and architecture?",
    "tensorrt-sm": "Does the series have the compute capability?",
    "tensorrt-cuda": "Is the declared CUDA one that the series is made for?",
    "tensorrt-python": "Has the series a module for the declared Python?",
    "tensorrt-options": "Has the version every option of the cell's `tensorrt:` settings?",
    "option-*": "The option that it has not.",
    "tensorrt-dla": "Is a declared `dla_core` on a chip that has DLA: Jetson Xavier or Orin?",
    "tensorrt-opset": "Which ONNX opset does the parser read? Never broken: the graph is brought to that opset.",
    "tensorrt-topk": "Does the head keep at most 3840 points?",
    "tensorrt-dimensions": "Have all inputs and outputs at most 8 dimensions?",
    "tensorrt-volume": "Have all inputs and outputs at most 2^31 - 1 elements, at the largest shapes of the profiles?",
    "jetson-jetpack": "Does a target with a Jetson's compute capability say its JetPack?",
    "jetpack-version": "Is the JetPack known?",
    "jetpack-sm": "Does the JetPack run on that board?",
    "jetpack-platform": "Is the target linux on aarch64?",
    "jetpack-tensorrt": "Is the declared TensorRT the one that the JetPack brings?",
    "jetpack-cuda": "Is the declared CUDA the one that the JetPack brings?",
    "jetpack-python": "Is the Python the JetPack's own, and 3.8 or newer?",
    "rtx-version": "Is the TensorRT-RTX series known?",
    "rtx-platform": "Does TensorRT-RTX exist for the operating system and architecture?",
    "rtx-sm": "Does the series build for the compute capability?",
    "rtx-cuda": "Is the declared CUDA one that the series is made for?",
    "rtx-python": "Has the series a module for the declared Python?",
    "ort-gpu-version": "Is the onnxruntime-gpu series known?",
    "ort-gpu-platform": "Is there a wheel for the operating system and architecture?",
    "ort-gpu-sm": "Is there code for the compute capability in the wheel?",
    "ort-gpu-cuda": "Is the declared CUDA of the family that the series is made for?",
    "ort-gpu-python": "Is there a wheel for the declared Python?",
    "ort-gpu-cudnn": "Is the declared cuDNN of the number that the series needs?",
    "cudnn-sm": "Has the cuDNN kernels for the compute capability?",
    "*-sm": "Has the GPU the arithmetic of the precision?",
    "fp16-rate": "Is fp16 at least as fast as fp32 on the GPU?",
    "rtx-int8": "int8 under TensorRT-RTX: its convolutions run in fp32.",
    "cuda-int8": "int8 under onnxruntime-gpu: its CUDA provider has no int8 convolution.",
    "bf16-lowering": "Can the runtime compute in bf16 from an fp32 graph? Only OpenVINO can.",
    "cpu-bf16": "Has the processor of this machine bf16?",
}


def text() -> str:
    parts: List[str] = [BEGIN, ""]
    for title, intro, table in _sections():
        parts += [f"## {title}", "", *([intro, ""] if intro else []), *table, ""]
    return "\n".join([*parts, END])


def rule_names() -> Set[str]:
    """Every rule that the source names, parts that vary as `*`."""
    found: Set[str] = set()
    for path in sorted((ROOT / "builder" / "platforms").glob("*_rules.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"answer": 1, "Skip": 0, "Held": 0}.get(node.func.id)
                if place is not None:
                    found.add(_literal(node.args[place]))
    return found


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    assert isinstance(node, ast.Constant)
    return str(node.value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> List[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def _sections() -> List[Tuple[str, str, List[str]]]:
    return [
        (
            "Rules",
            "A rule in **bold** says that something is slow, not impossible. It can be waived with `allow:` "
            "([CellSettings](matrix.md#cellsettings)).",
            _table(
                ("rule", "what it asks"),
                ((f"**`{n}`**" if n in WAIVABLE else f"`{n}`", asks) for n, asks in RULES.items()),
            ),
        ),
        (
            "TensorRT",
            "CUDA is that of x86-64; a newer one of the same first number will do from 11 on. SBSA is the CUDA of the "
            "packages for Arm servers. A Jetson has the TensorRT of its JetPack.",
            _table(
                ("TensorRT", "compute capability", "CUDA", "SBSA", "Python", "ONNX opset", "source", "edition"),
                (
                    (
                        str(row.versions),
                        ", ".join(row.sm),
                        listed(row.cuda),
                        row.sbsa or "-",
                        str(row.python),
                        f"up to {row.opset}",
                        row.source,
                        row.edition,
                    )
                    for row in tables.tensorrt().series
                ),
            ),
        ),
        (
            "JetPack",
            "",
            _table(
                ("JetPack", "L4T", "TensorRT", "CUDA", "cuDNN", "Python", "compute capability", "source", "edition"),
                (
                    (
                        _jetpack(row),
                        row.l4t,
                        row.tensorrt,
                        row.cuda,
                        row.cudnn,
                        row.python,
                        ", ".join(row.sm),
                        row.source,
                        row.edition,
                    )
                    for row in tables.jetpack().series
                ),
            ),
        ),
        (
            "TensorRT-RTX",
            f"For {' and '.join(f'{row.os} on {row.arch}' for row in tables.rtx().platforms)}.",
            _table(
                ("TensorRT-RTX", "compute capability", "CUDA", "Python", "source", "edition"),
                (
                    (str(row.versions), ", ".join(row.sm), listed(row.cuda), str(row.python), row.source, row.edition)
                    for row in tables.rtx().series
                ),
            ),
        ),
        (
            "onnxruntime-gpu",
            "The wheels for Linux on the package index. Code for 8.0 runs on 8.6 and 8.9 too, not on 9.0. PTX is compiled by "
            "the driver for anything newer.",
            _table(
                ("onnxruntime-gpu", "code for", "PTX from", "on Arm", "CUDA", "cuDNN", "Python", "source", "edition"),
                (
                    (
                        str(row.versions),
                        ", ".join(row.code),
                        row.ptx or "-",
                        ", ".join(row.arm) or "-",
                        str(row.cuda),
                        row.cudnn,
                        str(row.python),
                        row.source,
                        row.edition,
                    )
                    for row in tables.onnxruntime_gpu().series
                ),
            ),
        ),
        (
            "cuDNN",
            "",
            _table(
                ("cuDNN", "kernels for compute capability", "newest", "source", "edition"),
                (
                    (str(row.versions), f"{row.sm_from} and newer", row.newest or "-", row.source, row.edition)
                    for row in tables.cuda().cudnn
                ),
            ),
        ),
        (
            "CUDA and drivers",
            f"Below compute capability {tables.cuda().last_driver.below}, {tables.cuda().last_driver.branch} is the last "
            f"branch of drivers ({tables.cuda().last_driver.source}).",
            _table(
                ("CUDA", "driver (Linux)", "compute capability", "source", "edition"),
                (
                    (
                        row.family if "." in row.family else f"{row.family}.x, up to {row.last}",
                        f"{row.driver} or newer",
                        f"{row.sm_from} and newer",
                        row.source,
                        row.edition,
                    )
                    for row in tables.cuda().toolkits
                ),
            ),
        ),
        (
            "GPUs",
            "",
            _table(
                ("compute capability", "architecture", "for example", "CUDA from", "source", "edition"),
                (
                    (row.sm, row.architecture, row.example, row.cuda_from, row.source, row.edition)
                    for row in tables.cuda().gpus
                ),
            ),
        ),
        (
            "Precisions",
            "",
            _table(
                ("precision", "compute capability", "without", "source", "edition"),
                (
                    (row.precision, f"{row.sm_from} and newer", ", ".join(row.without) or "-", row.source, row.edition)
                    for row in tables.precision().arithmetic
                ),
            ),
        ),
        (
            "Rates",
            "Beside fp32. Tensor cores: "
            + ", ".join(f"{row.precision} from {row.sm_from}" for row in tables.precision().tensor_cores)
            + f" ({tables.precision().tensor_cores[0].source}).",
            _table(
                ("precision", "compute capability", "rate", "source", "edition"),
                (
                    (row.precision, ", ".join(row.sm), row.words, row.source, row.edition)
                    for row in tables.precision().rates
                ),
            ),
        ),
    ]


def _jetpack(row: tables.JetPack) -> str:
    first, last = row.versions.first, row.newest
    return first if first == last else f"{first} to {last}"
