"""A run that is only a mailbox, orders as a test wants them, and a line to the broker that can be cut."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from typing import Callable, List, Optional, Set, Type, TypeVar
from urllib.parse import urlsplit

from builder import digest
from builder.actions.action import Action, Result
from builder.actions.recipes import Engine, Made, Recipe
from builder.config.tensorrt import TensorRtOptions
from builder.errors import Untrusted
from builder.execution.cache import Cache
from builder.execution.fleet import queues
from builder.execution.fleet.broker import Broker
from builder.execution.fleet.mail import Mail
from builder.execution.fleet.sealing import Seal
from builder.execution.fleet.words import Answer, Beat, Claim, Done, Failed, Order, Report
from builder.execution.messages import File
from builder.platforms.platform import Pinned, Platform

CPU = Platform("onnxruntime", "any", "linux", "x86_64")
ENGINE = Engine("fp32", "f32", (), 0, TensorRtOptions(), "")
QUEUE = queues.name(CPU)
MODEL = b"a model"
Said = TypeVar("Said", Claim, Beat, Done, Failed)


def until(true: Callable[[], object], seconds: float = 20.0, what: str = "it") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} took too long"
        time.sleep(0.02)


def action(*inputs: Pinned, recipe: Recipe = ENGINE, platform: Optional[Platform] = CPU) -> Action:
    return Action(recipe, inputs or (Pinned("model.onnx", digest.of_bytes(MODEL)),), (), platform)


def order(what: Optional[Action] = None, *files: File, run: str = "0f") -> Order:
    """For the model, unless it says otherwise."""
    return Order(
        os.urandom(8).hex(),
        run,
        f"deploymatrix.run.{run}",
        what or action(),
        files or (File(digest.of_bytes(MODEL), len(MODEL)),),
        60.0,
    )


def seem_to_work(what: Action, cache: Cache, say: Callable[[str], None]) -> Result:
    """In place of a step."""
    for pinned in what.inputs:
        cache.store.fetch(pinned.digest)
    say("worked")
    return Result(what.key, (cache.store.put_bytes("model.bin", b"made of " + what.key.encode()),), Made(1, ()), 0.1, 1)


class Run:
    """The run's side. `answers` says what is answered to each report; None is no answer."""

    def __init__(self, broker: Broker, seal: Seal, name: str) -> None:
        self.reports, self.refused, self.name = [], [], name  # type: List[Report], List[str], str
        self.answers: Callable[[Report], Optional[Answer]] = self.grants
        self._seal = seal
        self.mail = Mail(broker, f"deploymatrix.run.{name}", self._letter, lambda: None)

    def grants(self, report: Report) -> Optional[Answer]:
        """It is content with whatever it is told."""
        return self.answer(report)

    def answer(self, report: Report, go: bool = True, token: int = 7, why: str = "") -> Answer:
        return Answer(self.name, report.said.key, go, token, why, report.said.it)

    def _letter(self, body: object) -> None:
        try:
            report = self._seal.open(Report, body)
        except Untrusted as problem:
            self.refused.append(problem.what)
            return
        self.reports.append(report)
        answer = self.answers(report)
        if answer is not None:
            self.send(report.who.mailbox, answer)

    def send(self, mailbox: str, record: object) -> None:
        self.mail.send(mailbox, self._seal.close(record))

    def heard(self, kind: Type[Said]) -> List[Said]:
        return [report.said for report in self.reports if isinstance(report.said, kind)]


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
