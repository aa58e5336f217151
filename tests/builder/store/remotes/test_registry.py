"""A registry keeps the contract of places: Debian's docker-registry, open, behind a password, and behind TLS too."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Callable, Iterator

import pytest

from builder import plugins
from builder.plugins import Repository
from tests.builder.store.remotes.contract import *  # noqa: F403
from tests.builder.store.remotes.contract import Open
from tests.registries import PASSWORD, USER, registry
from tests.servers import certificate

_NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=["open", "password", "tls"])
def somewhere(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Open]]:
    """Each call is another, empty repository of one registry."""
    folder: Path = tmp_path_factory.mktemp("registry")
    both = certificate(folder) if request.param == "tls" else None
    environ = {"HOME": str(folder)}
    if request.param != "open":
        environ.update(DEPLOYMATRIX_LOGIN=f"{USER}:{PASSWORD}")
    if both is not None:
        environ.update(DEPLOYMATRIX_CA_FILE=str(both))
    with registry(folder, password=request.param != "open", certificate=both) as host:

        def another() -> Open:
            address = f"oci{'' if both else '+http'}://{host}/models/tiny-{next(_NUMBERS)}"
            return lambda: plugins.repository(address, environ)

        yield another


@pytest.fixture
def fresh(somewhere: Callable[[], Open]) -> Open:
    return somewhere()


@pytest.fixture
def place(fresh: Open) -> Repository:
    return fresh()
