"""The process in which `build bench` runs one artifact: opens it, then runs it once for every line that it is sent.

`python -m builder.benchmark.bench_worker ORDER.json`. It answers `ready`, then per run the milliseconds that it took; what a runtime
prints goes to standard error. It ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

from builder.config.contract import Compute
from builder.errors import DeployError
from builder.platforms.platform import Platform
from builder.records import from_json


@dataclass(frozen=True)
class Order:
    """`shape` of the input `input`, float32; `threads` 0 takes every core."""

    folder: str
    platform: Platform
    compute: Compute
    static: bool
    threads: int
    input: str
    shape: Tuple[int, ...]


def main(path: str) -> int:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = from_json(Order, json.loads(Path(path).read_bytes()))
    try:
        import numpy as np

        from builder import plugins

        options = plugins.OpenOptions(order.compute, order.static, order.threads)
        run = plugins.backend(order.platform.runtime).open(Path(order.folder), options)
        feed = {order.input: np.random.default_rng(0).random(order.shape, dtype=np.float32)}
        print("ready", file=answers, flush=True)
        for _ in sys.stdin:
            started = time.perf_counter()
            run(feed)
            print((time.perf_counter() - started) * 1000, file=answers, flush=True)
    except DeployError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
