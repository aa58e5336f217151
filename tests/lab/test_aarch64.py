"""What is said where there is no aarch64 host yet, and the line that the kernel is given. Making one takes minutes: by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.lab import aarch64

_MAGIC, _MASK = r"\x7f\x45\x4c\x46", r"\xff\xff\xff\x00"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache on an x86_64 machine with qemu."""
    monkeypatch.setenv("DEPLOYMATRIX_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(aarch64.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(aarch64, "_BINFMT", tmp_path / "binfmt")
    return tmp_path


def test_each_reason_has_the_command_that_mends_it(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(aarch64.missing()).endswith(": python -m tests.lab.aarch64")
    assert str(elsewhere) in str(aarch64.missing()), "the folder that is missing is named"
    aarch64.root().mkdir()
    assert "does not hand aarch64 programs" in str(aarch64.missing())
    assert str(aarch64.missing()).endswith(": python -m tests.lab.aarch64")
    (elsewhere / "binfmt").mkdir()
    entry = elsewhere / "binfmt" / "qemu-aarch64"
    entry.write_text("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OC\n")
    assert aarch64.missing() is not None, "without F, qemu is not found from inside a root"
    entry.write_text("enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POF\n")
    assert aarch64.missing() is None
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert str(aarch64.missing()).endswith("apt-get install qemu-user-static")


def test_the_line_of_debian_is_found_in_both_of_its_forms(tmp_path: Path) -> None:
    new, old = tmp_path / "qemu-aarch64.conf", tmp_path / "qemu-aarch64"
    new.write_text(f":qemu-aarch64:M::{_MAGIC}:{_MASK}:/usr/bin/qemu-aarch64-static:OC\n")
    old.write_text(
        f"package qemu-user-static\ninterpreter /usr/bin/qemu-aarch64-static\nmagic {_MAGIC}\nmask {_MASK}\nfix_binary yes\n"
    )
    assert aarch64.line_of(new) == f":qemu-aarch64:M::{_MAGIC}:{_MASK}:/usr/bin/qemu-aarch64-static:OCF"
    assert aarch64.line_of(old) == f":qemu-aarch64:M::{_MAGIC}:{_MASK}:/usr/bin/qemu-aarch64-static:OPF"
