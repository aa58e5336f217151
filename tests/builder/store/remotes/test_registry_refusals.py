"""Registries that refuse, and such as lie: one clear error each, in bounded time and memory, and no secret goes astray."""

from __future__ import annotations

import dataclasses
import json
import re
import time
import tracemalloc
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional

import pytest

from builder import digest
from builder.errors import DeployError, StoreDamaged, Unreachable, UsageError
from builder.store import supply, transfers
from builder.store.http.client import Client
from builder.store.layout import Layout
from builder.store.oci import INDEX, MANIFEST, OCTETS, Descriptor
from builder.store.remotes.registry import Registry
from tests.builder.store.remotes.contract import a_file
from tests.ports import free_port
from tests.registries import PASSWORD, USER, registry
from tests.servers import HASTE, Handler, patient, serving

RIGHT = {"DEPLOYMATRIX_LOGIN": f"{USER}:{PASSWORD}"}
Answer = Callable[[Handler], None]


def at(host: str, environ: Mapping[str, str], name: str = "models/x") -> Registry:
    host = host.replace("http://", "")
    waits = dataclasses.replace(HASTE, body=0.1)
    return Registry(f"oci+http://{host}/{name}", {"HOME": "/nowhere", **environ}, Client({}, waits, patient([])))


def refusal(answer: Answer, ask: Callable[[Registry], object], environ: Optional[Dict[str, str]] = None) -> str:
    """What the person reads. Within ten seconds, tries again included, and 64 MiB, whatever the server does."""
    with serving(answer) as url:
        start = time.monotonic()
        tracemalloc.start()
        try:
            with pytest.raises(DeployError) as caught:
                ask(at(url, environ or {}))
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()
        assert time.monotonic() - start < 10
    return str(caught.value)


def everything(it: Descriptor) -> Callable[[Registry], bytes]:
    return lambda place: transfers.read(place, it, most=it.size)


DATA = b"x" * 5000
FILE = Descriptor(OCTETS, digest.of_bytes(DATA), len(DATA), title="model.onnx")
OBJECT = Descriptor(MANIFEST, FILE.digest, FILE.size)


# ------------------------------------------------------------------------------------------- logins


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry"), password=True) as host:
        yield host


def test_a_login_is_asked_for(guarded: str, tmp_path: Path) -> None:
    it, path = a_file(tmp_path, 10)
    with pytest.raises(Unreachable) as caught:
        at(guarded, {}).tags()
    said = str(caught.value)
    assert f"{guarded}: it wants a login to read models/x, and none is known for {guarded}" in said
    assert f"docker login {guarded}" in said
    assert "DEPLOYMATRIX_LOGIN=USER:PASSWORD" in said
    with pytest.raises(Unreachable, match="wants a login to"):
        at(guarded, {}).put(it, path)
    assert at(guarded, RIGHT).tags() == ()


def test_a_wrong_password(guarded: str) -> None:
    with pytest.raises(Unreachable) as caught:
        at(guarded, {"DEPLOYMATRIX_LOGIN": f"{USER}:wr0ng"}).tags()
    said = str(caught.value)
    assert f"does not accept the login of {USER} that is in DEPLOYMATRIX_LOGIN" in said
    assert "wr0ng" not in said


def test_docker_logged_in(guarded: str, tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    kept = {"auths": {guarded: {"username": USER, "password": PASSWORD}}}
    (tmp_path / ".docker/config.json").write_text(json.dumps(kept))
    assert at(guarded, {"HOME": str(tmp_path)}).tags() == ()


class Tokens:
    """A registry whose tokens say what their owner may do. `may` is a set of pull and push."""

    def __init__(self, may: str) -> None:
        self.may, self.asked = may, 0

    def __call__(self, it: Handler) -> None:
        it.rfile.read(int(it.headers["Content-Length"] or 0))
        if it.path.startswith("/token"):
            self.asked += 1
            return it.say(200, json.dumps({"token": f"{self.may}-{self.asked}"}).encode())
        action = "pull" if it.command in ("GET", "HEAD") else "push"
        scope = f"repository:models/x:{'pull,push' if action == 'push' else 'pull'}"
        if action not in (it.headers["Authorization"] or ""):
            asks = f'Bearer realm="http://{it.headers["Host"]}/token",service="s",scope="{scope}"'
            return it.say(401, b'{"errors":[{"code":"DENIED","message":"no"}]}', WWW_Authenticate=asks)
        return it.say(200, b'{"name":"models/x","tags":["v1"]}') if action == "pull" else it.say(202, Location="/up")


def test_a_token_is_fetched_once() -> None:
    server = Tokens("pull")
    with serving(server) as url:
        place = at(url, {})
        assert [place.tags() for _ in range(3)] == [("v1",)] * 3
    assert server.asked == 1


def test_a_token_that_ran_out_is_fetched_again() -> None:
    seen: Dict[str, int] = {}

    class Short(Tokens):
        """Each token is good for two requests."""

        def __call__(self, it: Handler) -> None:
            known = it.headers["Authorization"] or ""
            seen[known] = seen.get(known, 0) + 1
            if known.startswith("Bearer") and seen[known] > 2:
                del it.headers["Authorization"]
            super().__call__(it)

    server = Short("pull")
    with serving(server) as url:
        place = at(url, {})
        assert [place.tags() for _ in range(7)] == [("v1",)] * 7
    assert server.asked == 4


def test_a_registry_that_is_read_only(tmp_path: Path) -> None:
    _, path = a_file(tmp_path, 10)
    unsupported = b'{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}'
    said = refusal(
        lambda it: it.say(404 if it.command == "HEAD" else 405, unsupported), lambda place: place.put(FILE, path)
    )
    assert "the registry refuses: The operation is unsupported. (status 405)" in said


def test_reading_is_allowed_and_writing_is_not(tmp_path: Path) -> None:
    it, path = a_file(tmp_path, 10)

    class NotThere(Tokens):
        def __call__(self, it: Handler) -> None:
            if it.command == "HEAD":
                return it.say(404)
            return super().__call__(it)

    said = refusal(NotThere("pull"), lambda place: place.put(it, path), RIGHT)
    assert f"{USER} may not write to models/x" in said
    assert "for the permission, or check the name" in said
    assert "wants a login to write to models/x" in refusal(NotThere("pull"), lambda place: place.put(it, path))
    denied = '{"errors":[{"code":"DENIED","message":"quota of \\u001b[31m2 projects"}]}'.encode()
    said = refusal(lambda it: it.say(403, denied), lambda place: place.tags(), RIGHT)
    assert "may not read models/x" in said and "\x1b" not in said


def test_the_login_goes_to_nobody_else() -> None:
    """Where a registry keeps its files elsewhere, as most clouds do, that place is not told who we are."""
    seen: List[Optional[str]] = []

    def elsewhere(it: Handler) -> None:
        seen.append(it.headers["Authorization"])
        it.say(401 if len(seen) > 1 else 200, DATA, WWW_Authenticate="Basic realm=give-it-to-me")

    with serving(elsewhere) as other:

        def answer(it: Handler) -> None:
            if not it.headers["Authorization"]:
                return it.say(401, WWW_Authenticate="Basic realm=r")
            return it.say(307, Location=f"{other}/signed?key=s3cret")

        with serving(answer) as url:
            assert everything(FILE)(at(url, RIGHT)) == DATA
            with pytest.raises(Unreachable):
                everything(FILE)(at(url, RIGHT))
    assert seen == [None, None]


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("oci://h/Models/X", "oci://h/models/x"),
        ("oci://h/models/x:v1", "oci://h/models/x   and --version N"),
        ("oci://h/models/x@sha256:00", "oci://h/models/x   and --version N"),
        ("oci://h", "is no name that a registry takes"),
        ("oci://h/../../x", "is no name that a registry takes"),
        ("oci://h/a//b", "is no name that a registry takes"),
        ("oci://h/a?b=c", "is no name that a registry takes"),
        ("oci://h/" + "a" * 300, "is no name that a registry takes"),
        ("oci:///models/x", "not an http"),
        ("oci://h:x/models/x", "not a URL"),
        ("oci://me:s3cret@h/models/x", "holds no user or password"),
    ],
)
def test_an_address_that_is_none(address: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Registry(address, {})
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as host:
        place = at(host, {}, "models/nothing")
        with pytest.raises(UsageError, match=r"models/nothing holds no version"):
            supply.Supply(Layout(tmp_path / "cache"), place).version(None, "check the name")


# ------------------------------------------------------------------------------------------- what is no registry, and lies


def telling(status: int, data: bytes = b"", **headers: str) -> Answer:
    return lambda it: it.say(status, data, **headers)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("data", [b"<html>hello", b"", b"[]", b'{"tags": 3}', b'{"tags": ["a", 3]}', b"[" * 100_000])
def test_what_is_no_list_of_tags(status: int, data: bytes) -> None:
    said = refusal(telling(status, data, Content_Type="text/html"), lambda place: place.tags())
    assert "does not answer as a registry does: text/html that is no list of tags" in said
    assert "is a registry there, or a web site?" in said


def test_tags_that_cannot_be_ours_are_passed_over() -> None:
    tags = {"tags": ["v1", "a b", "../x", "", "v1.A.minisig", "x" * 200]}
    with serving(telling(200, json.dumps(tags).encode())) as url:
        assert at(url, {}).tags() == ("v1", "v1.A.minisig")
    with serving(telling(200, b'{"name": "models/x", "tags": null}')) as url:
        assert at(url, {}).tags() == ()


def test_tags_come_in_pages() -> None:
    pages = {"/v2/models/x/tags/list?n=1000": ("v1", "two?n=1"), "/v2/models/x/tags/two?n=1": ("v2", "/three")}

    def answer(it: Handler) -> None:
        tag, following = pages.get(it.path, ("v3", ""))
        link = {"Link": f'<{following}>; rel="next"'} if following else {}
        it.say(200, json.dumps({"tags": [tag]}).encode(), **link)

    with serving(answer) as url:
        assert at(url, {}).tags() == ("v1", "v2", "v3")


def test_tags_without_end() -> None:
    turn: List[int] = []

    def answer(it: Handler) -> None:
        turn.append(1)
        it.say(200, json.dumps({"tags": [f"v{len(turn)}"]}).encode(), Link=f'</{len(turn)}>; rel="next"')

    assert "lists tags without end" in refusal(answer, lambda place: place.tags())
    assert len(turn) <= 200
    same = telling(200, b'{"tags": ["v1"]}', Link='</again>; rel="next"')
    assert "lists tags without end" in refusal(same, lambda place: place.tags())
    away = telling(200, b'{"tags": ["v1"]}', Link='<http://127.0.0.1:1/>; rel="next"')
    assert "goes on at another host" in refusal(away, lambda place: place.tags())
    assert "10,000,000,000 bytes" in refusal(
        telling(200, b"", Content_Length="10000000000"), lambda place: place.tags()
    )


def test_a_digest_that_is_none() -> None:
    lie = telling(200, b"", Docker_Content_Digest="sha256:../../etc", Content_Type=INDEX, Content_Length="10")
    assert "is not a digest" in refusal(lie, lambda place: place.resolve("v1"))


def test_a_tag_without_a_digest_is_read() -> None:
    with serving(telling(200, b"{}", Content_Type=f"{INDEX}; charset=utf-8")) as url:
        assert at(url, {}).resolve("v1") == Descriptor(INDEX, digest.of_bytes(b"{}"), 2)
    with serving(telling(404, b"")) as url:
        assert at(url, {}).resolve("v1") is None
        assert at(url, {}).resolve("no tag / at all") is None


def endless(it: Handler) -> None:
    it.send_response(200)
    it.end_headers()
    while True:
        it.wfile.write(bytes(65536))


@pytest.mark.parametrize("it", [FILE, OBJECT], ids=["file", "object"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (telling(200, b"y" * 5000), "other content than its name says"),
        (telling(200, b"x" * 4999), "is said to have 4,999 bytes, not 5,000"),
        (telling(200, b"", Content_Length="10000000000"), "is said to have 10,000,000,000 bytes, not 5,000"),
        (telling(200, b"x", Content_Length="5000"), "it took too long|ended before it was whole"),
        (endless, "other content|answers with more than"),
        (telling(206, DATA, Content_Range="bytes 10-5009/5010"), "from byte 10; asked for 0"),
        (telling(206, DATA), "does not say which"),
        (telling(404, b"<html>"), "is not there"),
        (telling(500, b"oops"), "busy or broken"),
        (telling(418, b"teapot"), "does not answer as a registry does"),
        (telling(302, Location="/v2/"), "redirects more than 5 times"),
    ],
    ids=range(11),
)
def test_what_is_fetched_is_not_believed(it: Descriptor, answer: Answer, said: str) -> None:

    found = refusal(answer, everything(it))
    assert re.search(said, found), found


def test_a_registry_that_takes_something_else(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(DATA)

    def answer(it: Handler) -> None:
        it.rfile.read(int(it.headers["Content-Length"] or 0))
        it.say(404 if it.command == "HEAD" else 201, Docker_Content_Digest="sha256:" + "0" * 64)

    assert "took sha256" in refusal(answer, lambda place: place.put(OBJECT, path))


def test_a_tag_is_only_set_on_what_is_there() -> None:
    said = refusal(telling(200, b"y" * 5000), lambda place: place.tag("v1", OBJECT))
    assert "other content than its name says" in said


def test_nobody_is_there() -> None:
    with pytest.raises(Unreachable, match="nothing listens") as caught:
        at(f"127.0.0.1:{free_port()}", {}).tags()
    assert caught.value.exit_code == 11


def test_https_where_there_is_only_http(tmp_path: Path) -> None:
    with registry(tmp_path) as host, pytest.raises(Unreachable, match=r"TLS") as caught:
        Registry(f"oci://{host}/models/x", {}, Client({}, HASTE, patient([]))).tags()
    assert "oci+http://" in str(caught.value)


def test_no_damage_is_no_reason_to_retry() -> None:
    """StoreDamaged is said at once: who lies, lies again."""
    turns: List[str] = []

    def answer(it: Handler) -> None:
        turns.append(it.path)
        it.say(200, b"y" * 5000)

    with serving(answer) as url, pytest.raises(StoreDamaged):
        everything(FILE)(at(url, {}))
    assert len(turns) == 1
