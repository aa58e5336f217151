"""What a target's own machine needs so that its cells can be built and measured there, and what to type: from the
tables. Linux only, as the program itself."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from builder.config.contract import PACKAGE
from builder.config.matrix import Target
from builder.platforms import tables
from builder.platforms.machines import Machine
from builder.platforms.platform import is_meant, no_cuda
from builder.platforms.versions import Span, first, listed, release
from builder.release import HOW_TO_MAKE_IT, WHEEL, pip_install

VENV = ".venv"
EXTRA = {"onnxruntime": "build", "openvino": "build", "onnxruntime-gpu": "build", "tensorrt-rtx": "rtx"}
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


def how_to_build(target: Target, machine: Machine, store: str, *, tasks: bool = True) -> str:
    """What to do so that the cells of `target` get built: a line to type here, or lines for the target's own machine.
    `tasks`: the matrix has metrics to score there."""
    extra = EXTRA.get(target.runtime)
    if extra and (target.os, target.arch) == (machine.os, machine.arch) and not is_meant(target, machine):
        package = PACKAGE[target.runtime] if target.runtime != "onnxruntime-gpu" else None
        pinned = [f"'{package}=={target.version}.*'"] if package and target.version else []
        return install_here(extra, *pinned)
    return how_to_verify(target, machine, store, tasks=tasks)


def install_here(extra: str, *more: str) -> str:
    """A sentence, and the line to type here for an extra of this program."""
    return f"install it here:\n{pip_install(extra, *more)}"


def how_to_verify(target: Target, machine: Machine, store: str, *, tasks: bool = True) -> str:
    """What to do so that what was built, or is to be, gets run on the machine that it is for."""
    return _here(target, machine, store, tasks) if is_meant(target, machine) else _orders(target, store, tasks)


def _here(target: Target, machine: Machine, store: str, tasks: bool) -> str:
    """A sentence and lines for this very machine, which lacks a package or a driver."""
    if no_cuda(target.runtime, machine) is not None:
        return "mend that, then run here: build matrix"
    taken = machine.version(PACKAGE[target.runtime]) is not None
    said, lines, own = here(target, tasks, machine.python, taken=taken)
    if not own:
        return "\n".join([said, *lines, "build matrix"])
    orders, perform = f"build matrix  # leaves its orders in {store}/", f"{own}/bin/build perform '*-{target.name}'"
    return "\n".join([said, orders, *lines, f"{perform} --store {store}", "build matrix  # judges and publishes"])


def _orders(target: Target, store: str, tasks: bool) -> str:
    """A sentence and the commands that follow it, one a line: what must be on that machine, from the tables."""
    if target.os != "linux":
        return f"nothing yet: this program does not run on {target.os}"
    said = "; ".join(part for part in (named(target), needs(target)) if part)
    carried = f"{store}/ and {WHEEL} ({HOW_TO_MAKE_IT})"
    return "\n".join(
        [
            f"copy {carried} to {_the(target.machine)} ({said}), and there:",
            *commands(target, tasks),
            f".venv/bin/build perform '*-{target.name}' --store {store}",
            f"# then copy {store}/ back (rsync -a --ignore-existing), and run here: build matrix",
        ]
    )


def _the(machine: str) -> str:
    """`any CPU-only box` has its article."""
    return machine if machine.split(" ")[0].lower() in ("a", "an", "any", "the", "this") else f"the {machine}"


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
    row = tables.tensorrt_series(target.version) if target.version is not None else None
    if target.runtime != "tensorrt" or target.arch == "aarch64" or (row is not None and release(row.newest) < (10,)):
        return []
    exact, major = target.version or "", _family(target, row.cuda if row else ())
    pinned = f"tensorrt-cu{major}=={exact}" if len(release(exact)) > 3 else f"'tensorrt-cu{major}=={exact}.*'"
    return [pinned, _NVIDIA_INDEX]


def _native(target: Target, tasks: bool, venv: str, made: str) -> Tuple[str, ...]:
    row = tables.tensorrt_series(target.version) if target.version is not None else None
    numpy, major = _numpy(target.version), _family(target, row.cuda if row else ())
    if target.arch == "aarch64":
        said = f"# TensorRT {target.version} for Arm servers (SBSA), from NVIDIA's Debian repository"
        apt = "sudo apt-get install tensorrt python3-libnvinfer python3-venv"
        return (said, apt, _venv(venv, system=True), _pip(_usual(tasks, numpy), venv))
    if row is not None and row.cudnn and major == 12:  # its wheels name no cuDNN, and a newer one has another name
        beside = _pip([*_usual(tasks, numpy), "setuptools", "wheel", f"nvidia-cudnn-cu12=={row.cudnn}"], venv)
        # Its package on the index runs pip while it is installed, which an isolated build has not.
        then = f"{venv}/bin/pip install --no-build-isolation tensorrt=={row.newest} {_NVIDIA_INDEX}"
        return (made, beside, then)
    if row is not None and release(row.newest) < (10,):
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
    row = _ort(target)
    wanted = "onnxruntime-gpu[cuda,cudnn]" if row is not None and row.extras else "onnxruntime-gpu"
    listed_ = [f"'{wanted}=={target.version}.*'" if target.version is not None else f"'{wanted}'"]
    cudnn = _cudnn(target)
    if row is not None and cudnn:
        listed_.append(f"'nvidia-cudnn-cu{release(row.cuda.first)[0]}=={cudnn}'")
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
    for row in tables.tensorrt().numpy if native is not None else ():
        if release(native) < release(row.before):
            return f"'{row.package}'"
    return "numpy"


def _jetpack(target: Target) -> Optional[tables.JetPack]:
    """The row that has the declared TensorRT, or else the newest."""
    rows = tables.jetpack_series(target.jetpack) if target.jetpack is not None else ()
    agreeing = [row for row in rows if target.version is None or first(row.tensorrt, 2) == first(target.version, 2)]
    return next(iter(reversed(agreeing or list(rows))), None)


def _ort(target: Target) -> Optional[tables.OrtSeries]:
    """The declared series, or else the newest."""
    return tables.ort_series(target.version) if target.version is not None else tables.onnxruntime_gpu().series[-1]


def _spans(target: Target) -> Tuple[Span, ...]:
    if target.version is None:
        return ()
    if target.runtime == "tensorrt-rtx":
        series = tables.rtx_series(target.version)
        return series.cuda if series else ()
    if target.runtime == "onnxruntime-gpu":
        ort = tables.ort_series(target.version)
        return (ort.cuda,) if ort else ()
    native = tables.tensorrt_series(target.version)
    return native.cuda if native else ()


def _family(target: Target, spans: Sequence[Span]) -> int:
    """The first number of the CUDA to install for: what is declared, or else the oldest from 12 on, which asks least of
    the driver. The packages of TensorRT-RTX are for 13."""
    if target.cuda is not None:
        return release(target.cuda)[0]
    if target.runtime == "tensorrt-rtx":
        return release(tables.rtx().packages.cuda)[0]
    return min((release(span.first)[0] for span in spans if release(span.first)[0] >= 12), default=11)


def _cuda_needs(target: Target) -> str:
    spans = _spans(target)
    fitting = [span for span in spans if release(span.first)[0] == _family(target, spans)]
    if target.cuda is None and not fitting:
        return ""
    drivers = tables.drivers(target.cuda or fitting[0].first, target.sm or "0")
    return f"CUDA {target.cuda or listed(fitting)}" + (f", driver {drivers}" if drivers else "")


def _cudnn(target: Target) -> str:
    """The cuDNN to pin: what is declared, or the newest that knows the GPU; nothing where any newest one does."""
    if target.cudnn is not None:
        return target.cudnn if len(release(target.cudnn)) > 3 else f"{target.cudnn}.*"
    row = _ort(target)
    fitting = tables.cudnn_for(row, target.sm or "0") if row is not None else None
    return fitting.newest if fitting is not None else ""


def _cudnn_needs(target: Target) -> str:
    named = target.cudnn or _cudnn(target)
    return f"cuDNN {named}" if named else ""


def _python_needs(target: Target) -> str:
    span = _python_span(target)
    return f"Python {target.python or span}" if span is not None else ""


def _python_span(target: Target) -> Optional[Span]:
    kinds = {
        "tensorrt": tables.tensorrt_series,
        "tensorrt-rtx": tables.rtx_series,
        "onnxruntime-gpu": tables.ort_series,
    }
    series = kinds[target.runtime](target.version) if target.version is not None and target.runtime in kinds else None
    return Span(max(series.python.first, _OUR_PYTHON, key=release), series.python.last) if series else None
