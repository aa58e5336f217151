"""Web servers as places: Python's own, which has no ranges; one that has; and some that are broken or lie."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from builder import cli, plugins
from builder.errors import DeployError, StoreDamaged, Unreachable, UsageError
from builder.plugins import Repository
from builder.store import oci, supply
from builder.store.http.client import Client
from builder.store.layout import Layout
from builder.store.oci import INDEX, OCTETS, Descriptor
from builder.store.remotes.web import Web
from tests.builder.store.remotes.reading import *  # noqa: F403
from tests.builder.store.remotes.reading import Filled
from tests.builder.store.test_versions import published
from tests.fakes import REPOSITORY
from tests.ports import free_port
from tests.servers import HASTE, Answer, Handler, certificate, patient, serving


@contextlib.contextmanager
def pythons_own(folder: Path) -> Iterator[str]:
    """What `python -m http.server` runs."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def with_ranges(folder: Path) -> Answer:
    def answer(it: Handler) -> None:
        path = folder / it.path.lstrip("/")
        if not path.is_file():
            it.say(404, b"<html>no such file</html>", Content_Type="text/html")
            return
        data, wanted = path.read_bytes(), re.fullmatch(r"bytes=(\d+)-", it.headers.get("Range", ""))
        if wanted is None:
            it.say(200, data)
            return
        start = int(wanted.group(1))
        if start >= len(data):
            it.say(416, b"", Content_Range=f"bytes */{len(data)}")
            return
        it.say(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")

    return answer


def without_head(folder: Path) -> Answer:
    plain = with_ranges(folder)

    def answer(it: Handler) -> None:
        if it.command == "HEAD":
            it.say(405, b"")
        else:
            plain(it)

    return answer


_NGINX = """
daemon off; master_process off; pid {run}/pid; error_log {run}/log;
events {{}}
http {{
  access_log off; client_body_temp_path {run}; proxy_temp_path {run}; fastcgi_temp_path {run};
  uwsgi_temp_path {run}; scgi_temp_path {run};
  server {{ listen 127.0.0.1:{port}; {locations} }}
}}
"""


def the_page_says(folder: Path) -> str:
    """nginx's part of the documentation, for `folder`."""
    page = (REPOSITORY / "docs" / "how-to" / "serve-from-a-web-server.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("location ")]
    assert len(lines) == 3
    return "\n".join(lines).replace("/corners/", "/models/").replace("/srv/www", str(folder))


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not installed (Debian: apt install nginx-light)")
    run, port = folder.parent / "run", free_port()
    run.mkdir()
    (run / "conf").write_text(_NGINX.format(run=run, port=port, locations=the_page_says(folder)))
    words = [program, "-p", str(run), "-c", str(run / "conf"), "-e", str(run / "log")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def listening(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at {port}")


SERVERS: "dict[str, Callable[[Path], contextlib.AbstractContextManager[str]]]" = {
    "python": pythons_own,
    "ranges": lambda folder: serving(with_ranges(folder)),
    "nginx": nginx,
    "no-head": lambda folder: serving(without_head(folder)),
}


@pytest.fixture(params=SERVERS)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    (tmp_path / "www").mkdir()
    with SERVERS[request.param](tmp_path / "www") as url:

        def made(store: Layout) -> Repository:
            shutil.copytree(str(store.root), str(tmp_path / "www" / "models" / "tiny"))
            return plugins.repository(f"{url}/models/tiny/", {})

        yield made


def hurried(url: str) -> Web:
    return Web(url, {}, Client({}, HASTE, patient([])))


# ------------------------------------------------------------------------------------------- read-only, and fresh


def test_nothing_is_published_to_it(store: Layout, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    published(store)
    shutil.copytree(str(store.root), str(tmp_path / "www"))
    published(store, version=2)
    with pythons_own(tmp_path / "www") as url:
        assert cli.main(["publish", url, "--store", str(store.root)]) == 2
        said = capsys.readouterr().err
        assert "a web server is only read from" in said
        assert "build publish FOLDER" in said
        with pytest.raises(UsageError, match="only read from"):
            Web(url, {}).tag("v1", Descriptor(INDEX, "sha256:" + "0" * 64, 1))


def test_a_new_version_is_seen_at_once(store: Layout) -> None:
    """A cache on the way is asked for the newest index.json; blobs it may keep for ever."""
    published(store)
    asked: List["tuple[str, str]"] = []

    def answer(it: Handler) -> None:
        asked.append((it.path, it.headers.get("Cache-Control", "")))
        with_ranges(store.root)(it)

    with serving(answer) as url:
        place = Web(url, {})
        assert place.tags() == ("v1",)
        top = place.resolve("v1")
        assert top is not None
        with place.stream(top) as stream:
            list(stream.pieces)
        published(store, version=2)
        assert place.tags() == ("v1", "v2")
    assert {said for path, said in asked if path.endswith("index.json")} == {"no-cache"}
    assert {said for path, said in asked if "/blobs/" in path} == {""}


def test_pull_by_the_command(store: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(store)
    with pythons_own(store.root) as url:
        code = cli.main(["pull", url, "--to", str(tmp_path / "to"), "--explain"])
        assert code in (0, 6), capsys.readouterr().err
        assert "tiny-dense-fp32-trt: waiting" in capsys.readouterr().out
        assert cli.main(["pull", f"{url}/elsewhere", "--to", str(tmp_path / "to")]) == 2
        assert "there is no index.json" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- addresses and passwords


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("https://", "not an http or https URL"),
        ("https:///models", "not an http or https URL"),
        ("https://host/models?token=hidden", "no query"),
        ("https://host/models/index.json", "name its folder: https://host/models"),
        ("https://host:99999/x", "not a URL"),
        ("https://host/a b", "not an http or https URL"),
    ],
)
def test_an_address_that_is_none(wrong: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        plugins.repository(wrong, {})
    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)


def behind_a_password(folder: Path, seen: List[str]) -> Answer:
    def answer(it: Handler) -> None:
        seen.append(it.headers.get("Authorization", ""))
        if seen[-1] == "Basic bWU6bXktd29yZA==":
            with_ranges(folder)(it)
        else:
            it.say(401, b"no", WWW_Authenticate='Basic realm="models"')

    return answer


def test_a_password_is_sent_when_it_is_asked_for(store: Layout, tmp_path: Path) -> None:
    published(store)
    both, seen = certificate(tmp_path), []  # type: Path, List[str]
    login = {"DEPLOYMATRIX_LOGIN": "me:my-word"}
    environ = {"DEPLOYMATRIX_CA_FILE": str(both), "HOME": str(tmp_path)}
    with serving(behind_a_password(store.root, seen), both) as url:
        assert Web(url, {**environ, **login}).tags() == ("v1",)
        assert seen[0] == ""
        for known, said in ({}, "wants a password"), ({"DEPLOYMATRIX_LOGIN": "me:x"}, "does not accept"):
            with pytest.raises(Unreachable, match=said) as caught:
                Web(url, {**environ, **known}).tags()
            assert "DEPLOYMATRIX_LOGIN" in str(caught.value)


def test_a_password_is_not_sent_in_the_clear(store: Layout, tmp_path: Path) -> None:
    published(store)
    seen: List[str] = []
    login = {"DEPLOYMATRIX_LOGIN": "me:my-word", "HOME": str(tmp_path)}
    with serving(behind_a_password(store.root, seen)) as url, pytest.raises(Unreachable, match="over https only"):
        Web(url, login).tags()
    assert set(seen) == {""}


def test_a_password_is_not_sent_to_where_one_is_redirected(store: Layout, tmp_path: Path) -> None:
    published(store)
    both, seen, first = certificate(tmp_path), [], []  # type: Path, List[str], List[str]
    environ = {
        "DEPLOYMATRIX_CA_FILE": str(both),
        "HOME": str(tmp_path),
        "DEPLOYMATRIX_LOGIN": "me:my-word",
    }
    with serving(behind_a_password(store.root, seen), both) as stranger:

        def lead_away(it: Handler) -> None:
            first.append(it.headers.get("Authorization", ""))
            it.say(302, Location=f"{stranger}{it.path}")

        def ask_and_lead_away(it: Handler) -> None:
            if "Authorization" in it.headers:
                lead_away(it)
            else:
                it.say(401, WWW_Authenticate='Basic realm="models"')

        for answer in (lead_away, ask_and_lead_away):
            with serving(answer, both) as url, pytest.raises(Unreachable, match="status 401"):
                Web(url, environ).tags()
    assert first == ["", "Basic bWU6bXktd29yZA=="], "the password came to whom it was meant for"
    assert set(seen) == {""}


# ------------------------------------------------------------------------------------------- servers that are broken or lie


@pytest.mark.parametrize(
    ("status", "data", "headers", "error", "said"),
    [
        (200, b"<!DOCTYPE html><p>Log in to this network", {}, UsageError, "a web page in place of index.json"),
        (200, gzip.compress(b"{}"), {"Content_Encoding": "gzip"}, StoreDamaged, "packed (gzip)"),
        (200, b"", {}, StoreDamaged, "not JSON"),
        (200, b"[]", {}, StoreDamaged, "not a JSON object"),
        (200, b"[" * 100_000, {}, StoreDamaged, "not JSON"),
        (200, b'{"manifests": [1]}', {}, StoreDamaged, "not a JSON object"),
        (404, b"", {}, UsageError, "there is no index.json"),
        (403, b"", {}, Unreachable, "it does not show this (status 403)"),
        (500, b"", {}, Unreachable, "status 500"),
        (204, b"", {}, Unreachable, "does not answer as a server of files does (status 204)"),
        (302, b"", {"Location": "file:///etc/passwd"}, Unreachable, "redirects to"),
    ],
    ids=["page", "gzip", "empty", "list", "deep", "number", "404", "403", "500", "204", "file"],
)
def test_an_answer_that_is_no_index(
    status: int, data: bytes, headers: "dict[str, str]", error: type, said: str
) -> None:
    with serving(lambda it: it.say(status, data, **headers)) as url:
        with pytest.raises(DeployError) as caught:
            hurried(url).tags()
        assert type(caught.value) is error
        assert said in str(caught.value)
        assert url in str(caught.value)


def test_an_index_without_end() -> None:
    def answer(it: Handler) -> None:
        it.send_response(200)
        it.end_headers()
        with contextlib.suppress(OSError):
            while True:
                it.wfile.write(b" " * (1 << 20))

    with serving(answer) as url, pytest.raises(StoreDamaged, match="which is not believed"):
        hurried(url).tags()


@pytest.mark.parametrize("lie", ["ahead", "without", "other"])
def test_a_range_that_is_not_what_was_asked(lie: str, store: Layout, tmp_path: Path) -> None:
    """The file is right in the end, or there is an error: never two pieces that do not fit."""
    data = os.urandom(100_000)
    file = tmp_path / "file"
    file.write_bytes(data)
    blob = store.put(file)
    cache = Layout(tmp_path / "cache")
    cache.incoming(blob.digest).write_bytes(data[:50_000])

    def answer(it: Handler) -> None:
        if "Range" not in it.headers:
            it.say(200, data)
        elif lie == "ahead":
            it.say(206, data[60_000:], Content_Range="bytes 60000-99999/100000")
        elif lie == "without":
            it.say(206, data[50_000:])
        else:
            it.say(206, b"x" * 50_000, Content_Range="bytes 50000-99999/100000")

    with serving(answer) as url:
        with contextlib.suppress(StoreDamaged):
            supply.Supply(cache, hurried(url)).bring([blob])
        assert not cache.holds(blob.digest) or cache.read(blob.digest) == data
    with serving(lambda it: it.say(200, data)) as url:
        supply.Supply(cache, hurried(url)).bring([blob])
        assert cache.read(blob.digest) == data


def test_a_blob_with_other_content_than_its_name(store: Layout, tmp_path: Path) -> None:
    published(store)
    shutil.copytree(str(store.root), str(tmp_path / "www"))
    top = oci.find(store, "v1")
    assert top is not None
    path = tmp_path / "www" / "blobs" / "sha256" / str(top["digest"])[7:]
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    with pythons_own(tmp_path / "www") as url, pytest.raises(StoreDamaged, match="other content than its name says"):
        supply.Supply(Layout(tmp_path / "cache"), hurried(url)).version(None, "")


def test_a_digest_never_becomes_a_path(store: Layout) -> None:
    asked: List[str] = []

    def answer(it: Handler) -> None:
        asked.append(it.path)
        it.say(404)

    with serving(answer) as url:
        for named in ("sha256:../../secret", "sha256:" + "a" * 63, "md5:" + "0" * 32):
            with pytest.raises(StoreDamaged), hurried(url).stream(Descriptor(OCTETS, named, 3)):
                pass
    assert asked == []


def test_nobody_listens(store: Layout) -> None:
    with pytest.raises(Unreachable, match="nothing listens"):
        hurried("http://127.0.0.1:9/models").tags()
