"""Which machines do the work of which target, as the matrix and a file beside it say."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import cli
from builder.config.loader import load
from builder.config.remote_machines import Reached, SshWorker
from builder.errors import UsageError
from tests.fakes import Project

WHERE = 'trt: {runtime: tensorrt, version: "10.16", sm: "8.6", machine: RTX 3090'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "p")


def _machines(project: Project, text: str) -> Path:
    path = project.root / "machines.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _of(project: Project, target: str, machines: "Path | None" = None) -> "tuple[Reached, ...]":
    return load(project.matrix, machines).matrix.target(target).reached


def test_a_target_has_one_machine_or_several(project: Project) -> None:
    assert _of(project, "trt") == ()
    project.edit("matrix.yaml", WHERE, WHERE + ", where: ssh://a")
    assert _of(project, "trt") == (Reached("ssh://a"),)
    project.edit("matrix.yaml", "where: ssh://a", "where: [ssh://a, ssh://b], worker: {minutes: 3}")
    assert _of(project, "trt") == tuple(Reached(f"ssh://{name}", SshWorker(minutes=3)) for name in "ab")


def test_machines_in_the_matrix_come_beside_where_and_each_has_its_own_worker(project: Project) -> None:
    project.edit("matrix.yaml", WHERE, WHERE + ", where: ssh://a")
    with project.matrix.open("a") as file:
        file.write("machines:\n  b: {targets: ['{trt,rtx}'], worker: {minutes: 5}}\n")
    assert _of(project, "trt") == (Reached("ssh://a"), Reached("ssh://b", SshWorker(minutes=5)))
    assert _of(project, "rtx") == (Reached("ssh://b", SshWorker(minutes=5)),)
    assert _of(project, "ort") == ()


def test_a_file_of_machines_stands_in_place_of_what_the_matrix_says(project: Project) -> None:
    project.edit("matrix.yaml", WHERE, WHERE + ", where: ssh://a")
    mine = _machines(project, "schema: 1\nmachines:\n  mine: {targets: [trt], where: 'ssh://me@mine:2222'}\n")
    assert _of(project, "trt", mine) == (Reached("ssh://me@mine:2222"),)
    other = _machines(project, "schema: 1\nmachines:\n  mine: {targets: [rtx]}\n")
    assert _of(project, "trt", other) == (Reached("ssh://a"),), "for the targets that it names"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema: 1\nmachines:\n  a: {targets: [trtt]}\n", "machines.yaml:3:17: 'trtt' selects no target"),
        ("schema: 1\nmachines:\n  a: {}\n", "machines.yaml:3:6: missing key 'targets'"),
        ("schema: 1\nmachines:\n  a: {targets: []}\n", "machines.yaml:3:16: names no target"),
        ("schema: 1\nmachines:\n  a b: {targets: [trt]}\n", "'ssh://a b' is not of the form"),
        (
            "schema: 1\nmachines:\n  a: {targets: [trt], where: fleet}\n",
            "machines.yaml:3:30: 'fleet' is not of the form",
        ),
        ("schema: 1\nmachines:\n  a: {targets: [trt], worker: {minutes: 0}}\n", "must be more than 0"),
        ("schema: 1\nmachines:\n  a: {targets: [trt], worker: {memory: much}}\n", "'much' is not a size"),
        ("schema: 1\nmachine:\n  a: {targets: [trt]}\n", "did you mean 'machines'?"),
        ("", "the file is empty"),
        ("schema: 1\nmachines: [", "did not find expected node content"),
    ],
)
def test_what_is_wrong_in_it_has_a_place(project: Project, text: str, said: str) -> None:
    with pytest.raises(UsageError) as problem:
        load(project.matrix, _machines(project, text))
    assert said in str(problem.value)


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (", where: []", "names no machine"),
        (", where: fleet", "there is no `fleet:` in this matrix"),
        (", where: [ssh://a, host]", "'host' is not of the form"),
        (", worker: {minutes: 1}", "has no meaning without `where`"),
    ],
)
def test_what_a_target_says_is_checked(project: Project, added: str, said: str) -> None:
    project.edit("matrix.yaml", WHERE, WHERE + added)
    with pytest.raises(UsageError) as problem:
        load(project.matrix)
    assert said in str(problem.value)


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("http://broker", "is no address of a broker"),
        ("tls://", "is no address of a broker"),
        ("tls://me:secret@broker:4222", "a password does not belong into a file"),
    ],
)
def test_a_broker_has_an_address_and_no_password(project: Project, broker: str, said: str) -> None:
    with project.matrix.open("a") as file:
        file.write(f"fleet: {{broker: '{broker}', store: oci://registry/work}}\n")
    with pytest.raises(UsageError) as problem:
        load(project.matrix)
    assert said in str(problem.value)
    assert "secret" not in str(problem.value)


@pytest.mark.parametrize("store", ["https://files.example/v", "versions.tar", ""])
def test_the_store_of_a_fleet_is_one_that_workers_can_write_to(project: Project, store: str) -> None:
    with project.matrix.open("a") as file:
        file.write(f"fleet: {{broker: 'tls://broker:4222', store: '{store}'}}\n")
    with pytest.raises(UsageError) as problem:
        load(project.matrix)
    assert ".store" in str(problem.value)


def test_the_plan_names_the_machines(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    mine = _machines(project, "schema: 1\nmachines:\n  a: {targets: [trt]}\n  b: {targets: [trt]}\n")
    assert cli.main(["plan", "--machines", str(mine), "--only", "*-trt"]) == 0
    assert "on ssh://a or ssh://b" in capsys.readouterr().out
