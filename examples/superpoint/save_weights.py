"""Turn a training checkpoint into a weights file.

python -m examples.superpoint.save_weights checkpoint.pt superpoint.safetensors
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import torch
from safetensors.torch import save_file

from examples.superpoint.model import superpoint


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert a checkpoint of train.py to safetensors.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    state = torch.load(options.checkpoint, weights_only=True, map_location="cpu")
    for head in ("dense", "keypoints"):  # a file that either head would refuse is never written
        superpoint(head).load_state_dict(state["model"])
    # Floats become fp32 and row-major (training keeps channels last); batch norm's counters stay integers.
    tensors = {
        name: (t.float() if t.is_floating_point() else t).contiguous(memory_format=torch.contiguous_format).clone()
        for name, t in state["model"].items()
    }
    metadata = {
        "format": "pt",
        "model": "SuperPoint",
        "steps": str(state["step"]),
        "seed": str(state["seed"]),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "license": "MIT",
    }
    options.weights.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.weights, metadata)


if __name__ == "__main__":
    main()
