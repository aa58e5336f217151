"""Connection to the NATS server that carries jobs and messages.

    deploymatrix.jobs.QUEUE   the JetStream stream of all jobs, with one pull consumer for each queue
    deploymatrix.run.RUN      reports of workers to a run, and `.stop` for the end of that run
    deploymatrix.workers      the question who is there

The server redelivers a job that nobody has acknowledged or called in progress for `LEASE` seconds. Jobs, acknowledgements
and leases outlive a connection and a restart of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import time
from typing import Awaitable, Callable, Dict, Iterator, List, Mapping, Optional, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, NoRespondersError, TimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError, ServerError

from builder.config.remote_machines import SCHEMES
from builder.errors import DeployError, Unreachable, UsageError, first_line
from builder.execution.fleet.messages import LARGEST

VARIABLE = "DEPLOYMATRIX_BROKER"
STREAM = "deploymatrix"
WORKERS = "deploymatrix.workers"
LEASE = 15.0  # seconds without a sign of life after which a job is delivered again
PULL = 30.0  # seconds that one request for a job stands
_CONNECT = 5.0
_LONGEST_URL = 255
_ADDRESS = "tls://USER:PASSWORD@HOST:4222"


def run_subject(run: str) -> str:
    return f"deploymatrix.run.{run}"


class Broker:
    """Address of a server. `name` is without its password, `private` means TLS or this very machine."""

    def __init__(self, url: str) -> None:
        """Raises UsageError for what is no address of a broker. Opens no connection."""
        self._parts = parts = _split(url.strip())
        user, port = f"{parts.username}@" if parts.username else "", f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        self.server = f"{parts.scheme}://{host}{port}"
        self.name = f"{parts.scheme}://{user}{host}{port}"
        self.tls = parts.scheme == "tls"
        self.private = self.tls or parts.hostname in ("localhost", "127.0.0.1", "::1")
        self.user, self.password = unquote(parts.username or ""), unquote(parts.password or "")

    def require_private(self, signed: bool, how: str) -> None:
        """Without TLS, others on the network could order and answer unless all is signed. Raises UsageError."""
        if not self.private and not signed:
            hint = f"use tls://, or sign what is sent: {how}"
            what = (
                "messages would pass unprotected: the broker is on another machine, and its address is not one of TLS"
            )
            raise UsageError(what, where=self.name, hint=hint)

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Raise errors of the connection inside as Unreachable."""
        try:
            yield
        except DeployError:
            raise
        except Exception as problem:  # the library's own, and whatever a server that is none makes it raise
            said = first_line(problem) or type(problem).__name__
            hint = f"is it there? Its whole address, with the password: export {VARIABLE}=..."
            if "certificate" in said.lower():
                hint = "its address has the name in its certificate; the authority of that: export SSL_CERT_FILE=FILE"
            if isinstance(problem, NoRespondersError) or "jetstream" in said.lower():
                hint = "its JetStream has to be on: nats-server -js"
            raise Unreachable(f"the broker does not answer, or refuses: {said}", where=self.name, hint=hint) from None


def found(named: Optional[str], environ: Mapping[str, str]) -> Broker:
    """The broker that the environment names, with its password, or else that of matrix or command line."""
    url = environ.get(VARIABLE) or named
    if not url:
        raise UsageError("no broker is named", hint=f"--broker tls://HOST:4222, or export {VARIABLE}=...")
    return Broker(url)


class Connection:
    """Connection that is made again when it is lost. To be used in one event loop. `lost` is when that was."""

    def __init__(self, broker: Broker, name: str, tell: Callable[[str], None] = lambda line: None) -> None:
        """`tell` gets a line when the connection is lost, and when it is there again."""
        self._broker, self._name, self._tell = broker, name, tell
        self._nats = Client()
        self._opened = self._secured = False
        self._pulls, self._queues = [], []  # type: List[str], List[str]
        self.lost: Optional[float] = None

    async def open(self) -> None:
        """Raises Unreachable."""
        for library in ("asyncio", "nats"):  # what goes wrong is told here
            logging.getLogger(library).addHandler(logging.NullHandler())
        broker = self._broker
        options: Dict[str, object] = {"user": broker.user, "password": broker.password} if broker.user else {}
        if broker.tls:
            options = {"tls": self._context(), "user": self._checked_user, "password": lambda: broker.password}
        with broker.reached():
            await self._nats.connect(
                broker.server,
                name=self._name,
                error_cb=self._told,
                disconnected_cb=self._disconnected,
                reconnected_cb=self._reconnected,
                connect_timeout=int(_CONNECT),
                reconnect_time_wait=1,
                max_reconnect_attempts=-1,
                ping_interval=5,
                max_outstanding_pings=2,
                **options,
            )
            self._jets = self._nats.jetstream(timeout=_CONNECT)
        await self._make()
        self._opened = True

    async def close(self) -> None:
        self._tell = lambda line: None
        with contextlib.suppress(Error, OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._nats.flush(1), 2)
        with contextlib.suppress(Exception):  # whatever a broken connection raises while it is put away
            await asyncio.wait_for(self._nats.close(), 2)

    # ------------------------------------------------------------------------------------------- jobs

    async def serve(self, *queues: str) -> None:
        """Make the consumers of these queues, where they are not there. Raises Unreachable."""
        lacking = [queue for queue in queues if queue not in self._queues]
        if lacking:
            await self._make(lacking)
            self._queues.extend(lacking)

    async def _make(self, queues: Sequence[str] = ()) -> None:
        stream = StreamConfig(STREAM, subjects=["deploymatrix.jobs.>"], retention=RetentionPolicy.WORK_QUEUE)
        with self._broker.reached():
            with contextlib.suppress(BadRequestError):  # another release has made it
                await self._jets.add_stream(stream)
            for queue in queues:
                settings = ConsumerConfig(
                    durable_name=_consumer(queue),
                    filter_subject=_subject(queue),
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=LEASE,
                    max_ack_pending=-1,
                    max_waiting=100_000,
                )
                await self._jets.add_consumer(STREAM, settings)

    async def add(self, queue: str, job: bytes) -> int:
        """Put a job into a queue. Returns its number in the stream. Raises Unreachable."""
        with self._broker.reached():
            return int((await self._jets.publish(_subject(queue), job, timeout=_CONNECT)).seq)

    async def remove(self, number: int) -> None:
        """Remove a job, so that it is delivered no more. Raises Unreachable."""
        with self._broker.reached(), contextlib.suppress(NotFoundError, BadRequestError, ServerError):  # gone
            await self._jets.delete_msg(STREAM, number)

    async def holds(self, number: int) -> bool:
        """Is a job still in the stream: waiting, or with a worker? Raises Unreachable."""
        with self._broker.reached():
            try:
                return bool(await self._jets.get_msg(STREAM, number))
            except NotFoundError:
                return False

    async def waiting(self, queue: str) -> int:
        """Number of jobs in a queue that no worker has. Raises Unreachable."""
        with self._broker.reached():
            try:
                return int((await self._jets.consumer_info(STREAM, _consumer(queue))).num_pending or 0)
            except NotFoundError:
                return 0

    async def next(self, queues: Sequence[str]) -> Optional[Msg]:
        """The next job of any of these queues; None when there was none for a while. Raises Unreachable."""
        request = json.dumps({"batch": 1, "expires": int(PULL * 1e9)}).encode()
        with self._broker.reached():
            inbox = self._nats.new_inbox()
            subscription = await self._nats.subscribe(inbox)
            await subscription.unsubscribe(limit=1)  # the server forgets the other requests with the first answer
            self._pulls.append(inbox)
            try:
                for queue in queues:
                    subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{_consumer(queue)}"
                    await self._nats.publish(subject, request, reply=inbox)
                message = await subscription.next_msg(PULL + 5)
            except TimeoutError:
                await subscription.unsubscribe()
                return None
            finally:
                self._pulls.remove(inbox)
            return message if message.reply and not (message.headers or {}).get("Status") else None

    async def wake(self) -> None:
        """End every `next`, with None."""
        with contextlib.suppress(Error):
            for inbox in self._pulls:
                await self._nats.publish(inbox)

    # ------------------------------------------------------------------------------------------- messages

    async def ask(self, subject: str, question: bytes, seconds: float) -> Optional[bytes]:
        """The answer; None when nobody gives one."""
        try:
            return bytes((await self._nats.request(subject, question, timeout=seconds)).data)
        except (Error, OSError, asyncio.TimeoutError):
            return None

    async def ask_all(self, subject: str, question: bytes, seconds: float) -> List[bytes]:
        """All answers within so many seconds. Raises Unreachable."""
        answers: List[bytes] = []

        async def take(message: Msg) -> None:
            answers.append(message.data)

        with self._broker.reached():
            inbox = self._nats.new_inbox()
            subscription = await self._nats.subscribe(inbox, cb=take)
            await self._nats.publish(subject, question, reply=inbox)
            await asyncio.sleep(seconds)
            await subscription.unsubscribe()
        return answers

    async def listen(self, subject: str, answer: Callable[[bytes], Awaitable[Optional[bytes]]]) -> Callable[[], object]:
        """Call `answer` with each message, and send what it returns. Returns what ends that. Raises Unreachable."""

        async def take(message: Msg) -> None:
            given = await answer(bytes(message.data)) if len(message.data) <= LARGEST else None
            if given is not None and message.reply:
                await message.respond(given)

        with self._broker.reached():
            subscription = await self._nats.subscribe(subject, cb=take)
        return subscription.unsubscribe  # type: ignore[no-any-return]

    async def tell(self, subject: str, message: bytes) -> None:
        """Send a message that nobody answers. Raises Unreachable."""
        with self._broker.reached():
            await self._nats.publish(subject, message)

    # ------------------------------------------------------------------------------------------- the line

    async def _told(self, problem: Exception) -> None:
        """Raise what goes wrong with the first connection. A later one is made again."""
        if not self._opened:
            raise problem

    async def _disconnected(self) -> None:
        if self.lost is None and self._opened:
            self.lost = time.monotonic()
            self._tell(f"{self._broker.name}: the connection is lost; it is made again")

    async def _reconnected(self) -> None:
        self.lost = None
        self._tell(f"{self._broker.name}: connected again")
        self._again = asyncio.get_running_loop().create_task(self._made_again())

    async def _made_again(self) -> None:
        """The server has forgotten what was asked of it, and everything if its disk was lost."""
        with contextlib.suppress(Unreachable):
            await self._make(self._queues)
        await self.wake()

    def _context(self) -> ssl.SSLContext:
        """System certificates, or those that SSL_CERT_FILE names. It notes each handshake."""
        connection = self

        class Noted(ssl.SSLObject):
            def do_handshake(self) -> None:
                super().do_handshake()
                connection._secured = True

        context = ssl.create_default_context()
        context.sslobject_class = Noted
        return context

    def _checked_user(self) -> str:
        """A server decides by itself whether to begin TLS, so the login waits for the handshake of its connection."""
        secured, self._secured = self._secured, False
        if not secured:
            raise Error("it speaks without TLS, and its address has tls://")
        return self._broker.user


def _consumer(queue: str) -> str:
    return queue.replace(".", "_")


def _subject(queue: str) -> str:
    return f"deploymatrix.jobs.{queue}"


def _split(url: str) -> SplitResult:
    """Nothing of a wrong address is shown: it may have a password anywhere."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna")
    except ValueError:
        known = False
    if not known or not url.isprintable() or " " in url or len(url) > _LONGEST_URL:
        raise UsageError("this is no address of a broker", hint=_ADDRESS)
    if parts.query or parts.fragment or parts.path.strip("/"):
        what = (
            "the address of a broker ends with its port, and in a password / ? # and @ are written %2F %3F %23 and %40"
        )
        raise UsageError(what, hint=_ADDRESS)
    return parts
