"""A folder keeps the contract of places."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import plugins
from builder.plugins import Repository
from builder.store import versions
from builder.store.layout import Layout
from tests.builder.store.remotes.contract import *  # noqa: F403
from tests.builder.store.remotes.contract import Open, send
from tests.builder.store.remotes.reading import *  # noqa: F403
from tests.builder.store.remotes.reading import Filled


@pytest.fixture
def fresh(tmp_path: Path) -> Open:
    return lambda: plugins.repository(f"file://{tmp_path}/there", {})


@pytest.fixture
def filled(fresh: Open) -> Filled:
    def made(store: Layout) -> Repository:
        for version in versions.numbers(store):
            send(store, fresh(), version)
        return fresh()

    return made


@pytest.fixture
def place(fresh: Open) -> Repository:
    return fresh()
