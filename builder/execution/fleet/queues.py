"""The names of the queues: what a machine has to be for a job, and what a machine is. Pure.

    deploymatrix-0.1.0.tensorrt-10.16.sm8.6.linux-x86_64           TensorRT 10.16 on compute capability 8.6
    deploymatrix-0.1.0.tensorrt-10.16.sm8.6.rtx-3090.linux-x86_64  the same, on an RTX 3090 and no other model
    deploymatrix-0.1.0.tensorrt-10.3.sm8.7.linux-aarch64.jp6.2     a Jetson with JetPack 6.2
    deploymatrix-0.1.0.onnxruntime-any.linux-x86_64                any onnxruntime on the processor

A target may declare 10, 10.16 or 10.16.1, so a machine serves the queue of each beginning of its version. Memory and form
of a GPU are in no name: a worker looks at them when it has the order. The release of this program is part of the name: one
action means one thing to everybody who takes it.
"""

from __future__ import annotations

from typing import Iterator, Tuple

from builder.config.contract import ON_CPU, PACKAGE
from builder.platforms import gpu_models
from builder.platforms.machines import Machine
from builder.platforms.platform import Platform, cannot_build, cannot_run
from builder.platforms.versions import first, release
from builder.release import VERSION

PREFIX = f"deploymatrix-{VERSION}."


def name(platform: Platform) -> str:
    """The queue of the jobs for this platform."""
    parts = [f"{platform.runtime}-{platform.version}"]
    parts += [f"sm{platform.sm}"] if platform.sm else []
    model = gpu_models.in_general(platform.gpu) if platform.gpu else ""
    parts += [model.lower().replace(" ", "-")] if model else []
    parts += [f"{platform.os}-{platform.arch}"]
    parts += [f"jp{platform.jetpack}"] if platform.jetpack else []
    return PREFIX + ".".join(parts)


def own(machine: str) -> str:
    """The queue of one machine alone: for what is to be measured where it was built."""
    return f"{PREFIX}at.{machine}"


def short(queue: str) -> str:
    """For people: without what is the same for all."""
    return queue[len(PREFIX) :] if queue.startswith(PREFIX) else queue


def served(machine: Machine) -> Tuple[str, ...]:
    """The queues whose jobs `machine` can build and run, in no order that means anything."""
    return tuple(dict.fromkeys(name(platform) for platform in _platforms(machine) if _can(platform, machine)))


def _platforms(machine: Machine) -> Iterator[Platform]:
    """Every platform that a target could declare and mean this machine."""
    jetpacks = (None, *_beginnings(machine.jetpack)) if machine.jetpack else (None,)
    pairs = [(gpu.sm, name) for gpu in machine.gpus if gpu.sm for name in (None, *gpu_models.names(gpu, machine.board))]
    declared = tuple(dict.fromkeys(pairs))  # compute capability, and a model or none
    for runtime, package in PACKAGE.items():
        installed = machine.version(package)
        versions = ("any", *_beginnings(installed)) if installed else ()
        for version in versions:
            for sm, model in ((None, None),) if runtime in ON_CPU else declared:
                for jetpack in jetpacks:
                    yield Platform(runtime, version, machine.os, machine.arch, sm, jetpack, gpu=model)


def _beginnings(version: str) -> Iterator[str]:
    """10.16.1.11 -> 10, 10.16, 10.16.1, 10.16.1.11."""
    for count in range(1, len(release(version)) + 1):
        yield first(version, count)


def _can(platform: Platform, machine: Machine) -> bool:
    return cannot_build(platform, machine) is None and cannot_run(platform, machine) is None
