"""Rules for GPUs, CUDA and drivers, and for the runtimes that need no TensorRT of the machine's own: TensorRT-RTX and
onnxruntime-gpu."""

from __future__ import annotations

from typing import Optional

from builder.config.matrix import Target
from builder.platforms import tables
from builder.platforms.asked import Answer, Asked, Skip, answer
from builder.platforms.versions import at_least, at_most, listed, release, within


def the_gpu_is_known(asked: Asked) -> Optional[Answer]:
    target = asked.target
    if target.sm is None:
        return None
    known = tables.gpu(target.sm)
    return answer(
        known is not None,
        "gpu-known",
        f"compute capability {target.sm} is {known.architecture} ({known.example})" if known else "",
        f"compute capability {target.sm} is in no table here",
        known.source if known else tables.file_of("cuda"),
        (f"one of {', '.join(gpu.sm for gpu in tables.cuda().gpus)}",),
    )


def cuda_knows_the_gpu(asked: Asked) -> Optional[Answer]:
    target = asked.target
    known = tables.gpu(target.sm) if target.sm is not None else None
    if known is None or target.cuda is None or target.jetpack is not None:
        return None
    row = tables.toolkit(target.cuda)
    if row is None:
        return Skip("cuda-known", f"CUDA {target.cuda} is in no table here", tables.file_of("cuda"))
    if release(known.sm) < release(row.sm_from):
        last = [t.last for t in tables.cuda().toolkits if release(t.sm_from) <= release(known.sm)][-1]
        problem = (
            f"CUDA {target.cuda} supports compute capability {row.sm_from} and newer; {last} is the last for {known.sm}"
        )
        return Skip("cuda-sm", problem, row.source)
    return answer(
        at_least(target.cuda, known.cuda_from),
        "cuda-sm",
        f"CUDA {target.cuda} knows compute capability {known.sm}",
        f"CUDA {target.cuda} does not know compute capability {known.sm}, which came with {known.cuda_from}",
        known.source,
        (f'cuda: "{known.cuda_from}" or newer',),
    )


def the_driver_takes_the_cuda(asked: Asked) -> Optional[Answer]:
    target = asked.target
    row = tables.toolkit(_cuda(target) or "0")
    if target.driver is None or row is None:
        return None
    return answer(
        at_least(target.driver, row.driver),
        "driver-cuda",
        f"driver {target.driver} takes CUDA {_cuda(target)}, which needs {row.driver} or newer",
        f"CUDA {_cuda(target)} needs driver {row.driver} or newer; {target.machine} has {target.driver}",
        row.source,
        (f"install driver {row.driver} or newer",),
    )


def the_driver_knows_the_gpu(asked: Asked) -> Optional[Answer]:
    target = asked.target
    if target.driver is None or target.sm is None or target.jetpack is not None:
        return None
    last = tables.cuda().last_driver
    if release(target.sm) >= release(last.below):
        return None
    return answer(
        at_most(target.driver, last.branch),
        "driver-sm",
        f"driver {target.driver} still has compute capability {target.sm}",
        f"drivers after {last.branch} dropped compute capability below {last.below}; {target.machine} is {target.sm}",
        last.source,
        (f"a driver of the branch {last.branch}",),
    )


def _cuda(target: Target) -> Optional[str]:
    """The CUDA that is declared, or else that the runtime's own packages bring."""
    if target.cuda is not None:
        return target.cuda
    if target.runtime == "tensorrt-rtx":
        return tables.rtx().packages.cuda
    if target.runtime == "onnxruntime-gpu" and target.version is not None:
        row = tables.ort_series(target.version)
        return row.cuda.first if row else None
    return None


def _rtx(target: Target) -> Optional[tables.RtxSeries]:
    return (
        tables.rtx_series(target.version) if target.runtime == "tensorrt-rtx" and target.version is not None else None
    )


def rtx_is_known(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _rtx(asked.target)
    if target.runtime != "tensorrt-rtx" or target.version is None:
        return None
    return answer(
        row is not None,
        "rtx-version",
        f"TensorRT-RTX {target.version} is in the tables: {row.versions if row else ''}",
        f"TensorRT-RTX {target.version} is in no table here",
        row.source if row else tables.file_of("rtx"),
    )


def rtx_exists_for_the_platform(asked: Asked) -> Optional[Answer]:
    target = asked.target
    if target.runtime != "tensorrt-rtx":
        return None
    platforms = tables.rtx().platforms
    names = ", ".join(f"{row.os} on {row.arch}" for row in platforms)
    return answer(
        (target.os, target.arch) in [(row.os, row.arch) for row in platforms],
        "rtx-platform",
        f"TensorRT-RTX exists for {names}",
        f"TensorRT-RTX exists for {names}; {target.machine} is {target.os} on {target.arch}",
        platforms[-1].source,
    )


def rtx_knows_the_gpu(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _rtx(asked.target)
    if row is None or target.sm is None:
        return None
    said = f"TensorRT-RTX {target.version} builds for compute capability {', '.join(row.sm)}"
    return answer(target.sm in row.sm, "rtx-sm", said, f"{said}; {target.machine} is {target.sm}", row.source)


def rtx_takes_the_cuda(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _rtx(asked.target)
    if row is None or target.cuda is None:
        return None
    said = f"TensorRT-RTX {target.version} is made for CUDA {listed(row.cuda)}"
    return answer(
        any(span.covers(target.cuda) for span in row.cuda), "rtx-cuda", said, f"{said}, not {target.cuda}", row.source
    )


def rtx_takes_the_python(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _rtx(asked.target)
    if row is None or target.python is None:
        return None
    said = f"TensorRT-RTX {target.version} has modules for Python {row.python}"
    return answer(
        row.python.covers(target.python),
        "rtx-python",
        said,
        f"{said}; {target.machine} has {target.python}",
        row.source,
        (f"another Python on that machine: {row.python}",),
    )


def _ort(target: Target) -> Optional[tables.OrtSeries]:
    if target.runtime != "onnxruntime-gpu" or target.version is None:
        return None
    return tables.ort_series(target.version)


def ort_is_known(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _ort(asked.target)
    if target.runtime != "onnxruntime-gpu" or target.version is None:
        return None
    return answer(
        row is not None,
        "ort-gpu-version",
        f"onnxruntime-gpu {target.version} is in the tables: {row.versions if row else ''}",
        f"onnxruntime-gpu {target.version} is in no table here",
        row.source if row else tables.file_of("onnxruntime_gpu"),
    )


def ort_exists_for_the_platform(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _ort(asked.target)
    if target.runtime != "onnxruntime-gpu":
        return None
    newest = tables.onnxruntime_gpu().series[-1]
    source = (row or newest).source
    if target.jetpack is not None:
        said = "the package index has no onnxruntime-gpu wheel for JetPack"
        return Skip("ort-gpu-platform", said, source)
    arches = (row or newest).arches
    named = f"onnxruntime-gpu {target.version or ''}".strip()
    said = f"{named} has wheels for linux on {' and '.join(arches)} that were looked at"
    return answer(
        target.os == "linux" and target.arch in arches,
        "ort-gpu-platform",
        said,
        f"{said}; {target.machine} is {target.os} on {target.arch}",
        source,
    )


def ort_knows_the_gpu(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _ort(asked.target)
    if row is None or target.sm is None:
        return None
    ptx = f", and PTX of {row.ptx} for what is newer" if row.ptx and target.arch == "x86_64" else ""
    said = (
        f"onnxruntime-gpu {target.version} has code for compute capability {', '.join(row.code_on(target.arch))}{ptx}"
    )
    return answer(
        row.runs_on(target.sm, target.arch),
        "ort-gpu-sm",
        said,
        f"{said}; {target.machine} is {target.sm}",
        row.source,
    )


def ort_takes_the_cuda(asked: Asked) -> Optional[Answer]:
    """A CUDA of the same family will do: minor version compatibility."""
    target, row = asked.target, _ort(asked.target)
    if row is None or target.cuda is None:
        return None
    said = f"onnxruntime-gpu {target.version} is made for CUDA {row.cuda}"
    return answer(
        release(target.cuda)[0] == release(row.cuda.first)[0],
        "ort-gpu-cuda",
        said,
        f"{said}, not {target.cuda}",
        row.source,
    )


def ort_takes_the_python(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _ort(asked.target)
    if row is None or target.python is None:
        return None
    said = f"onnxruntime-gpu {target.version} has wheels for Python {row.python}"
    return answer(
        row.python.covers(target.python),
        "ort-gpu-python",
        said,
        f"{said}; {target.machine} has {target.python}",
        row.source,
        (f"another Python on that machine: {row.python}",),
    )


def ort_takes_the_cudnn(asked: Asked) -> Optional[Answer]:
    target, row = asked.target, _ort(asked.target)
    if row is None or target.cudnn is None:
        return None
    said = f"onnxruntime-gpu {target.version} needs cuDNN {row.cudnn}"
    return answer(
        within(target.cudnn, row.cudnn),
        "ort-gpu-cudnn",
        said,
        f"{said}, not {target.cudnn}",
        row.source,
        (f'cudnn: "{row.cudnn}"',),
    )


def cudnn_has_kernels_for_the_gpu(asked: Asked) -> Optional[Answer]:
    """Without `cudnn:` the orders to install name a cuDNN that has them."""
    target, row = asked.target, _ort(asked.target)
    if row is None or target.sm is None:
        return None
    fitting = tables.cudnn_for(row, target.sm)
    if fitting is None:
        said = f"no cuDNN {row.cudnn} has kernels for compute capability {target.sm}"
        return Skip("cudnn-sm", said, tables.cuda().cudnn[-1].source)
    declared = tables.cudnn_series(target.cudnn) if target.cudnn is not None else fitting
    if declared is None:
        return Skip("cudnn-sm", f"cuDNN {target.cudnn} is in no table here", tables.file_of("cuda"))
    named = f"cuDNN {target.cudnn or fitting.newest or fitting.versions}"
    return answer(
        release(target.sm) >= release(declared.sm_from),
        "cudnn-sm",
        f"{named} has kernels for compute capability {target.sm}",
        f"{named} has kernels for compute capability {declared.sm_from} and newer; {target.machine} is {target.sm}",
        declared.source,
        (f'cudnn: "{fitting.newest}"',) if fitting.newest else (),
    )


RULES = (
    the_gpu_is_known,
    cuda_knows_the_gpu,
    rtx_is_known,
    rtx_exists_for_the_platform,
    rtx_knows_the_gpu,
    rtx_takes_the_cuda,
    rtx_takes_the_python,
    ort_is_known,
    ort_exists_for_the_platform,
    ort_knows_the_gpu,
    ort_takes_the_cuda,
    ort_takes_the_python,
    ort_takes_the_cudnn,
    cudnn_has_kernels_for_the_gpu,
    the_driver_takes_the_cuda,
    the_driver_knows_the_gpu,
)
