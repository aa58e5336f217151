"""Every name that engines ask TensorRT for, held against the real Python bindings of 8.6, 10.16 and 11.4.

The bindings come from the package index; their libraries are stubs made here (see `stub_tensorrt.py`). Each version has
a process of its own. What cannot be seen this way is whether the builder then does what it was told: that takes a GPU.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any, Callable, Dict, List

import pytest

from tests.conformance import stub_tensorrt
from tests.fakes import REPOSITORY

pytestmark = pytest.mark.e2e
for package in ("numpy", "polygraphy"):
    pytest.importorskip(package)
if sys.version_info[:2] != (3, 11) or sys.platform != "linux":
    pytest.skip("one Python is enough: the bindings are the same for all", allow_module_level=True)
if shutil.which("gcc") is None:
    pytest.skip("stub libraries need gcc", allow_module_level=True)

Cases = Dict[str, Dict[str, Any]]


@pytest.fixture(scope="session")
def said(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Cases]:
    """version -> declaration -> what the bindings were told, or the error; each version is asked once."""
    kept: Dict[str, Cases] = {}

    def ask(version: str) -> Cases:
        if version not in kept:
            folder = tmp_path_factory.mktemp("tensorrt")
            try:
                stub_tensorrt.install(version, folder)
            except subprocess.CalledProcessError as problem:
                pytest.skip(f"the bindings of {version} cannot be had here: {problem.stderr.decode()[-200:]}")
            ran = subprocess.run(
                [sys.executable, "-m", "tests.conformance.say_it", str(folder)],
                env=stub_tensorrt.environment(folder),
                cwd=str(REPOSITORY),
                capture_output=True,
                text=True,
            )
            lines = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
            assert lines, ran.stderr
            kept[version] = json.loads(lines[0][len("RESULT ") :])["cases"]
        return kept[version]

    return ask


def flags(case: Dict[str, Any]) -> List[str]:
    return [arguments[0] for name, arguments in case["said"] if name == "set_flag"]


@pytest.mark.parametrize("version", stub_tensorrt.SPECS)
def test_the_planner_refuses_just_what_the_version_lacks(version: str, said: Callable[[str], Cases]) -> None:
    cases = said(version)
    lacking = {name for name, case in cases.items() if "error" in case}
    refused = {name for name, case in cases.items() if case["refused"]}
    assert lacking == refused, {n: cases[n].get("error") for n in lacking ^ refused}
    assert len(cases) - len(refused) >= 12


def test_layers_take_precisions_where_networks_are_weakly_typed(said: Callable[[str], Cases]) -> None:
    """And where they do not, the planner refuses `layers`."""
    for version in stub_tensorrt.SPECS:
        cases = said(version)
        lacking = cases["layers_of_the_network"]["lacking"]
        refused = bool(cases["layers"]["refused"])
        assert lacking in ([], ["ILayer.precision", "ILayer.set_output_type"]), version
        assert refused or lacking == [], version


def test_precisions_are_flags_in_8_and_types_in_10_and_11(said: Callable[[str], Cases]) -> None:
    assert flags(said("8.6")["fp16"]) == ["OBEY_PRECISION_CONSTRAINTS", "FP16"]
    assert flags(said("8.6")["int8"]) == ["OBEY_PRECISION_CONSTRAINTS", "INT8"]
    assert flags(said("8.6")["fp32"]) == ["OBEY_PRECISION_CONSTRAINTS"]
    for version in ("10.16", "11.4"):
        for precision in ("fp32", "fp16", "int8"):
            assert flags(said(version)[precision]) == []
    assert flags(said("10.16")["weak"]) == ["OBEY_PRECISION_CONSTRAINTS", "FP16"]


def test_tf32_is_off_unless_asked_for(said: Callable[[str], Cases]) -> None:
    for version in stub_tensorrt.SPECS:
        assert ["clear_flag", ["TF32"]] in said(version)["fp32"]["said"]
        assert flags(said(version)["tf32"])[-1 if version != "8.6" else 1] == "TF32"


def test_dla_never_hears_obey_and_prefer_at_once(said: Callable[[str], Cases]) -> None:
    for version in ("8.6", "10.16"):
        assert "OBEY_PRECISION_CONSTRAINTS" not in flags(said(version)["dla"])
        assert "GPU_FALLBACK" in flags(said(version)["dla"])
        assert "GPU_FALLBACK" not in flags(said(version)["dla_only"])
        assert said(version)["dla"]["said"][-1] == ["DLA_core", [1]]


def test_a_strict_timing_cache_is_said(said: Callable[[str], Cases]) -> None:
    assert "ERROR_ON_TIMING_CACHE_MISS" in flags(said("10.16")["strict_timing_cache"])
    assert "ERROR_ON_TIMING_CACHE_MISS" not in flags(said("10.16")["timing_cache"])
