"""The machines of tests/facts, each a file as `build doctor --json` writes it. No test is here."""

from __future__ import annotations

from typing import Dict

from builder.platforms import machines
from builder.platforms.machines import FactFile
from tests.fakes import REPOSITORY

FOLDER = REPOSITORY / "tests" / "facts"
FILES: Dict[str, FactFile] = {path.stem: machines.read(path) for path in sorted(FOLDER.glob("*.json"))}
MACHINES = {name: file.machine for name, file in FILES.items()}
RECORDED = (
    "rtx3090",
    "gtx1060",
    "this-kind",
    "orin-jetpack6",
)  # whose plan of the shipped matrix is kept in tests/golden
