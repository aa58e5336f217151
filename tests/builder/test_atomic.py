"""A file that is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import files


def _half(path: Path) -> None:
    with files.opened(path) as file:
        file.write(b"half")
        raise RuntimeError("cut")


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write(path, b"old")
    with pytest.raises(RuntimeError, match="cut"):
        _half(path)
    assert path.read_bytes() == b"old"
    files.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"], "nothing else is left"


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        files.write(tmp_path / "nowhere" / "a.json", b"")
