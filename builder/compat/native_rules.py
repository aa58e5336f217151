"""Rules for native TensorRT and for JetPack: series, GPU, CUDA, Python, platform, options."""

from __future__ import annotations

from typing import Optional, Tuple

from builder.compat import cuda, dialects, jetpack, tensorrt
from builder.compat.asked import Answer, Asked, Skip, answer
from builder.compat.tables import listed, version
from builder.config.matrix import Target

_OUR_PYTHON = "3.8"


def _series(target: Target) -> Optional[tensorrt.Series]:
    if target.runtime != "tensorrt" or target.version is None:
        return None
    return tensorrt.series(target.version)


def tensorrt_is_known(asked: Asked) -> Optional[Answer]:
    target = asked.target
    if target.runtime != "tensorrt" or target.version is None:
        return None
    row = tensorrt.series(target.version)
    return answer(
        row is not None,
        "tensorrt-version",
        f"TensorRT {target.version} is in the tables: {row.versions if row else ''}",
        f"TensorRT {target.version} is in no table here",
        row.source if row else "builder/compat/tensorrt.py",
    )


def tensorrt_knows_the_gpu(asked: Asked) -> Optional[Answer]:
    """What a Jetson's TensorRT knows is said by its JetPack."""
    target, row = asked.target, _series(asked.target)
    if row is None or target.sm is None or target.jetpack is not None:
        return None
    said = f"TensorRT {target.version} supports compute capability"
    lowest, newest = row.sm[0], row.sm[-1]
    if version(target.sm) < version(lowest):
        problem = f"{said} {lowest} and newer; {target.machine} is {target.sm}"
    elif version(target.sm) > version(newest):
        first = next((s for s in tensorrt.SERIES if target.sm in s.sm), None)
        since = f"; {target.sm} came with {first.versions.first}" if first else ""
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
        holds = version(target.cuda)[0] == version(row.sbsa)[0]
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
        tensorrt.PYTHON_SOURCE,
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
        True, "tensorrt-options", "it has every option that the cell's settings ask for", "", dialects.BINDINGS
    )


def a_dla_core_is_on_such_a_chip(asked: Asked) -> Optional[Answer]:
    """Which module of a Jetson it is, nobody declares: that it has a core at all is seen when it builds."""
    target, core = asked.target, asked.options.dla_core
    if core is None or target.sm is None or target.runtime != "tensorrt":
        return None
    chips = ", ".join(f"{gpu.sm} ({gpu.example})" for gpu in cuda.GPUS if gpu.sm in cuda.DLA)
    said = f"DLA cores are beside compute capability {chips}"
    return answer(
        target.sm in cuda.DLA,
        "tensorrt-dla",
        said,
        f"{said}; the target declares {target.sm}",
        cuda.DLA_SOURCE,
        ("leave dla_core out: the GPU",),
    )


def a_jetson_says_its_jetpack(asked: Asked) -> Optional[Answer]:
    """TensorRT-RTX has rules of its own: it knows no Jetson."""
    target = asked.target
    known = cuda.gpu(target.sm) if target.sm is not None and target.runtime != "tensorrt-rtx" else None
    if known is None or not known.jetson or target.jetpack is not None:
        return None
    fitting = [row for row in jetpack.JETPACKS if target.sm in row.sm]
    return Skip(
        "jetson-jetpack",
        f"compute capability {target.sm} is a {known.example}, whose software comes with JetPack; none is declared",
        fitting[-1].source if fitting else known.source,
    )


def jetpack_is_known(asked: Asked) -> Optional[Answer]:
    target = asked.target
    if target.jetpack is None:
        return None
    rows = jetpack.named(target.jetpack)
    known = ", ".join(str(row.versions) for row in jetpack.JETPACKS)
    return answer(
        bool(rows),
        "jetpack-version",
        f"JetPack {target.jetpack} is L4T {rows[0].l4t if rows else ''}",
        f"JetPack {target.jetpack} is in no table here (known: {known})",
        rows[0].source if rows else "builder/compat/jetpack.py",
    )


def jetpack_runs_on_the_board(asked: Asked) -> Optional[Answer]:
    target, rows = asked.target, _rows(asked.target)
    if not rows or target.sm is None:
        return None
    boards = ", ".join(f"{sm} ({gpu.example})" for sm in rows[0].sm for gpu in cuda.GPUS if gpu.sm == sm)
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
    wanted = version(target.version)[:2]
    agreeing = [row for row in rows if version(row.tensorrt)[: len(wanted)] == wanted]
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
        version(target.cuda)[:2] == version(rows[0].cuda)[: len(version(target.cuda))],
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
    if version(row.python) < version(_OUR_PYTHON):
        return Skip("jetpack-python", f"{said} only; this program needs {_OUR_PYTHON}", row.source)
    return answer(
        target.python is None or version(target.python)[:2] == version(row.python),
        "jetpack-python",
        said,
        f"{said}, not for {target.python}",
        row.source,
        (f'python: "{row.python}"',),
    )


def _rows(target: Target) -> Tuple[jetpack.JetPack, ...]:
    return jetpack.named(target.jetpack) if target.jetpack is not None else ()


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
