"""What a GPU model is called, and which GPUs of a machine are of the one that a target declares. Pure.

Compute capability tells no models apart: RTX 3080 and RTX 3090 are both 8.6, and an engine is built and timed for one.
"""

from __future__ import annotations

import itertools
import re
from typing import Optional, Tuple

from builder.config.matrix import gpu_model
from builder.platforms.gpus import Gpu
from builder.platforms.machines import Machine

# Parts that tell kinds of one model apart, for whoever says them: memory and form (A100-SXM4-80GB, GTX 1060 6GB).
_KIND = re.compile(r"[0-9]+GB|HBM[0-9]E?|SXM[0-9]?|PCIE")


def in_general(model: str) -> str:
    """A canonical name without memory and form: `A100` of `A100 SXM4 80GB`."""
    return " ".join(word for word in model.split() if not _KIND.fullmatch(word))


def names(gpu: Gpu, board: str = "") -> Tuple[str, ...]:
    """The canonical names that it answers to, with and without each word of memory and form. A Jetson's GPU calls itself
    by its family (Orin), so the name of its board counts, too: Xavier NX, and Xavier. A MIG instance is no such board."""
    words = gpu_model(gpu.name).split()
    kinds = [word for word in words if _KIND.fullmatch(word)]
    left_out = itertools.chain.from_iterable(itertools.combinations(kinds, many) for many in range(len(kinds) + 1))
    own = [" ".join(word for word in words if word not in without) for without in left_out]
    of_board = gpu_model(board).split() if not gpu.mig else []
    own += [" ".join(of_board[:many]) for many in range(1, len(of_board) + 1)]
    return tuple(dict.fromkeys(filter(None, own)))


def is_called(named: str, gpu: Gpu, machine: Machine) -> bool:
    """Is `RTX 3090` NVIDIA GeForce RTX 3090?"""
    return gpu_model(named) in names(gpu, machine.board)


def fitting(machine: Machine, sm: Optional[str], model: Optional[str]) -> Tuple[Gpu, ...]:
    """Its GPUs of this compute capability and, where one is declared, of this model."""
    alike = (gpu for gpu in machine.gpus if gpu.sm == sm)
    return tuple(gpu for gpu in alike if model is None or is_called(model, gpu, machine))
