"""The SSH executor against a real sshd on loopback, with the system's own OpenSSH client and a real runtime."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from builder import digest
from builder.actions.action import Action, Result
from builder.config.remote_machines import Reached, SshWorker
from builder.errors import DeployError, StepFailed, Unreachable
from builder.execution.ssh.executor import Machines, Ssh
from builder.platforms import machines as facts
from builder.store.layout import Layout
from tests import steps
from tests.sshd import Sshd, python_at, sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("ssh") / "sshd") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "artifacts")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return steps.model(tmp_path)


def _reached(far: Path, **changes: Any) -> Reached:
    """A machine with a Python, a folder and a lock of its own."""
    ours = SshWorker(python=str(python_at(far, TMPDIR=str(far))), folder=str(far / "kept"))
    return Reached("ssh://there", dataclasses.replace(ours, **changes))


def _perform(ssh: Ssh, action: Action, model: Path, store: Layout, said: List[str]) -> Result:
    return ssh.perform(action, {pinned.name: model for pinned in action.inputs}, store.root, store, said.append)


def _until(true: Callable[[], object], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _refused(ssh: Ssh) -> Unreachable:
    with pytest.raises(Unreachable) as problem:
        ssh.facts()
    return problem.value


def test_an_action_is_performed_there_and_its_outputs_come_back(
    server: Sshd, model: Path, store: Layout, tmp_path: Path
) -> None:
    reached, said = _reached(tmp_path / "far"), []  # type: Reached, List[str]
    with Machines(server.environ) as machines:
        made = _perform(machines.at(reached), steps.engine(model), model, store, said)
    assert store.fetch(made.output("model.onnx").digest).read_bytes() == model.read_bytes()
    assert all(map(store.has, made.outputs))
    assert made.site is not None
    assert made.site.machine == facts.here().kind
    assert [line for line in said if line.startswith("sending")]


def test_inputs_that_are_there_are_not_sent_again(server: Sshd, model: Path, store: Layout, tmp_path: Path) -> None:
    reached = _reached(tmp_path / "far")
    for expected in (True, False):
        said: List[str] = []
        with Machines(server.environ) as machines:
            _perform(machines.at(reached), steps.engine(model), model, store, said)
        assert any(line.startswith("sending") for line in said) is expected
    kept = next((tmp_path / "far" / "kept" / "blobs" / "sha256").glob(digest.of_file(model)[7:]))
    kept.chmod(0o644)
    kept.write_bytes(b"damaged" * 10)
    said = []
    with Machines(server.environ) as machines:
        _perform(machines.at(reached), steps.engine(model), model, store, said)
    assert any(line.startswith("sending") for line in said), "what was damaged there is noticed, and sent again"


def test_nothing_is_installed_and_the_worker_is_sent_once(server: Sshd, tmp_path: Path) -> None:
    reached = _reached(tmp_path / "far")
    for _ in range(2):
        with Machines(server.environ) as machines:
            assert machines.at(reached).facts().machine.python == facts.here().python
        sent = list((tmp_path / "far" / "kept" / "worker").iterdir())
        assert len(sent) == 1
        stamp = sent[0].joinpath("builder", "execution", "worker.py").stat().st_mtime_ns
        assert locals().get("first", stamp) == stamp, "the second session found it there"
        first = stamp
    damaged = sent[0] / "builder" / "execution" / "worker.py"
    damaged.write_text("raise SystemExit('not ours')")
    with Machines(server.environ) as machines:
        machines.at(reached).facts()
    assert "not ours" not in damaged.read_text(), "modules that were changed there are replaced before they run"


def test_another_python_than_this_one_will_do(server: Sshd, tmp_path: Path) -> None:
    minors = [minor for minor in (8, 9, 10, 12, 13) if minor != sys.version_info[1]]
    other = next(filter(None, (_found(f"python3.{minor}") for minor in minors)), None)
    if other is None:
        pytest.skip("no other Python is installed here")
    with Machines(server.environ) as machines:
        found = machines.at(Reached("ssh://there", SshWorker(python=other, folder=str(tmp_path / "kept")))).facts()
    assert found.machine.python.startswith("3.")
    assert found.machine.python != facts.here().python


def _found(python: str) -> str:
    """Where it lies itself: what is on the path may be a shim of pyenv, which works in some environments only."""
    if shutil.which(python) is None:
        return ""
    asked = [python, "-c", "import sys; print(sys.executable)"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


# ------------------------------------------------------------------------------------------- who is let in


def test_an_unknown_host_key_is_refused_with_the_line_that_accepts_it(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server, Machines(server.environ) as machines:
        known = tmp_path / "sshd" / "known_hosts"
        known.write_text("")
        problem = _refused(machines.at(_reached(tmp_path / "far")))
        assert "host key is not known" in problem.what
        assert "ssh there" in (problem.hint or "") and "ssh-keyscan there" in (problem.hint or "")
        assert known.read_text() == "", "nothing was accepted unseen"


def test_a_changed_host_key_is_refused_and_is_not_called_unknown(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server, Machines(server.environ) as machines:
        server.learn(tmp_path / "sshd" / "stranger.pub")
        problem = _refused(machines.at(_reached(tmp_path / "far")))
        assert "another host key" in problem.what
        assert "keyscan" not in (problem.hint or "")


def test_a_key_that_does_not_open_it(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server, Machines(server.environ) as machines:
        server.configure("stranger")
        problem = _refused(machines.at(_reached(tmp_path / "far")))
        assert problem.what == "it does not let us in"
        assert problem.hint == "a key that needs no typing must open it: ssh-copy-id there"


def test_a_machine_that_is_off_is_asked_once(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server:
        server.stop()
        with Machines(server.environ, pauses=(60.0,)) as machines:
            ssh = machines.at(_reached(tmp_path / "far"))
            first = _refused(ssh)
            assert "Connection refused" in first.what
            assert _refused(ssh) is first, "for the rest of the run it stays away"


# ------------------------------------------------------------------------------------------- what can be wrong there


def test_there_is_no_such_python(server: Sshd, tmp_path: Path) -> None:
    with Machines(server.environ) as machines:
        problem = _refused(machines.at(Reached("ssh://there", SshWorker(python="python7"))))
        assert problem.what == "there is no python7 on it"
        assert "worker: {python: ...}" in (problem.hint or "")


@pytest.mark.parametrize("version", ["3.6.9", "3", "three.eight", "3.\x1b[2J", "9" * 5000])
def test_its_python_is_too_old_or_says_no_version(server: Sshd, tmp_path: Path, version: str) -> None:
    old = tmp_path / "python"
    said = json.dumps({"python": version}).replace("\\", "\\\\")
    old.write_text(f"#!/bin/sh\necho '#deploymatrix'; echo '{said}'; cat > /dev/null\n")
    old.chmod(0o755)
    with Machines(server.environ) as machines:
        problem = _refused(machines.at(Reached("ssh://there", SshWorker(python=str(old)))))
        assert f"is Python {version[:40]}; 3.8 or newer is needed".replace("\x1b", "?") in problem.what


def test_what_its_login_shell_prints_is_no_answer(server: Sshd, tmp_path: Path) -> None:
    reached = _reached(tmp_path / "far")
    python = Path(reached.worker.python)
    python.write_text(python.read_text().replace("exec", "echo 'Welcome to your Jetson!'\nexec"))
    with Machines(server.environ) as machines:
        assert machines.at(reached).facts().machine.os == facts.here().os


def test_its_folder_cannot_be_made(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Machines(server.environ) as machines:
        problem = _refused(machines.at(_reached(tmp_path / "far", folder=str(tmp_path / "file" / "kept"))))
        assert "its worker cannot start" in problem.what


def test_a_machine_that_is_not_the_declared_one_is_never_used(
    server: Sshd, model: Path, store: Layout, tmp_path: Path
) -> None:
    reached = _reached(tmp_path / "far")
    with Machines(server.environ) as machines:
        for platform, why in (
            (steps.platform("0.1"), "the target declares 0.1"),
            (steps.platform(arch="sparc"), "on sparc"),
        ):
            with pytest.raises(Unreachable) as problem:
                _perform(machines.at(reached), steps.engine(model, platform), model, store, [])
            assert "it is not the machine that the target declares" in problem.value.what
            assert why in problem.value.what
        assert not (tmp_path / "far" / "kept" / "blobs").exists(), "nothing was sent"
        made = _perform(machines.at(reached), steps.engine(model), model, store, [])
        assert made.outputs, "another target of the same machine is not refused with it"


def test_a_step_that_fails_there_is_a_failure_here(server: Sshd, store: Layout, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    with Machines(server.environ) as machines, pytest.raises(StepFailed, match="onnxruntime cannot open"):
        _perform(machines.at(_reached(tmp_path / "far")), steps.engine(broken), broken, store, [])


# ------------------------------------------------------------------------------------------- limits


def test_a_disk_without_room_is_said_before_anything_is_sent(
    server: Sshd, model: Path, store: Layout, tmp_path: Path
) -> None:
    reached = _reached(tmp_path / "far", free="100000000GiB")
    with Machines(server.environ) as machines, pytest.raises(Unreachable) as problem:
        _perform(machines.at(reached), steps.engine(model), model, store, [])
    assert problem.value.where == "ssh://there", "whoever reads it knows where to free space"
    assert "its inputs need" in problem.value.what and "are left alone" in problem.value.what
    assert not (tmp_path / "far" / "kept" / "blobs").exists()


def test_an_action_that_takes_too_long_is_ended(server: Sshd, model: Path, store: Layout, tmp_path: Path) -> None:
    reached = _reached(tmp_path / "far", minutes=0.02)
    with Machines(server.environ) as machines:
        with pytest.raises(StepFailed, match=r"took longer than its limit of 0\.02 minutes"):
            _perform(machines.at(reached), steps.latency(model, 60.0), model, store, [])
        assert _until(lambda: not server.processes(str(tmp_path / "far" / "kept" / ".deploymatrix")))
        assert machines.at(reached).facts().free, "the connection goes on"


def test_an_action_that_needs_too_much_memory_is_ended(
    server: Sshd, model: Path, store: Layout, tmp_path: Path
) -> None:
    reached = _reached(tmp_path / "far", memory="20MiB")
    with Machines(server.environ) as machines, pytest.raises(StepFailed, match="of memory; its limit is 20 MiB"):
        _perform(machines.at(reached), steps.latency(model, 60.0), model, store, [])


def test_one_job_at_a_time_on_a_machine(server: Sshd, model: Path, store: Layout, tmp_path: Path) -> None:
    """Two people drive one machine: the second waits, and says why."""
    reached, said = _reached(tmp_path / "far"), []  # type: Reached, List[str]
    with Machines(server.environ) as ours, Machines(server.environ) as theirs:
        first = threading.Thread(
            target=lambda: _perform(theirs.at(reached), steps.latency(model, 3.0), model, store, [])
        )
        first.start()
        assert _until(lambda: server.processes(str(tmp_path / "far" / "kept" / ".deploymatrix" / "work")))
        made = _perform(ours.at(reached), steps.engine(model), model, store, said)
        first.join()
    assert made.outputs
    assert "another job holds this machine" in said


# ------------------------------------------------------------------------------------------- lost connections, Ctrl-C


def test_a_connection_that_is_cut_in_the_middle_is_made_again(
    server: Sshd, model: Path, store: Layout, tmp_path: Path
) -> None:
    reached, said, made = _reached(tmp_path / "far"), [], []  # type: Reached, List[str], List[Result]
    work = str(tmp_path / "far" / "kept" / ".deploymatrix" / "work")
    with Machines(server.environ, pauses=(0.5, 0.5)) as machines:
        action = steps.latency(model, 2.0)
        job = threading.Thread(target=lambda: made.append(_perform(machines.at(reached), action, model, store, said)))
        job.start()
        assert _until(lambda: server.processes(work))
        server.cut()
        job.join()
    assert made and made[0].key == action.key
    assert [line for line in said if "the connection was lost" in line]
    assert len([line for line in said if line.startswith("sending")]) == 1, "what had arrived is not sent again"
    assert _until(lambda: not server.processes(work)), "the first try left nothing running"


def test_a_machine_that_stays_away_after_a_cut_is_given_up(model: Path, store: Layout, tmp_path: Path) -> None:
    problems: List[DeployError] = []
    with sshd(tmp_path / "sshd") as server, Machines(server.environ, pauses=(0.1, 0.1)) as machines:
        ssh = machines.at(_reached(tmp_path / "far"))

        def job() -> None:
            try:
                _perform(ssh, steps.latency(model, 60.0), model, store, [])
            except DeployError as problem:
                problems.append(problem)

        thread = threading.Thread(target=job)
        thread.start()
        assert _until(lambda: server.processes(str(tmp_path / "far" / "kept" / ".deploymatrix" / "work")))
        server.cut(off=True)
        thread.join(30)
    assert [type(problem) for problem in problems] == [Unreachable]


def _workers(server: Sshd, folder: Path) -> List[int]:
    """The sessions of the far side: Pythons whose environment has the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ, line = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"TMPDIR={folder}".encode() in environ and b"exec(s.read" in line:
                found.append(int(entry.name))
    return found


def test_a_run_that_is_stopped_leaves_nothing_there(server: Sshd, model: Path, store: Layout, tmp_path: Path) -> None:
    far, problems = tmp_path / "far", []  # type: Path, List[DeployError]
    with Machines(server.environ) as machines:
        ssh = machines.at(_reached(far))

        def job() -> None:
            try:
                _perform(ssh, steps.latency(model, 60.0), model, store, [])
            except DeployError as problem:
                problems.append(problem)

        thread = threading.Thread(target=job)
        thread.start()
        assert _until(lambda: server.processes(str(far / "kept" / ".deploymatrix" / "work")))
        ssh.stop()
        thread.join(20)
    assert [problem.what for problem in problems] == ["the run was stopped"]
    assert _until(lambda: not server.processes(str(far)) and not _workers(server, far))
    assert list((far / "kept" / ".deploymatrix" / "work").iterdir()) == []
    assert [p for p in (far / "kept" / "runs").rglob("*") if p.is_file()] == [], "no half file"


def test_a_run_that_is_stopped_while_it_connects_ends_at_once(server: Sshd, tmp_path: Path) -> None:
    """Somebody answers, and says nothing: ssh would wait its fifteen seconds."""
    problems: List[DeployError] = []
    with socket.socket() as silent, Machines(server.environ) as machines:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ssh = machines.at(Reached(f"ssh://127.0.0.1:{silent.getsockname()[1]}", SshWorker()))

        def job() -> None:
            try:
                ssh.facts()
            except DeployError as problem:
                problems.append(problem)

        thread = threading.Thread(target=job)
        thread.start()
        silent.accept()
        began = time.monotonic()
        ssh.stop()
        thread.join(10)
        assert not thread.is_alive() and time.monotonic() - began < 7
    assert problems


def test_a_worker_that_is_killed_takes_its_step_and_its_lock_with_it(
    server: Sshd, model: Path, store: Layout, tmp_path: Path
) -> None:
    far, made = tmp_path / "far", []  # type: Path, List[Result]
    with Machines(server.environ, pauses=(0.2, 0.2)) as machines:
        job = threading.Thread(
            target=lambda: made.append(
                _perform(machines.at(_reached(far)), steps.latency(model, 1.5), model, store, [])
            )
        )
        job.start()
        assert _until(lambda: server.processes(str(far / "kept" / ".deploymatrix" / "work")))
        os.kill(_workers(server, far)[0], 9)
        job.join(30)
    assert made, "the second try found the machine free"
    assert made[0].seconds > 1
