"""Requests to http(s) servers that are not believed: bounded in time and size, patient with what passes.

Connections are kept and shared by threads. What a status means is the caller's business; here only redirects, and the
statuses after which one asks again, are known. A redirect never leads from https to http and never takes a secret along.
On the standard library: urllib3 for Python 3.8 ends at 2.2.3, whose known vulnerabilities stay unfixed.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from builder.errors import Unreachable, UsageError
from builder.http import address, patience, problems, proxies
from builder.http.address import Address
from builder.http.patience import Clock, Patience
from builder.http.reply import Reply
from builder.http.wire import Body, Wire
from builder.release import VERSION

MOST_REDIRECTS = 5
BUSY = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
_SECRETS = ("authorization", "cookie")
_PATIENCE, _CLOCK = Patience(), Clock()


@dataclass(frozen=True)
class Request:
    """`headers` are pairs; `again`: may it be sent twice? None says what HTTP says of its method."""

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
class Answer:
    """The answer to a small request, whole."""

    status: int
    data: bytes


class Client:
    """Thread-safe. Raises Unreachable when a server does not answer, or not in HTTP, or too slowly."""

    def __init__(self, environ: Mapping[str, str], waits: Patience = _PATIENCE, clock: Clock = _CLOCK) -> None:
        """`environ` names proxies, and in DEPLOYMATRIX_CA_FILE authorities to trust beside the system's."""
        self._environ, self._waits, self._clock = environ, waits, clock
        self._free: Dict[Tuple[str, str, int], List[Wire]] = {}
        self._lock = threading.Lock()
        self._tls: Optional[ssl.SSLContext] = None

    @contextlib.contextmanager
    def open(self, request: Request) -> Iterator[Reply]:
        """The answer with its body still on the way, whatever its status, after redirects of GET and HEAD."""
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

    def read(self, request: Request, most: int) -> Answer:
        """The answer to a small request. One that is cut is asked for again."""
        tried = 0
        while True:
            tried += 1
            with self.open(request) as reply:
                try:
                    return Answer(reply.status, reply.read(most))
                except Unreachable as problem:
                    if not (problem.passing and request.may_repeat and tried < self._waits.tries):
                        raise

    def _followed(self, request: Request) -> Tuple[Reply, Wire]:
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

    def _patient(self, request: Request, there: Address, headers: Mapping[str, str]) -> Tuple[Reply, Wire]:
        """The first answer that does not ask for patience, or the last one."""
        end, tried = self._clock.now() + self._waits.total, 0
        while True:
            tried += 1
            asked: Optional[float] = None
            failed: Optional[Unreachable] = None
            try:
                reply, wire = self._once(request, there, headers)
                if reply.status not in BUSY or not request.may_repeat:
                    return reply, wire
                asked = patience.retry_after(reply.header("Retry-After"), self._clock.wall())
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

    def _once(self, request: Request, there: Address, headers: Mapping[str, str]) -> Tuple[Reply, Wire]:
        """One exchange. A kept connection that the server closed meanwhile is replaced by a fresh one."""
        proxy = proxies.proxy_for(there, self._environ)
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
                raise problems.explained(problem, there, proxy) from None
            except BaseException:  # an interrupt, or a local file that does not read: nothing is kept half-used
                wire.close()
                raise
            return Reply(message, wire, there, self._waits.body), wire

    def _wire(self, there: Address, proxy: Optional[proxies.Proxy], fresh: bool) -> Wire:
        with self._lock:
            free = self._free.get(there.origin)
            if free and not fresh:
                return free.pop()
            if there.scheme == "https" and self._tls is None:
                self._tls = _context(self._environ)
            trusted = self._tls
        return Wire(there, proxy, trusted, self._waits.connect, self._clock.now)


def refused(reply: Reply, what: str, hint: str) -> Unreachable:
    """The error for a status that the caller has no other word for, with the wait that the server asks for."""
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
    """The system's authorities (or SSL_CERT_FILE, which OpenSSL reads itself), and those of the file that is named."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    named = environ.get(problems.CA_FILE)
    if named:
        try:
            context.load_verify_locations(cafile=named)
        except (OSError, ssl.SSLError) as problem:
            said = "it holds no certificate" if isinstance(problem, ssl.SSLError) else problem.strerror
            raise UsageError(f"{problems.CA_FILE} cannot be read: {said}", where=named) from None
    return context
