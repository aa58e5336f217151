"""What a GPU model is called, and which GPUs of a machine are of the one that a target declares. Pure.

Compute capability tells no models apart: RTX 3080 and RTX 3090 are both 8.6, and an engine is built and timed for one.
"""

from __future__ import annotations

import itertools
import re
from typing import Optional, Tuple

from builder.platforms.gpus import Gpu
from builder.platforms.machines import Machine

# Parts of a name that tell no models apart.
_NOISE = re.compile(r"nvidia|geforce|tesla|quadro|jetson|gpu|nvgpu|the|an?|developer|kit")
# Parts that tell kinds of one model apart, for whoever says them: memory and form (A100-SXM4-80GB, GTX 1060 6GB).
_KIND = re.compile(r"[0-9]+GB|HBM[0-9]E?|SXM[0-9]?|PCIE")
_WORKSTATION = re.compile(r"\brtx[ -]?(?=a[0-9])")  # RTX A6000 is called A6000, too


def canonical(name: str) -> str:
    """`RTX 3090` of `NVIDIA GeForce RTX 3090`. "" when the name says no model."""
    parts = re.split(r"[^a-z0-9.]+", _WORKSTATION.sub("", name.lower()))
    return " ".join(part.upper() for part in parts if part and not _NOISE.fullmatch(part))


def in_general(model: str) -> str:
    """A canonical name without memory and form: `A100` of `A100 SXM4 80GB`."""
    return " ".join(word for word in model.split() if not _KIND.fullmatch(word))


def names(gpu: Gpu, board: str = "") -> Tuple[str, ...]:
    """The canonical names that it answers to, with and without each word of memory and form. A Jetson's GPU calls itself
    by its family (Orin), so the name of its board counts, too: Xavier NX, and Xavier. A MIG instance is no such board."""
    words = canonical(gpu.name).split()
    kinds = [word for word in words if _KIND.fullmatch(word)]
    left_out = itertools.chain.from_iterable(itertools.combinations(kinds, many) for many in range(len(kinds) + 1))
    own = [" ".join(word for word in words if word not in without) for without in left_out]
    of_board = canonical(board).split() if not gpu.mig else []
    own += [" ".join(of_board[:many]) for many in range(1, len(of_board) + 1)]
    return tuple(dict.fromkeys(filter(None, own)))


def is_called(named: str, gpu: Gpu, machine: Machine) -> bool:
    """Is `RTX 3090` NVIDIA GeForce RTX 3090?"""
    return canonical(named) in names(gpu, machine.board)


def fitting(machine: Machine, sm: Optional[str], model: Optional[str]) -> Tuple[Gpu, ...]:
    """Its GPUs of this compute capability and, where one is declared, of this model."""
    alike = (gpu for gpu in machine.gpus if gpu.sm == sm)
    return tuple(gpu for gpu in alike if model is None or is_called(model, gpu, machine))
