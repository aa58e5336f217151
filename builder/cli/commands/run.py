"""`build run PHOTO`: the pulled artifact on one photograph, and a picture of what it found."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from builder.host import deployment
from builder.models import preprocessing
from validation import keypoints


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", type=Path, metavar="PHOTO", help="a PNG or JPEG")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        default=Path("pulled"),
        metavar="DIR",
        help="a pulled folder or a store (pulled)",
    )
    parser.add_argument("--head", metavar="NAME")
    parser.add_argument(
        "--size", type=_size, metavar="HxW", help="resize to this first (default: the photograph's own size)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the picture or .npz to write (default: NAME.keypoints.png here)"
    )


def run(args: argparse.Namespace) -> int:
    image = preprocessing.read(args.photo)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", deployment.FallbackWarning)
        deploy = deployment.open(args.source, head=args.head)
        found = deploy(image, size=args.size)
    for warning in caught:
        if issubclass(warning.category, deployment.FallbackWarning):
            print(f"warning: {warning.message}", file=sys.stderr)
    if isinstance(found, keypoints.DetectedKeypoints):
        out = args.out or Path(f"{args.photo.stem}.keypoints.png")
        keypoints.draw(image, found, out)
        print(f"{len(found.points)} keypoints by {found.cell} -> {out}")
        return 0
    import numpy as np

    out = args.out or Path(f"{args.photo.stem}.tensors.npz")
    tensors: Dict[str, Any] = dict(found)
    np.savez(out, **tensors)
    print(", ".join(f"{name} {list(value.shape)}" for name, value in found.items()) + f" -> {out}")
    return 0


def _size(word: str) -> Optional[Tuple[int, int]]:
    match = re.fullmatch(r"(\d+)x(\d+)", word)
    if not match:
        raise argparse.ArgumentTypeError(f"{word!r} is not HEIGHTxWIDTH, such as 480x640")
    return int(match.group(1)), int(match.group(2))
