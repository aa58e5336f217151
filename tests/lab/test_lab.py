"""A matrix on several hosts at once, and what becomes of it when one of them is cut off, killed, full, slow or away.

Each fault is a run of its own, and must end with the verdicts of the undisturbed run, or with cells that say which host they
wait for while the rest is done. The hosts are real to the program: another network, another disk, another set of processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List

import pytest

from builder import digest
from tests.fakes import REPOSITORY
from tests.lab import aarch64, network, project, spaces
from tests.lab.conftest import NAMES, Made
from tests.lab.host import Host
from tests.lab.plain import PlainHost
from tests.lab.spaces import until

pytestmark = pytest.mark.e2e

ALL = dict.fromkeys(NAMES, "passed")
Lab = Callable[..., Made]


def lengthened(made: project.Project, seconds: float) -> None:
    """Let there be a middle: an artifact is timed for so long, which is mostly waiting (validation/timing.py)."""
    made.edit("seconds: 0.05", f"seconds: {seconds:g}")


def half_files(host: "Host | PlainHost") -> List[str]:
    """What an action or a transfer left unfinished there, and every file that is not what its name says."""
    kept = host.disk / ".cache" / "deploymatrix"
    left = list((kept / ".deploymatrix" / "work").glob("*"))
    left += [path for path in (kept / "runs").glob("*/*") if path.suffix != ".json"]
    left += list((kept / "worker").glob("tmp*"))
    left += [path for path in (kept / "blobs/sha256").glob("*") if digest.of_file(path) != f"sha256:{path.name}"]
    return [str(path.relative_to(kept)) for path in left]


def test_one_command_builds_on_all_hosts_at_once_and_on_another_architecture(
    tmp_path: Path, prepared: project.Project
) -> None:
    away = spaces.missing() or aarch64.missing()
    if away is not None:
        pytest.skip(f"no aarch64 host: {away}")
    names = (*NAMES, "orin")
    with network.lab(tmp_path / "lab", names, ["orin"]) as hosts:
        made = project.lay_out(tmp_path / "project", hosts.environ, names, ["orin"])
        run = made.build("matrix")
        assert run.wait() == 0, run.text
        assert made.verdicts() == dict.fromkeys(names, "passed"), run.text
        platforms = {entry["target"]: entry["platform"] for entry in made.entries()}
        assert platforms["orin"]["arch"] == "aarch64"
        for name in names:
            assert until(lambda: not hosts[name].processes(), 10), hosts[name].processes()  # noqa: B023
            assert half_files(hosts[name]) == []


def test_every_host_has_its_own_cells_and_keeps_what_it_was_sent(lab: Lab) -> None:
    hosts, made = lab()
    run = made.build("matrix")
    assert run.wait() == 0, run.text
    assert made.verdicts() == ALL
    for name in NAMES:
        assert list((hosts[name].disk / ".cache" / "deploymatrix" / "blobs" / "sha256").iterdir())
        assert half_files(hosts[name]) == []


def test_a_link_that_is_cut_for_ten_seconds_during_the_work(lab: Lab) -> None:
    hosts, made = lab()
    lengthened(made, 2)
    run = made.begin("matrix")
    assert until(hosts["alpha"].at_work)
    hosts["alpha"].cut()
    time.sleep(10)  # that is the fault
    assert run.going()
    hosts["alpha"].join()
    assert run.wait() == 0, run.text
    assert made.verdicts() == ALL, run.text


def test_a_link_that_is_cut_for_longer_than_ssh_waits(lab: Lab) -> None:
    hosts, made = lab(["ServerAliveInterval 1", "ServerAliveCountMax 2", "ConnectTimeout 2"])
    lengthened(made, 4)
    run = made.begin("matrix")
    assert until(hosts["alpha"].at_work)
    hosts["alpha"].cut()
    assert until(lambda: not hosts.connected("alpha"), 20), "ssh has given it up"
    hosts["alpha"].join()
    assert run.wait() == 0, run.text
    assert made.verdicts() == ALL, run.text


@pytest.mark.parametrize("plain", [False, True], ids=["namespaces", "loopback"])
def test_a_worker_that_is_killed_in_the_middle(lab: Lab, plain: bool) -> None:
    hosts, made = lab(plain=plain)
    lengthened(made, 2)
    run = made.begin("matrix")
    assert until(hosts["beta"].at_work)
    hosts["beta"].kill_worker()
    assert run.wait() == 0, run.text
    assert made.verdicts() == ALL, run.text


def test_an_action_that_is_killed_is_tried_once_more(lab: Lab) -> None:
    hosts, made = lab()
    run = made.begin("matrix")
    assert until(hosts["beta"].at_work)
    hosts["beta"].kill_step()
    assert run.wait() == 0, run.text
    assert made.verdicts() == ALL, run.text
    assert "SIGKILL (out of memory?); it is tried once more" in run.text


def test_an_action_that_is_killed_again_fails_its_cell_alone_and_is_done_by_the_next_run(lab: Lab) -> None:
    hosts, made = lab()
    lengthened(made, 2)
    run = made.begin("matrix")
    for _ in range(2):
        said = run.text.count("SIGKILL")
        assert until(hosts["beta"].at_work)
        hosts["beta"].kill_step()
        assert until(lambda: run.text.count("SIGKILL") > said or not run.going())  # noqa: B023
    run.wait()
    assert made.verdicts() == {**ALL, "beta": "failed"}, run.text
    assert "SIGKILL (out of memory?)" in run.text
    made.build("matrix")
    assert made.verdicts() == ALL


def test_a_disk_that_is_full_makes_its_cells_wait(lab: Lab) -> None:
    hosts, made = lab()
    hosts["gamma"].fill()
    run = made.build("matrix")
    assert made.verdicts() == {**ALL, "gamma": "waiting"}, run.text
    assert "away: ssh://gamma: its worker cannot start:" in run.text
    assert "No space left on device" in run.text
    assert half_files(hosts["gamma"]) == []
    hosts["gamma"].drain()
    made.build("matrix")
    assert made.verdicts() == ALL


@pytest.mark.parametrize("leave", [0, 4 << 20], ids=["to the last byte", "below what is left alone"])
def test_a_disk_that_fills_up_in_the_middle(lab: Lab, leave: int) -> None:
    hosts, made = lab()
    run = made.begin("matrix")
    assert until(hosts["gamma"].at_work)
    hosts["gamma"].fill(leave=leave)
    assert run.wait() == 0, run.text
    assert made.verdicts() in ({**ALL, "gamma": status} for status in ("waiting", "unverified")), run.text
    assert "away: ssh://gamma: " in run.text, "whoever reads it knows where to free space"
    assert "MiB are free in" in run.text or "No space left on device" in run.text
    assert "Traceback" not in run.text
    hosts["gamma"].drain()
    again = made.build("matrix")
    assert made.verdicts() == ALL, again.text
    assert half_files(hosts["gamma"]) == []


@pytest.mark.parametrize("plain", [False, True], ids=["namespaces", "loopback"])
def test_a_reboot_in_the_middle(lab: Lab, plain: bool) -> None:
    hosts, made = lab(["ServerAliveInterval 1", "ServerAliveCountMax 3"], plain=plain)
    lengthened(made, 2)
    run = made.begin("matrix")
    assert until(hosts["alpha"].at_work)
    hosts["alpha"].reboot()
    assert run.wait() == 0, run.text
    assert made.verdicts() == ALL, run.text


def test_a_host_that_is_slow_holds_nobody_up(lab: Lab) -> None:
    hosts, made = lab()
    hosts["beta"].slow(processors=0.15, rate="2mbit")
    run = made.begin("matrix")
    others = [f"latency/small-map-fp32-{name}: done" for name in ("alpha", "gamma")]
    assert until(lambda: all(line in run.text for line in others)), run.text
    assert "latency/small-map-fp32-beta: done" not in run.text
    hosts["beta"].slow()
    assert run.wait() == 0, run.text
    assert made.verdicts() == ALL, run.text


def test_a_host_that_is_off_from_the_start(lab: Lab) -> None:
    hosts, made = lab(["ConnectTimeout 6"])
    hosts["gamma"].off()
    run = made.build("matrix")
    assert run.wait() == 0, run.text
    assert made.verdicts() == {**ALL, "gamma": "waiting"}, run.text
    assert "away: ssh://gamma: ssh: connect to host" in run.text
    hosts["gamma"].start()
    made.build("matrix")
    assert made.verdicts() == ALL


def test_after_an_interrupt_nothing_runs_and_nothing_is_half_there(lab: Lab) -> None:
    hosts, made = lab()
    lengthened(made, 60)
    run = made.begin("matrix")
    assert until(lambda: all(hosts[name].at_work() for name in NAMES)), run.text
    run.interrupt()
    assert run.wait(20) == 130, run.text
    for name in NAMES:
        assert until(lambda: not hosts[name].processes(), 10), hosts[name].processes()  # noqa: B023
        assert half_files(hosts[name]) == []
    made.edit("seconds: 60", "seconds: 0.05")
    made.build("matrix")
    assert made.verdicts() == ALL


def test_after_an_interrupt_of_a_transfer_nothing_runs_and_a_later_run_cleans_up(lab: Lab) -> None:
    hosts, made = lab()
    gamma = hosts["gamma"]
    made.build("doctor", "--on", "gamma")  # the worker is there
    gamma.slow(rate="64kbit")
    run = made.begin("matrix", "--only", "*-gamma")
    assert until(lambda: half_files(gamma)), run.text
    run.interrupt()
    assert run.wait(20) == 130, run.text
    gamma.slow()
    assert until(lambda: not gamma.processes(), 10), gamma.processes()
    left = half_files(gamma)
    assert all(path.startswith("runs/") for path in left), "no half file has the name of a whole one"
    for path in left:
        os.utime(gamma.disk / ".cache" / "deploymatrix" / path, (0, time.time() - 2 * 3600))
    made.build("matrix")
    assert made.verdicts() == ALL
    assert half_files(gamma) == []


HELD = """
import sys, pathlib
from tests.lab.network import lab
with lab(pathlib.Path(sys.argv[1]), ["alpha", "beta"]):
    print("made", flush=True)
    sys.stdin.read()
"""


def test_a_lab_whose_owner_is_killed_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    owner = subprocess.Popen(
        [sys.executable, "-c", HELD, str(folder)],
        cwd=str(REPOSITORY),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )

    def left() -> List[str]:
        found = (spaces.words_of(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
        return [words for words in found if str(folder) in words and HELD.strip() not in words]

    assert owner.stdout is not None and owner.stdin is not None
    assert owner.stdout.readline() == b"made\n"
    assert left()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    assert until(lambda: not left(), 10), left()
    mounts = Path("/proc/self/mounts").read_text()
    assert str(folder) not in mounts
    with network.lab(tmp_path / "next", ["alpha"]):
        groups = list(Path("/sys/fs/cgroup").glob(f"**/{spaces.PREFIX}-{owner.pid}-*"))
    assert groups == [], "the next lab removes what a killed one left"
