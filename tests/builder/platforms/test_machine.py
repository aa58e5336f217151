"""What this machine is, found without importing anything, and in no time."""

from __future__ import annotations

import subprocess
import sys
import time

from builder.platforms import hardware, machines, packages, probe
from tests.fakes import REPOSITORY


def test_this_machine() -> None:
    machine = machines.here()
    assert machine.os == "linux"
    assert machine.arch in ("x86_64", "aarch64")
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.memory_mib > 0
    assert machine.kind == f"{machine.cpu} x{machine.cores}"
    assert set(machine.features) <= set(hardware.FEATURES)
    assert machine.python == ".".join(map(str, sys.version_info[:3]))


def test_packages_by_their_metadata() -> None:
    found = packages.named(packages.distributions(probe.real()), ("pytest", "no-such-package"))
    assert [package.name for package in found] == ["pytest"]
    machine = machines.Machine("linux", "x86_64", "c", 1, (), "3.8", (), (machines.Package("onnx", "1.2"),))
    assert machine.version("onnx") == "1.2"
    assert machine.version("torch") is None


def test_a_machine_without_a_gpu_costs_milliseconds() -> None:
    """The best of several, since other programs run beside this one. Where there is a driver, starting it takes longer."""
    if machines.here().driver:
        return
    times = []
    for _ in range(10):
        start = time.perf_counter()
        machines.here()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02


def test_nothing_of_a_runtime_is_imported() -> None:
    code = (
        "import sys; from builder.platforms import machines as facts; facts.here();"
        "print(sorted({'torch', 'numpy', 'onnx', 'tensorrt', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=str(REPOSITORY), stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == "[]"
