"""What a target's own machine needs so that its cells can be built and measured there, and what to type: from the
tables. Linux only, as the program itself."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from builder.compat import cuda, jetpack, onnxruntime_gpu, rtx, tensorrt
from builder.compat.tables import Span, listed, version
from builder.config.matrix import Target
from builder.release import HOW_TO_MAKE_IT, WHEEL

VENV = ".venv"
NAMES = {
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
    "onnxruntime-gpu": "onnxruntime-gpu",
    "openvino": "OpenVINO",
    "onnxruntime": "onnxruntime",
}
_OUR_PYTHON = "3.8"
_OLD_PIP = "3.8"  # that of the Ubuntu with this Python knows no wheel for newer glibc, and would compile OpenCV
_NVIDIA_INDEX = "--extra-index-url https://pypi.nvidia.com"
# TensorRT's modules up to 8.5 ask for numpy.bool (NVIDIA/TensorRT#2567); those before 10.5 were made before NumPy 2.
_NUMPY = (("8.6", "'numpy<1.24'"), ("10.5", "'numpy<2'"))
# TensorRT 8.6 wants cuDNN 8.9; its wheels name no version, and a newer cuDNN has another name.
_CUDNN_OF_8_6 = "nvidia-cudnn-cu12==8.9.7.29"


def needs(target: Target) -> str:
    """In a line: CUDA 12.1, driver 525.60.13 to 580, Python 3.8 to 3.11. Empty for a CPU runtime."""
    if target.sm is None:
        return ""
    if target.jetpack is not None:
        row = _jetpack(target)
        if row is None:
            return ""
        return f"JetPack {target.jetpack}: CUDA {row.cuda}, cuDNN {row.cudnn}, Python {row.python}"
    said = [_cuda_needs(target)]
    if target.runtime == "onnxruntime-gpu":
        said.append(_cudnn_needs(target))
    said.append(_python_needs(target))
    return ", ".join(part for part in said if part)


def named(target: Target) -> str:
    return f"{NAMES[target.runtime]} {target.version or ''}".rstrip()


def commands(target: Target, tasks: bool, venv: str = VENV) -> Tuple[str, ...]:
    """Lines for a shell in a folder that holds WHEEL; they end with a `venv` that has `build`. `tasks`: metrics are scored."""
    if target.jetpack is not None:
        row = _jetpack(target)
        apt = "sudo apt-get install nvidia-jetpack python3-venv"
        old = row is not None and row.python == _OLD_PIP
        newer_pip = [_pip(["--upgrade", "pip"], venv)] if old else []
        numpy = _numpy(row.tensorrt if row else None)
        return (apt, _venv(venv, system=True), *newer_pip, _pip(_usual(tasks, numpy), venv))
    made = _venv(venv, _python_needs(target))
    if target.runtime == "tensorrt":
        return _native(target, tasks, venv, made)
    if target.runtime == "tensorrt-rtx":
        return (made, _pip([*_usual(tasks), *_own(target)], venv))
    if target.runtime == "onnxruntime-gpu":
        return (made, _pip([*_usual(tasks, onnxruntime=False), *_onnxruntime_gpu(target)], venv))
    more = ["openvino"] if target.runtime == "openvino" else []
    return (made, _pip([*_usual(tasks), *more], venv))


def without_ours(target: Target, tasks: bool) -> Tuple[str, ...]:
    """`commands` for a machine where deploymatrix is not installed, since its worker is sent there."""
    return tuple(line.replace(f"./{WHEEL} ", "") for line in commands(target, tasks))


def here(target: Target, tasks: bool, python: str, *, taken: bool = False) -> Tuple[str, Tuple[str, ...], str]:
    """(a sentence, lines for a shell, the environment to go on in) for the machine that `target` means, where `build` runs
    already, under `python`. The environment is empty when it is the present one; it is another where the target needs
    another Python, an older NumPy, the system's packages, onnxruntime-gpu in onnxruntime's place, or where another version
    of it is in the present one (`taken`)."""
    needed = f" ({needs(target)})" if needs(target) else ""
    added = [] if taken else _added(target, python)
    if added:
        return f"install {named(target)} here{needed}:", (f"pip install {' '.join(added)}",), ""
    own = f".venv-{target.name}"
    said = f"{named(target)}{needed}, in an environment of its own here, beside {WHEEL} ({HOW_TO_MAKE_IT}):"
    return said, commands(target, tasks, own), own


def _added(target: Target, python: str) -> List[str]:
    """What pip has to add to an environment with this Python; empty where it needs one of its own."""
    span = _python_span(target)
    if target.runtime == "onnxruntime-gpu" or target.jetpack is not None or span is None or not span.covers(python):
        return []
    packages = _own(target)
    return ["polygraphy", *packages] if packages and _numpy(_of_tensorrt(target)) == "numpy" else []


def _of_tensorrt(target: Target) -> Optional[str]:
    return target.version if target.runtime == "tensorrt" else None


def _own(target: Target) -> List[str]:
    """What pip installs for the runtime itself, where one line of pip can."""
    if target.runtime == "tensorrt-rtx":
        return [f"'tensorrt-rtx=={target.version}.*'"]
    row = tensorrt.series(target.version) if target.version is not None else None
    if target.runtime != "tensorrt" or target.arch == "aarch64" or (row is not None and version(row.newest) < (10,)):
        return []
    exact, major = target.version or "", _family(target, row.cuda if row else ())
    pinned = f"tensorrt-cu{major}=={exact}" if len(version(exact or "0")) > 3 else f"'tensorrt-cu{major}=={exact}.*'"
    return [pinned, _NVIDIA_INDEX]


def _native(target: Target, tasks: bool, venv: str, made: str) -> Tuple[str, ...]:
    row = tensorrt.series(target.version) if target.version is not None else None
    numpy, major = _numpy(target.version), _family(target, row.cuda if row else ())
    if target.arch == "aarch64":
        said = f"# TensorRT {target.version} for Arm servers (SBSA), from NVIDIA's Debian repository"
        apt = "sudo apt-get install tensorrt python3-libnvinfer python3-venv"
        return (said, apt, _venv(venv, system=True), _pip(_usual(tasks, numpy), venv))
    if row is not None and str(row.versions) == "8.6" and major == 12:
        first = _pip([*_usual(tasks, numpy), "setuptools", "wheel", _CUDNN_OF_8_6], venv)
        # Its package on the index runs pip while it is installed, which an isolated build has not.
        then = f"{venv}/bin/pip install --no-build-isolation tensorrt=={row.newest} {_NVIDIA_INDEX}"
        return (made, first, then)
    if row is not None and version(row.newest) < (10,):
        said = f"# TensorRT {row.newest} for CUDA {target.cuda or major}, the tar package: https://developer.nvidia.com/tensorrt"
        number = "$(python3 -c 'import sys; print(\"%d%d\" % sys.version_info[:2])')"
        wheel = f"TensorRT-*/python/tensorrt-*-cp{number}-*.whl"
        return (
            said,
            made,
            _pip([numpy, *_usual(tasks, ""), wheel], venv),
            "export LD_LIBRARY_PATH=$PWD/$(echo TensorRT-*)/lib",
        )
    return (made, _pip([*_usual(tasks, numpy), *_own(target)], venv))


def _onnxruntime_gpu(target: Target) -> List[str]:
    """onnxruntime-gpu takes the place of onnxruntime, so only one of them may be installed."""
    row = onnxruntime_gpu.series(target.version) if target.version is not None else onnxruntime_gpu.ORT[-1]
    extras = row is not None and version(row.versions.first) >= version(onnxruntime_gpu.FIRST_WITH_EXTRAS)
    wanted = "onnxruntime-gpu[cuda,cudnn]" if extras else "onnxruntime-gpu"
    listed_ = [f"'{wanted}=={target.version}.*'" if target.version is not None else f"'{wanted}'"]
    cudnn = _cudnn(target)
    if row is not None and cudnn:
        listed_.append(f"'nvidia-cudnn-cu{row.cuda.first.split('.')[0]}=={cudnn}'")
    return listed_


def _usual(tasks: bool, numpy: str = "numpy", *, onnxruntime: bool = True) -> List[str]:
    """Ourselves and what measuring needs; onnxruntime times the naive export beside the artifact."""
    packages = [f"./{WHEEL}", *([numpy] if numpy else []), "polygraphy"]
    if onnxruntime:
        packages.append("onnxruntime")
    if tasks:
        packages.append("opencv-python-headless")
    return packages


def _venv(venv: str, python: str = "", *, system: bool = False) -> str:
    """`python`: in words, which may make it; what `python3` is there, nobody knows here."""
    return f"python3 -m venv{' --system-site-packages' if system else ''} {venv}" + (f"  # {python}" if python else "")


def _pip(packages: Sequence[str], venv: str) -> str:
    return f"{venv}/bin/pip install {' '.join(packages)}"


def _numpy(native: Optional[str]) -> str:
    for end, pinned in _NUMPY:
        if native is not None and version(native) < version(end):
            return pinned
    return "numpy"


def _jetpack(target: Target) -> Optional[jetpack.JetPack]:
    """The row that has the declared TensorRT, or else the newest."""
    rows = jetpack.named(target.jetpack) if target.jetpack is not None else ()
    wanted = version(target.version)[:2] if target.version is not None else None
    agreeing = [row for row in rows if wanted is None or version(row.tensorrt)[:2] == wanted]
    return next(iter(reversed(agreeing or list(rows))), None)


def _spans(target: Target) -> Tuple[Span, ...]:
    if target.version is None:
        return ()
    if target.runtime == "tensorrt-rtx":
        series = rtx.series(target.version)
        return series.cuda if series else ()
    if target.runtime == "onnxruntime-gpu":
        ort = onnxruntime_gpu.series(target.version)
        return (ort.cuda,) if ort else ()
    native = tensorrt.series(target.version)
    return native.cuda if native else ()


def _family(target: Target, spans: Sequence[Span]) -> int:
    """The first number of the CUDA to install for: what is declared, or else the oldest from 12 on, which asks least of
    the driver. The packages of TensorRT-RTX are for 13."""
    if target.cuda is not None:
        return version(target.cuda)[0]
    if target.runtime == "tensorrt-rtx":
        return version(rtx.PACKAGED_CUDA)[0]
    return min((version(span.first)[0] for span in spans if version(span.first)[0] >= 12), default=11)


def _cuda_needs(target: Target) -> str:
    spans = _spans(target)
    fitting = [span for span in spans if version(span.first)[0] == _family(target, spans)]
    if target.cuda is None and not fitting:
        return ""
    drivers = cuda.drivers(target.cuda or fitting[0].first, target.sm or "0")
    return f"CUDA {target.cuda or listed(fitting)}" + (f", driver {drivers}" if drivers else "")


def _cudnn(target: Target) -> str:
    """The cuDNN to pin: what is declared, or the newest that knows the GPU; nothing where any newest one does."""
    if target.cudnn is not None:
        return target.cudnn if len(version(target.cudnn)) > 3 else f"{target.cudnn}.*"
    row = onnxruntime_gpu.series(target.version) if target.version is not None else onnxruntime_gpu.ORT[-1]
    fitting = onnxruntime_gpu.cudnn_for(row, target.sm or "0") if row is not None else None
    return fitting.newest if fitting is not None else ""


def _cudnn_needs(target: Target) -> str:
    named = target.cudnn or _cudnn(target)
    return f"cuDNN {named}" if named else ""


def _python_needs(target: Target) -> str:
    span = _python_span(target)
    return f"Python {target.python or span}" if span is not None else ""


def _python_span(target: Target) -> Optional[Span]:
    series = None
    kinds = {"tensorrt": tensorrt.series, "tensorrt-rtx": rtx.series, "onnxruntime-gpu": onnxruntime_gpu.series}
    if target.version is not None and target.runtime in kinds:
        series = kinds[target.runtime](target.version)
    if series is None:
        return None
    return Span(max(series.python.first, _OUR_PYTHON, key=version), series.python.last)
