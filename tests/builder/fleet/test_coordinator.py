"""Workers that lie to a run: what is refused, that the run says so, and that it waits for nothing that will not come."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import pytest

pytest.importorskip("celery")
pytest.importorskip("redis")

from builder import digest, plugins
from builder.actions.action import Action, Result
from builder.actions.recipes import Made
from builder.config.remote_machines import FleetSettings
from builder.errors import StepFailed, StoreDamaged, Unreachable
from builder.execution.fleet import executor, presence, queues
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.executor import Fleet
from builder.execution.fleet.mail import Mail
from builder.execution.fleet.sealing import Seal
from builder.execution.fleet.words import Answer, Beat, Claim, Done, Failed, Order, Report, Who
from builder.execution.messages import File
from builder.platforms.platform import Blob, Pinned
from builder.records import to_json
from builder.store.layout import Layout
from builder.store.oci import OCTETS, Descriptor
from builder.trust import minisign
from tests import brokers, fleets
from tests.fleets import MODEL, QUEUE, action, until

OURS = minisign.new_key()
MADE = b"made"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Server]:
    with brokers.redis(tmp_path_factory.mktemp("broker") / "redis") as server:
        yield server


class Liar:
    """A worker by hand: takes an order out of Redis, and says what the test wants it to say."""

    def __init__(self, url: str, seal: "Seal | None" = None) -> None:
        from redis import Redis

        self.redis, self.answers = Redis.from_url(url, socket_timeout=30), []  # type: Any, List[Answer]
        self._seal = seal or Seal()
        self.mail = Mail(Broker(url), f"deploymatrix.worker.{os.urandom(4).hex()}", self._letter, lambda: None)
        self.mail.open()
        self.who = Who("one@one", "one", self.mail.name)

    def _letter(self, body: object) -> None:
        self.answers.append(Seal().open(Answer, body))

    def order(self, of: "Lab", queue: str = QUEUE) -> Order:
        """The next one of this run, which it keeps."""
        while True:
            taken = self.redis.brpop([queue], 20)
            assert taken, "nothing was ordered"
            body = base64.b64decode(json.loads(taken[1])["body"])
            order = Seal().open(Order, json.loads(body)[0][0])
            if order.run == of.name:
                return order

    def says(self, to: str, said: Any, who: Optional[Who] = None) -> None:
        self.mail.send(to, self._seal.close(Report(who or self.who, said)))

    def asks(self, order: Order, who: Optional[Who] = None) -> Answer:
        """What is answered to this, and not to what it has said before."""
        before = len(self.answers)

        def heard() -> List[Answer]:
            return [
                answer for answer in self.answers[before:] if (answer.key, answer.to) == (order.action.key, "claim")
            ]

        self.says(order.mailbox, Claim(order.action.key, order.ticket), who)
        until(heard, 20, "an answer")
        return heard()[-1]


class Lab:
    """A run with one action, in a thread."""

    def __init__(self, url: str, folder: Path, seal: "Seal | None" = None, slow: str = "") -> None:
        self.url, self.name, self.said = url, os.urandom(4).hex(), []  # type: str, str, List[str]
        self.place, self.store = plugins.repository(str(folder / "exchange"), {}), Layout(folder / "artifacts")
        self._folder = folder
        settings = FleetSettings(url, str(folder / "exchange"), patience=60.0)
        self.slow: Any = Slow(self.place, slow)
        self.fleet = Fleet(Broker(url), self.slow, self.name, settings, seal or Seal())
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
def lab(redis: brokers.Server, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(redis.url, tmp_path)
    yield made
    threading.Thread(target=made.fleet.__exit__, args=(None, None, None)).start()


@pytest.fixture
def liar(redis: brokers.Server) -> Iterator[Liar]:
    made = Liar(redis.url)
    yield made
    threading.Thread(target=made.mail.close).start()


def _result(**changes: Any) -> bytes:
    blob = Blob("model.bin", digest.of_bytes(MADE), len(MADE))
    made = to_json(Result(action().key, (blob,), Made(1, ()), 0.1, 1))
    assert isinstance(made, dict)
    return json.dumps({**made, **changes}).encode()


def _blob(name: str = "model.bin", size: int = len(MADE), of: bytes = MADE) -> Any:
    return {"name": name, "digest": digest.of_bytes(of), "size": size}


def test_an_honest_worker_is_believed(lab: Lab, liar: Liar) -> None:
    order = liar.order(lab)
    answer = liar.asks(order)
    assert answer.go and answer.to == "claim"
    lab.put(MADE)
    liar.says(order.mailbox, Done(order.action.key, answer.token, lab.put(_result())))
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
    redis: brokers.Server, tmp_path: Path, liar: Liar, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_LARGE", 0)
    lab = Lab(redis.url, tmp_path, slow=moment)
    if moment == "the result":
        order = liar.order(lab)
        liar.says(order.mailbox, Done(order.action.key, liar.asks(order).token, lab.put(_result())))
    try:
        assert lab.slow.asked.wait(20)
        lab.fleet.stop()
        problem = lab.end(2)
        assert isinstance(problem, StepFailed) and problem.what == "the run was stopped"
    finally:
        lab.slow.end.set()
        threading.Thread(target=lab.fleet.__exit__, args=(None, None, None)).start()


def _what_is_made_of_it(lab: Lab, liar: Liar) -> Order:
    """`one` makes something; the order for the next action, which needs that, as it lies in the queue of `one`."""
    order = liar.order(lab)
    answer = liar.asks(order)
    lab.put(MADE)
    liar.says(order.mailbox, Done(order.action.key, answer.token, lab.put(_result())))
    assert lab.end() is None
    lab.begin(action(Pinned("model.bin", digest.of_bytes(MADE))), {"model.bin": MADE})
    return liar.order(lab, queues.own("one"))


def test_what_was_made_of_it_goes_to_its_maker_and_elsewhere_when_that_is_gone(lab: Lab, liar: Liar) -> None:
    mine = _what_is_made_of_it(lab, liar)
    assert mine.action.inputs[0].name == "model.bin"
    # It tells nobody that it serves a queue, so it counts as gone a few seconds later.
    again = liar.order(lab)
    assert (again.action, again.ticket != mine.ticket) == (mine.action, True)
    answer = liar.asks(again)
    assert answer.go
    liar.says(again.mailbox, Failed(again.action.key, answer.token, "it broke"))
    until(lambda: any("it broke" in line for line in lab.said), 10, "the news")
    assert not liar.redis.exists(queues.own("one"))


def test_what_a_machine_could_not_do_is_not_given_to_it_again(
    lab: Lab, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_are_there(broker: Any, app: Any, asked: Set[str]) -> presence.Seen:
        workers = {"one@one": frozenset({QUEUE, queues.own("one")}), "two@two": frozenset({QUEUE})}
        return presence.Seen(time.monotonic(), workers, dict.fromkeys(asked, 1))

    monkeypatch.setattr(presence, "ask", two_are_there)
    mine = _what_is_made_of_it(lab, liar)
    answer = liar.asks(mine)
    assert answer.go
    liar.says(mine.mailbox, Failed(mine.action.key, answer.token, "its disk is full", away=True))
    again = liar.order(lab)
    assert again.action == mine.action
    refused = liar.asks(again)
    assert (refused.go, refused.why) == (False, "it has failed on this machine")
    assert liar.asks(again, Who("two@two", "two", liar.mail.name)).go


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
    answer = liar.asks(order)
    lab.put(MADE)
    lab.put(_result())
    liar.says(
        order.mailbox,
        Done(order.action.key, answer.token, lab.put(record) if isinstance(record, bytes) else record),
    )
    problem = lab.end()
    assert isinstance(problem, (StoreDamaged, Unreachable)), repr(problem)
    assert what in str(problem)
    assert lab.result is None and lab.store.recall(action().key) is None
    kept = lab.store.root / "blobs"
    assert not kept.exists() or fleets.kept(kept) == []


def test_what_it_says_cannot_speak_to_the_terminal(lab: Lab, liar: Liar) -> None:
    order = liar.order(lab)
    answer = liar.asks(order)
    odd = "\x1b]0;title\x07 50 %\r\x9b2J"
    body = json.loads(Seal().close(Report(liar.who, Beat(order.action.key, answer.token, (odd,)))))
    liar.mail.send(order.mailbox, json.dumps(body))
    liar.mail.send(order.mailbox, json.dumps({"body": body["body"].replace("title", "\\ud800")}))
    liar.says(order.mailbox, Failed(order.action.key, answer.token, odd, odd, odd))
    until(lambda: any("title" in line for line in lab.said))
    time.sleep(0.5)
    assert "?]0;title? 50 %??2J" in lab.said
    assert not [line for line in lab.said if "\x1b" in line or "\ud800" in line]
    lab.fleet.stop()
    lab.end()


@pytest.mark.parametrize("how", ["an old token", "another worker", "another process", "another action"])
def test_who_has_no_lease_changes_nothing(lab: Lab, liar: Liar, how: str) -> None:
    order = liar.order(lab)
    answer = liar.asks(order)
    key, token, who = order.action.key, answer.token, liar.who
    if how == "an old token":
        token -= 1
    elif how == "another worker":
        who = dataclasses.replace(who, name="two@two", machine="two")
    elif how == "another process":
        who = dataclasses.replace(who, mailbox="deploymatrix.worker.0")
    else:
        key = digest.of_bytes(b"other")
    evil = lab.put(_result(outputs=[_blob("evil")]))
    liar.says(order.mailbox, Done(key, token, evil), who)
    liar.says(order.mailbox, Failed(key, token, "evil"), who)
    liar.says(order.mailbox, Beat(key, token, ("evil",)), who)
    lab.put(MADE)
    liar.says(order.mailbox, Done(order.action.key, answer.token, lab.put(_result())))
    assert lab.end() is None and lab.result is not None
    assert [blob.name for blob in lab.result.outputs] == ["model.bin"]
    assert "evil" not in " ".join(lab.said)


def test_garbage_in_its_mailbox_does_not_end_a_run(lab: Lab, liar: Liar) -> None:
    order = liar.order(lab)
    garbage: List[Any] = [b"null", b"{}", b"garbage", b"", b"[]", b'{"properties": {}}', b"[" * 99_999]
    letter = {"body": "bnVsbA==", "content-type": "application/json", "content-encoding": "utf-8", "headers": {}}
    shown = {"body_encoding": "base64", "delivery_info": {"exchange": "", "routing_key": ""}, "delivery_tag": "1"}
    for changes in ({"headers": {"compression": "gzip"}}, {"content-type": "application/x-python-serialize"}, {}):
        garbage.append(json.dumps({**letter, "properties": shown, **changes}).encode())
    for each in garbage:
        liar.redis.lpush(order.mailbox, each)
    for body in ("", "null", "[" * 99_999, json.dumps({"body": "7"}), "x" * 999):
        liar.mail.send(order.mailbox, body)
    for who in ("", "x" * 300, "\ud800", "a\nb"):
        named = {"name": who, "machine": who, "mailbox": who}
        said = {"who": named, "said": {"it": "claim", "key": order.action.key, "ticket": order.ticket}}
        liar.mail.send(order.mailbox, json.dumps({"body": json.dumps(said)}))
    until(lambda: liar.redis.llen(order.mailbox) == 0, 30, "its letters")
    assert liar.asks(order).go, "nobody else got the lease, and it answers"
    lab.fleet.stop()
    assert isinstance(lab.end(), StepFailed)


def test_with_workers_that_it_knows_a_run_hears_nobody_else(redis: brokers.Server, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        lab = Lab(redis.url, tmp_path, Seal(OURS, (OURS.public,)))
        stack.callback(lambda: threading.Thread(target=lab.fleet.__exit__, args=(None, None, None)).start())
        stranger, known = Liar(redis.url), Liar(redis.url, Seal(OURS))
        order = stranger.order(lab)
        stranger.says(order.mailbox, Claim(order.action.key, order.ticket))
        assert known.asks(order).go
        assert stranger.answers == []
        for each in (stranger, known):
            threading.Thread(target=each.mail.close).start()
        lab.fleet.stop()
        lab.end()
