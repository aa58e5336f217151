"""Loads TensorRT's real Python bindings without its libraries, to ask them which names exist.

The bindings are on the package index, the libraries they link to are not. Empty libraries of the same names, with the
dozen symbols that the bindings refer to, let the module load: every enum, class, attribute and docstring is the real
one; calling the builder is not possible. One version per process.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

SPECS: Dict[str, str] = {
    "8.6": "tensorrt-bindings==8.6.1",
    "10.16": "tensorrt-cu12-bindings==10.16.1.11",
    "11.4": "tensorrt-cu12-bindings==11.4.0.106",
}
_SYMBOLS = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
]
_LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin", "libnvparsers")


def install(version: str, folder: Path) -> None:
    """The wheel of `version` and its stub libraries below `folder`. Raises CalledProcessError where pip or gcc fail."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site")]
    subprocess.run([*pip, SPECS[version]], check=True, capture_output=True)
    source = folder / "stub.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in _SYMBOLS))
    for library in _LIBRARIES:
        name = f"{library}.so.{version.split('.')[0]}"
        shared = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run(shared, check=True, capture_output=True)


def environment(folder: Path) -> Dict[str, str]:
    """What a process needs to `load` from `folder`: the loader reads LD_LIBRARY_PATH when it starts."""
    return {**os.environ, "LD_LIBRARY_PATH": str(folder)}


def load(folder: Path) -> Any:
    """The module `tensorrt`, as `import tensorrt` finds it from now on."""
    (library,) = (folder / "site").rglob("tensorrt.so")
    loader = importlib.machinery.ExtensionFileLoader("tensorrt", str(library))
    spec = importlib.util.spec_from_file_location("tensorrt", str(library), loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tensorrt"] = module
    loader.exec_module(module)
    if not hasattr(module, "__version__"):  # the package's own __init__.py sets it
        (metadata,) = (folder / "site").glob("*.dist-info")
        module.__dict__["__version__"] = metadata.name[: -len(".dist-info")].split("-")[1]
    return module
