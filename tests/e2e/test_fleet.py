"""A matrix whose target is left to a fleet: the whole way, over a real broker, with real workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

pytest.importorskip("nats")

from builder.execution.fleet.broker import Broker
from builder.trust import minisign
from tests import brokers

pytestmark = pytest.mark.e2e

TARGETS = """targets:
  here: {runtime: onnxruntime}
  far: {runtime: onnxruntime, where: fleet}
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Server]:
    with brokers.nats(tmp_path_factory.mktemp("broker") / "nats") as server:
        yield server


class Worker:
    """A process of `build worker`, with a folder and a lock of its own, as if it had a machine of its own."""

    def __init__(self, lab: "Lab", name: str, *words: str) -> None:
        self.name, self.folder, self.log = name, lab.root / name, lab.root / f"{name}.log"
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "builder.cli", "worker", "--broker", lab.url, "--store", str(lab.place)]
        command += ["--name", name, "--machine", name, "--folder", str(self.folder / "kept"), *words]
        environ = {**os.environ, "TMPDIR": str(self.folder)}
        self.process = subprocess.Popen(
            command,
            stdout=self.log.open("a"),
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=str(self.folder),
            start_new_session=True,
        )
        until(lambda: "serves" in self.log.read_text() or self.process.poll() is not None)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        self.process.wait(30)

    @property
    def working(self) -> List[str]:
        """The steps that it is performing."""
        return _processes(str(self.folder / "kept" / ".deploymatrix" / "work"))

    @property
    def halves(self) -> List[Path]:
        """Files that are not finished."""
        inside = self.folder / "kept" / ".deploymatrix"
        return [*inside.glob("work/*"), *inside.glob("incoming/*")]


class Lab:
    def __init__(self, root: Path, url: str) -> None:
        from tests import onnx_models, search_project

        self.root, self.url, self.place = root, url, root / "exchange"
        self.folder = search_project.lay_out(root / "project", onnx_models.convolutional(), "fp32")
        self.workers: List[Worker] = []
        text = (self.folder / "matrix.yaml").read_text(encoding="utf-8")
        start, end = text.index("targets:"), text.index("parity:")
        fleet = f"fleet: {{broker: '{url}', store: '{self.place}', patience: 3}}\n"
        text = text[:start] + TARGETS + fleet + text[end:]
        text = text.replace("[batch, 3, 8*h8, 8*w8]", "[batch, 3, 4*h8, 4*w8]").replace('build: ["*-ort"]', "")
        (self.folder / "matrix.yaml").write_text(text, encoding="utf-8")

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "matrix.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def worker(self, name: str, *words: str) -> Worker:
        self.workers.append(Worker(self, name, *words))
        return self.workers[-1]

    def begin(self, *words: str, **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "builder.cli", *words],
            cwd=str(self.folder),
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def build(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        run = self.begin(*words, **environ)
        out, said = run.communicate(timeout=120)
        return subprocess.CompletedProcess(words, run.returncode, out, said)

    def statuses(self, *words: str) -> Dict[str, str]:
        done = self.build("matrix", "--quiet", "--format", "json", *words)
        assert done.returncode == 0, done.stderr
        cells: Dict[str, Any] = {cell["cell"].rpartition("-")[2]: cell for cell in json.loads(done.stdout)["cells"]}
        return {name: cell["verdict"]["status"] for name, cell in cells.items()}


@pytest.fixture
def lab(broker: brokers.Server, tmp_path: Path) -> Iterator[Lab]:
    for module in ("onnx", "onnxruntime", "onnxsim", "polygraphy", "cv2"):
        pytest.importorskip(module)
    made = Lab(tmp_path, broker.url)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.kill()


def until(true: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def _processes(mark: str) -> List[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if mark in line:
                    found.append(line)
    return found


def test_a_cell_waits_until_a_worker_serves_its_queue_and_is_built_by_it(lab: Lab) -> None:
    waiting = lab.build("matrix", "--quiet")
    assert waiting.returncode == 0, waiting.stderr
    assert "serves the queue 'onnxruntime-any.linux-x86_64'" in waiting.stdout
    assert "build worker --broker" in waiting.stdout
    assert "1 passed, 1 waiting" in waiting.stdout
    nobody = lab.build("fleet")
    assert "Nobody serves onnxruntime-any.linux-x86_64" in nobody.stdout

    worker = lab.worker("one")
    assert lab.statuses() == {"here": "passed", "far": "passed"}
    seen = json.loads(lab.build("fleet", "--format", "json").stdout)
    assert [w["name"] for w in seen["workers"]] == ["one@one"]
    far = next(q for q in seen["queues"] if q["targets"] == ["far"])
    assert (far["workers"], far["waiting"]) == (1, 0)
    assert "Nothing changed" in lab.build("matrix", "--quiet").stdout

    worker.process.terminate()
    assert worker.process.wait(30) == 0, worker.log.read_text()
    assert worker.halves == []


def test_results_lie_in_the_store_and_words_alone_pass_the_broker(lab: Lab) -> None:
    worker = lab.worker("one")
    assert lab.statuses() == {"here": "passed", "far": "passed"}
    kept = {path.name for path in (worker.folder / "kept" / "blobs" / "sha256").iterdir()}
    exchanged = {path.name for path in (lab.place / "blobs" / "sha256").iterdir()}
    assert kept and kept <= exchanged
    records = [path for path in (lab.place / "blobs" / "sha256").iterdir() if b'"key": "sha256:' in path.read_bytes()]
    assert len(records) == 3, "engine, parity, latency"


def test_what_is_measured_goes_to_the_machine_that_built_it(lab: Lab) -> None:
    workers = [lab.worker("one"), lab.worker("two")]
    for _ in range(3):  # by chance, once in 64 times
        before = [worker.log.read_text() for worker in workers]
        assert lab.statuses("--force", "--only", "*-far") == {"far": "passed"}
        begun = [worker.log.read_text()[len(said) :].count(": begun") for worker, said in zip(workers, before)]
        assert sorted(begun) == [0, 3], "engine, parity and latency, on one machine"


def _timed_on(lab: Lab, workers: List[Worker]) -> Worker:
    """The worker that is timing the artifact, which takes long."""

    def timing() -> List[Worker]:
        return [
            worker
            for worker in workers
            if "latency" in worker.log.read_text().rpartition(": begun")[0][-30:] and worker.working
        ]

    until(timing)
    return timing()[0]


def test_a_killed_worker_leaves_its_job_to_another_within_30_seconds(lab: Lab) -> None:
    lab.edit("seconds: 0.05", "seconds: 4")
    workers = [lab.worker("one"), lab.worker("two")]
    run = lab.begin("matrix", "--only", "*-far")
    victim = _timed_on(lab, workers)
    other = next(worker for worker in workers if worker is not victim)
    said = other.log.read_text()
    victim.kill()
    killed = time.monotonic()
    until(lambda: "latency" in other.log.read_text()[len(said) :] and other.working, 30)
    assert time.monotonic() - killed < 30
    until(lambda: not victim.working, 5)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0 and "1 passed" in out


def test_an_interrupt_ends_the_work_and_a_resumed_run_goes_on(lab: Lab) -> None:
    lab.edit("seconds: 0.05", "seconds: 30")
    worker = lab.worker("one")
    run = lab.begin("matrix", "--only", "*-far")
    _timed_on(lab, [worker])
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=20)
    assert (run.returncode, "interrupted" in said) == (130, True)
    until(lambda: not worker.working, 10)
    until(lambda: not worker.halves, 10)
    until(lambda: "stopped: the run was stopped" in worker.log.read_text(), 10)
    lab.edit("seconds: 30", "seconds: 0.05")
    resumed = lab.build("matrix", "--quiet", "--resume")
    assert "1 cells: 1 passed" in resumed.stdout, resumed.stderr


def test_a_run_that_is_killed_leaves_no_work_behind(lab: Lab) -> None:
    """Nobody tells the worker: it hears no answers any more."""
    lab.edit("seconds: 0.05", "seconds: 60")
    worker = lab.worker("one")
    run = lab.begin("matrix", "--only", "*-far")
    _timed_on(lab, [worker])
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=20)
    lab.edit("seconds: 60", "seconds: 0.05")
    until(lambda: not worker.working, 80)
    assert lab.statuses("--only", "*-far") == {"far": "passed"}


def test_a_broker_that_is_killed_and_comes_back_loses_nothing(lab: Lab, broker: brokers.Server) -> None:
    lab.edit("seconds: 0.05", "seconds: 3")
    lab.edit("patience: 3", "patience: 30")
    worker = lab.worker("one")
    run = lab.begin("matrix", "--only", "*-far")
    _timed_on(lab, [worker])
    broker.stop()
    broker.start()
    out, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert "1 passed" in out
    assert "Traceback" not in worker.log.read_text()


def test_what_fails_on_one_machine_goes_to_another(lab: Lab) -> None:
    """The first machine has no room left; the second one comes only when the first has said so."""
    full = lab.worker("full", "--free", "100000GiB")
    run = lab.begin("matrix", "--only", "*-far")
    other = lab.worker("other")
    out, said = run.communicate(timeout=100)
    assert run.returncode == 0, said
    assert "1 passed" in out
    assert "left alone" in full.log.read_text() or "serves" in full.log.read_text()
    assert "latency" in other.log.read_text()


def test_what_the_only_machine_cannot_do_now_waits_with_its_reason(lab: Lab) -> None:
    lab.worker("full", "--free", "100000GiB")
    done = lab.build("matrix", "--quiet", "--only", "*-far")
    assert done.returncode == 0
    assert "away: full@full: " in done.stdout and "are left alone" in done.stdout
    assert "1 cells: 1 waiting" in done.stdout


def test_an_order_that_is_not_signed_is_refused(lab: Lab) -> None:
    ours, theirs = lab.root / "run.key", lab.root / "worker.key"
    for path in (ours, theirs):
        key = minisign.new_key()
        path.write_text(minisign.secret_key_file(key, ""))
        path.with_suffix(".pub").write_text(key.public.text)
    worker = lab.worker("one", "--key", str(theirs), "--trust", ours.with_suffix(".pub").read_text())
    waiting = lab.build("matrix", "--quiet", "--only", "*-far")
    assert "1 waiting" in waiting.stdout, waiting.stderr
    assert "refused: it is not signed" in worker.log.read_text()
    lab.edit("patience: 3", f"patience: 3, key: {ours}, workers: [{theirs.with_suffix('.pub').read_text()}]")
    assert lab.statuses("--only", "*-far") == {"far": "passed"}


def test_of_many_workers_and_many_actions_nothing_is_lost_or_done_twice(broker: brokers.Server, tmp_path: Path) -> None:
    """What bench/fleet.py does with 200 workers and 10,000 actions; some workers are killed on the way."""
    from bench import fleet

    found = fleet.measure(broker.url, workers=24, count=300, kills=2, folder=tmp_path)
    assert found.cpu < 0.05, "seconds of processor time of the run itself, for each action"


def test_a_broker_that_is_away_makes_its_cells_wait(lab: Lab) -> None:
    lab.edit(lab.url, "nats://127.0.0.1:9")
    done = lab.build("matrix", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "away: nats://127.0.0.1:9: the broker does not answer, or refuses" in done.stdout
    assert "1 passed, 1 waiting" in done.stdout
    assert lab.build("fleet").returncode == 11


def test_a_broker_without_tls_on_another_machine_needs_signatures(lab: Lab) -> None:
    for words in (["worker", "--store", str(lab.place), "--broker", "nats://broker.example"],):
        done = lab.build(*words)
        assert (done.returncode, "messages would pass unprotected" in done.stderr) == (2, True), done.stderr
    assert Broker("tls://broker.example").private and not Broker("nats://broker.example").private
