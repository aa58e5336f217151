"""A worker that is told nonsense: what it refuses, that it says so, and that it is there for the next order."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import pytest

pytest.importorskip("celery")
pytest.importorskip("redis")

from builder import digest, plugins
from builder.actions.action import Action
from builder.actions.recipes import Simplify
from builder.errors import Unreachable
from builder.execution.fleet import station as stations
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.sealing import LARGEST, Seal
from builder.execution.fleet.station import Post, Station
from builder.execution.fleet.words import Answer, Beat, Claim, Done, Failed, Order, Report
from builder.execution.messages import Dropped, File
from builder.platforms.platform import Pinned
from builder.plugins import Repository
from builder.records import to_json
from builder.store.oci import OCTETS, Descriptor
from builder.trust import minisign
from tests import brokers, fleets
from tests.fakes import LAPTOP
from tests.fleets import MODEL, Run, action, order

NOBODY = digest.of_bytes(b"nobody has it")
OURS, THEIRS = minisign.new_key(), minisign.new_key()


class Closing:
    """Closes mailboxes while the next test runs: each takes a second or two to see that it is to end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._threads: List[threading.Thread] = []

    def later(self, close: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=close))
        self._threads[-1].start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closing]:
    with brokers.redis(tmp_path_factory.mktemp("broker") / "redis") as server:
        closing = Closing(server.url)
        yield closing
        closing.wait()


class Bay:
    """A station, its store, and what it has told."""

    def __init__(self, redis: Closing, folder: Path, seal: "Seal | None" = None) -> None:
        self._redis, self.name = redis, os.urandom(4).hex()
        self.broker, self.folder, self.kept = Broker(redis.url), folder, folder / "kept"
        self.place = plugins.repository(str(folder / "exchange"), {})
        given = folder / "given"
        given.write_bytes(MODEL)
        self.place.put(Descriptor(OCTETS, digest.of_bytes(MODEL), len(MODEL)), given)
        self.told: List[str] = []
        self._stations: List[Station] = []
        self._runs: List[Run] = []
        self.station = self.stationed(seal or Seal(), self.place, fleets.seem_to_work)

    def stationed(self, seal: Seal, place: Repository, perform: Any) -> Station:
        post = Post("one@one", LAPTOP, self.kept)
        self._stations.append(Station(post, self.broker, place, seal, self.told.append, perform))
        return self._stations[-1]

    def run(self, seal: "Seal | None" = None) -> Run:
        self._runs.append(Run(self.broker, seal or Seal(), self.name))
        self._runs[-1].mail.open()
        return self._runs[-1]

    def close(self) -> None:
        for each in (*self._stations, *(run.mail for run in self._runs)):
            self._redis.later(each.close)

    def order(self, what: Optional[Order] = None, seal: "Seal | None" = None) -> str:
        """From this run."""
        ours = dataclasses.replace(what or order(), run=self.name, mailbox=f"deploymatrix.run.{self.name}")
        return (seal or Seal()).close(ours)

    def take(self, what: object, station: Optional[Station] = None) -> str:
        """A line, whatever it is given."""
        said = (station or self.station).take(self.order(what) if isinstance(what, Order) else what)
        assert "\n" not in said and said.isprintable(), said
        return said


@pytest.fixture
def bay(redis: Closing, tmp_path: Path) -> Iterator[Bay]:
    made = Bay(redis, tmp_path)
    yield made
    made.close()


@pytest.fixture
def trusting(redis: Closing, tmp_path: Path) -> Iterator[Bay]:
    """It takes what OURS has signed."""
    made = Bay(redis, tmp_path, Seal(trusted=(OURS.public,)))
    yield made
    made.close()


@pytest.fixture
def run(bay: Bay) -> Run:
    return bay.run()


def test_an_honest_order_is_performed_and_its_outputs_are_in_the_store(bay: Bay, run: Run) -> None:
    assert bay.take(order()).endswith(": done")
    done = run.heard(Done)
    assert len(done) == 1 and done[0].token == 7
    assert [type(said) for said in (run.reports[0].said, run.reports[-1].said)] == [Claim, Done]
    assert bay.place.has(Descriptor(OCTETS, done[0].result.digest, done[0].result.size))


# ------------------------------------------------------------------------------------------- what is no order


def _changed(path: str, value: Any) -> str:
    """An order with another value at `path`."""
    data: Any = to_json(order())
    *folders, name = path.split(".")
    inside = data
    for folder in folders:
        inside = inside[folder]
    inside[name] = value
    return json.dumps({"body": json.dumps(data)})


@pytest.mark.parametrize(
    "text",
    [
        _changed("action.recipe.step", "shell"),
        _changed("action.recipe.step", "rm -rf /"),
        _changed("action.recipe.command", "touch /tmp/x"),
        _changed("command", "touch /tmp/x"),
        _changed("action", "touch /tmp/x"),
        _changed("files", [{"digest": 7, "size": 1}]),
        _changed("files", [{"digest": NOBODY, "size": "1"}]),
        _changed("files", [{"digest": NOBODY, "size": -1}]),
        _changed("files", [{"digest": "sha256:../../etc/passwd", "size": 1}]),
        _changed("files", [{"digest": NOBODY, "size": 1 << 80}]),
        _changed("seconds", -1),
        _changed("seconds", 0),
        _changed("seconds", 1e300),
        _changed("seconds", "60"),
        _changed("run", "../.."),
        _changed("run", "0f\n2026-01-01 all is well"),
        _changed("run", ""),
        _changed("ticket", "\x1b[2J"),
        _changed("mailbox", "x" * 300),
        _changed("mailbox", "a\nb"),
        _changed("mailbox", ""),
        _changed("action.inputs", {"\ud800": NOBODY}),
        _changed("action.recipe.precision", "\ud800"),
        _changed("a\nkey\x1b[2J", 1),
        json.dumps({"body": "[" * 100_000}),
        json.dumps({"body": '{"seconds": ' + "9" * 10_000 + "}"}),
        json.dumps({"body": 7}),
        json.dumps({}),
        "[" * 100_000,
        "touch /tmp/x",
        "",
        "x" * (LARGEST + 1),
        None,
        7,
        b"bytes",
        ["a list"],
        {"body": "{}"},
    ],
    ids=lambda text: repr(text)[-60:],
)
def test_what_is_no_order_is_refused_in_one_line(bay: Bay, text: object) -> None:
    assert bay.take(text).startswith("refused: this is no message")
    assert not bay.kept.exists(), "nothing was begun"


@pytest.mark.parametrize("seal", [Seal(), Seal(THEIRS)], ids=["unsigned", "by a stranger"])
def test_an_order_that_nobody_trusted_has_signed_is_refused_and_nobody_is_asked(trusting: Bay, seal: Seal) -> None:
    run = trusting.run(Seal(OURS))
    assert trusting.take(trusting.order(seal=seal)).startswith("refused: ")
    assert trusting.take(Seal(OURS).close(Answer(trusting.name, "k", True))).startswith("refused: "), (
        "signed, but of another kind"
    )
    assert run.reports == [] and not trusting.kept.exists()
    assert trusting.take(trusting.order(seal=Seal(OURS))).endswith(": done")


# ------------------------------------------------------------------------------------------- what is not performed


def _named(name: str) -> Order:
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
    ids=lambda value: "" if isinstance(value, Order) else value[:40],
)
def test_what_is_not_performed_is_refused_and_the_run_is_told(bay: Bay, run: Run, what: Order, why: str) -> None:
    said = bay.take(what)
    assert why in said and said.endswith("; told")
    failed = run.heard(Failed)
    assert len(failed) == 1 and why in failed[0].what and failed[0].key == what.action.key
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
    station = bay.stationed(Seal(), Away(bay.place, after), fleets.seem_to_work)  # type: ignore[arg-type]
    said = bay.take(order(), station)
    assert "failed: does not answer; told" in said
    assert [(failed.away, failed.where) for failed in run.heard(Failed)] == [(True, "the store")]


def test_a_store_whose_folder_vanishes_is_told(bay: Bay, run: Run) -> None:
    def perform(what: Action, cache: Any, say: Callable[[str], None]) -> Any:
        shutil.rmtree(bay.folder / "exchange")
        (bay.folder / "exchange").write_text("no folder any more")
        return fleets.seem_to_work(what, cache, say)

    station = bay.stationed(Seal(), bay.place, perform)
    said = bay.take(order(), station)
    assert "failed: " in said and said.endswith("; told")
    assert len(run.heard(Failed)) == 1


@pytest.mark.parametrize("problem", [KeyError("shell"), ValueError("no"), AssertionError(), RecursionError("deep")])
def test_a_bug_while_an_order_is_performed_is_told_and_the_next_one_is_taken(
    bay: Bay, run: Run, problem: Exception
) -> None:
    def perform(what: Action, cache: Any, say: Callable[[str], None]) -> Any:
        raise problem

    station = bay.stationed(Seal(), bay.place, perform)
    said = bay.take(order(), station)
    assert type(problem).__name__ in said and said.endswith("; told")
    assert len(run.heard(Failed)) == 1


# ------------------------------------------------------------------------------------------- what the run's side says


def test_an_order_of_a_run_that_has_ended_is_left(bay: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same order, twice: replayed when nobody is there any more."""
    again = bay.order()
    run = bay.run()
    assert bay.take(again).endswith(": done")
    run.mail.close()
    monkeypatch.setattr(stations, "_ASKED", (0.2, 0.2))
    assert "left: its run" in bay.take(again)
    assert len(run.heard(Claim)) == 1


def test_of_a_run_that_did_not_answer_the_next_orders_are_asked_about_once(
    bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed may have left hundreds."""
    monkeypatch.setattr(stations, "_ASKED", (0.3, 0.3, 0.3))
    run.answers = lambda report: None
    for asked in (3, 4, 5):
        assert "left: its run does not answer" in bay.take(order())
        assert len(run.heard(Claim)) == asked
    run.answers = run.grants
    assert bay.take(order()).endswith(": done"), "once is enough where somebody is there"
    run.answers = lambda report: None
    bay.take(order(fleets.action(Pinned("another.onnx", digest.of_bytes(MODEL)))))
    assert len(run.heard(Claim)) == 6 + 3


def test_a_run_that_wants_it_no_more_is_heard(bay: Bay, run: Run) -> None:
    run.answers = lambda report: run.answer(report, False, 0, "nobody waits for it\n\x1b[2J")
    assert "left: nobody waits for it" in bay.take(order())
    assert not bay.kept.exists()


@pytest.mark.parametrize(
    "change",
    [{"run": "ee"}, {"key": NOBODY}, {"to": "beat"}],
    ids=["another run", "another action", "an earlier question"],
)
def test_an_answer_about_something_else_grants_nothing(
    bay: Bay, run: Run, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stations, "_ASKED", (0.2, 0.2))
    run.answers = lambda report: dataclasses.replace(run.answer(report), **change)
    assert "left: its run does not answer" in bay.take(order())
    assert not bay.kept.exists()


def test_an_answer_that_nobody_trusted_has_signed_grants_nothing(
    trusting: Bay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stations, "_ASKED", (0.2, 0.2))
    run = trusting.run(Seal(THEIRS))
    assert "left: its run does not answer" in trusting.take(trusting.order(seal=Seal(OURS)))
    assert len(run.heard(Claim)) == 2


def _slowly(bay: Bay, seconds: float = 5.0) -> Station:
    """A station whose work takes so long, and ends when it is not wanted."""

    def perform(what: Action, cache: Any, say: Callable[[str], None]) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not station._is_wanted(-1, 0):
                raise Dropped("ended")
            time.sleep(0.05)
        return fleets.seem_to_work(what, cache, say)

    station = bay.stationed(Seal(), bay.place, perform)
    return station


@pytest.mark.parametrize(
    "change",
    [
        {"run": "ee"},
        {"token": 3},
        {"key": NOBODY},
    ],
    ids=["another run", "an old token", "another action"],
)
def test_work_goes_on_whatever_is_replayed(bay: Bay, run: Run, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stations, "BEAT", 0.1)
    monkeypatch.setattr(stations, "_SOON", 0.1)
    station = _slowly(bay, 1.0)

    def answers(report: Report) -> Optional[Answer]:
        if isinstance(report.said, Beat):
            stop = run.answer(report, go=False)
            run.send(report.who.mailbox, dataclasses.replace(stop, **change))
        return run.grants(report)

    run.answers = answers
    assert bay.take(order(), station).endswith(": done")
    assert len(run.heard(Beat)) > 3 and len(run.heard(Done)) == 1


def test_a_run_that_grants_a_lease_and_never_answers_is_not_worked_for_long(
    bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stations, "SILENCE", 0.6)
    monkeypatch.setattr(stations, "BEAT", 0.1)
    monkeypatch.setattr(stations, "_SOON", 0.1)
    monkeypatch.setattr(stations, "_ASKED", (0.2, 0.2))
    run.answers = lambda report: run.grants(report) if isinstance(report.said, Claim) else None
    station = _slowly(bay, 10.0)
    started = time.monotonic()
    said = bay.take(order(), station)
    assert time.monotonic() - started < 5
    assert "stopped: its run does not answer" in said


def test_letters_that_are_none_change_nothing(bay: Bay, run: Run) -> None:
    """To the worker's own mailbox, while it asks."""

    def answers(report: Report) -> Optional[Answer]:
        for body in ("", "no json", "[" * 100_000, json.dumps({"body": json.dumps(to_json(report))})):
            run.mail.send(report.who.mailbox, body)
        return run.grants(report)

    run.answers = answers
    assert bay.take(order()).endswith(": done")


def test_lines_of_a_step_reach_the_run_whatever_is_in_them(bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a character above all: nobody could sign or send it."""

    def perform(what: Action, cache: Any, say: Callable[[str], None]) -> Any:
        say("\x1b]0;title\x07 half \udcff")
        time.sleep(0.5)
        return fleets.seem_to_work(what, cache, say)

    monkeypatch.setattr(stations, "BEAT", 0.1)
    monkeypatch.setattr(stations, "_SOON", 0.1)
    station = bay.stationed(Seal(OURS), bay.place, perform)
    assert bay.take(order(), station).endswith(": done")
    assert "\x1b]0;title\x07 half ?" in [line for beat in run.heard(Beat) for line in beat.lines]
    assert len(run.heard(Done)) == 1 and run.refused == []


def test_a_last_word_is_said_until_it_is_heard(bay: Bay, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late answer to an earlier word is none to the last one."""
    monkeypatch.setattr(stations, "_ASKED", (0.2, 0.2, 0.2))

    def answers(report: Report) -> Optional[Answer]:
        if isinstance(report.said, Done) and len(run.heard(Done)) == 1:
            return dataclasses.replace(run.answer(report), to="beat")
        return run.answer(report)

    run.answers = answers
    assert bay.take(order()).endswith(": done")
    assert len(run.heard(Done)) == 2
