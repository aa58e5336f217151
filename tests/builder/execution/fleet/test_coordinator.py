"""Workers that lie to a run: what is refused, that the run says so, and that it waits for nothing that will not come."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

pytest.importorskip("nats")
pytest.importorskip("nacl")

import json

from builder import digest, plugins
from builder.actions.action import Action, Result
from builder.actions.recipes import Made
from builder.config.remote_machines import FleetSettings
from builder.errors import StepFailed, StoreDamaged, Unreachable
from builder.execution.fleet import coordinator as coordinators
from builder.execution.fleet import executor, queues
from builder.execution.fleet.broker import Broker, run_subject
from builder.execution.fleet.executor import Fleet
from builder.execution.fleet.messages import Answer, Begin, Body, Done, Failed, Message, Order, Signing, Status, Working
from builder.execution.messages import File
from builder.platforms.platform import Blob, Pinned
from builder.records import to_json
from builder.store.layout import Layout
from builder.store.oci import OCTETS, Descriptor
from builder.trust import minisign
from tests import brokers, fleets
from tests.fleets import MODEL, QUEUE, Link, action, until

OURS, THEIRS = minisign.new_key(), minisign.new_key()
MADE = b"made"


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    with brokers.nats(tmp_path_factory.mktemp("broker") / "nats") as server, Link(server.url) as link:
        yield link


class Liar:
    """A worker by hand: takes an order out of a queue, and says what the test wants it to say."""

    def __init__(self, link: Link, signing: Optional[Signing] = None, worker: str = "one@one") -> None:
        self.link, self.worker, self._signing, self._number = link, worker, signing or Signing(), 0

    def order(self, of: "Lab", queue: str = QUEUE) -> Message:
        """The next one of this run, which it keeps."""

        async def taken() -> Message:
            while True:
                job = await self.link.connection.next([queue])
                if job is not None:
                    order = Signing().open(bytes(job.data))
                    if order.run == of.fleet.run:
                        return order
                    await job.ack()  # of an earlier test

        self.link.do(self.link.connection.serve(queue))
        return self.link.do(taken(), 30)

    def says(self, order: Message, body: Body, **changes: Any) -> Optional[Message]:
        """What is answered to this, if anything is."""
        self._number += 1
        of = {"run": order.run, "job": order.job, "attempt": order.attempt, "sender": self.worker}
        subject = run_subject(order.run)
        report = self._signing.close(Message(**{**of, **changes}, body=body, number=self._number))
        answer = self.link.do(self.link.connection.ask(subject, report, 1.0))
        return Signing().open(answer) if answer is not None else None

    def asks(self, order: Message, **changes: Any) -> Answer:
        answer = self.says(order, Begin(), **changes)
        assert answer is not None and isinstance(answer.body, Answer) and answer.number == self._number
        assert (answer.run, answer.job) == (order.run, order.job)
        return answer.body


class Lab:
    """A run with one action, in a thread."""

    def __init__(self, link: Link, folder: Path, signing: Optional[Signing] = None, slow: str = "") -> None:
        self.said: List[str] = []
        url = link.connection._broker.server
        self.place, self.store = plugins.repository(str(folder / "exchange"), {}), Layout(folder / "artifacts")
        self._folder = folder
        settings = FleetSettings(url, str(folder / "exchange"), patience=60.0)
        self.slow: Any = Slow(self.place, slow)
        self.fleet = Fleet(Broker(url), self.slow, os.urandom(4).hex(), settings, signing or Signing())
        self.result: Optional[Result] = None
        self.problem: Optional[BaseException] = None
        self.begin(action(), {"model.onnx": MODEL})

    def begin(self, what: Action, files: Dict[str, bytes]) -> None:
        for name, content in files.items():
            (self._folder / name).write_bytes(content)
        self._thread = threading.Thread(target=self._perform, args=(what, tuple(files)), daemon=True)
        self._thread.start()

    def _perform(self, what: Action, names: Tuple[str, ...]) -> None:
        try:
            files = {name: self._folder / name for name in names}
            self.result = self.fleet.perform(what, files, self._folder, self.store, self.said.append)
        except BaseException as problem:  # for the test to see
            self.problem = problem

    def end(self, seconds: float = 20) -> "Optional[BaseException]":
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it waits for what will not come"
        return self.problem

    def put(self, data: bytes) -> File:
        path = self._folder / os.urandom(4).hex()
        path.write_bytes(data)
        file = File(digest.of_bytes(data), len(data))
        self.place.put(Descriptor(OCTETS, file.digest, file.size), path)
        return file


@pytest.fixture
def lab(link: Link, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(link, tmp_path)
    yield made
    threading.Thread(target=made.fleet.__exit__, args=(None, None, None)).start()


@pytest.fixture
def liar(link: Link) -> Liar:
    return Liar(link)


def _result(**changes: Any) -> bytes:
    blob = Blob("model.bin", digest.of_bytes(MADE), len(MADE))
    made = to_json(Result(action().key, (blob,), Made(1, ()), 0.1, 1))
    assert isinstance(made, dict)
    return json.dumps({**made, **changes}).encode()


def _blob(name: str = "model.bin", size: int = len(MADE), of: bytes = MADE) -> Any:
    return {"name": name, "digest": digest.of_bytes(of), "size": size}


def test_an_honest_worker_is_believed(lab: Lab, liar: Liar) -> None:
    order = liar.order(lab)
    assert liar.asks(order).go == "yes"
    lab.put(MADE)
    liar.says(order, Done(lab.put(_result())))
    assert lab.end() is None and lab.result is not None
    assert lab.store.fetch(lab.result.outputs[0].digest).read_bytes() == MADE


class Slow:
    """A place that does not end with taking `an input`, or with giving `the result`."""

    def __init__(self, place: Any, what: str) -> None:
        self._place, self._what = place, what
        self.asked, self.end = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def put(self, *given: Any) -> None:
        self._slowly("an input")
        self._place.put(*given)

    def stream(self, *given: Any) -> Any:
        self._slowly("the result")
        return self._place.stream(*given)

    def _slowly(self, what: str) -> None:
        if what == self._what:
            self.asked.set()
            self.end.wait(60)


@pytest.mark.parametrize("moment", ["an input", "the result"])
def test_a_place_that_is_slow_holds_no_run_up_that_is_stopped(
    link: Link, tmp_path: Path, liar: Liar, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_LARGE", 0)
    lab = Lab(link, tmp_path, slow=moment)
    if moment == "the result":
        order = liar.order(lab)
        liar.asks(order)
        liar.says(order, Done(lab.put(_result())))
    try:
        assert lab.slow.asked.wait(20)
        lab.fleet.stop()
        problem = lab.end(2)
        assert isinstance(problem, StepFailed) and problem.what == "the run was stopped"
    finally:
        lab.slow.end.set()
        threading.Thread(target=lab.fleet.__exit__, args=(None, None, None)).start()


def _what_is_made_of_it(lab: Lab, liar: Liar) -> Message:
    """`one` makes something; the order for the next action, which needs that, as it is in the queue of `one`."""
    order = liar.order(lab)
    liar.asks(order)
    lab.put(MADE)
    liar.says(order, Done(lab.put(_result())))
    assert lab.end() is None
    lab.begin(action(Pinned("model.bin", digest.of_bytes(MADE))), {"model.bin": MADE})
    return liar.order(lab, queues.own("one"))


def _action(order: Message) -> Action:
    assert isinstance(order.body, Order)
    return order.body.action


def test_what_was_made_of_it_goes_to_its_maker_and_elsewhere_when_that_is_gone(lab: Lab, liar: Liar) -> None:
    mine = _what_is_made_of_it(lab, liar)
    assert _action(mine).inputs[0].name == "model.bin"
    # It answers to nobody that it serves a queue, so it counts as gone a few seconds later.
    again = liar.order(lab)
    assert (again.body, again.attempt != mine.attempt) == (mine.body, True)
    assert liar.asks(again).go == "yes"
    liar.says(again, Failed("it broke"))
    until(lambda: any("it broke" in line for line in lab.said), 10, "the news")
    assert liar.link.do(liar.link.connection.waiting(queues.own("one"))) == 0


def _there(monkeypatch: pytest.MonkeyPatch, **served: Tuple[str, ...]) -> None:
    """These workers answer, by the name of their machine."""

    async def answered(*given: Any) -> Dict[str, Status]:
        return {f"{name}@{name}": Status("a machine", kinds, 0) for name, kinds in served.items()}

    monkeypatch.setattr(coordinators, "status", answered)


def test_what_a_machine_could_not_do_is_not_given_to_it_again(
    lab: Lab, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    _there(monkeypatch, one=(QUEUE, queues.own("one")), two=(QUEUE,))
    mine = _what_is_made_of_it(lab, liar)
    assert liar.asks(mine).go == "yes"
    liar.says(mine, Failed("its disk is full", away=True))
    again = liar.order(lab)
    assert again.body == mine.body
    assert liar.asks(again) == Answer("later", "it has failed on this machine")
    assert liar.asks(again, sender="two@two").go == "yes"


def test_what_fails_on_the_only_machine_has_failed(lab: Lab, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    _there(monkeypatch, one=(QUEUE,))
    order = liar.order(lab)
    liar.asks(order)
    liar.says(order, Failed("does not parse", "engine"))
    problem = lab.end()
    assert isinstance(problem, StepFailed) and (problem.what, problem.where) == ("does not parse", "engine")


def test_whoever_serves_nothing_is_told_how(link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinators, "_STATUS", 0.2)
    settings = FleetSettings("", str(tmp_path), patience=1.0)
    with coordinators.Coordinator(link.connection._broker, "0f", settings, Signing()) as made:
        order = fleets.order().body
        with pytest.raises(Unreachable, match="serves the queue 'nobody'") as problem:
            made.wait_for(order, queues.PREFIX + "nobody", lambda line: None)  # type: ignore[arg-type]
    assert f"build worker --broker {link.connection._broker.name} --store PLACE" in str(problem.value.hint)


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (File("sha256:../../etc/passwd", 3), "is not a digest"),
        (File(digest.of_bytes(b"nobody has it"), 3), "is missing"),
        (File(digest.of_bytes(_result()), 3), "other content"),
        (File(digest.of_bytes(_result()), -1), "other content"),
        (File(digest.of_bytes(_result()), 1 << 40), "at most"),
        (b"no JSON", "what is no result"),
        (b"\xff\xfe", "what is no result"),
        (b"[" * 200_000, "what is no result"),
        (b'{"key": "' + b"9" * 9999 + b'", "seconds": ' + b"9" * 9999 + b"}", "what is no result"),
        (b"null", "what is no result"),
        (_result(key=digest.of_bytes(b"other")), "its result is of another action"),
        (_result(facts={"step": "shell"}), "what is no result"),
        (_result(outputs=[_blob("../x")]), "names that lead elsewhere"),
        (_result(outputs=[_blob("/etc/x")]), "names that lead elsewhere"),
        (_result(outputs=[_blob(".hidden")]), "names that lead elsewhere"),
        (_result(outputs=[_blob("a\nb")]), "names that lead elsewhere"),
        (_result(outputs=[_blob("\x1b[2J")]), "names that lead elsewhere"),
        (_result(outputs=[_blob("\ud800")]), "names that lead elsewhere"),
        (_result(outputs=[_blob("x" * 300)]), "names that lead elsewhere"),
        (_result(outputs=[_blob(""), _blob("a")]), "names that lead elsewhere"),
        (_result(outputs=[_blob("a"), _blob("a")]), "names that lead elsewhere"),
        (_result(outputs=[_blob(size=3)]), "sends more than its 3 bytes"),
        (_result(outputs=[_blob(of=b"another")]), "is missing"),
        (_result(outputs=[{"name": "a", "digest": "md5:0", "size": 1}]), "is not a digest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_result_that_lies_is_refused_with_what_is_wrong(lab: Lab, liar: Liar, record: Any, what: str) -> None:
    order = liar.order(lab)
    liar.asks(order)
    lab.put(MADE)
    lab.put(_result())
    liar.says(order, Done(lab.put(record) if isinstance(record, bytes) else record))
    problem = lab.end()
    assert isinstance(problem, (StoreDamaged, Unreachable)), repr(problem)
    assert what in str(problem)
    assert lab.result is None and lab.store.recall(action().key) is None
    kept = lab.store.root / "blobs"
    assert not kept.exists() or fleets.kept(kept) == []


def test_what_it_says_cannot_speak_to_the_terminal(lab: Lab, liar: Liar) -> None:
    order = liar.order(lab)
    liar.asks(order)
    odd = "\x1b]0;title\x07 50 %\r\x9b2J"
    liar.says(order, Working((odd,)))
    half = json.loads(Signing().close(Message(order.run, order.job, order.attempt, "one@one", Working((odd,)), 9)))
    half["body"] = half["body"].replace("title", "\\ud800")
    liar.link.do(liar.link.connection.tell(run_subject(order.run), json.dumps(half).encode()))
    liar.says(order, Failed(odd, odd, odd))
    until(lambda: len([line for line in lab.said if "title" in line]) == 2)
    time.sleep(0.3)
    assert "?]0;title? 50 %??2J" in lab.said
    assert not [line for line in lab.said if "\x1b" in line or "\ud800" in line]
    lab.fleet.stop()
    lab.end()


EVIL: Dict[str, Dict[str, Any]] = {
    "another attempt": {"attempt": "ee"},
    "another worker": {"sender": "two@two"},
    "another action": {"job": digest.of_bytes(b"other")},
    "another run": {"run": "0f"},
}


@pytest.mark.parametrize("how", EVIL)
def test_who_has_not_begun_changes_nothing(lab: Lab, liar: Liar, how: str) -> None:
    order = liar.order(lab)
    liar.asks(order)
    evil = lab.put(_result(outputs=[_blob("evil")]))
    for body in (Done(evil), Failed("evil"), Working(("evil",))):
        answer = liar.says(order, body, **EVIL[how])
        assert answer is None or (isinstance(answer.body, Answer) and answer.body.go == "no")
    lab.put(MADE)
    liar.says(order, Done(lab.put(_result())))
    assert lab.end() is None and lab.result is not None
    assert [blob.name for blob in lab.result.outputs] == ["model.bin"]
    assert "evil" not in " ".join(lab.said)


def test_a_report_to_an_earlier_run_of_the_same_matrix_counts_for_nothing(link: Link, tmp_path: Path) -> None:
    """A run that is gone on with has its id, and another session."""
    settings = FleetSettings("", "")
    runs = [coordinators.Coordinator(link.connection._broker, "0f", settings, Signing()).run for _ in range(2)]
    assert runs[0] != runs[1] and all(run.startswith("0f") for run in runs)


def test_garbage_does_not_end_a_run(lab: Lab, liar: Liar) -> None:
    order = liar.order(lab)
    garbage = [b"null", b"{}", b"garbage", b"", b"[]", b"[" * 99_999, b"\xff", json.dumps({"body": "7"}).encode()]
    for who in ("", "x" * 300, "\ud800", "a\nb"):
        report: Any = to_json(Message(order.run, order.job, order.attempt, "one@one", Begin()))
        garbage.append(json.dumps({"body": json.dumps({**report, "sender": who})}).encode())
    for each in garbage:
        liar.link.do(liar.link.connection.tell(run_subject(order.run), each))
    # What is no report of a worker is none, whoever sends it.
    for body in (Answer("no", "evil"), _body(order)):
        answer = liar.says(order, body)
        assert answer is None or (isinstance(answer.body, Answer) and answer.body.go == "no")
    assert liar.asks(order).go == "yes", "nobody else has begun, and it answers"
    lab.fleet.stop()
    assert isinstance(lab.end(), StepFailed)


def _body(order: Message) -> Body:
    return order.body


def test_with_workers_that_it_knows_a_run_hears_nobody_else(link: Link, tmp_path: Path) -> None:
    lab = Lab(link, tmp_path, Signing(OURS, (OURS.public,)))
    try:
        order = Liar(link).order(lab)
        for stranger in (Signing(), Signing(THEIRS)):
            assert Liar(link, stranger).says(order, Begin()) is None
        assert Liar(link, Signing(OURS)).asks(order).go == "yes"
    finally:
        lab.fleet.stop()
        lab.end()
        threading.Thread(target=lab.fleet.__exit__, args=(None, None, None)).start()


def test_a_stopped_run_takes_its_jobs_back(lab: Lab, liar: Liar) -> None:
    until(lambda: liar.link.do(liar.link.connection.waiting(QUEUE)), 20, "the order")
    lab.fleet.stop()
    assert isinstance(lab.end(), StepFailed)
    assert liar.link.do(liar.link.connection.waiting(QUEUE)) == 0


def test_orders_that_workers_drop_are_given_again_but_not_for_ever(
    lab: Lab, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As workers do that trust another key."""
    _there(monkeypatch, one=(QUEUE,))

    async def drops() -> int:
        dropped = 0
        while lab.problem is None:
            job = await liar.link.connection.next([QUEUE])
            if job is not None:
                dropped += Signing().open(bytes(job.data)).run == lab.fleet.run
                await job.term()
        return dropped

    monkeypatch.setattr("builder.execution.fleet.broker.PULL", 1.0)
    dropping = liar.link.begin(drops())
    problem = lab.end(40)
    assert isinstance(problem, Unreachable) and "none asked to begin" in problem.what
    assert dropping.result(20) == 4


def test_a_job_that_is_gone_may_be_removed_again(link: Link) -> None:
    link.do(link.connection.serve(QUEUE + ".removed"))
    number = link.do(link.connection.add(QUEUE + ".removed", b"a job"))
    for _ in range(2):
        link.do(link.connection.remove(number))
    assert not link.do(link.connection.holds(number))
