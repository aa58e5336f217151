"""Parity of an artifact with the reference, through Polygraphy's comparators.

The artifact runs as a Polygraphy runner; the statistics are Polygraphy's: absolute and relative difference
(SimpleCompareFunc; relative to the reference), cosine similarity, SNR and PSNR in decibels. Polygraphy's comparison of
indices only reports whether all agree, so `validation/comparison.py` counts the fraction. A runner that raised is a
`problem` of every output.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional, Tuple

import polygraphy.comparator.util
import polygraphy.util.array
from polygraphy.backend.base import BaseRunner
from polygraphy.comparator import (
    CosineSimilarityCompareFunc,
    IterationResult,
    PsnrCompareFunc,
    SimpleCompareFunc,
    SnrCompareFunc,
)
from polygraphy.logger import G_LOGGER

from builder.actions.measurements import OutputParity
from builder.config.contract import Agreement, Align
from builder.errors import first_line
from builder.plugins import Runner
from validation.comparison import QUANTILE, compared, rounded
from validation.samples import Arrays, Sample


class ArtifactRunner(BaseRunner):  # type: ignore[misc]  # Polygraphy ships no types
    """One of our runners where Polygraphy expects one of its own."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(prefix="artifact")
        self._runner = runner

    def get_input_metadata_impl(self) -> None:
        return None

    def infer_impl(self, feed_dict: Arrays) -> Arrays:
        return self._runner(feed_dict)


def compare(
    runner: Runner,
    sample: Sample,
    outputs: Tuple[str, ...],
    align: Optional[Align],
    agreement: Tuple[Agreement, ...] = (),
) -> List[OutputParity]:
    """One OutputParity per name in `outputs`, in that order."""
    with _quietly():
        try:
            with ArtifactRunner(runner) as artifact:
                candidate = dict(artifact.infer(sample.inputs, check_inputs=False))
        except Exception as problem:  # any exception of a runtime fails this cell, not the run
            told = f"the artifact did not run: {first_line(problem)}"
            return [OutputParity(name, sample.name, told) for name in outputs]
        return list(compared(sample, candidate, outputs, align, agreement, _statistics))


@contextmanager
def _quietly() -> Iterator[None]:
    """Polygraphy without the work for its log, which takes most of its time.

    It computes statistics of both differences even when nothing is logged, and imports PyTorch to test whether an array
    is PyTorch's. Where PyTorch is not imported, no array is.
    """
    logs: Any = polygraphy.comparator.util
    arrays: Any = polygraphy.util.array
    log_output_stats, is_torch = logs.log_output_stats, arrays.is_torch
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        logs.log_output_stats = lambda *_, **__: None
        arrays.is_torch = lambda array: "torch" in sys.modules and is_torch(array)
        try:
            yield
        finally:
            logs.log_output_stats, arrays.is_torch = log_output_stats, is_torch


def _statistics(name: str, sample: str, reference: Any, candidate: Any) -> OutputParity:
    simple = _run(SimpleCompareFunc(check_error_stat="quantile", error_quantile=QUANTILE), name, reference, candidate)
    cosine = _run(CosineSimilarityCompareFunc(), name, reference, candidate)
    # Polygraphy takes the signal from the first argument, and the signal is the reference.
    snr = _run(SnrCompareFunc(), name, candidate, reference)
    psnr = _run(PsnrCompareFunc(), name, candidate, reference)
    return rounded(
        name,
        sample,
        max_abs=simple.max_absdiff,
        mean_abs=simple.mean_absdiff,
        median_abs=simple.median_absdiff,
        p99_abs=simple.quantile_absdiff,
        max_rel=simple.max_reldiff,
        mean_rel=simple.mean_reldiff,
        median_rel=simple.median_reldiff,
        p99_rel=simple.quantile_reldiff,
        cosine=cosine.cosine_similarity,
        snr_db=snr.snr,
        psnr_db=psnr.psnr,
    )


def _run(comparator: Any, name: str, reference: Any, candidate: Any) -> Any:
    """Polygraphy's result for one output.

    Relative differences are relative to `reference`.
    """
    found = IterationResult({name: candidate}, runner_name="candidate")
    wanted = IterationResult({name: reference}, runner_name="reference")
    return comparator(found, wanted)[name]
