"""Reference samples: .npz files with inputs and outputs of the model.

Arrays are named `input/NAME` and `output/NAME`; a sample that the model refuses has `refusal` instead of outputs.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import numpy as np

from builder.errors import StepFailed, first_line

Arrays = Dict[str, "np.ndarray[Any, np.dtype[Any]]"]


@dataclass(frozen=True)
class Sample:
    """One photograph at one size.

    Input tensors, and the reference's outputs or its error message.
    """

    name: str
    inputs: Arrays
    outputs: Arrays
    refusal: str = ""


def save(path: Path, sample: Sample) -> None:
    arrays: Dict[str, Any] = {f"input/{name}": value for name, value in sample.inputs.items()}
    arrays.update({f"output/{name}": value for name, value in sample.outputs.items()})
    if sample.refusal:
        arrays["refusal"] = np.asarray(sample.refusal)
    np.savez(path, **arrays)


def load(path: Path, name: str) -> Sample:
    """Raises StepFailed for a file that needs more memory than its own size: `save` compresses nothing."""
    _check(path)
    with np.load(path, allow_pickle=False) as file:
        inputs = {key[len("input/") :]: file[key] for key in file.files if key.startswith("input/")}
        outputs = {key[len("output/") :]: file[key] for key in file.files if key.startswith("output/")}
        refusal = str(file["refusal"]) if "refusal" in file.files else ""
    return Sample(name, inputs, outputs, refusal)


def _check(path: Path) -> None:
    """Refuse an untrusted sample whose content unpacks, or claims to unpack, to more than its size."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    version = np.lib.format.read_magic(stream)
                    header = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = header(stream)
                if member.compress_type != zipfile.ZIP_STORED or math.prod(shape) * dtype.itemsize > member.file_size:
                    raise StepFailed(f"{member.filename} needs more memory than it has bytes", where=str(path))
                if member.file_size > path.stat().st_size:
                    raise StepFailed(f"{member.filename} is said to be larger than its file", where=str(path))
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as problem:
        raise StepFailed(f"this is no sample: {first_line(problem)}", where=str(path)) from None
