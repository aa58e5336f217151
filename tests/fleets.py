"""A run that is only its answers, orders as a test wants them, and a line to the broker that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any, Callable, Coroutine, List, Optional, Set, Type, TypeVar
from urllib.parse import urlsplit

from builder import digest
from builder.actions.action import Action, Result
from builder.actions.recipes import Engine, Made, Recipe
from builder.config.tensorrt import TensorRtOptions
from builder.errors import Untrusted
from builder.execution.cache import Cache
from builder.execution.fleet import queues
from builder.execution.fleet.broker import STREAM, Broker, Connection, run_subject
from builder.execution.fleet.messages import Answer, Begin, Done, Failed, Message, Order, Signing, Working
from builder.execution.messages import File
from builder.platforms.platform import Pinned, Platform

CPU = Platform("onnxruntime", "any", "linux", "x86_64")
ENGINE = Engine("fp32", "f32", (), 0, TensorRtOptions(), "")
QUEUE = queues.name(CPU)
MODEL = b"a model"
Said = TypeVar("Said", Begin, Working, Done, Failed)
Made_ = TypeVar("Made_")


def until(true: Callable[[], object], seconds: float = 20.0, what: str = "it") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} took too long"
        time.sleep(0.02)


def action(*inputs: Pinned, recipe: Recipe = ENGINE, platform: Optional[Platform] = CPU) -> Action:
    return Action(recipe, inputs or (Pinned("model.onnx", digest.of_bytes(MODEL)),), (), platform)


def order(what: Optional[Action] = None, *files: File, run: str = "0f") -> Message:
    """For the model, unless it says otherwise."""
    what = what or action()
    files = files or (File(digest.of_bytes(MODEL), len(MODEL)),)
    return Message(run, what.key, os.urandom(8).hex(), "run", Order(what, files, 60.0))


def seem_to_work(what: Action, cache: Cache, say: Callable[[str], None]) -> Result:
    """In place of a step."""
    for pinned in what.inputs:
        cache.store.fetch(pinned.digest)
    say("worked")
    return Result(what.key, (cache.store.put_bytes("model.bin", b"made of " + what.key.encode()),), Made(1, ()), 0.1, 1)


class Link:
    """A connection of the test's own, from another thread. A context."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self.connection = Connection(Broker(url), "test")

    def __enter__(self) -> "Link":
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.do(self.connection.open())
        return self

    def __exit__(self, *problem: object) -> None:
        self.do(self.connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def do(self, work: "Coroutine[Any, Any, Made_]", seconds: float = 60) -> "Made_":
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def begin(self, work: "Coroutine[Any, Any, Made_]") -> "futures.Future[Made_]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def jobs(self) -> List[int]:
        """The numbers of all jobs in the stream."""
        state = (await self.connection._jets.stream_info(STREAM)).state
        numbers = range(state.first_seq, state.last_seq + 1) if state.messages else ()
        return [number for number in numbers if await self.connection.holds(number)]


class Run:
    """The run's side. `answers` says what is answered to each report; None is no answer."""

    def __init__(self, link: Link, signing: Signing, name: str) -> None:
        self.reports, self.refused, self.name = [], [], name  # type: List[Message], List[str], str
        self.answers: Callable[[Message], Optional[Message]] = self.answer
        self._link, self._signing = link, signing
        self._end = link.do(link.connection.listen(run_subject(name), self._report))

    def answer(self, report: Message, go: Any = "yes", why: str = "") -> Message:
        return Message(self.name, report.job, report.attempt, "run", Answer(go, why), report.number)

    async def _report(self, data: bytes) -> Optional[bytes]:
        try:
            report = self._signing.open(data)
        except Untrusted as problem:
            self.refused.append(problem.what)
            return None
        self.reports.append(report)
        answer = self.answers(report)
        return self._signing.close(answer) if answer is not None else None

    def heard(self, kind: Type[Said]) -> List[Said]:
        return [report.body for report in self.reports if isinstance(report.body, kind)]

    def end(self) -> None:
        self._link.do(self._end())  # type: ignore[arg-type]


class Proxy:
    """Passes bytes to a server on loopback and back. `cut` ends all connections, `mute` lets nothing pass there any more;
    while `closed`, new ones end at once."""

    def __init__(self, port: int) -> None:
        self._to, self._pairs, self.closed = port, [], False  # type: int, List[Tuple[socket.socket, socket.socket]], bool
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._mute: Set[socket.socket] = set()
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, of: str) -> str:
        """The address of the server, by way of this."""
        return of.replace(f":{urlsplit(of).port}", f":{self.port}")

    def cut(self) -> None:
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _end(end)
        self.cuts += bool(pairs)

    def mute(self) -> None:
        self._mute.update(end for pair in self._pairs for end in pair)

    def end(self) -> None:
        _end(self._listening)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it listens no more
            while True:
                near, _ = self._listening.accept()
                if self.closed:
                    _end(near)
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:  # nobody is behind it now; the next one may find somebody
                    _end(near)
                    continue
                self._pairs.append((near, far))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for piece in iter(lambda: one.recv(65536), b""):
                if one not in self._mute:
                    other.sendall(piece)
        _end(one)
        _end(other)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def kept(folder: Path) -> List[str]:
    """Every file below, by its name."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())
