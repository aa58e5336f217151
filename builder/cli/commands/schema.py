"""`build schema`: the JSON Schema of matrix.yaml, for editors and checkers."""

from __future__ import annotations

import argparse
import json

from builder.config.json_schema import of_matrix


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(args: argparse.Namespace) -> int:
    print(json.dumps(of_matrix(), indent=2, ensure_ascii=False))
    return 0
