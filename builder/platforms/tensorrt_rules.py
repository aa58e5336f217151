"""Rules for TensorRT and JetPack: series, GPU, CUDA, Python, platform, options, and what a graph may have."""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, Optional, Tuple

from builder.config import contract
from builder.config.contract import Profile
from builder.config.matrix import Head, Target
from builder.platforms import dialects, tables
from builder.platforms.asked import Answer, Asked, Held, Skip, answer
from builder.platforms.versions import first, listed, release, within

_OUR_PYTHON = "3.8"


def _series(target: Target) -> Optional[tables.TensorRtSeries]:
    if target.runtime != "tensorrt" or target.version is None:
        return None
    return tables.tensorrt_series(target.version)


def tensorrt_is_known(asked: Asked) -> Optional[Answer]:
    target = asked.target
    if target.runtime != "tensorrt" or target.version is None:
        return None
    row = tables.tensorrt_series(target.version)
    return answer(
        row is not None,
        "tensorrt-version",
        f"TensorRT {target.version} is in the tables: {row.versions if row else ''}",
        f"TensorRT {target.version} is in no table here",
        row.source if row else tables.file_of("tensorrt"),
    )


def tensorrt_knows_the_gpu(asked: Asked) -> Optional[Answer]:
    """What a Jetson's TensorRT knows is said by its JetPack."""
    target, row = asked.target, _series(asked.target)
    if row is None or target.sm is None or target.jetpack is not None:
        return None
    said = f"TensorRT {target.version} supports compute capability"
    lowest, newest = row.sm[0], row.sm[-1]
    if release(target.sm) < release(lowest):
        problem = f"{said} {lowest} and newer; {target.machine} is {target.sm}"
    elif release(target.sm) > release(newest):
        series = next((s for s in tables.tensorrt().series if target.sm in s.sm), None)
        since = f"; {target.sm} came with {series.versions.first}" if series else ""
        problem = f"{said} up to {newest}; {target.machine} is {target.sm}{since}"
    else:
        problem = f"{said} {', '.join(row.sm)}; {target.machine} is {target.sm}"
    return answer(target.sm in row.sm, "tensorrt-sm", f"{said} {target.sm}", problem, row.source)


def tensorrt_takes_the_cuda(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _series(asked.target)
    if row is None or target.cuda is None or target.jetpack is not None:
        return None
    if target.arch == "aarch64":
        if not row.sbsa:
            return None
        said = f"TensorRT {target.version} for Arm servers is made for CUDA {row.sbsa}"
        holds = release(target.cuda)[0] == release(row.sbsa)[0]
    else:
        said = f"TensorRT {target.version} is made for CUDA {listed(row.cuda)}"
        holds = row.has_cuda(target.cuda)
    return answer(
        holds, "tensorrt-cuda", f"{said}; {target.cuda} is among them", f"{said}; not for {target.cuda}", row.source
    )


def tensorrt_takes_the_python(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _series(asked.target)
    if row is None or target.python is None or target.jetpack is not None:
        return None
    said = f"TensorRT {target.version} has modules for Python {row.python}"
    return answer(
        row.python.covers(target.python),
        "tensorrt-python",
        f"{said}; {target.python} is among them",
        f"{said}; {target.machine} has {target.python}",
        tables.tensorrt().python.source,
        (f"another Python on that machine: {row.python}",),
    )


def tensorrt_exists_for_the_platform(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _series(asked.target)
    if row is None or target.jetpack is not None:
        return None
    if target.arch == "x86_64":
        return answer(
            True, "tensorrt-platform", f"TensorRT {target.version} exists for {target.os} on x86_64", "", row.source
        )
    return answer(
        target.os == "linux" and bool(row.sbsa),
        "tensorrt-platform",
        f"TensorRT {target.version} has packages for Arm servers (SBSA, CUDA {row.sbsa})",
        f"TensorRT {target.version} has no packages for {target.os} on aarch64 outside JetPack",
        row.source,
        ("on a Jetson, declare `jetpack:`",),
    )


def tensorrt_has_the_options(asked: Asked) -> Optional[Answer]:
    """What the cell's `tensorrt:` settings ask for exists in that version."""
    target = asked.target
    if not target.runtime.startswith("tensorrt") or target.version is None:
        return None
    for found in dialects.refused(asked.options, target.runtime, target.version):
        return Skip(f"option-{found.option}", found.why, found.source, (found.instead,))
    return answer(
        True,
        "tensorrt-options",
        "it has every option that the cell's settings ask for",
        "",
        tables.tensorrt_options().bindings.source,
    )


def a_dla_core_is_on_such_a_chip(asked: Asked) -> Optional[Answer]:
    """Which module of a Jetson it is, nobody declares: that it has a core at all is seen when it builds."""
    target, core = asked.target, asked.options.dla_core
    if core is None or target.sm is None or target.runtime != "tensorrt":
        return None
    chips = [gpu for gpu in tables.cuda().gpus if gpu.dla]
    said = f"DLA cores are beside compute capability {', '.join(f'{gpu.sm} ({gpu.example})' for gpu in chips)}"
    return answer(
        target.sm in [gpu.sm for gpu in chips],
        "tensorrt-dla",
        said,
        f"{said}; the target declares {target.sm}",
        tables.cuda().dla.source,
        ("leave dla_core out: the GPU",),
    )


def a_jetson_says_its_jetpack(asked: Asked) -> Optional[Answer]:
    """TensorRT-RTX has rules of its own: it knows no Jetson."""
    target = asked.target
    known = tables.gpu(target.sm) if target.sm is not None and target.runtime != "tensorrt-rtx" else None
    if known is None or not known.jetson or target.jetpack is not None:
        return None
    fitting = [row for row in tables.jetpack().series if target.sm in row.sm]
    return Skip(
        "jetson-jetpack",
        f"compute capability {target.sm} is a {known.example}, whose software comes with JetPack; none is declared",
        fitting[-1].source if fitting else known.source,
    )


def jetpack_is_known(asked: Asked) -> Optional[Answer]:
    target = asked.target
    if target.jetpack is None:
        return None
    rows = tables.jetpack_series(target.jetpack)
    known = ", ".join(str(row.versions) for row in tables.jetpack().series)
    return answer(
        bool(rows),
        "jetpack-version",
        f"JetPack {target.jetpack} is L4T {rows[0].l4t if rows else ''}",
        f"JetPack {target.jetpack} is in no table here (known: {known})",
        rows[0].source if rows else tables.file_of("jetpack"),
    )


def jetpack_runs_on_the_board(asked: Asked) -> Optional[Answer]:
    target, rows = asked.target, _rows(asked.target)
    if not rows or target.sm is None:
        return None
    boards = ", ".join(f"{sm} ({gpu.example})" for sm in rows[0].sm for gpu in tables.cuda().gpus if gpu.sm == sm)
    said = f"JetPack {target.jetpack} runs on compute capability {boards}"
    return answer(
        target.sm in rows[0].sm, "jetpack-sm", said, f"{said}; {target.machine} is {target.sm}", rows[0].source
    )


def jetpack_is_linux_on_arm(asked: Asked) -> Optional[Answer]:
    target, rows = asked.target, _rows(asked.target)
    if not rows:
        return None
    return answer(
        (target.os, target.arch) == ("linux", "aarch64"),
        "jetpack-platform",
        "a Jetson is linux on aarch64",
        f"a Jetson is linux on aarch64; the target declares {target.os} on {target.arch}",
        rows[0].source,
        ("arch: aarch64",),
    )


def jetpack_brings_its_tensorrt(asked: Asked) -> Optional[Answer]:
    """The first two numbers must agree; 10.3.0 and 10.3.1 are one for this."""
    target, rows = asked.target, _rows(asked.target)
    if not rows or target.runtime != "tensorrt" or target.version is None:
        return None
    agreeing = [row for row in rows if within(row.tensorrt, first(target.version, 2))]
    brought = " or ".join(dict.fromkeys(row.tensorrt for row in rows))
    return answer(
        bool(agreeing),
        "jetpack-tensorrt",
        f"JetPack {target.jetpack} brings TensorRT {brought}",
        f"JetPack {target.jetpack} brings TensorRT {brought}, not {target.version}",
        (agreeing or rows)[0].source,
        (f'version: "{rows[-1].tensorrt}"',),
    )


def jetpack_brings_its_cuda(asked: Asked) -> Optional[Answer]:
    target, rows = asked.target, _rows(asked.target)
    if not rows or target.cuda is None:
        return None
    return answer(
        within(rows[0].cuda, first(target.cuda, 2)),
        "jetpack-cuda",
        f"JetPack {target.jetpack} brings CUDA {rows[0].cuda}",
        f"JetPack {target.jetpack} brings CUDA {rows[0].cuda}, not {target.cuda}",
        rows[0].source,
        (f'cuda: "{rows[0].cuda}"',),
    )


def jetpack_brings_its_python(asked: Asked) -> Optional[Answer]:
    """TensorRT's module is made for that one Python, and this program has to run on it."""
    target, rows = asked.target, _rows(asked.target)
    if not rows or target.runtime != "tensorrt":
        return None
    row = rows[0]
    said = f"JetPack {target.jetpack} has TensorRT's module for Python {row.python}"
    if release(row.python) < release(_OUR_PYTHON):
        return Skip("jetpack-python", f"{said} only; this program needs {_OUR_PYTHON}", row.source)
    return answer(
        target.python is None or first(target.python, 2) == row.python,
        "jetpack-python",
        said,
        f"{said}, not for {target.python}",
        row.source,
        (f'python: "{row.python}"',),
    )


def _rows(target: Target) -> Tuple[tables.JetPack, ...]:
    return tables.jetpack_series(target.jetpack) if target.jetpack is not None else ()


# ------------------------------------------------------------- the graph, at the sizes that the cell's profiles allow


def tensorrt_limits_topk(asked: Asked) -> Optional[Answer]:
    """A head that gives points picks them with TopK; how many is the fixed dimension of its points."""
    count = _points(asked.head) if asked.target.runtime.startswith("tensorrt") else None
    if count is None:
        return None
    limit = tables.tensorrt().topk
    said = f"head {asked.head.name!r} keeps {count} points; TopK in {asked.target.runtime} takes K up to"
    return answer(
        count <= limit.most,
        "tensorrt-topk",
        f"{said} {limit.most}",
        f"{said} {limit.most}",
        limit.source,
        (
            f"at most {limit.most} points (the head's options, and the shapes of its outputs)",
            "a head without TopK, whose host finds the maxima",
        ),
    )


def _points(head: Head) -> Optional[int]:
    """K of the output [batch, K, 2] that holds a head's points; None when it has none, or K is not fixed."""
    named = {head.align.points if head.align else None, head.postprocess.points if head.postprocess else None}
    for output in head.outputs:
        if output.name in named and len(output.shape) == 3 and isinstance(output.shape[1], int):
            return output.shape[1]
    return None


def tensorrt_reads_the_opset(asked: Asked) -> Optional[Answer]:
    """Never broken: a graph for an older parser is brought to its opset, node by node (`builder/steps/lower_opset.py`)."""
    target = asked.target
    row = _series(target)
    if row is None or not asked.opset:
        return None
    said = f"TensorRT {target.version} reads ONNX up to opset {row.opset}; the graph is opset {asked.opset}"
    lowered = f", brought to {row.opset} for it" if asked.opset > row.opset else ""
    return Held("tensorrt-opset", said + lowered, tables.tensorrt().opset.source)


def tensorrt_limits_dimensions(asked: Asked) -> Optional[Answer]:
    if not asked.target.runtime.startswith("tensorrt"):
        return None
    tensors = {tensor.name: len(tensor.shape) for tensor in asked.inputs}
    tensors.update({tensor.name: len(tensor.shape) for tensor in asked.head.outputs})
    name, most = max(tensors.items(), key=lambda item: item[1], default=("", 0))
    limit = tables.tensorrt().dimensions
    return answer(
        most <= limit.most,
        "tensorrt-dimensions",
        f"tensors have at most {limit.most} dimensions; these have up to {most}",
        f"{name!r} has {most} dimensions; tensors in {asked.target.runtime} have at most {limit.most}",
        limit.source,
        ("fold dimensions of that tensor together in the model",),
    )


def tensorrt_limits_volume(asked: Asked) -> Optional[Answer]:
    """Inputs and outputs at the largest shapes of the profiles; what lies between them only the builder knows."""
    if not asked.target.runtime.startswith("tensorrt") or not asked.profiles:
        return None
    volumes = [found for profile in asked.profiles for found in _volumes(asked, profile)]
    most, name, profile = max(volumes, default=(0, "", ""))
    limit = tables.tensorrt().elements
    return answer(
        most <= limit.most,
        "tensorrt-volume",
        f"the largest input or output has {most} elements, of at most 2^31 - 1",
        f"{name!r} has {most} elements at the largest shape of profile {profile!r}; a tensor in {asked.target.runtime} "
        "has at most 2^31 - 1",
        limit.source,
        (f"a smaller `max` in profile {profile!r}",),
    )


def _volumes(asked: Asked, profile: Profile) -> Iterator[Tuple[int, str, str]]:
    """(elements, tensor, profile) of each input, and of each output whose every dimension is known."""
    sizes: Dict[str, int] = {}
    for tensor in asked.inputs:
        shape = next((r.max for r in profile.inputs if r.name == tensor.name), None)
        if shape is not None:
            sizes.update(contract.bind(tensor.shape, shape))
            yield _product(shape), tensor.name, profile.name
    for output in asked.head.outputs:
        parsed = [contract.parse(dim) for dim in output.shape]
        if all(symbol is None or symbol in sizes for _, symbol in parsed):
            yield _product(m * sizes[s] if s is not None else m for m, s in parsed), output.name, profile.name


def _product(numbers: Iterable[int]) -> int:
    total = 1
    for number in numbers:
        total *= number
    return total


RULES = (
    a_jetson_says_its_jetpack,
    jetpack_is_known,
    jetpack_runs_on_the_board,
    jetpack_is_linux_on_arm,
    jetpack_brings_its_tensorrt,
    jetpack_brings_its_cuda,
    jetpack_brings_its_python,
    tensorrt_is_known,
    tensorrt_exists_for_the_platform,
    tensorrt_knows_the_gpu,
    tensorrt_takes_the_cuda,
    tensorrt_takes_the_python,
    tensorrt_has_the_options,
    a_dla_core_is_on_such_a_chip,
)
GRAPH_RULES = (
    tensorrt_reads_the_opset,
    tensorrt_limits_topk,
    tensorrt_limits_dimensions,
    tensorrt_limits_volume,
)
