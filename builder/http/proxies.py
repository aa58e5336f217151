"""Which proxy the environment names for an address: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
from dataclasses import dataclass
from typing import Mapping, Optional
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass

from builder.errors import UsageError
from builder.http.address import Address


@dataclass(frozen=True)
class Proxy:
    """`authorization` is the value of the header Proxy-Authorization, empty without a password."""

    host: str
    port: int
    authorization: str = ""


def proxy_for(there: Address, environ: Mapping[str, str]) -> Optional[Proxy]:
    """None to connect directly, as always to this machine itself. UsageError for a broken one."""
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
    """NO_PROXY as urllib reads it, and networks in it (10.0.0.0/8), which urllib does not know."""
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
