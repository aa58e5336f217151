"""Comparing the rows of two keypoint outputs whose order may differ where scores tie."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Row = Tuple[float, Array]


def assert_same(found: Sequence[Array], wanted: Sequence[Array], tolerance: float) -> None:
    """Each is (points [B,K,2], scores [B,K], descriptors [B,K,C]), best first; rows with score 0 are padding.

    Scores agree row by row. Points and their descriptors agree as sets, but for points whose score is (almost) that
    of the last row, which K may have cut off on one side only.
    """
    for points, scores, descriptors in (found, wanted):
        assert points.shape == (*scores.shape, 2)
        assert descriptors.shape[:2] == scores.shape
        assert np.all(np.diff(scores, axis=1) <= 0), "best first"
    np.testing.assert_allclose(found[1], wanted[1], rtol=0, atol=tolerance)
    for item in range(len(wanted[1])):
        one, other = _by_point(found, item), _by_point(wanted, item)
        last = float(wanted[1][item, -1])
        cut = last + 2 * tolerance if last > 0 else 0.0
        for here, there in ((one, other), (other, one)):
            assert not [point for point, (score, _) in here.items() if score > cut and point not in there]
        for point in set(one) & set(other):
            assert abs(one[point][0] - other[point][0]) <= tolerance
            np.testing.assert_allclose(one[point][1], other[point][1], rtol=0, atol=tolerance)


def _by_point(rows: Sequence[Array], item: int) -> Dict[Tuple[float, float], Row]:
    points, scores, descriptors = (part[item] for part in rows)
    kept = [k for k, score in enumerate(scores) if score > 0]
    found = {(float(points[k, 0]), float(points[k, 1])): (float(scores[k]), descriptors[k]) for k in kept}
    assert len(found) == len(kept), "no point twice"
    return found
