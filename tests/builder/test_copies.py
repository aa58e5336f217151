"""Copying a file and knowing what was copied."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder import digest
from builder.errors import StoreDamaged
from builder.transfers import copies

SIZE = 1_000_003


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(os.urandom(SIZE))
    return tmp_path / "source"


def test_a_copy_is_the_same_and_another_file(source: Path, tmp_path: Path) -> None:
    copies.verified(source, tmp_path / "copy", digest.of_file(source), "")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert not (tmp_path / "copy").samefile(source)


def test_what_is_there_is_never_written_over(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(FileExistsError):
        copies.verified(source, tmp_path / "copy", digest.of_file(source), "")
    assert (tmp_path / "copy").read_text() == "mine"


def test_other_content_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreDamaged, match="the manifest says"):
        copies.verified(source, tmp_path / "copy", "sha256:" + "0" * 64, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_blocks_are_shared_where_the_file_system_can(tmp_path: Path) -> None:
    """XFS: a verified copy takes no room, a wrong one is refused all the same, and writing to a copy leaves the source."""
    program = shutil.which("mkfs.xfs")
    if program is None:
        pytest.skip("mkfs.xfs is not installed (Debian: apt install xfsprogs)")
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([program, "-q", "-m", "reflink=1", str(image)], check=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(image), str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.strip()}")
    try:
        source = disk / "source"
        source.write_bytes(os.urandom(20 * SIZE))
        wanted = digest.of_file(source)
        os.sync()
        before = os.statvfs(str(disk)).f_bfree
        copies.verified(source, disk / "copy", wanted, "")
        os.sync()
        assert (before - os.statvfs(str(disk)).f_bfree) * os.statvfs(str(disk)).f_bsize < SIZE
        with pytest.raises(StoreDamaged):
            copies.verified(source, disk / "wrong", "sha256:" + "0" * 64, "")
        with (disk / "copy").open("r+b") as file:
            file.write(b"changed")
        assert digest.of_file(source) == wanted
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
