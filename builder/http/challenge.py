"""What a server asks for in WWW-Authenticate, and the token that a token server gives for it. Finds no login.

https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Tuple
from urllib.parse import urlencode

from builder.errors import StoreDamaged, Unreachable, UsageError
from builder.http.address import Address
from builder.http.client import Client, Request
from builder.http.logins import Login

# A parameter (name and value, in quotes or not), or a word alone, which is a scheme.
_TOKEN = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z]+)')
_MOST = 1 << 20


@dataclass(frozen=True)
class Challenge:
    """`scheme` is basic or bearer; the rest are of bearer."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def challenges(headers: Iterable[str]) -> Tuple[Challenge, ...]:
    """Those that are understood, of all WWW-Authenticate headers of an answer."""
    found: List[Challenge] = []
    for header in headers:
        said: Dict[str, str] = {}
        for name, quoted, bare, scheme in [*_TOKEN.findall(header), ("", "", "", "end")]:
            if not scheme:
                said[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) or bare
                continue
            if said.get("scheme") in ("basic", "bearer"):
                found.append(Challenge(said["scheme"], *(said.get(part, "") for part in ("realm", "service", "scope"))))
            said = {"scheme": scheme.lower()}
    return tuple(found)


def token(client: Client, asked: Challenge, login: Optional[Login], here: Address) -> Optional[str]:
    """A token for `asked`, which the server at `here` wants; None when the token server does not accept the login.

    Raises Unreachable, also for a token server that nothing encrypts the way to, when the way to `here` is encrypted.
    """
    try:
        there = here.follow(asked.realm)
    except UsageError as problem:
        raise Unreachable(f"its token server is no URL: {problem.where}", where=str(here)) from None
    if here.scheme == "https" and there.scheme == "http":
        raise Unreachable(f"it asks to log in at {there}, where nothing is encrypted", where=str(here))
    scope = [("scope", one) for one in asked.scope.split()]
    service = [("service", asked.service)] if asked.service else []
    if login is not None and login.token:
        form = [
            ("grant_type", "refresh_token"),
            *service,
            ("client_id", "deploymatrix"),
            ("refresh_token", login.token),
        ]
        body = urlencode([*form, *([("scope", asked.scope)] if scope else [])]).encode()
        kind = (("Content-Type", "application/x-www-form-urlencoded"),)
        request = Request("POST", there.url, kind, body, again=True)
    else:
        query = urlencode([*service, *scope])
        url = there.url + (("&" if "?" in there.target else "?") + query if query else "")
        request = Request("GET", url, (("Authorization", login.basic),) if login else ())
    answer = client.read(request, _MOST)
    if answer.status in (400, 401, 403):
        return None
    if answer.status != 200:
        raise Unreachable(f"the token server answers with status {answer.status}", where=str(there))
    return _token_in(answer.data, there)


def _token_in(data: bytes, there: Address) -> str:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    for name in ("token", "access_token"):
        found = said.get(name) if isinstance(said, dict) else None
        if isinstance(found, str) and re.fullmatch(r"[!-~]{1,65536}", found):
            return found
    raise StoreDamaged("the token server answers without a token", where=str(there))
