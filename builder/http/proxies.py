"""Which proxy the environment names for an address: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, as curl reads them."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from typing import Mapping, Optional
from urllib.parse import unquote, urlsplit

from builder.errors import UsageError
from builder.http.address import Address


@dataclass(frozen=True)
class Proxy:
    """`authorization` is the value of the header Proxy-Authorization, empty without a password."""

    host: str
    port: int
    authorization: str = ""


def proxy_for(there: Address, environ: Mapping[str, str]) -> Optional[Proxy]:
    """None to connect directly; this machine itself is never asked for through a proxy. UsageError for a broken one."""
    named = _value(f"{there.scheme}_proxy", environ) or _value("all_proxy", environ)
    if not named or _is_local(there.host) or _is_excepted(there, _value("no_proxy", environ)):
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


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_excepted(there: Address, exceptions: str) -> bool:
    """NO_PROXY: names and all below them, addresses, each with or without a port; `*` is every host."""
    for item in (word.strip().lower() for word in exceptions.split(",")):
        name, _, port = item.partition(":") if item.count(":") == 1 else (item, "", "")
        name = name.lstrip(".")
        fits = name == there.host or there.host.endswith(f".{name}")
        if item == "*" or (name and fits and port in ("", str(there.port))):
            return True
    return False
