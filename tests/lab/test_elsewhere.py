"""What a machine leaves undone that nobody hears of any more: another one of its class does it, within a minute over SSH,
and within half a minute from a queue. The cable is pulled, and no end learns of it but by silence.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Callable

import pytest

from builder.trust import minisign
from tests import brokers
from tests.lab import spaces
from tests.lab.conftest import NAMES, Made
from tests.lab.host import Host
from tests.lab.spaces import until

pytestmark = pytest.mark.e2e

Lab = Callable[..., Made]


def test_over_ssh_another_machine_goes_on_within_a_minute(lab: Lab, tmp_path: Path) -> None:
    if spaces.missing():
        pytest.skip(f"no cable can be pulled: {spaces.missing()}")
    hosts, made = lab()
    listed = tmp_path / "machines.yaml"
    worker = f"{{python: {sys.executable}, free: 8MiB}}"
    listed.write_text(
        f"schema: 1\nmachines:\n  alpha: {{targets: [alpha], worker: {worker}}}\n"
        f"  spare: {{targets: [alpha], where: 'ssh://beta', worker: {worker}}}\n"
    )
    made.edit("seconds: 0.05", "seconds: 3")
    run = made.begin("matrix", "--only", "*-alpha", "--machines", str(listed))
    assert until(hosts["alpha"].at_work)
    hosts["alpha"].cut()
    cut = time.monotonic()
    assert until(hosts["beta"].at_work, 60), run.text
    assert time.monotonic() - cut < 60
    assert run.wait() == 0, run.text
    assert made.verdicts()["alpha"] == "passed", run.text
    assert "it goes to another machine" in run.text


def test_from_a_queue_another_machine_goes_on_within_half_a_minute(lab: Lab, tmp_path: Path) -> None:
    """Two workers behind their own network cards dial out to a broker; the one that has begun is cut off."""
    pytest.importorskip("nats")
    if spaces.missing():
        pytest.skip(f"no cable can be pulled: {spaces.missing()}")
    hosts, made = lab()
    switch = hosts.switch
    with brokers.nats(tmp_path / "nats", address="10.77.0.1", through=switch.enter("net")) as broker:
        keys = [_key(tmp_path / name) for name in ("run", "worker")]
        place = tmp_path / "exchange"
        target = f"  alpha: {{runtime: onnxruntime, arch: x86_64, where: ssh://alpha, worker: {{python: {sys.executable}, free: 8MiB}}}}\n"
        fleet = f"fleet: {{broker: '{broker.url}', store: {place}, key: {keys[0]}, workers: [{keys[1]}.pub]}}\n"
        made.edit(target, "  alpha: {runtime: onnxruntime, where: fleet}\n")
        made.edit("parity:", f"{fleet}parity:")
        made.edit("seconds: 0.05", "seconds: 3")
        words = [
            "worker",
            "--broker",
            broker.url,
            "--store",
            str(place),
            "--key",
            str(keys[1]),
            "--trust",
            f"{keys[0]}.pub",
        ]
        workers = {name: hosts[name] for name in NAMES[:2]}
        for name, host in workers.items():
            assert isinstance(host, Host)
            host.run([sys.executable, "-m", "builder.cli", *words, "--name", name, "--machine", name, "--free", "8MiB"])
        run = made.begin("matrix", "--only", "*-alpha", through=switch.enter("net"))
        assert until(lambda: any(host.at_work() for host in workers.values())), run.text
        victim = next(name for name, host in workers.items() if host.at_work())
        other = next(name for name in workers if name != victim)
        workers[victim].cut()
        cut = time.monotonic()
        assert until(workers[other].at_work, 30), run.text
        assert time.monotonic() - cut < 30
        assert run.wait() == 0, run.text
        assert made.verdicts()["alpha"] == "passed", run.text
        assert until(lambda: not workers[victim].at_work(), 90), "who hears nothing any more ends by itself"


def _key(path: Path) -> Path:
    key = minisign.new_key()
    path.write_text(minisign.secret_key_file(key, ""))
    path.with_name(f"{path.name}.pub").write_text(key.public.file)
    return path
