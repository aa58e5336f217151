"""An http(s) client for untrusted servers, with limits and retries.

Connections are kept and shared by threads. The client follows redirects and retries busy statuses; any other status is
for the
caller. A redirect never leads from https to http and never carries a secret to another server.
On the standard library: urllib3 for Python 3.8 ends at 2.2.3, whose known vulnerabilities stay unfixed.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import random
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from builder.errors import StoreDamaged, Unreachable, UsageError, first_line
from builder.release import VERSION
from builder.store.http import address
from builder.store.http.address import Address, Proxy
from builder.store.http.wire import PIECE, Body, Wire

# ------------------------------------------------------------------------------------------- errors


CA_FILE = "DEPLOYMATRIX_CA_FILE"


def explained(problem: Exception, there: Address, proxy: "Proxy | None" = None) -> Unreachable:
    """`problem` is an OSError or an HTTPException."""
    where = str(there)
    door = f"{proxy.host}:{proxy.port} (the proxy)" if proxy else f"{there.host}:{there.port}"
    check = (
        "check the proxy in HTTPS_PROXY and HTTP_PROXY"
        if proxy
        else "check the host's name and the port in the address"
    )
    if isinstance(problem, ssl.SSLCertVerificationError):
        return Unreachable(
            f"its certificate is not accepted: {problem.verify_message}",
            where=where,
            hint=f"if an authority of your own signed it, name that one's certificate: export {CA_FILE}=ca.pem",
        )
    if isinstance(problem, ssl.SSLError):
        plain = "WRONG_VERSION_NUMBER" in str(problem)
        said = "it does not speak TLS" if plain else f"TLS failed: {problem.reason or first_line(problem)}"
        return Unreachable(
            said,
            where=where,
            hint="is it a server without https? Then its address begins with http:// or oci+http://",
            passing=not plain,
        )
    if isinstance(problem, socket.timeout):
        return Unreachable("it took too long to answer", where=where, hint="try again later", passing=True)
    if isinstance(problem, socket.gaierror):
        later = problem.errno == socket.EAI_AGAIN
        return Unreachable(
            f"the host of {door} is not known: {problem.strerror}", where=where, hint=check, passing=later
        )
    if isinstance(problem, ConnectionRefusedError):
        return Unreachable(
            f"nothing listens at {door}", where=where, hint=f"is the server running? {check}", passing=True
        )
    if isinstance(problem, OSError):  # RemoteDisconnected is one too
        said = problem.strerror or first_line(problem)
        return Unreachable(f"the connection failed: {said}", where=where, hint="try again later", passing=True)
    if isinstance(problem, http.client.IncompleteRead):
        return cut(there)
    said = f"{type(problem).__name__}: {first_line(problem)[:200]}"
    return Unreachable(f"it does not answer in HTTP: {said}", where=where, hint=check)


def cut(there: Address) -> Unreachable:
    return Unreachable("the answer ended before it was whole", where=str(there), hint="try again", passing=True)


# ------------------------------------------------------------------------------------------- reply


_UNREAD = 64 << 10  # bytes of an unneeded body that are read to keep a connection
_FRAMES = (
    16  # a body in chunks of a byte each is six times as long; a chunk that claims -1 bytes would be read to its end
)


class Reply:
    """An answer: status and headers are read, the body is not. Read it once.

    `there`: its address after redirects. Raises Unreachable when it is cut or too slow.
    """

    def __init__(self, message: http.client.HTTPResponse, wire: Wire, there: Address, body: float) -> None:
        self.status = message.status
        self.there = there
        self._message, self._wire, self._seconds = message, wire, body

    def header(self, name: str) -> Optional[str]:
        return self._message.headers.get(name)

    def all(self, name: str) -> List[str]:
        """Every header of this name."""
        return list(self._message.headers.get_all(name, ()))

    @property
    def length(self) -> Optional[int]:
        """The header Content-Length, also in the answer to HEAD."""
        said = self.header("Content-Length") or ""
        return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else None

    @property
    def start(self) -> int:
        """The offset of the body in the file of a Range request. Raises StoreDamaged."""
        if self.status != 206:
            return 0
        said = re.match(r"bytes (\d{1,18})-", self.header("Content-Range") or "")
        if said is None:
            raise StoreDamaged("it sends a part of a file and does not say which", where=str(self.there))
        return int(said.group(1))

    def read(self, most: int) -> bytes:
        """The whole of a small body.

        Raises StoreDamaged when it is larger than `most` bytes.
        """
        if self.length is not None and self.length > most:
            raise StoreDamaged(
                f"it answers with {self.length:,} bytes; at most {most:,} are taken", where=str(self.there)
            )
        data = bytearray()
        self._wire.watch.within(self._seconds, _FRAMES * (most + PIECE))
        for piece in self._pieces(lambda: None):
            data += piece
            if len(data) > most:
                raise StoreDamaged(f"it answers with more than {most:,} bytes", where=str(self.there))
        return bytes(data)

    def pieces(self) -> Iterator[bytes]:
        """The body, however long it is: each 64 KiB have their time."""
        return self._pieces(lambda: self._wire.watch.within(self._seconds, _FRAMES * PIECE))

    def _pieces(self, before_each: Callable[[], None]) -> Iterator[bytes]:
        while True:
            before_each()
            try:
                piece = self._message.read(PIECE)
            except (OSError, http.client.HTTPException) as problem:
                raise explained(problem, self.there) from None
            except ValueError:  # the library's own, for a chunk of a negative size
                raise explained(http.client.HTTPException("a chunk without a size"), self.there) from None
            if not piece:
                break
            yield piece
        if self._message.length:  # the connection ended before Content-Length
            raise cut(self.there)

    def finish(self) -> bool:
        """Read the rest of a short body. Returns whether the connection can be reused."""
        if not self._message.isclosed() and (self.length is None or self.length <= _UNREAD):
            self._seconds = 2.0
            with contextlib.suppress(Unreachable, StoreDamaged):
                self.read(_UNREAD)
        return self._message.isclosed() and not self._message.will_close


# ----------------------------------------------------------------------- timeouts and retries; the clock is an argument


@dataclass(frozen=True)
class Clock:
    """`now` and `wall` in seconds, only `wall` since 1970; `chance` from 0 up to 1."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


@dataclass(frozen=True)
class Patience:
    """Timeouts in seconds, and the number of `tries`.

    `connect`: to open a connection. `answer`: for status and headers. `body`: for a small body, and for each 64 KiB of
    a large one, so about 1 kB/s is the slowest rate. `total`: for all retries, waits included.
    """

    tries: int = 4
    first: float = 0.5
    longest: float = 15.0
    total: float = 120.0
    connect: float = 10.0
    answer: float = 60.0
    body: float = 60.0

    def pause(self, tried: int, left: float, asked: Optional[float], chance: float) -> Optional[float]:
        """The wait after `tried` tries, with `left` seconds of `total`; None to give up.

        Exponential, half of it random, so that many hosts do not retry at once. `asked`: the wait that the server
        requests.
        """
        if tried >= self.tries:
            return None
        wait = min(self.longest, self.first * 2 ** (tried - 1)) * (0.5 + chance / 2)
        wait = max(wait, asked or 0.0)
        return wait if wait < left else None


def retry_after(value: Optional[str], wall: float) -> Optional[float]:
    """The seconds of the header Retry-After, a number or a date.

    None when it is neither.
    """
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - wall)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


# ------------------------------------------------------------------------------------------- client


MOST_REDIRECTS = 5
BUSY = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
_SECRETS = ("authorization", "cookie")
_PATIENCE, _CLOCK = Patience(), Clock()


@dataclass(frozen=True)
class HttpRequest:
    """A request.

    `headers` are pairs; `again`: whether it may be sent twice, None to follow its method.
    """

    method: str
    url: str
    headers: Tuple[Tuple[str, str], ...] = ()
    body: Optional[Body] = None
    again: Optional[bool] = None
    answer: Optional[float] = None  # seconds, where the server has more to do than usual

    @property
    def may_repeat(self) -> bool:
        return self.method in _IDEMPOTENT if self.again is None else self.again


@dataclass(frozen=True)
class HttpAnswer:
    """The answer to a small request, whole."""

    status: int
    data: bytes


class Client:
    """A client of http(s) servers. Thread-safe.

    Raises Unreachable when a server does not answer, is too slow, or does not speak HTTP.
    """

    def __init__(self, environ: Mapping[str, str], waits: Patience = _PATIENCE, clock: Clock = _CLOCK) -> None:
        """`environ` names proxies, and in DEPLOYMATRIX_CA_FILE additional certificate authorities."""
        self._environ, self._waits, self._clock = environ, waits, clock
        self._free: Dict[Tuple[str, str, int], List[Wire]] = {}
        self._lock = threading.Lock()
        self._tls: Optional[ssl.SSLContext] = None

    @contextlib.contextmanager
    def open(self, request: HttpRequest) -> Iterator[Reply]:
        """The answer with any status and an unread body, after redirects of GET and HEAD."""
        reply, wire = self._followed(request)
        kept = False
        try:
            yield reply
            kept = reply.finish()
        finally:
            if kept:
                with self._lock:
                    self._free.setdefault(reply.there.origin, []).append(wire)
            else:
                wire.close()

    def read(self, request: HttpRequest, most: int) -> HttpAnswer:
        """The whole answer to a small request. Retries when it is cut."""
        tried = 0
        while True:
            tried += 1
            with self.open(request) as reply:
                try:
                    return HttpAnswer(reply.status, reply.read(most))
                except Unreachable as problem:
                    if not (problem.passing and request.may_repeat and tried < self._waits.tries):
                        raise

    def _followed(self, request: HttpRequest) -> Tuple[Reply, Wire]:
        there, headers = address.parse(request.url), dict(request.headers)
        for _ in range(MOST_REDIRECTS + 1):
            reply, wire = self._patient(request, there, headers)
            location = reply.header("Location")
            if reply.status not in _REDIRECTS or request.method not in ("GET", "HEAD") or not location:
                return reply, wire
            wire.close()
            following = allowed(there, location)
            if following.origin != there.origin:
                headers = {name: value for name, value in headers.items() if name.lower() not in _SECRETS}
            there = following
        raise Unreachable(
            f"it redirects more than {MOST_REDIRECTS} times",
            where=str(address.parse(request.url)),
            hint="check the address",
        )

    def _patient(self, request: HttpRequest, there: Address, headers: Mapping[str, str]) -> Tuple[Reply, Wire]:
        """The first answer whose status is not busy, or the last one."""
        end, tried = self._clock.now() + self._waits.total, 0
        while True:
            tried += 1
            asked: Optional[float] = None
            failed: Optional[Unreachable] = None
            try:
                reply, wire = self._once(request, there, headers)
                if reply.status not in BUSY or not request.may_repeat:
                    return reply, wire
                asked = retry_after(reply.header("Retry-After"), self._clock.wall())
            except Unreachable as problem:
                if not (problem.passing and request.may_repeat):
                    raise
                failed = problem
            pause = self._waits.pause(tried, end - self._clock.now(), asked, self._clock.chance())
            if pause is None:
                if failed is not None:
                    raise failed
                return reply, wire
            if failed is None:
                wire.close()
            self._clock.sleep(pause)

    def _once(self, request: HttpRequest, there: Address, headers: Mapping[str, str]) -> Tuple[Reply, Wire]:
        """One exchange. Replaces a kept connection that the server has closed."""
        proxy = address.proxy_for(there, self._environ)
        said = {"User-Agent": f"deploymatrix/{VERSION}", **headers}
        answer = self._waits.answer if request.answer is None else request.answer
        while True:
            wire = self._wire(there, proxy, fresh=not request.may_repeat)
            was_used = wire.used
            try:
                message = wire.ask(request.method, there.target, said, request.body, answer)
            except (OSError, http.client.HTTPException) as problem:
                wire.close()
                if was_used and not isinstance(problem, socket.timeout):
                    continue
                raise explained(problem, there, proxy) from None
            except BaseException:  # an interrupt, or a local file that does not read: nothing is kept half-used
                wire.close()
                raise
            return Reply(message, wire, there, self._waits.body), wire

    def _wire(self, there: Address, proxy: Optional[address.Proxy], fresh: bool) -> Wire:
        with self._lock:
            free = self._free.get(there.origin)
            if free and not fresh:
                return free.pop()
            if there.scheme == "https" and self._tls is None:
                self._tls = _context(self._environ)
            trusted = self._tls
        return Wire(there, proxy, trusted, self._waits.connect, self._clock.now)


def refused(reply: Reply, what: str, hint: str) -> Unreachable:
    """The error for an unexpected status, with the wait that the server requests."""
    later = reply.header("Retry-After")
    asks = f"; it asks to wait {later[:40]} seconds" if later and later.isdigit() else ""
    passing = reply.status in BUSY
    return Unreachable(f"{what} (status {reply.status}{asks})", where=str(reply.there), hint=hint, passing=passing)


def allowed(here: Address, location: str) -> Address:
    try:
        there = here.follow(location)
    except UsageError as problem:
        raise Unreachable(f"it redirects to {problem.where}: {problem.what}", where=str(here)) from None
    if here.scheme == "https" and there.scheme == "http":
        raise Unreachable(
            f"it redirects to {there}, where nothing is encrypted",
            where=str(here),
            hint="tell whoever keeps that server: a redirect must lead to https",
        )
    return there


def _context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """TLS with the system's authorities (or those of SSL_CERT_FILE) and those of the given file."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    named = environ.get(CA_FILE)
    if named:
        try:
            context.load_verify_locations(cafile=named)
        except (OSError, ssl.SSLError) as problem:
            said = "it holds no certificate" if isinstance(problem, ssl.SSLError) else problem.strerror
            raise UsageError(f"{CA_FILE} cannot be read: {said}", where=named) from None
    return context
