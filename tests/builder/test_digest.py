"""Digests: equal exactly when the bytes are."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from builder import digest
from builder.errors import StoreDamaged

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_of_bytes_stream_and_file_agree(tmp_path: Path) -> None:
    data = b"x" * ((1 << 20) + 1)
    (tmp_path / "f").write_bytes(data)
    assert digest.of_bytes(data) == digest.of_stream(io.BytesIO(data)) == digest.of_file(tmp_path / "f")
    assert digest.of_bytes(b"") == EMPTY


def test_canonical_json_sorts_keys_and_keeps_letters() -> None:
    assert digest.canonical({"b": 1, "a": ["ä", 1.0, None]}) == '{"a":["ä",1.0,null],"b":1}'.encode()
    assert digest.of_json({"a": 1, "b": 2}) == digest.of_json({"b": 2, "a": 1})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_canonical_json_has_no_nan(number: float) -> None:
    with pytest.raises(ValueError):
        digest.canonical({"a": number})


@pytest.mark.parametrize(
    "bad", ["", "sha256:", "sha256:" + "A" * 64, "sha256:../../x", "md5:" + "0" * 64, EMPTY + "\n"]
)
def test_only_a_digest_names_a_blob(bad: str) -> None:
    with pytest.raises(StoreDamaged):
        digest.hex_part(bad)
    assert digest.hex_part(EMPTY) == EMPTY[7:]
