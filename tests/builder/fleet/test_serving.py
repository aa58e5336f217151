"""What lies in a job queue and is no order of ours: refused in a line, taken once, and the worker is there for the next."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

pytest.importorskip("celery")
pytest.importorskip("redis")

from builder import digest
from builder.actions.recipes import Simplify
from builder.execution.fleet import presence, queues, roll
from builder.execution.fleet.broker import TASK, Broker
from builder.execution.fleet.sealing import Seal
from builder.execution.fleet.words import Failed
from builder.plugins import repository
from builder.store.oci import OCTETS, Descriptor
from tests import brokers, fleets
from tests.fakes import REPOSITORY
from tests.fleets import MODEL, QUEUE, Run, until

# It is refused at once, so that its answer says that the worker is there.
ORDER = Seal().close(fleets.order(fleets.action(recipe=Simplify((), (), (), False))))
_WORKER = """
import sys
from pathlib import Path
from builder import plugins as seams
from builder.execution.fleet import serving
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.sealing import Seal
from builder.execution.fleet.station import Post
from tests import fleets
from tests.fakes import LAPTOP
url, folder = sys.argv[1], Path(sys.argv[2])
post = Post("one@one", LAPTOP, folder / "kept")
tell = lambda line: print(line, flush=True)
sys.exit(serving.serve(Broker(url), seams.repository(str(folder / "exchange"), {}), Seal(), post, [fleets.QUEUE], tell))
"""


class Worker:
    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._log = url, folder / "log"
        place = repository(str(folder / "exchange"), {})
        (folder / "given").write_bytes(MODEL)
        place.put(Descriptor(OCTETS, digest.of_bytes(MODEL), len(MODEL)), folder / "given")
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, url, str(folder)],
            stdout=self._log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,
        )
        until(lambda: "serves" in self.log or self.process.poll() is not None, 60, "to start")
        assert self.process.poll() is None, self.log

    @property
    def client(self) -> Any:
        """To Redis, past all that Celery and Kombu do."""
        from redis import Redis

        return Redis.from_url(self.url)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("serving")
    with brokers.redis(folder / "redis") as server:
        made = Worker(server.url, folder)
        try:
            yield made
        finally:
            made.kill()


@pytest.fixture(scope="module")
def run(worker: Worker) -> Iterator[Run]:
    made = Run(Broker(worker.url), Seal(), "0f")
    made.mail.open()
    yield made
    made.mail.close()


def _message(body: bytes, kind: str = "application/json", **changes: Any) -> bytes:
    """As Kombu leaves it in Redis."""
    headers = {"lang": "py", "task": TASK, "id": os.urandom(8).hex(), "argsrepr": "", "kwargsrepr": "", "retries": 0}
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": kind,
        "headers": {**headers, **changes.pop("headers", {})},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "deploymatrix", "routing_key": QUEUE},
            "delivery_mode": 2,
            "delivery_tag": os.urandom(8).hex(),
            "priority": 0,
            **changes.pop("properties", {}),
        },
        **changes,
    }
    return json.dumps(message).encode()


def _task(*args: Any, **headers: Any) -> bytes:
    return _message(json.dumps([list(args), {}, {}]).encode(), headers=headers)


class Harm:
    """A pickle that would leave a file."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self._path,)


def _orders(harm: Path) -> Dict[str, bytes]:
    bad_json = {"headers": {"task": TASK, "id": "1"}}
    return {
        "pickle": _message(pickle.dumps([[Harm(harm)], {}, {}]), "application/x-python-serialize"),
        "pickle that says it is json": _message(pickle.dumps([[Harm(harm)], {}, {}])),
        "yaml": _message(f"!!python/object/apply:os.mkdir ['{harm}']".encode(), "application/x-yaml"),
        "msgpack": _message(b"\x93\x91\x01\x80\x80", "application/x-msgpack"),
        "of another kind": _message(b"x", "application/x-unheard-of"),
        "packed": _message(base64.b64encode(b"x"), headers={"compression": "application/x-gzip"}),
        "packed by whom": _message(b"[]", headers={"compression": "unheard of"}),
        "a bomb": _message(
            zlib.compress(b"[" + b" " * (64 << 20) + b"]"), headers={"compression": "application/x-gzip"}
        ),
        "another encoding": _message(b"[[], {}, {}]", **{"content-encoding": "unheard-of"}),
        "another task": _task("x", task="os.mkdir"),
        "a task of Celery": _task([], task="celery.map"),
        "a task of Celery, in a chord": _task(task="celery.chord_unlock"),
        "no task": _message(b"{}", headers={"task": None}),
        "no arguments": _task(),
        "two arguments": _task("one", "two"),
        "no text": _task({"step": "shell"}),
        "arguments by name": _message(json.dumps([[], {"text": "x", "command": "ls"}, {}]).encode()),
        "no list": _message(b'"text"'),
        "null": _message(b"null"),
        "deep": _message(b"[" * 100_000),
        "large": _task("x" * (9 << 20)),
        "no body": json.dumps({"properties": {}, **bad_json}).encode(),
        "no message": b"{}",
        "null in Redis": b"null",
        "no JSON in Redis": b"\x80\x04garbage",
        "nothing in Redis": b"",
    }


@pytest.mark.parametrize("which", list(_orders(Path())))
def test_what_is_no_order_is_taken_once_and_does_nothing(worker: Worker, run: Run, tmp_path: Path, which: str) -> None:
    harm = tmp_path / "harm"
    client = worker.client
    before, told = len(worker.log), len(run.heard(Failed))
    client.lpush(QUEUE, _orders(harm)[which])
    client.lpush(QUEUE, _task(ORDER))
    until(lambda: len(run.heard(Failed)) > told, 20, "the next order")
    until(lambda: client.hlen("unacked") == 0 and client.llen(QUEUE) == 0, 20, "all to be taken")
    said = worker.log[before:].splitlines()
    assert any(line.startswith(("refused: ", "Can't decode message body: ")) for line in said), said
    assert not [line for line in said if "Traceback" in line or line.startswith(" ") or len(line) > 600]
    assert len(said) <= 6, said
    assert not harm.exists() and worker.process.poll() is None


def test_no_stranger_ends_a_worker_or_sends_it_elsewhere(worker: Worker, run: Run) -> None:
    broker = Broker(worker.url)
    app = broker.app()
    for command, what in (
        ("shutdown", {}),
        ("add_consumer", {"queue": "elsewhere"}),
        ("cancel_consumer", {"queue": QUEUE}),
        ("pool_shrink", {"n": 1}),
        ("pool_restart", {"modules": ["os"]}),
        ("terminate", {"task_id": ["x"], "signal": "KILL"}),
        ("revoke", {"task_id": {"no": "list"}, "terminate": True, "signal": "KILL"}),
        ("revoke", {"task_id": [7, "x"], "terminate": True, "signal": "KILL"}),
        ("time_limit", {"task_name": TASK, "hard": 0.1}),
        (7, {}),
        ("", {"shell": "ls"}),
    ):
        app.control.broadcast(command, arguments=what)
    client = worker.client
    for garbage in (b"null", b"{}", b"garbage"):
        client.publish("/0.celery.pidbox", garbage)
    told = len(run.heard(Failed))
    client.lpush(QUEUE, _task(ORDER))
    until(lambda: len(run.heard(Failed)) > told, 20, "the next order")
    assert presence.ask(broker, app, {QUEUE}).workers == {"one@one": frozenset({QUEUE, queues.own("one")})}
    assert [(w.name, w.queues, w.job) for w in roll.call(broker, {}).workers] == [
        ("one@one", (queues.own("one"), QUEUE), None)
    ]
    assert worker.process.poll() is None and "Traceback" not in worker.log


ODD: List[Any] = [
    None,
    7,
    "text",
    [7],
    [{"name": 7}],
    {"error": "KeyError()"},
    {"machine": "m", "queues": 7, "orders": [], "since": [], "now": 1.0, "done": 1},
    {"machine": "m", "queues": ["\x1b[2J\n"], "orders": ["[" * 9999], "since": [None], "now": 1.0, "done": 1},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_who_answers_for_a_worker_is_not_believed(odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = set(presence._names(odd))
    assert not names
    found = roll._worker("a\x1b[2J@b", odd)
    assert found is None or (found.name, found.queues, found.job) == ("a?[2J@b", ("?[2J",), None)
