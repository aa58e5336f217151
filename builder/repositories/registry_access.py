"""Requests to one repository of a registry, logged in as the registry wants it; what a refusal means, in words.

Which requests a registry understands is not known here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from typing import Iterator, Mapping, Optional, Tuple

from builder.errors import StoreDamaged, Unreachable
from builder.http import logins
from builder.http.address import parse
from builder.http.challenge import Challenge, challenges, token
from builder.http.client import BUSY, Client, Request, refused
from builder.http.logins import HINT, Login
from builder.http.reply import Reply

_MOST_WORDS = 64 << 10


class Access:
    """The repository `name` at `root`, an http(s) URL of a host. Thread-safe. Raises Unreachable and says what to do."""

    def __init__(self, root: str, name: str, environ: Mapping[str, str], client: Client) -> None:
        given = parse(root)
        answering, known_as = logins.host_names(given.netloc)
        self.root, self.name, self.host = parse(f"{given.scheme}://{answering}"), name, known_as
        self._environ, self._client = environ, client
        self._lock = threading.Lock()
        self._header = ""  # of Authorization; empty until the registry asks for it
        self._login: Optional[Login] = None

    def at(self, path: str) -> str:
        """The URL of something in this repository: `tags/list`, `blobs/DIGEST`, ..."""
        return dataclasses.replace(self.root, target=f"/v2/{self.name}/{path}").url

    @contextlib.contextmanager
    def open(self, request: Request, *expected: int) -> Iterator[Reply]:
        """The answer, whose status is one of `expected`. The login is sent to this registry only."""
        ours = parse(request.url).origin == self.root.origin
        for first in (True, False):
            header = self._header if ours else ""
            sent = (("Authorization", header),) if header else ()
            with self._client.open(dataclasses.replace(request, headers=(*request.headers, *sent))) as reply:
                from_us = ours and reply.there.origin == self.root.origin
                if reply.status == 401 and from_us and first and self._log_in(reply, header, request):
                    continue
                if reply.status not in expected:
                    raise self._refusal(reply, header, request)
                yield reply
                return

    def _log_in(self, reply: Reply, used: str, request: Request) -> bool:
        """Get what the registry asks for, unless another thread just did. False when it asks for nothing that helps."""
        asked = challenges(reply.all("WWW-Authenticate"))
        with self._lock:
            if self._header != used:
                return True
            if self._login is None:
                self._login = logins.login_for(self.host, self.name, self._environ)
            bearer = next((one for one in asked if one.scheme == "bearer"), None)
            if bearer is not None:
                return self._get_token(bearer, reply, request)
            login = self._login
            if not any(one.scheme == "basic" for one in asked) or login is None or login.token or used == login.basic:
                return False
            self._header = login.basic
            return True

    def _get_token(self, asked: Challenge, reply: Reply, request: Request) -> bool:
        found = token(self._client, asked, self._login, self.root)
        if found is None:
            raise self._wrong_login(self._login) if self._login else self._no_login(request)
        self._header = f"Bearer {found}"
        return True

    # ------------------------------------------------------------------ what a refusal means

    def _refusal(self, reply: Reply, used: str, request: Request) -> Unreachable:
        code, said = words(reply)
        login = self._login
        if reply.there.origin != self.root.origin:
            return refused(reply, "where the registry keeps its files does not give this one", "try again later")
        if reply.status == 401 and login is None:
            return self._no_login(request)
        if reply.status == 401 and login is not None and not used.startswith("Bearer "):
            return self._wrong_login(login)
        if reply.status in (401, 403):
            return Unreachable(
                f"{_named(login)} may not {_deed(request)} {self.name}" + (f": {said}" if said else ""),
                where=self.host,
                hint=f"ask whoever keeps {self.host} for the permission, or check the name {self.name}",
            )
        if reply.status in BUSY:
            return refused(reply, f"the registry is busy or broken: {said or 'it gives no reason'}", "try again later")
        if reply.status == 404 and code:
            return Unreachable(
                f"the registry knows no {self.name}: {said}",
                where=self.host,
                hint=f"check the name: oci://{self.host}/{self.name}",
            )
        if not code:
            return Unreachable(
                f"it does not answer as a registry does (status {reply.status})",
                where=str(reply.there),
                hint="check host and port in the address"
                + ("; with https it begins with oci://" if self.root.scheme == "http" else ""),
            )
        return refused(reply, f"the registry refuses: {said}", f"check the address, or ask whoever keeps {self.host}")

    def _no_login(self, request: Request) -> Unreachable:
        return Unreachable(
            f"it wants a login to {_deed(request)} {self.name}, and none is known for {self.host}",
            where=self.host,
            hint=f"docker login {self.host} (or skopeo, or podman), or: {HINT}",
        )

    def _wrong_login(self, login: Login) -> Unreachable:
        return Unreachable(
            f"it does not accept the login of {_named(login)} that is in {login.source}",
            where=self.host,
            hint=f"check the password and log in again: docker login {self.host}, or: {HINT}",
        )


def _named(login: Optional[Login]) -> str:
    return "who has no login" if login is None else login.user or "the token's owner"


def _deed(request: Request) -> str:
    return "read" if request.method in ("GET", "HEAD") else "write to"


def words(reply: Reply) -> Tuple[str, str]:
    """Code and message of the first error in a registry's answer; both empty where it does not speak as one."""
    with contextlib.suppress(Unreachable, StoreDamaged, ValueError, RecursionError, KeyError, IndexError, TypeError):
        first = json.loads(reply.read(_MOST_WORDS))["errors"][0]
        code, message = str(first["code"]), str(first.get("message") or first["code"])
        return code[:80], "".join(c for c in message if c.isprintable())[:200]
    return "", ""
