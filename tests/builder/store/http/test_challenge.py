"""What servers ask for in WWW-Authenticate, and the token flow against a real token server."""

from __future__ import annotations

import json
from typing import List, Optional
from urllib.parse import parse_qs, urlsplit

import pytest

from builder.errors import DeployError, StoreDamaged, Unreachable
from builder.store.http.address import parse
from builder.store.http.client import Client
from builder.store.http.logins import Challenge, Login, challenges, token
from tests.servers import HASTE, Handler, patient, serving

SCOPE = "repository:models/x:pull,push"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], ()),
        (["Negotiate"], ()),
        (['Basic realm="a, Bearer b"'], (Challenge("basic", "a, Bearer b"),)),
        (["basic"], (Challenge("basic"),)),
        (
            [f'Bearer realm="https://a/t",service="s",scope="{SCOPE}"'],
            (Challenge("bearer", "https://a/t", "s", SCOPE),),
        ),
        (["Bearer realm=https://a/t , service = s"], (Challenge("bearer", "https://a/t", "s"),)),
        (['Bearer realm="x\\"y"', "Basic realm=z"], (Challenge("bearer", 'x"y'), Challenge("basic", "z"))),
        (["Basic realm=z, Bearer realm=y"], (Challenge("basic", "z"), Challenge("bearer", "y"))),
        (["=" * 60_000, 'Bearer realm="' + "\\" * 60_000], (Challenge("bearer"),)),
    ],
    ids=range(9),
)
def test_challenges(headers: List[str], found: object) -> None:
    assert challenges(headers) == found


class TokenServer:
    """Knows one login, and writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: List["tuple[str, dict[str, list[str]], str | None]"] = []

    def __call__(self, it: Handler) -> None:
        body = it.rfile.read(int(it.headers["Content-Length"] or 0)).decode() if it.command == "POST" else ""
        query = parse_qs(urlsplit(it.path).query or body)
        self.asked.append((it.command, query, it.headers["Authorization"]))
        if it.headers["Authorization"] == "Basic Ym9iOndyb25n" or query.get("refresh_token") == ["wrong"]:
            return it.say(401, b"{}")
        key = "access_token" if it.command == "POST" else "token"
        return it.say(200, json.dumps({key: "tok.en", "expires_in": 60}).encode())


def given(url: str, login: Optional[Login], realm: str = "/token") -> Optional[str]:
    asked = Challenge("bearer", realm, "registry.example", SCOPE)
    return token(Client({}, HASTE, patient([])), asked, login, parse(f"{url}/v2/"))


def test_a_token_by_password() -> None:
    server = TokenServer()
    with serving(server) as url:
        assert given(url, Login("bob", "right", "test")) == "tok.en"
        assert given(url, None) == "tok.en"
        assert given(url, Login("bob", "wrong", "test")) is None
        assert given(url, None, f"{url}/other?account=me") == "tok.en"
    query = {"service": ["registry.example"], "scope": [SCOPE]}
    assert server.asked[0] == ("GET", query, "Basic Ym9iOnJpZ2h0")
    assert server.asked[1] == ("GET", query, None)
    assert server.asked[3] == ("GET", {"account": ["me"], **query}, None)


def test_a_token_by_another_token() -> None:
    server = TokenServer()
    with serving(server) as url:
        assert given(url, Login("", "", "test", token="right")) == "tok.en"
        assert given(url, Login("", "", "test", token="wrong")) is None
    method, query, header = server.asked[0]
    assert (method, header) == ("POST", None)
    assert query["grant_type"] == ["refresh_token"]
    assert query["refresh_token"] == ["right"]
    assert query["scope"] == [SCOPE]


@pytest.mark.parametrize("realm", ["", "ftp://x/", "http://[::1", "javascript:x"])
def test_a_realm_that_is_no_url(realm: str) -> None:
    with serving(lambda it: it.say(404)) as url, pytest.raises(DeployError):
        given(url, None, realm)


def test_no_login_over_an_open_line() -> None:
    asked = Challenge("bearer", "http://127.0.0.1:1/token")
    with pytest.raises(Unreachable, match="nothing is encrypted"):
        token(Client({}, HASTE), asked, Login("u", "p", "test"), parse("https://registry.example/"))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"token": 3}', b'{"token": "a b"}', b'{"token": "a\\r\\nX: y"}']
)
def test_a_token_server_that_gives_none(body: bytes) -> None:
    with serving(lambda it: it.say(200, body)) as url, pytest.raises(StoreDamaged, match="without a token"):
        given(url, None)


def test_a_token_server_that_is_broken() -> None:
    with serving(lambda it: it.say(500)) as url, pytest.raises(Unreachable, match="status 500"):
        given(url, None)
