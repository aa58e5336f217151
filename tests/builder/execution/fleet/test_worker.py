"""A worker that is told nonsense: what it refuses, that it says so, and that it is there for the next job."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Union

import pytest

pytest.importorskip("nats")
pytest.importorskip("nacl")

from builder import digest, plugins
from builder.actions.action import Action
from builder.actions.recipes import Simplify
from builder.errors import Unreachable
from builder.execution.fleet import queues
from builder.execution.fleet import worker as workers
from builder.execution.fleet.coordinator import status
from builder.execution.fleet.messages import Answer, Begin, Done, Failed, Message, Signing, Working
from builder.execution.fleet.worker import Worker, WorkerSettings
from builder.execution.messages import Dropped, File
from builder.platforms.platform import Pinned
from builder.plugins import Repository
from builder.store.oci import OCTETS, Descriptor
from builder.trust import minisign
from tests import brokers, fleets
from tests.fakes import LAPTOP, REPOSITORY
from tests.fleets import MODEL, QUEUE, Link, Run, action, order, until

NOBODY = digest.of_bytes(b"nobody has it")
OURS, THEIRS = minisign.new_key(), minisign.new_key()


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    with brokers.nats(tmp_path_factory.mktemp("broker") / "nats") as server, Link(server.url) as link:
        yield link


class Bay:
    """A worker with a queue of its own, its store, and what it has told."""

    def __init__(self, link: Link, folder: Path, signing: Optional[Signing] = None) -> None:
        self.link, self.name, self.folder, self.kept = link, os.urandom(4).hex(), folder, folder / "kept"
        self.queue = f"{QUEUE}.{self.name}"
        link.do(link.connection.serve(self.queue))
        self.place = plugins.repository(str(folder / "exchange"), {})
        given = folder / "given"
        given.write_bytes(MODEL)
        self.place.put(Descriptor(OCTETS, digest.of_bytes(MODEL), len(MODEL)), given)
        self.told: List[str] = []
        self.number = 0
        self.worker = self.made(signing or Signing(), self.place, fleets.seem_to_work)

    def made(self, signing: Signing, place: Repository, perform: Any) -> Worker:
        settings = WorkerSettings("one@one", LAPTOP, self.kept)
        return Worker(settings, self.link.connection, place, signing, self.told.append, perform)

    def run(self, signing: Optional[Signing] = None) -> Run:
        return Run(self.link, signing or Signing(), self.name)

    def order(self, what: Optional[Message] = None, signing: Optional[Signing] = None) -> bytes:
        """From this run."""
        return (signing or Signing()).close(dataclasses.replace(what or order(), run=self.name))

    def take(self, what: Union[bytes, Message], worker: Optional[Worker] = None) -> str:
        """A line, whatever it is given. `gone` says afterwards whether the job is in no queue any more."""
        data = self.order(what) if isinstance(what, Message) else what
        self.number = self.link.do(self.link.connection.add(self.queue, data))
        return self.take_next(worker)

    def take_next(self, worker: Optional[Worker] = None) -> str:
        async def taken() -> str:
            job = None
            while job is None:
                job = await self.link.connection.next([self.queue])
            return await (worker or self.worker).take(job)

        return self.link.do(taken())

    @property
    def gone(self) -> bool:
        time.sleep(0.2)
        return not self.link.do(self.link.connection.holds(self.number))


@pytest.fixture
def bay(link: Link, tmp_path: Path) -> Bay:
    return Bay(link, tmp_path)


@pytest.fixture
def trusting(link: Link, tmp_path: Path) -> Bay:
    """It takes what OURS has signed."""
    return Bay(link, tmp_path, Signing(trusted=(OURS.public,)))


@pytest.fixture
def run(bay: Bay) -> Iterator[Run]:
    made = bay.run()
    yield made
    made.end()


def test_an_honest_order_is_performed_and_its_outputs_are_in_the_store(bay: Bay, run: Run) -> None:
    assert bay.take(order()).endswith(": done")
    done = run.heard(Done)
    assert len(done) == 1 and bay.gone
    assert [type(report.body) for report in (run.reports[0], run.reports[-1])] == [Begin, Done]
    assert {(report.run, report.job, report.sender) for report in run.reports} == {(bay.name, action().key, "one@one")}
    assert len({report.attempt for report in run.reports}) == 1
    assert bay.place.has(Descriptor(OCTETS, done[0].result.digest, done[0].result.size))


# ------------------------------------------------------------------------------------------- what is no order


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", b"[" * 100_000, b"\x80\x04 a pickle", Signing().close(order())[:-9], b"x" * (1 << 20)],
    ids=["empty", "garbage", "deep", "pickle", "half", "large"],
)
def test_what_is_no_order_is_taken_once_and_does_nothing(bay: Bay, run: Run, data: bytes) -> None:
    assert bay.take(data).startswith("refused: this is no message")
    assert bay.gone and not bay.kept.exists(), "nothing was begun"
    assert bay.take(order()).endswith(": done"), "and the next one is performed"


def test_another_message_is_no_order(bay: Bay, run: Run) -> None:
    told = order()
    for message in (
        dataclasses.replace(told, body=Answer("yes")),
        dataclasses.replace(told, job=NOBODY),
    ):
        assert bay.take(message) == "refused: this is no order"
        assert bay.gone
    assert run.reports == []


@pytest.mark.parametrize("signing", [Signing(), Signing(THEIRS)], ids=["unsigned", "by a stranger"])
def test_an_order_that_nobody_trusted_has_signed_is_refused_and_nobody_is_asked(
    trusting: Bay, signing: Signing
) -> None:
    run = trusting.run(Signing(OURS))
    assert trusting.take(trusting.order(signing=signing)).startswith("refused: ")
    assert trusting.gone and run.reports == [] and not trusting.kept.exists()
    assert trusting.take(trusting.order(signing=Signing(OURS))).endswith(": done")


# ------------------------------------------------------------------------------------------- what is not performed


def _named(name: str) -> Message:
    return order(action(Pinned(name, digest.of_bytes(MODEL))))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (order(action(recipe=Simplify((), (), (), False))), "the step 'simplify' is not performed for another machine"),
        (_named("../out"), "'../out' is not the name of an input"),
        (_named("/etc/passwd"), "'/etc/passwd' is not the name of an input"),
        (_named("a/../../b"), "'a/../../b' is not the name of an input"),
        (_named("a\nb"), "'a\\nb' is not the name of an input"),
        (_named("a\x00b"), "'a\\x00b' is not the name of an input"),
        (_named("\x1b]0;title\x07"), "is not the name of an input"),
        (_named(""), "'' is not the name of an input"),
        (_named("x" * 5000), "is not the name of an input"),
        (order(action(platform=None)), "it is for nothing, which is no runtime here"),
        (order(action(platform=dataclasses.replace(fleets.CPU, runtime="shell"))), "'shell'"),
        (order(action(platform=dataclasses.replace(fleets.CPU, arch="aarch64"))), "this machine is not what the job"),
        (order(action(Pinned("model.onnx", "sha256:../../etc/passwd"))), "is not a digest"),
        (order(action(Pinned("model.onnx", "md5:0"))), "is not a digest"),
        (order(action(Pinned("model.onnx", NOBODY))), "is missing"),
        (order(None, File(NOBODY, 3)), "is that the store of the run?"),
        (order(None, File(digest.of_bytes(MODEL), 3)), "sends more than its 3 bytes"),
        (order(None, File(digest.of_bytes(MODEL), 4000)), "ended after 7 of 4,000 bytes"),
        (order(None, File(digest.of_bytes(MODEL), 1 << 60)), "are left alone"),
    ],
    ids=lambda value: "" if isinstance(value, Message) else value[:40],
)
def test_what_is_not_performed_is_refused_and_the_run_is_told(bay: Bay, run: Run, what: Message, why: str) -> None:
    said = bay.take(what)
    assert why in said and said.endswith("; told")
    failed = run.heard(Failed)
    assert len(failed) == 1 and why in failed[0].what and run.reports[-1].job == what.job
    assert [name for name in fleets.kept(bay.kept / "blobs") if name != digest.of_bytes(MODEL)[7:]] == []
    assert bay.take(order()).endswith(": done"), "and the next one is performed"


def test_a_store_with_other_content_is_not_believed(bay: Bay, run: Run) -> None:
    blob = bay.folder / "exchange" / "blobs" / "sha256" / digest.of_bytes(MODEL)[7:]
    blob.chmod(0o644)
    blob.write_bytes(b"another")
    assert "has other content than its name says" in bay.take(order())
    assert "has other content than its name says" in run.heard(Failed)[0].what
    assert fleets.kept(bay.kept / "blobs") == []


class Away:
    """A store that answers no more after so many calls."""

    def __init__(self, place: Repository, after: int) -> None:
        self._place, self._left = place, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._place, name)
        if not callable(found):
            return found

        def called(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Unreachable("does not answer", where="the store")
            return found(*args, **options)

        return called


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_store_that_goes_away_in_the_middle_is_told_as_such(bay: Bay, run: Run, after: int) -> None:
    worker = bay.made(Signing(), Away(bay.place, after), fleets.seem_to_work)  # type: ignore[arg-type]
    said = bay.take(order(), worker)
    assert "failed: does not answer; told" in said
    assert [(failed.away, failed.where) for failed in run.heard(Failed)] == [(True, "the store")]


def test_a_store_whose_folder_vanishes_is_told(bay: Bay, run: Run) -> None:
    def perform(what: Action, cache: Any, say: Callable[[str], None]) -> Any:
        shutil.rmtree(bay.folder / "exchange")
        (bay.folder / "exchange").write_text("no folder any more")
        return fleets.seem_to_work(what, cache, say)

    worker = bay.made(Signing(), bay.place, perform)
    said = bay.take(order(), worker)
    assert "failed: " in said and said.endswith("; told")
    assert len(run.heard(Failed)) == 1


@pytest.mark.parametrize("problem", [KeyError("shell"), ValueError("no"), AssertionError(), RecursionError("deep")])
def test_a_bug_while_an_order_is_performed_is_told_and_the_next_one_is_taken(
    bay: Bay, run: Run, problem: Exception
) -> None:
    def perform(what: Action, cache: Any, say: Callable[[str], None]) -> Any:
        raise problem

    worker = bay.made(Signing(), bay.place, perform)
    said = bay.take(order(), worker)
    assert type(problem).__name__ in said and said.endswith("; told")
    assert len(run.heard(Failed)) == 1


# ------------------------------------------------------------------------------------------- what the run's side says


def test_an_order_of_a_run_that_has_ended_waits_and_is_dropped_in_the_end(
    bay: Bay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_ABSENT", 0.1)
    monkeypatch.setattr(workers, "_MOST_ABSENT", 3)
    assert "left: its run does not answer" in bay.take(order())
    assert not bay.gone, "the line of the run may be cut for a while"
    for _ in range(3):
        assert "left: its run does not answer" in bay.take_next()
    assert bay.gone and not bay.kept.exists()


def test_a_run_that_is_back_is_served(bay: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_ABSENT", 0.1)
    assert "left: its run does not answer" in bay.take(order())
    run = bay.run()
    assert bay.take_next().endswith(": done")
    run.end()


def test_a_run_that_wants_it_no_more_is_heard(bay: Bay, run: Run) -> None:
    run.answers = lambda report: run.answer(report, "no", "nobody waits for it\n\x1b[2J")
    assert "left: nobody waits for it" in bay.take(order())
    assert bay.gone and not bay.kept.exists()


def test_a_job_for_another_machine_is_delivered_again(bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_LATER", 0.1)
    run.answers = lambda report: run.answer(report, "later", "it has failed on this machine")
    assert "left: it has failed on this machine" in bay.take(order())
    assert not bay.gone
    run.answers = run.answer
    assert bay.take_next().endswith(": done")


@pytest.mark.parametrize(
    "change",
    [{"run": "ee"}, {"job": NOBODY}, {"attempt": "0f"}, {"number": 0}, {"body": Begin()}],
    ids=["another run", "another action", "another attempt", "an earlier question", "no answer"],
)
def test_an_answer_about_something_else_grants_nothing(
    bay: Bay, run: Run, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_ASKED", (0.2, 0.2))
    run.answers = lambda report: dataclasses.replace(run.answer(report), **change)
    assert "left: its run does not answer" in bay.take(order())
    assert not bay.kept.exists()


def test_an_answer_that_nobody_trusted_has_signed_grants_nothing(
    trusting: Bay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_ASKED", (0.2, 0.2))
    run = trusting.run(Signing(THEIRS))
    assert "left: its run does not answer" in trusting.take(trusting.order(signing=Signing(OURS)))
    assert len(run.heard(Begin)) == 1


def _slowly(bay: Bay, seconds: float = 5.0, signing: Optional[Signing] = None) -> Worker:
    """A worker whose work takes so long, and ends when it is not wanted."""

    def perform(what: Action, cache: Any, say: Callable[[str], None]) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if worker._job is None or not worker._job.is_wanted(-1, 0):
                raise Dropped("ended")
            time.sleep(0.05)
        return fleets.seem_to_work(what, cache, say)

    worker = bay.made(signing or Signing(), bay.place, perform)
    return worker


def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BEAT", 0.1)
    monkeypatch.setattr(workers, "_SOON", 0.1)


@pytest.mark.parametrize(
    "change",
    [{"run": "ee"}, {"job": NOBODY}, {"attempt": "0f"}, {"number": 0}],
    ids=["another run", "another action", "an earlier attempt", "an earlier question"],
)
def test_work_goes_on_whatever_is_replayed(bay: Bay, run: Run, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _quickly(monkeypatch)
    worker = _slowly(bay, 1.0)

    def answers(report: Message) -> Message:
        stop = run.answer(report, "no", "replayed")
        return dataclasses.replace(stop, **change) if isinstance(report.body, Working) else run.answer(report)

    run.answers = answers
    assert bay.take(order(), worker).endswith(": done")
    assert len(run.heard(Working)) > 3 and len(run.heard(Done)) == 1


def test_only_its_run_stops_it(trusting: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    _quickly(monkeypatch)
    link, run = trusting.link, trusting.run(Signing(OURS))
    worker = _slowly(trusting, 3.0, Signing(trusted=(OURS.public,)))
    stop = Message(trusting.name, "", "", "run", Answer("no", "the run was stopped"))

    def tell(data: bytes) -> None:
        link.do(link.connection.tell(f"deploymatrix.run.{trusting.name}.stop", data))

    future = link.begin(_taken(trusting, worker))
    until(lambda: run.heard(Working))
    for data in (
        b"",
        b"garbage",
        Signing().close(stop),
        Signing(THEIRS).close(stop),
        Signing(OURS).close(dataclasses.replace(stop, run="ee")),
        Signing(OURS).close(dataclasses.replace(stop, job=NOBODY)),
    ):
        tell(data)
    time.sleep(0.5)
    assert worker._job is not None and worker._job.over == ""
    tell(Signing(OURS).close(stop))
    assert future.result(5).endswith("stopped: the run was stopped")


async def _taken(bay: Bay, worker: Worker) -> str:
    bay.number = await bay.link.connection.add(bay.queue, bay.order(signing=Signing(OURS)))
    job = None
    while job is None:
        job = await bay.link.connection.next([bay.queue])
    return await worker.take(job)


def test_a_run_that_lets_it_begin_and_never_answers_is_not_worked_for_long(
    bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    _quickly(monkeypatch)
    monkeypatch.setattr(workers, "SILENCE", 0.6)
    run.answers = lambda report: run.answer(report) if isinstance(report.body, Begin) else None
    started = time.monotonic()
    said = bay.take(order(), _slowly(bay, 10.0))
    assert time.monotonic() - started < 5
    assert "stopped: its run does not answer" in said
    assert not bay.gone


def test_lines_of_a_step_reach_the_run_whatever_is_in_them(bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a character above all: nobody could sign or send it."""

    def perform(what: Action, cache: Any, say: Callable[[str], None]) -> Any:
        say("\x1b]0;title\x07 half \udcff")
        time.sleep(0.5)
        return fleets.seem_to_work(what, cache, say)

    _quickly(monkeypatch)
    assert bay.take(order(), bay.made(Signing(OURS), bay.place, perform)).endswith(": done")
    assert "\x1b]0;title\x07 half ?" in [line for working in run.heard(Working) for line in working.lines]
    assert len(run.heard(Done)) == 1 and run.refused == []


def test_a_last_report_is_made_until_it_is_heard(bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_ASKED", (0.2, 0.2, 0.2))

    def answers(report: Message) -> Optional[Message]:
        if isinstance(report.body, Done) and len(run.heard(Done)) == 1:
            return dataclasses.replace(run.answer(report), number=0)
        return run.answer(report)

    run.answers = answers
    assert bay.take(order()).endswith(": done")
    assert len(run.heard(Done)) == 2


def test_a_job_that_is_worked_on_is_delivered_to_nobody_else(
    bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than its lease, which a queue of this test has shorter."""
    _quickly(monkeypatch)
    monkeypatch.setattr("builder.execution.fleet.broker.LEASE", 1.0)
    bay.queue += ".short"
    bay.link.do(bay.link.connection.serve(bay.queue))
    future = bay.link.begin(_taken_unsigned(bay, _slowly(bay, 4.0)))
    until(lambda: run.heard(Begin))
    monkeypatch.setattr("builder.execution.fleet.broker.PULL", 2.5)
    assert bay.link.do(bay.link.connection.next([bay.queue])) is None
    assert future.result(10).endswith(": done")


async def _taken_unsigned(bay: Bay, worker: Worker) -> str:
    bay.number = await bay.link.connection.add(bay.queue, bay.order())
    job = None
    while job is None:
        job = await bay.link.connection.next([bay.queue])
    return await worker.take(job)


# ------------------------------------------------------------------------------------------- a worker as a process

_WORKER = """
import asyncio, sys
from pathlib import Path
from builder import plugins as seams
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.messages import Signing
from builder.execution.fleet.worker import Worker, WorkerSettings, serve
from tests import fleets
from tests.fakes import LAPTOP
url, folder = sys.argv[1], Path(sys.argv[2])
settings = WorkerSettings("one@one", LAPTOP, folder / "kept")
tell = lambda line: print(line, flush=True)
make = lambda connection: [Worker(settings, connection, seams.repository(str(folder / "exchange"), {}), Signing(), tell)]
asyncio.run(serve(Broker(url), make, [fleets.QUEUE], tell))
"""


def test_no_stranger_ends_a_worker_or_sends_it_elsewhere(tmp_path: Path) -> None:
    """Messages to every subject that it listens to."""
    log = tmp_path / "log"
    with brokers.nats(tmp_path / "nats") as server, Link(server.url) as link:
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, server.url, str(tmp_path)],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,
        )
        try:
            until(lambda: "serves" in log.read_text() or process.poll() is not None, 60, "to start")
            run = Run(link, Signing(), "0f")
            stop = Message("0f", "", "", "run", Answer("no", "stopped"))
            for data in (
                b"",
                b"null",
                b"{}",
                b"garbage",
                b"[" * 99_999,
                Signing().close(stop),
                Signing().close(order()),
            ):
                for subject in ("deploymatrix.workers", "deploymatrix.run.0f.stop", "deploymatrix.run.0f"):
                    link.do(link.connection.tell(subject, data))
            # It is refused at once, so that its report says that the worker is there.
            refused = order(action(recipe=Simplify((), (), (), False)))
            link.do(link.connection.add(QUEUE, Signing().close(refused)))
            until(lambda: run.heard(Failed), 20, "the next job")
            seen = link.do(status(link.connection, Signing()))
            assert {name: set(about.queues) for name, about in seen.items()} == {"one@one": {QUEUE, queues.own("one")}}
            assert process.poll() is None and "Traceback" not in log.read_text()
            process.terminate()
            assert process.wait(10) == 0, log.read_text()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
