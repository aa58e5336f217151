"""Reference samples: one .npz file each, with `input/NAME` and `output/NAME` arrays, or `refusal` instead of outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import numpy as np

Arrays = Dict[str, "np.ndarray[Any, np.dtype[Any]]"]


@dataclass(frozen=True)
class Sample:
    """One photograph at one size: input tensors and the reference's outputs, by name; or in whose words it refused."""

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
    with np.load(path, allow_pickle=False) as file:
        inputs = {key[len("input/") :]: file[key] for key in file.files if key.startswith("input/")}
        outputs = {key[len("output/") :]: file[key] for key in file.files if key.startswith("output/")}
        refusal = str(file["refusal"]) if "refusal" in file.files else ""
    return Sample(name, inputs, outputs, refusal)
