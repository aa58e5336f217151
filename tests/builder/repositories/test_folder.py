"""A folder keeps the contract of places."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import seams
from builder.seams import Repository
from tests.builder.repositories.contract import *  # noqa: F403
from tests.builder.repositories.contract import Open


@pytest.fixture
def fresh(tmp_path: Path) -> Open:
    return lambda: seams.repository(f"file://{tmp_path}/there", {})


@pytest.fixture
def place(fresh: Open) -> Repository:
    return fresh()
