"""Addresses of machines in matrix.yaml, and that where work is done is part of no key."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import pytest

from builder.config.remote_machines import SshAddress, parsed
from builder.errors import UsageError
from builder.execution.scheduler import Silent, run
from builder.planning.planner import OVER_SSH, plan
from builder.planning.resolver import Pinner
from tests.fakes import LAPTOP, FakeExecutor, Project


@pytest.mark.parametrize(
    ("where", "host", "user", "port", "flags"),
    [
        ("ssh://orin", "orin", None, None, ()),
        ("ssh://orin/", "orin", None, None, ()),
        ("ssh://nvidia@10.0.0.7:2222", "10.0.0.7", "nvidia", 2222, ("-l", "nvidia", "-p", "2222")),
        ("ssh://[fe80::1]:22", "fe80::1", None, 22, ("-p", "22")),
    ],
)
def test_an_address(where: str, host: str, user: Optional[str], port: Optional[int], flags: Tuple[str, ...]) -> None:
    assert parsed(where) == SshAddress(host, user, port)
    assert parsed(where).flags == flags


@pytest.mark.parametrize(
    "where",
    [
        "orin",
        "ssh://",
        "ssh://-oProxyCommand=touch x",
        "ssh://-oProxyCommand=x",
        "ssh://-l@orin",
        "ssh://a b",
        "ssh://$(id)",
        "ssh://orin;id",
        "ssh://orin:99999",
        "ssh://orin:0",
        "ssh://orin/folder",
        "ssh://%h",
        "http://orin",
        "ssh://orin\n",
    ],
)
def test_what_is_no_address_is_an_error_of_the_matrix(where: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not of the form ssh://HOST"):
        parsed(where)
    project = Project(tmp_path / "p")
    project.edit("matrix.yaml", "ort: {runtime: onnxruntime}", f"ort: {{runtime: onnxruntime, where: {where!r}}}")
    with pytest.raises(UsageError, match=r"matrix.yaml:\d+:\d+"):
        project.load()


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ("{minutes: 0}", "must be more than 0"),
        ("{memory: 8}", "expected text"),
        ("{memory: 8GB}", "is not a size"),
        ("{free: lots}", "is not a size"),
        ("{python: -c}", "is no path"),
        ("{folder: ''}", "is no path"),
        ("{pyton: x}", "did you mean"),
    ],
)
def test_how_to_work_there_is_checked(worker: str, said: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    project.edit(
        "matrix.yaml", "ov: {runtime: openvino}", f"ov: {{runtime: openvino, where: ssh://x, worker: {worker}}}"
    )
    with pytest.raises(UsageError) as problem:
        project.load()
    assert said in str(problem.value)


def test_a_worker_without_a_machine_has_no_meaning(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    project.edit("matrix.yaml", "ov: {runtime: openvino}", "ov: {runtime: openvino, worker: {minutes: 5}}")
    with pytest.raises(UsageError, match="has no meaning without `where`"):
        project.load()


def test_where_work_is_done_is_part_of_no_key(tmp_path: Path) -> None:
    """An engine for another machine has the same key, carried there by hand or reached at either of two addresses."""
    keys = []
    for number, where in enumerate(("", ", where: ssh://a", ", where: ssh://b, worker: {python: /x, minutes: 5}")):
        project = Project(tmp_path / str(number))
        project.edit("matrix.yaml", 'trt: {runtime: tensorrt, version: "10.16", sm: "8.6"', f'trt: {{runtime: tensorrt, version: "10.16", sm: "8.6"{where}')  # fmt: skip
        loaded = project.load()
        planned = plan(loaded.matrix, LAPTOP)
        made = run(planned, Pinner(loaded.root, LAPTOP, project.store), project.store, FakeExecutor(), Silent())
        keys.append({id: action.key for id, action in made.actions.items() if id.startswith("engine/")})
        cells = [cell for cell in planned.cells if cell.target == "trt"]
        assert cells and all(cell.fate in ("waiting", "skipped") for cell in cells)
        assert all(cell.engine in made.waiting for cell in cells if cell.fate == "waiting")
    assert keys[0] == keys[1] == keys[2]
    assert [id for id in keys[0] if id.endswith("-trt")]


def test_a_machine_that_is_named_does_all_of_the_cell(tmp_path: Path) -> None:
    """It builds and measures, even what this machine could run; so nothing is unverified for want of one here."""
    project = Project(tmp_path / "p")
    project.edit("matrix.yaml", "ov: {runtime: openvino}", "ov: {runtime: openvino, where: ssh://a}")
    planned = plan(project.load().matrix, LAPTOP)
    for cell in (cell for cell in planned.cells if cell.target == "ov"):
        assert (cell.fate, cell.reason, cell.unverified) == ("waiting", OVER_SSH, "")
        own = [planned.job(id) for id in (cell.engine, *cell.measurements)]
        assert {(job.elsewhere, job.reached) for job in own} == {(OVER_SSH, cell.reached)}
