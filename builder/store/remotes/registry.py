"""A registry as a repository: oci://HOST[:PORT]/NAME, or oci+http://.

oci:// is over https, oci+http:// over plain http. It speaks the OCI distribution specification, as docker-registry,
GHCR, ECR, Harbor, Zot and others do: https://github.com/opencontainers/distribution-spec/blob/main/spec.md Signatures
are objects with tags of their own, so the referrers API is not needed. Written by hand: the library `oras` verifies no
digest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import threading
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from builder import digest
from builder.errors import StoreDamaged, Unreachable, UsageError
from builder.plugins import Stream
from builder.store.http import address, logins
from builder.store.http.address import Address, parse
from builder.store.http.client import BUSY, Client, HttpRequest, Reply, allowed, refused
from builder.store.http.logins import HINT, Challenge, Login, challenges, token
from builder.store.http.wire import FilePart
from builder.store.oci import INDEX, MANIFEST, Descriptor

# ---------------------------------------------------------------------------------------- requests, logins and refusals


_MOST_WORDS = 64 << 10


class Access:
    """The repository `name` at `root`, an http(s) URL of a host.

    Thread-safe. Raises Unreachable.
    """

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
    def open(self, request: HttpRequest, *expected: int) -> Iterator[Reply]:
        """The answer, with a status in `expected`.

        The login is sent only to this registry.
        """
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

    def _log_in(self, reply: Reply, used: str, request: HttpRequest) -> bool:
        """Log in as the registry requires, unless another thread has.

        False when that is impossible.
        """
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

    def _get_token(self, asked: Challenge, reply: Reply, request: HttpRequest) -> bool:
        found = token(self._client, asked, self._login, self.root)
        if found is None:
            raise self._wrong_login(self._login) if self._login else self._no_login(request)
        self._header = f"Bearer {found}"
        return True

    # ------------------------------------------------------------------ refusals

    def _refusal(self, reply: Reply, used: str, request: HttpRequest) -> Unreachable:
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

    def _no_login(self, request: HttpRequest) -> Unreachable:
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


def _deed(request: HttpRequest) -> str:
    return "read" if request.method in ("GET", "HEAD") else "write to"


def words(reply: Reply) -> Tuple[str, str]:
    """Code and message of the first error in an answer; both empty for another format."""
    with contextlib.suppress(Unreachable, StoreDamaged, ValueError, RecursionError, KeyError, IndexError, TypeError):
        first = json.loads(reply.read(_MOST_WORDS))["errors"][0]
        code, message = str(first["code"]), str(first.get("message") or first["code"])
        return code[:80], "".join(c for c in message if c.isprintable())[:200]
    return "", ""


# ------------------------------------------------------------------------------------------- uploads


CHUNK = 32 << 20
_MOST_CHUNK = 5 << 30  # no registry asks for more
_FAILURES = 4  # cuts in a row without a byte more
_COMMIT = 900.0  # seconds in which a registry may check and store what was sent
_OCTETS = ("Content-Type", "application/octet-stream")


def upload(access: Access, it: Descriptor, body: FilePart, chunk: int = CHUNK) -> None:
    """Upload the `it.size` bytes of `body`; the registry verifies the digest.

    Small files go in one request, large ones in chunks that resume after a cut. Raises Unreachable, marked as temporary
    where a new upload may succeed.
    """
    _Upload(access, it, body, chunk).run()


class _Upload:
    """One upload session.

    `_there`: URL of the next request. `_sent`: bytes that the registry has.
    """

    def __init__(self, access: Access, it: Descriptor, body: FilePart, chunk: int) -> None:
        self._access, self._it, self._body, self._chunk = access, it, body, chunk
        self._there: Optional[Address] = None
        self._sent = 0

    def run(self) -> None:
        start = HttpRequest("POST", self._access.at("blobs/uploads/"), body=b"", again=True)
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
        part = FilePart(self._body.file, self._sent, size)
        with self._access.open(HttpRequest("PATCH", self._url(), headers, part, answer=_COMMIT), 202, 416) as reply:
            if reply.status == 416:
                raise self._lost(reply, "it has more or less of the upload than it took")
            self._moved(reply)
            self._sent += size

    def _ask_how_far(self) -> None:
        """Get the number of bytes received. Raises Unreachable for an expired session."""
        with self._access.open(HttpRequest("GET", self._url()), 204, 202, 404) as reply:
            if reply.status == 404:
                raise self._lost(reply, "it has forgotten the upload")
            self._moved(reply)
            said = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", reply.header("Range") or "0-0")
        last = int(said.group(1)) if said else -1
        if not 0 <= last < self._it.size:
            raise StoreDamaged("it does not say how much of the upload it has", where=str(self._there))
        self._sent = last + 1 if last else 0  # 0-0 means no byte or a single one

    def _commit(self) -> None:
        left = self._it.size - self._sent
        body = FilePart(self._body.file, self._sent, left) if left else b""
        url = f"{self._url()}{'&' if '?' in self._url() else '?'}digest={self._it.digest}"
        request = HttpRequest("PUT", url, (_OCTETS,), body, again=False, answer=_COMMIT)
        with self._access.open(request, 201, 204, 400) as reply:
            if reply.status == 400:
                raise self._mismatch(reply)
            named = reply.header("Docker-Content-Digest")
        if named not in (None, self._it.digest):
            raise StoreDamaged(
                f"the registry took {self._it.digest} for {(named or '')[:80]!r}", where=self._access.host
            )

    def _mismatch(self, reply: Reply) -> Exception:
        """The error for a wrong digest: the file has changed, here or in transit."""
        if digest.of_file(self._body.file) != self._it.digest:
            return StoreDamaged(
                f"{self._it.title or self._it.digest} has other content than its name says",
                where=str(self._body.file),
                hint="delete that file and run `build matrix` again",
            )
        return self._lost(reply, f"the registry refuses what arrived: {words(reply)[1] or 'it gives no reason'}")

    def _moved(self, reply: Reply) -> None:
        """Take the URL of the next request from an answer."""
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


# ------------------------------------------------------------------------------------------- the repository


_SCHEMES = {"oci": "https", "oci+http": "http"}
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_MOST_OBJECT = 16 << 20
_PAGE, _MOST_PAGES, _MOST_PAGE = 1000, 200, 4 << 20
_KINDS = ("Accept", f"{INDEX}, {MANIFEST}")


class Registry:
    """A repository of a registry. `client` is for tests that are in a hurry."""

    def __init__(self, address_: str, environ: Mapping[str, str], client: Optional[Client] = None) -> None:
        scheme, host, self._repository = _parsed(address_)
        self._name = f"{scheme}://{host}/{self._repository}"
        self._access = Access(f"{_SCHEMES[scheme]}://{host}", self._repository, environ, client or Client(environ))

    @property
    def name(self) -> str:
        return self._name

    # ------------------------------------------------------------------ tags

    def tags(self) -> Tuple[str, ...]:
        """All tags.

        Empty for a repository that does not exist yet: the first version creates it.
        """
        url: Optional[str] = self._access.at(f"tags/list?n={_PAGE}")
        found: Dict[str, None] = {}
        for _ in range(_MOST_PAGES):
            assert url is not None
            names, url = self._page(url)
            new = [name for name in names if name not in found]
            found.update(dict.fromkeys(new))
            if url is None:
                return tuple(found)
            if not new:
                break
        raise StoreDamaged("it lists tags without end", where=self.name)

    def _page(self, url: str) -> Tuple[List[str], Optional[str]]:
        """The tags on one page, and where the next one is."""
        with self._access.open(HttpRequest("GET", url), 200, 404) as reply:
            named = _tags_in(reply.read(_MOST_PAGE), reply.status)
            if named is None:
                raise self._no_registry(reply)
            following = _NEXT.search(reply.header("Link") or "")
            return named, self._beside(reply, following.group(1)) if following else None

    def _beside(self, reply: Reply, link: str) -> str:
        try:
            there = reply.there.follow(link)
        except UsageError:
            there = None
        if there is None or there.origin != self._access.root.origin:
            raise StoreDamaged("its list of tags goes on at another host", where=self.name)
        return there.url

    def _no_registry(self, reply: Reply) -> StoreDamaged:
        kind = reply.header("Content-Type") or "something"
        return StoreDamaged(
            f"it does not answer as a registry does: {kind} that is no list of tags",
            where=str(reply.there),
            hint="check host and port in the address: is a registry there, or a web site?",
        )

    def resolve(self, tag: str) -> Optional[Descriptor]:
        if not _TAG.fullmatch(tag):
            return None
        request = HttpRequest("HEAD", self._access.at(f"manifests/{tag}"), (_KINDS,))
        with self._access.open(request, 200, 404) as reply:
            if reply.status == 404:
                return None
            named, size, media = reply.header("Docker-Content-Digest"), reply.length, _media(reply)
        if named is None or size is None or not media:
            return self._read_tag(tag)
        digest.hex_part(named)
        return Descriptor(media, named, size)

    def _read_tag(self, tag: str) -> Optional[Descriptor]:
        """The descriptor of a tag, from its bytes: HEAD need not return a digest."""
        with self._access.open(HttpRequest("GET", self._access.at(f"manifests/{tag}"), (_KINDS,)), 200, 404) as reply:
            if reply.status == 404:
                return None
            data = reply.read(_MOST_OBJECT)
            return Descriptor(_media(reply), digest.of_bytes(data), len(data))

    def tag(self, tag: str, it: Descriptor) -> None:
        with self.stream(it) as stream:
            data = b"".join(stream.pieces)
        if digest.of_bytes(data) != it.digest:
            raise StoreDamaged(f"{it.digest} has other content than its name says", where=self.name)
        self._put_object(tag, it, data)

    # ------------------------------------------------------------------ files and objects

    def has(self, it: Descriptor) -> bool:
        with self._access.open(HttpRequest("HEAD", self._at(it), _accepting(it)), 200, 404) as reply:
            return reply.status == 200

    @contextlib.contextmanager
    def stream(self, it: Descriptor, start: int = 0) -> Iterator[Stream]:
        if start >= it.size > 0:
            yield Stream(start, iter(()))
            return
        wanted = (("Range", f"bytes={start}-"),) if start else ()
        request = HttpRequest("GET", self._at(it), (*_accepting(it), *wanted))
        with self._access.open(request, 200, 206, 404) as reply:
            if reply.status == 404:
                raise StoreDamaged(
                    f"{it.title or it.digest} is not there ({it.digest})",
                    where=self.name,
                    hint=f"publish it again: build publish {self.name}",
                )
            if reply.start > start:
                raise StoreDamaged(
                    f"it sends {it.digest} from byte {reply.start:,}; asked for {start:,}", where=self.name
                )
            if reply.length is not None and reply.length != it.size - reply.start:
                raise StoreDamaged(
                    f"{it.title or it.digest} is said to have {reply.length + reply.start:,} bytes, not {it.size:,}",
                    where=self.name,
                )
            # A small object has one deadline; each piece of a file has its own.
            yield Stream(reply.start, iter((reply.read(it.size),)) if it.is_object else reply.pieces())

    def put(self, it: Descriptor, source: Path) -> None:
        if self.has(it):
            return
        if it.is_object:
            self._put_object(it.digest, it, source.read_bytes())
        else:
            upload(self._access, it, FilePart(source, 0, it.size))

    def _put_object(self, reference: str, it: Descriptor, data: bytes) -> None:
        request = HttpRequest("PUT", self._access.at(f"manifests/{reference}"), (("Content-Type", it.media),), data)
        with self._access.open(request, 201) as reply:
            named = reply.header("Docker-Content-Digest")
        if named not in (None, it.digest):
            raise StoreDamaged(f"the registry took {it.digest} for {(named or '')[:80]!r}", where=self.name)

    def _at(self, it: Descriptor) -> str:
        return self._access.at(f"{'manifests' if it.is_object else 'blobs'}/sha256:{digest.hex_part(it.digest)}")


def _tags_in(data: bytes, status: int) -> Optional[List[str]]:
    """The tags on a page; empty for a missing repository, None for an invalid answer."""
    with contextlib.suppress(ValueError, RecursionError, KeyError, IndexError, TypeError):
        said = json.loads(data)
        if status == 404:
            return [] if said["errors"][0]["code"] == "NAME_UNKNOWN" else None
        named = said["tags"] or []
        if isinstance(named, list) and all(isinstance(tag, str) for tag in named):
            return [tag for tag in named if _TAG.fullmatch(tag)]
    return None


def _accepting(it: Descriptor) -> Tuple[Tuple[str, str], ...]:
    return (("Accept", it.media),) if it.is_object else ()


def _media(reply: Reply) -> str:
    return (reply.header("Content-Type") or "").partition(";")[0].strip()


def _parsed(given: str) -> Tuple[str, str, str]:
    """Scheme, host with port, and repository.

    Raises UsageError without repeating a password.
    """
    scheme, _, rest = given.partition("://")
    netloc, _, name = rest.partition("/")
    if "@" in netloc:
        raise UsageError(
            "an address holds no user or password",
            where=f"{scheme}://...@{netloc.rpartition('@')[2]}/{name}",
            hint=f"docker login HOST keeps them, or: {HINT}",
        )
    there = address.parse(f"{_SCHEMES[scheme]}://{netloc}")
    last = name.rpartition("/")[2]
    if "@" in last or ":" in last:
        raise UsageError(
            "an address ends with the repository's name, without tag or digest",
            where=given,
            hint=f"{scheme}://{netloc}/{re.split('[:@]', name)[0]}   and --version N for an older version",
        )
    if not _NAME.fullmatch(name) or len(name) > 255:
        lower = name.lower().strip("/")
        better = lower if _NAME.fullmatch(lower) else "models/superpoint"
        raise UsageError(
            f"{name!r} is no name that a registry takes: a-z, 0-9, and . _ - / between them",
            where=given,
            hint=f"{scheme}://{there.netloc}/{better}",
        )
    return scheme, there.netloc, name
