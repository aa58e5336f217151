"""Outputs that cannot be compared fail their cell with the reason, and the run goes on: the others are judged and published."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import pytest

from builder.actions.action import Action
from builder.actions.measurements import Parity
from builder.actions.recipes import Facts, MeasureParity
from tests.builder.cli.test_verbs import EXPECTED, Shell, build  # noqa: F401  (the fixture)
from tests.fakes import FakeExecutor

np: Any = pytest.importorskip("numpy")
pytest.importorskip("polygraphy")
from validation import parity
from validation.samples import Sample

SCORES = np.asarray([[0.1, 0.9, 0.3, 0.2]], np.float32)
NONE = np.zeros((1, 0), np.float32)

BROKEN: Dict[str, Tuple[Any, str]] = {
    "NaN": (SCORES * np.nan, "scores on a-16x16: 4 of 4 values are NaN or Inf"),
    "Inf": (np.asarray([[0.1, np.inf, 0.3, 0.2]], np.float32), "scores on a-16x16: 1 of 4 values are NaN or Inf"),
    "another shape": (SCORES[:, :3], "scores on a-16x16: shape [1, 3] where the reference has [1, 4]"),
    "nothing": (NONE, "scores on a-16x16: shape [1, 0] where the reference has [1, 4]"),
    "no such output": (None, "scores on a-16x16: the artifact has no output 'scores', only descriptors"),
}


class Broken(FakeExecutor):
    """Parity of OpenVINO's artifacts is measured for real, on a runner that gives `found` for the scores."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self._found = found

    def _facts(self, action: Action) -> Facts:
        recipe, platform = action.recipe, action.platform
        if not isinstance(recipe, MeasureParity) or platform is None or platform.runtime != "openvino":
            return super()._facts(action)
        given = {"descriptors": SCORES, **({"scores": self._found} if self._found is not None else {})}
        rows = []
        for name in recipe.samples:
            sample = Sample(name, {"image": SCORES}, {"scores": SCORES, "descriptors": SCORES})
            rows += parity.compare(lambda inputs: given, sample, recipe.outputs, recipe.align)
        return Parity(tuple(rows))


@pytest.mark.parametrize("kind", BROKEN)
def test_it_fails_its_cells_with_the_reason_and_the_run_goes_on(kind: str, build: Shell) -> None:  # noqa: F811
    found, reason = BROKEN[kind]
    build.executor = lambda: Broken(found)
    assert build("matrix", "--quiet") == 3
    assert build.verdicts() == {**EXPECTED, **{f"{p}-ov": "failed" for p in ("fp32", "fp16", "int8")}}
    entry = build.manifest.entry("tiny-dense-fp32-ov")
    assert entry is not None
    assert entry.verdict.reason == f"{reason} (and 3 more)"
    assert build("pull", "--explain") == 0
    assert "tiny-dense-fp32-ov: failed" in build.out


def test_nothing_on_both_sides_is_no_problem_and_no_number() -> None:
    sample = Sample("a", {"image": SCORES}, {"scores": NONE})
    (row,) = parity.compare(lambda inputs: {"scores": NONE}, sample, ("scores",), None)
    assert (row.problem, row.max_abs, row.cosine) == (None, None, None)
