"""A registry as a place to publish to and pull from: oci://HOST[:PORT]/NAME over https, oci+http:// over plain http.

It speaks the OCI distribution specification, as docker-registry, GHCR, ECR, Harbor, Zot and others do:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
Signatures are objects with tags of their own, so nothing here needs the referrers API.
Written by hand: the library `oras` checks no digest.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from builder import digest
from builder.descriptor import INDEX, MANIFEST, Descriptor
from builder.errors import StoreDamaged, UsageError
from builder.http import address
from builder.http.client import Client, Request
from builder.http.logins import HINT
from builder.http.reply import Reply
from builder.http.wire import Part
from builder.plugins import Stream
from builder.repositories.registry_access import Access
from builder.repositories.registry_upload import upload

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
        """Empty where there is no such repository yet: it comes into being with the first version."""
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
        with self._access.open(Request("GET", url), 200, 404) as reply:
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
        return StoreDamaged(
            f"it does not answer as a registry does: {reply.header('Content-Type') or 'something'} that is no list of tags",
            where=str(reply.there),
            hint="check host and port in the address: is a registry there, or a web site?",
        )

    def resolve(self, tag: str) -> Optional[Descriptor]:
        if not _TAG.fullmatch(tag):
            return None
        request = Request("HEAD", self._access.at(f"manifests/{tag}"), (_KINDS,))
        with self._access.open(request, 200, 404) as reply:
            if reply.status == 404:
                return None
            named, size, media = reply.header("Docker-Content-Digest"), reply.length, _media(reply)
        if named is None or size is None or not media:
            return self._read_tag(tag)
        digest.hex_part(named)
        return Descriptor(media, named, size)

    def _read_tag(self, tag: str) -> Optional[Descriptor]:
        """What a tag names, by its bytes: a registry need not answer HEAD with a digest."""
        with self._access.open(Request("GET", self._access.at(f"manifests/{tag}"), (_KINDS,)), 200, 404) as reply:
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
        with self._access.open(Request("HEAD", self._at(it), _accepting(it)), 200, 404) as reply:
            return reply.status == 200

    @contextlib.contextmanager
    def stream(self, it: Descriptor, start: int = 0) -> Iterator[Stream]:
        if start >= it.size > 0:
            yield Stream(start, iter(()))
            return
        wanted = (("Range", f"bytes={start}-"),) if start else ()
        request = Request("GET", self._at(it), (*_accepting(it), *wanted))
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
            # A small object must come as a whole in its time; of a file, each piece.
            yield Stream(reply.start, iter((reply.read(it.size),)) if it.is_object else reply.pieces())

    def put(self, it: Descriptor, source: Path) -> None:
        if self.has(it):
            return
        if it.is_object:
            self._put_object(it.digest, it, source.read_bytes())
        else:
            upload(self._access, it, Part(source, 0, it.size))

    def _put_object(self, reference: str, it: Descriptor, data: bytes) -> None:
        request = Request("PUT", self._access.at(f"manifests/{reference}"), (("Content-Type", it.media),), data)
        with self._access.open(request, 201) as reply:
            named = reply.header("Docker-Content-Digest")
        if named not in (None, it.digest):
            raise StoreDamaged(f"the registry took {it.digest} for {(named or '')[:80]!r}", where=self.name)

    def _at(self, it: Descriptor) -> str:
        return self._access.at(f"{'manifests' if it.is_object else 'blobs'}/sha256:{digest.hex_part(it.digest)}")


def _tags_in(data: bytes, status: int) -> Optional[List[str]]:
    """The tags on a page; none of a repository that is not there yet. None for what no registry says."""
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
    """Scheme, host with port, and repository of an address. Raises UsageError and never repeats a password."""
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
