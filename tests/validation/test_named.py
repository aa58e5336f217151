"""Every difference of two platforms has a name."""

from __future__ import annotations

import dataclasses

import pytest

from builder.audit import causes
from builder.platforms.platform import Platform

OLD = Platform("tensorrt", "10.3", "linux", "aarch64", "8.7", "6.1", ("asimd",), "ORIN")
NEW = Platform("tensorrt-rtx", "10.4", "windows", "x86_64", "8.6", "6.2", ("avx2",), "RTX 3090")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Platform)])
def test_each_part_of_a_platform_that_changes_is_a_cause(field: str) -> None:
    (cause,) = causes.platform(OLD, dataclasses.replace(OLD, **{field: getattr(NEW, field)}), ("engine",))
    assert cause.kind == "runtime" and cause.steps == ("engine",)


def test_a_gpu_model_is_called_one() -> None:
    (cause,) = causes.platform(OLD, dataclasses.replace(OLD, gpu="AGX ORIN"), ("engine",))
    assert (cause.what, cause.before, cause.after) == ("GPU model", "ORIN", "AGX ORIN")
    assert list(causes.platform(OLD, OLD, ("engine",))) == []
