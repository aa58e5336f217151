"""Pairing two sets of points whose rows have no order, so that their tensors can be compared row by row.

Two near-equal scores may swap places in a top-k; the keypoints are the same, the tensors are not. Rows are paired
when each is the other's nearest point, no farther apart than `within` pixels.
"""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np

from builder.config.contract import Align
from validation.samples import Arrays


def paired(reference: Arrays, candidate: Arrays, align: Align) -> Tuple[Arrays, Arrays, float]:
    """(reference rows, candidate rows, matched fraction of the reference's real rows), over all images of the batch.

    Outputs are [B, K, ...]; the rows come back as [N, ...], N pairs. With no real row in the reference, the fraction
    is 1 when the candidate has none either, else 0.
    """
    wanted, real = [], 0
    for image in range(reference[align.points].shape[0]):
        rows = np.flatnonzero(reference[align.scores][image] > align.at_least)
        real += len(rows)
        found = np.flatnonzero(candidate[align.scores][image] > 0)
        i, j = mutual(reference[align.points][image][rows], candidate[align.points][image][found], align.within)
        wanted.append((image, rows[i], found[j]))
    pairs = sum(len(i) for _, i, _ in wanted)
    if real == 0:
        empty = not any((candidate[align.scores] > align.at_least).ravel())
        return _rows(reference, wanted, 1), _rows(candidate, wanted, 2), 1.0 if empty else 0.0
    return _rows(reference, wanted, 1), _rows(candidate, wanted, 2), pairs / real


def mutual(a: Any, b: Any, within: float) -> Tuple[Any, Any]:
    """Indices of mutually nearest points of a [N, 2] and b [M, 2] at most `within` apart."""
    if not len(a) or not len(b):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    distance = np.linalg.norm(a[:, None, :].astype(np.float64) - b[None, :, :], axis=2)
    nearest_b, nearest_a = distance.argmin(1), distance.argmin(0)
    i = np.arange(len(a))
    keep = (nearest_a[nearest_b] == i) & (distance[i, nearest_b] <= within)
    return i[keep], nearest_b[keep]


def _rows(arrays: Arrays, pairs: Any, which: int) -> Arrays:
    return {name: np.concatenate([value[p[0]][p[which]] for p in pairs]) for name, value in arrays.items()}
