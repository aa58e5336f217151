"""A photograph to the input tensor, by the model's `Preprocess` contract.

Reference, calibration and host share this code, so that all use the same interpolation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence, Tuple

from builder.config.contract import Preprocess
from builder.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def read(path: Path) -> "Array":
    """A photograph as uint8 [H, W, 3] in RGB order.

    Raises UsageError when it is missing or not an image.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise UsageError(f"cannot be read: {problem.strerror}", where=str(path)) from None
    return decoded(data, str(path))


def decoded(data: bytes, where: str) -> "Array":
    """Image bytes as uint8 [H, W, 3] in RGB order.

    Raises UsageError, which names `where`.
    """
    import cv2
    import numpy as np

    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as problem:
        if "CV_IO_MAX_IMAGE" in str(problem):
            raise UsageError(
                "has more pixels than are decoded here",
                where=where,
                hint="OPENCV_IO_MAX_IMAGE_PIXELS sets how many; 200,000,000 unless it is set",
            ) from None
        image = None
    if image is None:
        raise UsageError("is not an image that OpenCV can decode", where=where, hint="give a PNG or JPEG photograph")
    return image[:, :, ::-1]


def fitting_size(shape: Tuple[int, ...], contract: Preprocess) -> Tuple[int, int]:
    """The largest allowed (height, width) within an image's own.

    At least one multiple.
    """
    height, width = (max(n // contract.multiple, 1) * contract.multiple for n in shape[:2])
    return height, width


def tensor(image: "Array", contract: Preprocess, size: Optional[Tuple[int, int]] = None) -> "Array":
    """uint8 [H, W, 3] RGB or [H, W] gray to float32 [1, C, h, w], contiguous.

    `size` is (h, w); without it, the fitting size.
    """
    import cv2
    import numpy as np

    height, width = size or fitting_size(image.shape, contract)
    if image.ndim == 3 and contract.color == "grayscale":
        image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    elif image.ndim == 2 and contract.color == "rgb":
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    scaled: Array = image.astype(np.float32)
    if scaled.shape[:2] != (height, width):
        how = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}[contract.resize]
        scaled = cv2.resize(scaled, (width, height), interpolation=how)
    low, high = contract.range
    scaled = scaled * np.float32((high - low) / 255.0) + np.float32(low)
    planes = scaled[None] if scaled.ndim == 2 else scaled.transpose(2, 0, 1)
    if contract.mean:
        planes = planes - np.asarray(contract.mean, np.float32)[:, None, None]
    if contract.std:
        planes = planes / np.asarray(contract.std, np.float32)[:, None, None]
    return np.ascontiguousarray(planes[None], np.float32)


def stacked(tensors: "Sequence[Array]") -> "Array":
    """Tensors [1, ...] of one shape as one batch [N, ...]."""
    import numpy as np

    return tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
