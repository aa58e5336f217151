"""Fixtures of the tests of examples/."""

from __future__ import annotations

import sys
from typing import Any, Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """On images this small, PyTorch's threads cost more than they give: on a busy machine, many times as much."""
    torch: Any = sys.modules.get("torch")
    if torch is None:  # what needs it has been skipped
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
