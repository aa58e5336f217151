"""Sending a file to a registry: small ones at once, large ones in chunks, and on from where it was cut.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
"""

from __future__ import annotations

import re
from typing import Optional

from builder import digest
from builder.descriptor import Descriptor
from builder.errors import StoreDamaged, Unreachable
from builder.http.address import Address
from builder.http.client import Request, allowed
from builder.http.reply import Reply
from builder.http.wire import Part
from builder.repositories.registry_access import Access, words

CHUNK = 32 << 20
_MOST_CHUNK = 5 << 30  # no registry asks for more
_FAILURES = 4  # cuts in a row without a byte more
_COMMIT = 900.0  # seconds in which a registry may check and store what was sent
_OCTETS = ("Content-Type", "application/octet-stream")


def upload(access: Access, it: Descriptor, body: Part, chunk: int = CHUNK) -> None:
    """Bring the `it.size` bytes of `body` to the registry, which checks their digest. Raises Unreachable, which is
    passing where a new upload may do better."""
    _Upload(access, it, body, chunk).run()


class _Upload:
    """One session of an upload. `_there` moves with every answer, `_sent` is what the registry has."""

    def __init__(self, access: Access, it: Descriptor, body: Part, chunk: int) -> None:
        self._access, self._it, self._body, self._chunk = access, it, body, chunk
        self._there: Optional[Address] = None
        self._sent = 0

    def run(self) -> None:
        start = Request("POST", self._access.at("blobs/uploads/"), body=b"", again=True)
        with self._access.open(start, 202) as reply:
            self._moved(reply)
            least = reply.header("OCI-Chunk-Min-Length") or ""
        if least.isascii() and least.isdigit() and len(least) < 12:
            self._chunk = min(max(self._chunk, int(least)), _MOST_CHUNK)
        failures = 0
        while self._it.size > self._chunk and self._sent < self._it.size:
            before = self._sent
            try:
                self._send_chunk()
            except Unreachable as problem:
                if not problem.passing:
                    raise
                self._ask_how_far()
                failures = failures + 1 if self._sent <= before else 0
                if failures == _FAILURES:
                    raise
        self._commit()

    def _send_chunk(self) -> None:
        size = min(self._chunk, self._it.size - self._sent)
        headers = (_OCTETS, ("Content-Range", f"{self._sent}-{self._sent + size - 1}"))
        part = Part(self._body.file, self._sent, size)
        with self._access.open(Request("PATCH", self._url(), headers, part, answer=_COMMIT), 202, 416) as reply:
            if reply.status == 416:
                raise self._lost(reply, "it has more or less of the upload than it took")
            self._moved(reply)
            self._sent += size

    def _ask_how_far(self) -> None:
        """What the registry has of it. Raises Unreachable when it forgot the upload: it starts anew then."""
        with self._access.open(Request("GET", self._url()), 204, 202, 404) as reply:
            if reply.status == 404:
                raise self._lost(reply, "it has forgotten the upload")
            self._moved(reply)
            said = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", reply.header("Range") or "0-0")
        last = int(said.group(1)) if said else -1
        if not 0 <= last < self._it.size:
            raise StoreDamaged("it does not say how much of the upload it has", where=str(self._there))
        self._sent = last + 1 if last else 0  # nothing, and a single byte, are both said as 0-0

    def _commit(self) -> None:
        left = self._it.size - self._sent
        body = Part(self._body.file, self._sent, left) if left else b""
        url = f"{self._url()}{'&' if '?' in self._url() else '?'}digest={self._it.digest}"
        request = Request("PUT", url, (_OCTETS,), body, again=False, answer=_COMMIT)
        with self._access.open(request, 201, 204, 400) as reply:
            if reply.status == 400:
                raise self._mismatch(reply)
            named = reply.header("Docker-Content-Digest")
        if named not in (None, self._it.digest):
            raise StoreDamaged(
                f"the registry took {self._it.digest} for {(named or '')[:80]!r}", where=self._access.host
            )

    def _mismatch(self, reply: Reply) -> Exception:
        """The registry holds the digest against what it has: the file is another one here, or came to be on its way."""
        if digest.of_file(self._body.file) != self._it.digest:
            return StoreDamaged(
                f"{self._it.title or self._it.digest} has other content than its name says",
                where=str(self._body.file),
                hint="delete that file and run `build matrix` again",
            )
        return self._lost(reply, f"the registry refuses what arrived: {words(reply)[1] or 'it gives no reason'}")

    def _moved(self, reply: Reply) -> None:
        """Every answer says where the next request goes."""
        location = reply.header("Location")
        if location is None:
            raise StoreDamaged("it does not say where to upload to", where=str(reply.there))
        self._there = allowed(reply.there, location)

    @staticmethod
    def _lost(reply: Reply, what: str) -> Unreachable:
        return Unreachable(what, where=str(reply.there), hint="the same command sends it again", passing=True)

    def _url(self) -> str:
        assert self._there is not None
        return self._there.url
