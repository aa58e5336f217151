"""http(s) URLs without their secrets, their redirects, and their proxies.

Opens no connection.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
from dataclasses import dataclass
from typing import Mapping, Optional, Tuple
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import proxy_bypass

from builder.errors import UsageError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """An http(s) URL. `target`: path and query, as in a request line."""

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
        """The target of a redirect to `location`, possibly relative.

        Raises UsageError for another scheme.
        """
        try:
            return parse(urljoin(self.url, location))
        except ValueError as problem:
            raise UsageError(f"not a URL: {problem}", where=_shown(location)) from None


def parse(url: str) -> Address:
    """Parse an http(s) URL; drop its user and password. Raises UsageError."""
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


# ------------------------------------------------------------------------------------------- proxies of the environment


@dataclass(frozen=True)
class Proxy:
    """A proxy.

    `authorization`: the header Proxy-Authorization, empty without a password.
    """

    host: str
    port: int
    authorization: str = ""


def proxy_for(there: Address, environ: Mapping[str, str]) -> Optional[Proxy]:
    """The proxy for an address; None to connect directly, as always to localhost.

    Raises UsageError for an invalid setting.
    """
    named = _value(f"{there.scheme}_proxy", environ) or _value("all_proxy", environ)
    if not named or _is_excepted(there, _value("no_proxy", environ)):
        return None
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme != "http":
        raise UsageError(
            f"the proxy for {there.scheme} is not understood",
            where=f"{there.scheme.upper()}_PROXY",
            hint=f"give it as http://HOST:PORT, or except this host: NO_PROXY={there.host}",
        )
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    secret = "Basic " + base64.b64encode(user.encode()).decode() if parts.username else ""
    return Proxy(host, port or 80, secret)


def _value(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _is_excepted(there: Address, exceptions: str) -> bool:
    """Match NO_PROXY as urllib does, and networks (10.0.0.0/8), which urllib does not know."""
    if there.host == "localhost" or proxy_bypass(f"{there.host}:{there.port}", {"no": exceptions}):
        return True
    try:
        host = ipaddress.ip_address(there.host)
    except ValueError:
        return False
    return host.is_loopback or any(_holds(word.strip(), host) for word in exceptions.split(","))


def _holds(network: str, host: "ipaddress.IPv4Address | ipaddress.IPv6Address") -> bool:
    with contextlib.suppress(ValueError):
        return host in ipaddress.ip_network(network, strict=False)
    return False
