"""A web server as a repository: `https://HOST/PATH`.

index.json and blobs are below it, as in a store. Any server of plain files works: requests are GET and HEAD, and
support of Range is optional. Read-only: to publish, copy a folder to the server in the order of `_HOW`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from pathlib import Path
from typing import Iterator, Mapping, Optional

from builder.errors import StoreDamaged, Unreachable, UsageError
from builder.plugins import Stream
from builder.store import oci
from builder.store.http import logins
from builder.store.http.address import parse
from builder.store.http.client import Client, HttpRequest, Reply, refused
from builder.store.http.logins import challenges
from builder.store.oci import Descriptor
from builder.store.remotes.folder import INDEX_FILE, ByPath

_ABSENT = (404, 410)
_NO_HEAD = (405, 501)
_HOW = "publish to a folder, and copy that to the server, index.json last: build publish FOLDER"
# A cache must revalidate index.json. A blob is verified by its name.
_FRESH = (("Cache-Control", "no-cache"), ("Pragma", "no-cache"))


class Web(ByPath):
    """`client` is for tests that are in a hurry."""

    def __init__(self, address_: str, environ: Mapping[str, str], client: Optional[Client] = None) -> None:
        there = parse(address_)
        if "?" in there.target or "#" in there.target:
            raise UsageError("a place has no query in its address", where=str(there), hint="https://HOST/PATH")
        if there.target.endswith(f"/{INDEX_FILE}"):
            raise UsageError(f"{there} is a file", hint=f"name its folder: {str(there)[: -len(INDEX_FILE) - 1]}")
        self._root = dataclasses.replace(there, target=there.target.rstrip("/"))
        self._environ, self._client = environ, client or Client(environ)
        self._lock = threading.Lock()
        self._header = ""  # of Authorization; empty until the server asks for it

    @property
    def name(self) -> str:
        return str(self._root)

    def size(self, path: str) -> Optional[int]:
        with self._asked(HttpRequest("HEAD", self._url(path)), 200, *_ABSENT, *_NO_HEAD) as reply:
            if reply.status in _ABSENT:
                return None
            if reply.status == 200 and reply.length is not None:
                return reply.length
        with self._asked(HttpRequest("GET", self._url(path)), 200, *_ABSENT) as reply:
            return None if reply.status in _ABSENT else sum(map(len, reply.pieces()))

    @contextlib.contextmanager
    def open(self, path: str, start: int) -> Iterator[Optional[Stream]]:
        wanted = (("Range", f"bytes={start}-"),) if start else ()
        headers = (*wanted, *(_FRESH if path == INDEX_FILE else ()))
        with self._asked(HttpRequest("GET", self._url(path), headers), 200, 206, *_ABSENT) as reply:
            if reply.status in _ABSENT:
                yield None
                return
            packed = reply.header("Content-Encoding")
            if packed not in (None, "", "identity"):
                raise StoreDamaged(
                    f"it sends {path} packed ({packed[:20]}), which was not asked for",
                    where=self.name,
                    hint="tell whoever keeps that server: no compression there",
                )
            if reply.start > start:
                raise StoreDamaged(f"it sends {path} from byte {reply.start:,}; asked for {start:,}", where=self.name)
            yield Stream(reply.start, reply.pieces())

    def index(self) -> oci.Object:
        data = self.read_index()
        if data is None or data.lstrip()[:1] == b"<":  # an HTML page: an error, or a network that requires a login
            found = "no index.json" if data is None else "a web page in place of index.json"
            raise UsageError(
                f"there is {found}",
                where=self.name,
                hint="give the address of a folder that was copied there as a whole: build publish FOLDER",
            )
        return self.parsed_index(data)

    def put(self, it: Descriptor, source: Path) -> None:
        raise self._read_only()

    def tag(self, tag: str, it: Descriptor) -> None:
        raise self._read_only()

    def _read_only(self) -> UsageError:
        return UsageError("a web server is only read from", where=self.name, hint=_HOW)

    def _url(self, path: str) -> str:
        return dataclasses.replace(self._root, target=f"{self._root.target}/{path}").url

    # ------------------------------------------------------------------ asking

    @contextlib.contextmanager
    def _asked(self, request: HttpRequest, *expected: int) -> Iterator[Reply]:
        """The answer, with a status in `expected`.

        A password goes only to this server, encrypted.
        """
        for first in (True, False):
            used = self._header
            sent = (("Authorization", used),) if used else ()
            with self._client.open(dataclasses.replace(request, headers=(*request.headers, *sent))) as reply:
                if reply.status == 401 and first and self._log_in(reply, used):
                    continue
                if reply.status not in expected:
                    raise self._refusal(reply, used)
                yield reply
                return

    def _log_in(self, reply: Reply, used: str) -> bool:
        """False when nothing that is known here helps."""
        with self._lock:
            if self._header != used:  # another thread just did
                return True
            if used or reply.there.origin != self._root.origin or self._root.scheme != "https":
                return False
            login = logins.login_for(self._root.netloc, "", self._environ)
            if login is None or not any(one.scheme == "basic" for one in challenges(reply.all("WWW-Authenticate"))):
                return False
            self._header = login.basic
            return True

    def _refusal(self, reply: Reply, used: str) -> Unreachable:
        if reply.status == 401:
            said = "it does not accept the password" if used else "it wants a password"
            return refused(
                reply, said, logins.HINT if self._root.scheme == "https" else f"over https only: {logins.HINT}"
            )
        if reply.status == 403:
            return refused(
                reply, "it does not show this", "it may say so, too, of what is not there: check the address"
            )
        return refused(reply, "it does not answer as a server of files does", "check the address, or try again later")
