"""What a machine is, found without importing anything."""

from __future__ import annotations

import sys

from builder import facts


def test_this_machine() -> None:
    machine = facts.here()
    assert machine.os == "linux"
    assert machine.arch in ("x86_64", "aarch64")
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.kind == f"{machine.cpu} x{machine.cores}"
    assert set(machine.features) <= set(facts.CPU_FEATURES)
    assert machine.python == ".".join(map(str, sys.version_info[:3]))


def test_packages_by_their_metadata() -> None:
    found = {p.name: p.version for p in facts._packages(("pytest", "no-such-package"))}
    assert set(found) == {"pytest"}
    machine = facts.Machine("linux", "x86_64", "c", 1, (), "3.8", (), (facts.Package("onnx", "1.2"),))
    assert machine.version("onnx") == "1.2"
    assert machine.version("torch") is None
