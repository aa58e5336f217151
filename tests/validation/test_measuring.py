"""Parity, alignment, timing: numbers that can be checked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List

import pytest

np: Any = pytest.importorskip("numpy")
from builder.config.contract import Agreement, Align
from builder.errors import StepFailed
from validation import comparison, samples, timing
from validation.samples import Sample

ALIGN = Align("points", "scores", at_least=0.1, within=1.0)


# ------------------------------------------------------------------------------------------- align


def tensors(points: List[List[float]], scores: List[float]) -> Dict[str, Any]:
    where = np.asarray([points], np.float32).reshape(1, len(scores), 2)
    kept = np.asarray([scores], np.float32)
    return {"points": where, "scores": kept, "descriptors": where * 10}


def test_swapped_rows_are_the_same_set() -> None:
    one, two = tensors([[1, 1], [5, 5]], [0.9, 0.8]), tensors([[5, 5], [1, 1]], [0.9, 0.8])
    reference, candidate, matched = comparison.paired(one, two, ALIGN)
    assert matched == 1
    np.testing.assert_array_equal(reference["points"], candidate["points"])
    np.testing.assert_array_equal(reference["descriptors"], candidate["descriptors"])
    assert [round(float(s), 1) for s in candidate["scores"]] == [0.8, 0.9]


def test_a_point_is_lost_beyond_the_radius_and_found_at_it() -> None:
    one = tensors([[10, 10], [20, 20]], [0.9, 0.8])
    _, _, matched = comparison.paired(one, tensors([[11, 10], [20, 21.5]], [0.9, 0.8]), ALIGN)
    assert matched == 0.5


def test_one_point_is_not_found_twice() -> None:
    one = tensors([[10, 10], [10.5, 10]], [0.9, 0.8])
    _, candidate, matched = comparison.paired(one, tensors([[10.1, 10]], [0.9]), ALIGN)
    assert matched == 0.5
    assert candidate["points"].shape == (1, 2)


def test_padding_does_not_count() -> None:
    one, two = tensors([[1, 1], [0, 0]], [0.9, 0.0]), tensors([[1, 1], [7, 7]], [0.9, 0.0])
    assert comparison.paired(one, two, ALIGN)[2] == 1


@pytest.mark.parametrize(("score", "matched"), [(0.05, 1.0), (0.9, 0.0)])
def test_an_empty_reference(score: float, matched: float) -> None:
    reference, candidate, found = comparison.paired(tensors([[0, 0]], [0.0]), tensors([[3, 3]], [score]), ALIGN)
    assert found == matched
    assert reference["points"].size == candidate["points"].size == 0


def test_images_of_a_batch_are_paired_each_with_its_own() -> None:
    one, two = tensors([[1, 1]], [0.9]), tensors([[5, 5]], [0.9])
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    swapped = {name: np.concatenate([two[name], one[name]]) for name in one}
    assert comparison.paired(both, both, ALIGN)[2] == 1
    assert comparison.paired(both, swapped, ALIGN)[2] == 0


# ------------------------------------------------------------------------------------------- parity


IMAGE = {"image": np.zeros((1, 1, 8, 8), np.float32)}
WANTED = np.asarray([[1.0, -2.0, 3.0, 4.0]], np.float32)
SAMPLE = Sample("a-8x8", IMAGE, {"out": WANTED})


def compared(found: Any, sample: Sample = SAMPLE, alignment: Any = None) -> Any:
    pytest.importorskip("polygraphy")
    from validation import parity

    runner = found if callable(found) else (lambda inputs: {"out": found})
    return parity.compare(runner, sample, tuple(sample.outputs), alignment)


def test_equal_tensors() -> None:
    (row,) = compared(WANTED.copy())
    assert (row.max_abs, row.mean_abs, row.p99_abs, row.max_rel) == (0, 0, 0, 0)
    assert row.cosine == pytest.approx(1)
    assert row.snr_db == 999
    assert row.problem is None


def test_the_numbers_are_what_their_names_say() -> None:
    found = WANTED + np.asarray([[0.1, 0.0, -0.3, 0.0]], np.float32)
    (row,) = compared(found)
    assert row.max_abs == pytest.approx(0.3, rel=1e-5)
    assert row.mean_abs == pytest.approx(0.1, rel=1e-5)
    assert row.max_rel == pytest.approx(0.1, rel=1e-5), "relative to the reference"
    wanted = WANTED.astype(np.float64)
    assert row.cosine == pytest.approx(
        (wanted * found).sum() / np.linalg.norm(wanted) / np.linalg.norm(found), rel=1e-6
    )
    snr = 10 * math.log10((wanted**2).sum() / ((wanted - found) ** 2).sum())
    assert row.snr_db == pytest.approx(snr, rel=1e-4)
    assert row.psnr_db == pytest.approx(20 * math.log10(4) - 10 * math.log10(((wanted - found) ** 2).mean()), rel=1e-4)
    assert row.median_abs == pytest.approx(0.05, rel=1e-5)
    assert row.mean_rel == pytest.approx((0.1 / 1 + 0.3 / 3) / 4, rel=1e-5)
    assert row.median_rel == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (WANTED * np.nan, "4 of 4 values are NaN or Inf"),
        (np.asarray([[1, -2, np.inf, 4]], np.float32), "1 of 4 values are NaN or Inf"),
        (WANTED[:, :3], "shape [1, 3] where the reference has [1, 4]"),
        (WANTED.T, "shape [4, 1]"),
    ],
)
def test_what_cannot_be_compared_is_a_problem(found: Any, problem: str) -> None:
    (row,) = compared(found)
    assert problem in row.problem
    assert row.max_abs is row.cosine is row.snr_db is None


def test_a_missing_output_is_a_problem() -> None:
    (row,) = compared(lambda inputs: {"other": WANTED})
    assert "no output 'out', only other" in row.problem


@pytest.mark.parametrize("error", [RuntimeError("out of memory\nmore"), StepFailed("out of memory"), RuntimeError("")])
def test_a_runner_that_raises_fails_its_cell_and_not_the_run(error: Exception) -> None:
    def raising(inputs: Any) -> Any:
        raise error

    (row,) = compared(raising)
    assert row.problem.startswith("the artifact did not run: ")
    assert ("out of memory" in row.problem) == bool(str(error))
    assert "\n" not in row.problem


def test_numbers_that_do_not_exist_are_none_and_fit_json() -> None:
    import json

    from builder.records import to_json

    zeros = Sample("zero", IMAGE, {"out": np.zeros((1, 4), np.float32)})
    (row,) = compared(WANTED, zeros)
    json.dumps(to_json(row), allow_nan=False)
    assert row.max_abs == 4


def test_sets_of_points_are_paired_first() -> None:
    sample = Sample("s", IMAGE, tensors([[1, 1], [5, 5]], [0.9, 0.8]))
    swapped = tensors([[5, 5], [1, 1]], [0.8, 0.9])
    rows = compared(lambda inputs: swapped, sample, ALIGN)
    assert [row.matched for row in rows] == [1, 1, 1]
    assert all(row.max_abs == 0 for row in rows)
    lost = compared(lambda inputs: tensors([[9, 9], [7, 1]], [0.8, 0.9]), sample, ALIGN)
    assert [(row.matched, row.max_abs) for row in lost] == [(0, None)] * 3


def test_samples_are_stored_as_data(tmp_path: Path) -> None:
    samples.save(tmp_path / "a.npz", SAMPLE)
    again = samples.load(tmp_path / "a.npz", "a-8x8")
    np.testing.assert_array_equal(again.outputs["out"], WANTED)
    assert set(again.inputs) == {"image"}
    np.savez(tmp_path / "evil.npz", **{"output/x": np.asarray([object()], dtype=object)})
    with pytest.raises(ValueError):
        samples.load(tmp_path / "evil.npz", "evil")


# ------------------------------------------------------------------------------------------- timing


@pytest.mark.parametrize(
    ("times", "expected"),
    [([5.0], (5, 5, 5)), ([3.0, 1.0, 2.0], (2, 3, 3)), (list(range(1, 101)), (50, 90, 99)), ([1.0, 2.0], (1, 2, 2))],
)
def test_percentiles_are_nearest_rank(times: Any, expected: Any) -> None:
    found = timing.percentiles(times)
    assert (found.p50, found.p90, found.p99) == expected
    assert found.runs == len(times)


def test_the_two_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_PAUSE", 0)
    calls: List[str] = []
    found = timing.interleaved(
        lambda: calls.append("a"), lambda: calls.append("n"), seconds=0, shape=(1,), threads=2, machine="m"
    )
    assert calls == ["a", "n"] * (2 + 8)
    assert found.artifact.runs == 8
    assert found.naive is not None
    assert (found.shape, found.threads, found.machine) == ((1,), 2, "m")


def test_without_a_yardstick_there_is_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_PAUSE", 0)
    found = timing.interleaved(lambda: None, None, seconds=0, shape=(1,), threads=0, machine="m")
    assert found.naive is found.speedup is None


def test_the_noise_floor_is_what_chance_does() -> None:
    assert timing.noise([10.0] * 20) == 0
    assert timing.noise([10.0] * 7) is None
    quiet, loud = timing.noise([10.0, 10.1] * 10), timing.noise([8.0, 12.0] * 10)
    assert quiet is not None
    assert loud is not None
    assert 0 < quiet <= 0.011 < 0.1 < loud <= 0.4
    assert timing.noise([8.0, 12.0] * 10) == loud, "the same times, the same floor"


def test_agreement_of_the_largest_index() -> None:
    pytest.importorskip("polygraphy")
    from validation import parity

    wanted = np.asarray([[[0.9, 0.2], [0.1, 0.8]]], np.float32)  # classes along axis 1: 0, 1
    found = np.asarray([[[0.6, 0.7], [0.4, 0.3]]], np.float32)  # 0, 0
    sample = Sample("s", IMAGE, {"logits": wanted, "other": wanted})
    agreed = (Agreement("logits", 1),)
    rows = parity.compare(lambda inputs: {"logits": found, "other": found}, sample, ("logits", "other"), None, agreed)
    assert [row.agreement for row in rows] == [0.5, None]
    with pytest.raises(StepFailed, match=r"no axis 3 in a tensor of shape \[1, 2, 2\]"):
        parity.compare(lambda inputs: {"logits": found}, sample, ("logits",), None, (Agreement("logits", 3),))


def test_what_is_left_out_of_polygraphy_changes_no_number() -> None:
    """Its own run, logging and all, beside ours."""
    pytest.importorskip("polygraphy")
    from polygraphy.comparator import IterationResult, SimpleCompareFunc
    from polygraphy.comparator import util as logs

    found = WANTED + np.asarray([[0.1, 0.0, -0.3, 0.02]], np.float32)
    (row,) = compared(found)
    comparator = SimpleCompareFunc(check_error_stat="quantile", error_quantile=0.99)
    own = comparator(
        IterationResult({"out": found}, runner_name="a"), IterationResult({"out": WANTED}, runner_name="b")
    )
    for ours, theirs in (
        ("max_abs", "max_absdiff"),
        ("mean_abs", "mean_absdiff"),
        ("median_abs", "median_absdiff"),
        ("p99_abs", "quantile_absdiff"),
        ("max_rel", "max_reldiff"),
        ("mean_rel", "mean_reldiff"),
        ("median_rel", "median_reldiff"),
        ("p99_rel", "quantile_reldiff"),
    ):
        assert getattr(row, ours) == pytest.approx(getattr(own["out"], theirs), rel=1e-6)
    assert logs.log_output_stats.__name__ == "log_output_stats", "and it is given back"


def test_comparing_imports_no_pytorch() -> None:
    """Polygraphy would, to ask of each array whether it is PyTorch's; it takes seconds."""
    pytest.importorskip("polygraphy")
    pytest.importorskip("torch")
    import subprocess
    import sys

    script = (
        "import sys, numpy as np\n"
        "from validation import parity\nfrom validation.samples import Sample\n"
        "x = np.ones((1, 4), np.float32)\n"
        "parity.compare(lambda i: {'out': x}, Sample('s', {'image': x}, {'out': x}), ('out',), None)\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fails", [False, True], ids=["answers", "fails"])
def test_comparing_leaves_python_and_polygraphy_as_they_were(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner may import PyTorch itself, and other code of the process may use Polygraphy."""
    pytest.importorskip("polygraphy")
    import sys

    from polygraphy.comparator import util as logs
    from polygraphy.logger import G_LOGGER
    from polygraphy.util import array

    from validation import parity
    from validation.samples import Sample

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    before = G_LOGGER.module_severity.get(), logs.log_output_stats, array.is_torch
    seen = []

    def run(inputs: Any) -> Any:
        seen.append(sys.modules.get("torch", "not imported"))
        if fails:
            raise ValueError("no")
        return {"out": WANTED}

    parity.compare(run, Sample("s", {"image": WANTED}, {"out": WANTED}), ("out",), None)
    assert seen == ["not imported"] and "torch" not in sys.modules
    assert (G_LOGGER.module_severity.get(), logs.log_output_stats, array.is_torch) == before
