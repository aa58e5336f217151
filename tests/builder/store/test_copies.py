"""Copying a file and knowing what was copied."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, List, Optional

import pytest

from builder import digest, files
from builder.errors import StoreDamaged

SIZE = 1_000_003


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(os.urandom(SIZE))
    return tmp_path / "source"


def test_a_copy_is_the_same_and_another_file(source: Path, tmp_path: Path) -> None:
    files.verified(source, tmp_path / "copy", digest.of_file(source), "")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert not (tmp_path / "copy").samefile(source)


def test_what_is_there_is_never_written_over(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(FileExistsError):
        files.verified(source, tmp_path / "copy", digest.of_file(source), "")
    assert (tmp_path / "copy").read_text() == "mine"


def test_other_content_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreDamaged, match="the manifest says"):
        files.verified(source, tmp_path / "copy", "sha256:" + "0" * 64, "")


def test_a_copy_and_a_folder_are_on_disk_and_nothing_stays_open(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: List[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.readlink(f"/proc/self/fd/{fd}")))
    before = os.listdir("/proc/self/fd")
    files.verified(source, tmp_path / "copy", digest.of_file(source), "")
    files.flush_folder(tmp_path)
    assert flushed == [str(tmp_path / "copy"), str(tmp_path)]
    assert os.listdir("/proc/self/fd") == before


class Reluctant(io.BytesIO):
    """A file that takes three bytes at a time, and `most` in all."""

    name = "there"

    def __init__(self, most: int, problem: OSError) -> None:
        super().__init__()
        self._most, self._problem = most, problem

    def write(self, data: Any) -> int:
        taken = min(3, self._most - self.tell())
        if not taken:
            raise self._problem
        return super().write(bytes(data)[:taken])


def test_a_file_that_takes_little_at_once_gets_all_of_it() -> None:
    file = Reluctant(99, OSError())
    files.write_all(file, b"0123456789")
    assert file.getvalue() == b"0123456789"


@pytest.mark.parametrize(("named", "said"), [(None, "there"), ("elsewhere", "elsewhere")])
def test_a_full_disk_says_where(named: Optional[str], said: str) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        files.write_all(Reluctant(7, OSError(errno.ENOSPC, "No space left", named)), b"0123456789")
    assert caught.value.filename == said


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
        files.verified(source, disk / "copy", wanted, "")
        os.sync()
        assert (before - os.statvfs(str(disk)).f_bfree) * os.statvfs(str(disk)).f_bsize < SIZE
        with pytest.raises(StoreDamaged):
            files.verified(source, disk / "wrong", "sha256:" + "0" * 64, "")
        with (disk / "copy").open("r+b") as file:
            file.write(b"changed")
        assert digest.of_file(source) == wanted
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
