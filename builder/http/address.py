"""An http(s) URL in its parts, said without its secrets, and where a redirect from it may lead. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple
from urllib.parse import urljoin, urlsplit

from builder.errors import UsageError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """`target` is path and query, as a request says them."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> Tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def netloc(self) -> str:
        """Host, and port where it is not the usual one: the value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"

    def __str__(self) -> str:
        """For messages: a query may hold a token or a signature, so it is left out."""
        return f"{self.scheme}://{self.netloc}{self.target.partition('?')[0]}"

    def follow(self, location: str) -> "Address":
        """Where `location`, which may be relative, leads from here. Raises UsageError when it is no http(s) URL."""
        try:
            return parse(urljoin(self.url, location))
        except ValueError as problem:
            raise UsageError(f"not a URL: {problem}", where=_shown(location)) from None


def parse(url: str) -> Address:
    """Raises UsageError for what is no http(s) URL. A user name and a password in it are dropped."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as problem:
        raise UsageError(f"not a URL: {problem}", where=_shown(url)) from None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    wrong = [c for c in host + target if not "!" <= c <= "~"]
    if parts.scheme not in _PORTS or not host or wrong:
        raise UsageError("not an http or https URL", where=_shown(url))
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], target)


def _shown(url: str) -> str:
    """As much of a broken URL as cannot hold a secret."""
    scheme, there, rest = url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    return repr(f"{scheme}{there}{host}"[:80])
