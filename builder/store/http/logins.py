"""Logins for a registry, and the tokens that a token server issues for them.

Sources of a login, in this order: DEPLOYMATRIX_LOGIN, as USER:PASSWORD; REGISTRY_AUTH_FILE; containers/auth.json below
XDG_RUNTIME_DIR and XDG_CONFIG_HOME; config.json in DOCKER_CONFIG or ~/.docker, with its credential helpers.
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Tuple
from urllib.parse import urlencode

from builder import digest
from builder.errors import StoreDamaged, Unreachable, UsageError
from builder.store.http.address import Address
from builder.store.http.client import Client, HttpRequest

LOGIN = "DEPLOYMATRIX_LOGIN"
HINT = f"export {LOGIN}=USER:PASSWORD"
_DOCKER_HUB = "docker.io"
_MOST, _SECONDS = 1 << 20, 60


@dataclass(frozen=True)
class Login:
    """A login.

    `token`: a refresh token in place of user and password. `source`: for messages.
    """

    user: str
    password: str = field(repr=False)
    source: str
    token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of the header Authorization."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def login_for(host: str, name: str, environ: Mapping[str, str]) -> Optional[Login]:
    """The login for the repository `name` at `host` (with its port).

    Raises UsageError.
    """
    user, there, password = environ.get(LOGIN, "").partition(":")
    if user and there:
        return Login(user, password, LOGIN)
    if user or there:
        raise UsageError("is not USER:PASSWORD", where=LOGIN, hint=HINT)
    for path in _files(environ):
        found = _in_file(path, host, name, environ)
        if found is not None:
            return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME") or "~").expanduser()
    if environ.get("REGISTRY_AUTH_FILE"):
        yield Path(environ["REGISTRY_AUTH_FILE"])
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"


def _in_file(path: Path, host: str, name: str, environ: Mapping[str, str]) -> Optional[Login]:
    try:
        if path.stat().st_size > _MOST:
            raise UsageError("too large for a file of logins", where=str(path))
        said = _object(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise UsageError(f"cannot be read: {problem.strerror}", where=str(path)) from None
    except (ValueError, RecursionError):
        raise UsageError("is not the JSON that `docker login` writes", where=str(path)) from None
    auths, helpers = _object(said.get("auths")), _object(said.get("credHelpers"))
    for key in _keys(host, name):
        helper = helpers.get(key, said.get("credsStore") if key in (host, *_SERVERS.get(host, ())) else None)
        if isinstance(helper, str) and helper:
            found = _from_helper(helper, key, path, environ)
            if found is not None:
                return found
        if key in auths:
            found = _entry(_object(auths[key]), path, host)
            if found is not None:
                return found
    return None


_SERVERS = {_DOCKER_HUB: ("https://index.docker.io/v1/",)}


def _keys(host: str, name: str) -> Iterator[str]:
    """The keys of a login, the most specific first.

    Podman also uses HOST/NAME, docker also a URL.
    """
    parts = name.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join((host, *parts[:count]))
    yield host
    yield from _SERVERS.get(host, ())
    for scheme in ("https", "http"):
        yield from (f"{scheme}://{host}{path}" for path in ("", "/", "/v1/", "/v2/"))


def _entry(entry: "dict[str, digest.Json]", path: Path, host: str) -> Optional[Login]:
    token, packed = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Login("", "", str(path), token)
    user, password = entry.get("username"), entry.get("password")
    if isinstance(packed, str) and packed:
        try:
            user, there, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except ValueError:
            there = ""
        if not there:
            raise UsageError(f"the login for {host} does not read", where=str(path), hint=f"docker login {host}")
    if isinstance(user, str) and isinstance(password, str) and user:
        return Login(user, password.rstrip("\0"), str(path))
    return None


def _from_helper(helper: str, key: str, path: Path, environ: Mapping[str, str]) -> Optional[Login]:
    """The answer of `docker-credential-HELPER get`: https://github.com/docker/docker-credential-helpers"""
    import subprocess  # few machines have a helper, and every pull would pay for it

    program = f"docker-credential-{helper}"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", helper):
        raise UsageError(f"{helper!r} is no name of a credential helper", where=str(path))
    try:
        done = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, env=dict(environ), timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise UsageError(f"{program}, which it names, is not installed", where=str(path)) from None
    except (OSError, subprocess.TimeoutExpired):
        raise UsageError(f"{program}, which it names, does not answer", where=str(path)) from None
    if done.returncode != 0:  # it keeps no login for this host, mostly
        return None
    try:
        said = _object(json.loads(done.stdout))
    except (ValueError, RecursionError):
        said = {}
    user, secret = said.get("Username"), said.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise UsageError(f"{program} does not answer with a login", where=str(path))
    return Login("", "", program, secret) if user == "<token>" else Login(user, secret, program)


def _object(value: digest.Json) -> "dict[str, digest.Json]":
    return value if isinstance(value, dict) else {}


def host_names(host: str) -> Tuple[str, str]:
    """The host that answers, and the host in login files: for Docker Hub they differ."""
    return ("registry-1.docker.io", _DOCKER_HUB) if host in (_DOCKER_HUB, "registry-1.docker.io") else (host, host)


# ----------------------------------------------------------------------------- challenges (WWW-Authenticate) and tokens


# A parameter (name and value, with or without quotes), or a single word, the scheme.
_TOKEN = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z]+)')
_MOST_ANSWER = 1 << 20


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
    """A token for a challenge of the server at `here`; None when the login is refused.

    Raises Unreachable, also for a token server without TLS when the server at `here` has TLS.
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
        request = HttpRequest("POST", there.url, kind, body, again=True)
    else:
        query = urlencode([*service, *scope])
        url = there.url + (("&" if "?" in there.target else "?") + query if query else "")
        request = HttpRequest("GET", url, (("Authorization", login.basic),) if login else ())
    answer = client.read(request, _MOST_ANSWER)
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
