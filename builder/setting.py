"""A `name: value` of matrix.yaml that is handed on as it is, to a factory or a metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Setting:
    """One `name: value` that is handed on as it is (a factory's keyword argument)."""

    name: str
    value: Union[bool, int, float, str]
