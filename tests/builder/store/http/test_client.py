"""The HTTP client against real servers that behave, and against some that do not: one clear error, in bounded time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Callable, List, Tuple

import pytest

from builder.errors import DeployError, StoreDamaged, Unreachable, UsageError
from builder.store.http import address
from builder.store.http.address import parse
from builder.store.http.client import Client, Clock, HttpAnswer, HttpRequest, Patience, retry_after
from builder.store.http.wire import FilePart, Wire
from tests.ports import free_port
from tests.servers import HASTE, Handler, certificate, patient, serving, speaking

OK = b"HTTP/1.1 200 OK\r\n"


def bytes_id(value: object) -> "str | None":
    """Short names for cases of many bytes."""
    return repr(value[-12:]) if isinstance(value, bytes) else None


def get(url: str, client: "Client | None" = None, most: int = 1000) -> HttpAnswer:
    return (client or Client({}, HASTE, patient([]))).read(HttpRequest("GET", url), most)


def hurried(seconds: float = 4.0) -> Callable[[], None]:
    """Call it at the end: no more time has passed."""
    start = time.monotonic()

    def check() -> None:
        assert time.monotonic() - start < seconds

    return check


# ------------------------------------------------------------------------------------------- what servers do


def test_a_request_says_what_it_should() -> None:
    seen: List[Tuple[str, str, str]] = []

    def answer(it: Handler) -> None:
        seen.append((it.command, it.path, it.headers["User-Agent"].partition("/")[0]))
        assert it.headers["X-Mine"] == "1" and it.headers["Host"].startswith("127.0.0.1:")
        it.say(200, b"hello")

    with serving(answer) as url:
        found = Client({}).read(HttpRequest("GET", f"{url}/a?b=c", (("X-Mine", "1"),)), 100)
    assert (found.status, found.data) == (200, b"hello")
    assert seen == [("GET", "/a?b=c", "deploymatrix")]


def test_connections_are_kept_also_by_threads() -> None:
    ports = set()

    def answer(it: Handler) -> None:
        ports.add(it.client_address[1])
        it.say(404 if it.path == "/no" else 200, b"x" * 3000)

    with serving(answer) as url:
        client = Client({})
        for path in ("/", "/no", "/"):
            with client.open(HttpRequest("GET", url + path)) as reply:
                assert reply.status in (200, 404)  # and the body is left unread
        assert len(ports) == 1
        threads = [threading.Thread(target=get, args=(url, client, 9000)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ports) <= 8


def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    def script(line: socket.socket) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # and closed, though nothing said so

    sleeps: List[float] = []
    with speaking(script) as url:
        client = Client({}, HASTE, patient(sleeps))
        assert [get(url, client).data for _ in range(3)] == [b"ok"] * 3
    assert sleeps == []


def test_a_connection_whose_body_is_left_unread_is_closed() -> None:
    closed = threading.Event()

    def script(line: socket.socket) -> None:
        line.sendall(OK + b"Content-Length: 1000000\r\n\r\nx")
        line.settimeout(5)
        with contextlib.suppress(ConnectionError):
            line.recv(1)
        closed.set()

    with speaking(script) as url:
        with Client({}, HASTE).open(HttpRequest("GET", url)) as reply:
            assert reply.length == 1_000_000
        assert closed.wait(4), "the server need not wait for its own timeout"
        assert reply.status == 200  # the answer is still held: nothing else closed its connection


@pytest.mark.parametrize("answer", [3.0, 90.0])
def test_an_answer_has_its_own_time(answer: float) -> None:
    """Not that of the connection before it, nor that of the body of an earlier answer."""
    with serving(lambda it: it.say(200)) as url:
        wire = Wire(parse(url), None, None, connect=7.0, now=lambda: 100.0)
        for seconds in (answer, answer / 2):
            wire.ask("GET", "/", {}, None, seconds).read()
            assert wire.watch.left() == seconds
            wire.watch.within(1.0, 1000)
        wire.close()


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_the_head_of_an_answer_may_have_256_kib(more: int, fits: bool) -> None:
    head = OK + b"Content-Length: 0\r\n" + b"".join(b"X: %s\r\n" % (50_000 * b"y") for _ in range(5))
    head += b"Y: " + (256 * 1024 - len(head) - len(b"Y: \r\n\r\n") + more) * b"y" + b"\r\n\r\n"
    with speaking(lambda line: line.sendall(head)) as url:
        if fits:
            assert get(url) == HttpAnswer(200, b"")
        else:
            with pytest.raises(Unreachable, match="more than there can be"):
                get(url)


def test_a_part_of_a_file_goes_up_and_comes_down(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 1000)
    got: List[bytes] = []

    def answer(it: Handler) -> None:
        if it.command == "PUT":
            got.append(it.rfile.read(int(it.headers["Content-Length"])))
            return it.say(201)
        assert it.headers["Range"] == "bytes=5-"
        return it.say(206, file.read_bytes()[5:], Content_Range="bytes 5-255999/256000")

    with serving(answer) as url:
        client = Client({})
        assert client.read(HttpRequest("PUT", url, body=FilePart(file, 10, 200_000)), 10).status == 201
        with client.open(HttpRequest("GET", url, (("Range", "bytes=5-"),))) as reply:
            assert (reply.start, reply.length) == (5, 255_995)
            assert b"".join(reply.pieces()) == file.read_bytes()[5:]
    assert got == [file.read_bytes()[10:200_010]]


def test_a_refusal_before_the_body_is_over_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(20_000_000))

    def script(line: socket.socket) -> None:
        line.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        line.shutdown(socket.SHUT_WR)
        time.sleep(0.2)

    with speaking(script) as url:
        found = Client({}, HASTE).read(HttpRequest("PUT", url, body=FilePart(file, 0, 20_000_000), again=False), 100)
    assert found == HttpAnswer(413, b"big")


# ------------------------------------------------------------------------------------------- asking again


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_asked_for_again(status: int) -> None:
    statuses, sleeps = [status, status, 200], []  # type: Tuple[List[int], List[float]]

    with serving(lambda it: it.say(statuses.pop(0), b"x")) as url:
        assert get(url, Client({}, Patience(), patient(sleeps))).status == 200
    assert sleeps == [0.5, 1.0]


def test_waits_grow_and_differ_and_end() -> None:
    waits = Patience(tries=9, first=1.0, longest=5.0)
    assert [waits.pause(n, 100, None, 1.0) for n in (1, 2, 3, 4, 9)] == [1, 2, 4, 5, None]
    assert [waits.pause(1, 100, None, chance) for chance in (0.0, 0.5)] == [0.5, 0.75]
    assert waits.pause(1, 100, 30.0, 0.0) == 30.0, "what the server asks for"
    assert waits.pause(1, 20, 30.0, 0.0) is None, "but not beyond the limit"


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("7", 0) == 7
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 50) == 10
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 90) == 0
    assert [retry_after(text, 0) for text in ("", "soon", "-5", "9" * 400, "Thu, 99 Foo")] == [
        None,
        None,
        None,
        999999999,
        None,
    ]


def test_a_server_that_stays_busy_has_the_last_word() -> None:
    sleeps: List[float] = []
    with serving(lambda it: it.say(503, b"later", Retry_After="2")) as url:
        assert get(url, Client({}, HASTE, patient(sleeps))) == HttpAnswer(503, b"later")
        assert sleeps == [2.0, 2.0]
        assert Client({}, HASTE, patient(sleeps)).read(HttpRequest("POST", url, body=b"{}"), 100).status == 503
        assert sleeps == [2.0, 2.0], "a POST is not sent twice"


def test_a_day_is_not_waited_for() -> None:
    sleeps: List[float] = []
    with serving(lambda it: it.say(429, b"", Retry_After="86400")) as url:
        assert get(url, Client({}, HASTE, patient(sleeps))).status == 429
    assert sleeps == []


def test_an_answer_that_is_cut_is_asked_for_again() -> None:
    turns: List[int] = []

    def script(line: socket.socket) -> None:
        turns.append(1)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + (b"good" if len(turns) == 3 else b"go"))

    with speaking(script) as url:
        assert get(url).data == b"good"
    assert len(turns) == 3


# ------------------------------------------------------------------------------------------- redirects


def test_a_redirect_takes_no_secret_to_another_host() -> None:
    seen: List[Tuple[str, "str | None"]] = []

    def there(it: Handler) -> None:
        seen.append((it.path, it.headers["Authorization"]))
        it.say(200, b"moved")

    with serving(there) as other:

        def here(it: Handler) -> None:
            seen.append((it.path, it.headers["Authorization"]))
            it.say(307, Location="/near" if it.path == "/" else f"{other}/far?signature=s3cret")

        with serving(here) as url:
            request = HttpRequest("GET", f"{url}/", (("Authorization", "Basic c2VjcmV0"),))
            assert Client({}, HASTE).read(request, 100).data == b"moved"
    assert seen == [("/", "Basic c2VjcmV0"), ("/near", "Basic c2VjcmV0"), ("/far?signature=s3cret", None)]


@pytest.mark.parametrize(
    ("method", "followed"),
    [("GET", {301, 302, 303, 307, 308}), ("HEAD", {301, 302, 303, 307, 308}), ("PUT", set()), ("POST", set())],
)
def test_which_answers_are_redirects(method: str, followed: "set[int]") -> None:
    def answer(it: Handler) -> None:
        it.say(404 if it.path == "/there" else int(it.path[1:]), Location="/there")

    with serving(answer) as url:
        client = Client({}, HASTE)
        found = {n: client.read(HttpRequest(method, f"{url}/{n}"), 100).status for n in range(200, 400)}
    assert {n for n, status in found.items() if status == 404} == followed
    assert all(status == n for n, status in found.items() if n not in followed)


def test_a_redirect_without_an_address_is_the_answer() -> None:
    with serving(lambda it: it.say(302, b"where?")) as url:
        assert get(url) == HttpAnswer(302, b"where?")


def test_a_loop_of_redirects_ends() -> None:
    turns: List[str] = []

    def answer(it: Handler) -> None:
        turns.append(it.path)
        it.say(302, Location=f"/{len(turns)}")

    with serving(answer) as url, pytest.raises(Unreachable, match="redirects more than 5 times"):
        get(url)
    assert len(turns) == 6


def test_no_redirect_from_https_to_http(tmp_path: Path) -> None:
    both = certificate(tmp_path)
    with serving(lambda it: it.say(302, Location="http://127.0.0.1:1/x"), both) as url:
        client = Client({"DEPLOYMATRIX_CA_FILE": str(both)}, HASTE)
        with pytest.raises(Unreachable, match="nothing is encrypted"):
            get(url, client)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://h/x", "http://[::1", "http://h:99999/", "data:,x"])
def test_a_redirect_to_nowhere(location: str) -> None:
    with serving(lambda it: it.say(302, Location=location)) as url, pytest.raises(Unreachable, match="redirects to"):
        get(url)


# ------------------------------------------------------------------------------------------- hostile servers


def drip(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """Send `head`, then `piece` forever with a little time between: every single read is in time."""

    def script(line: socket.socket) -> None:
        line.sendall(head)
        while True:
            line.sendall(piece)
            time.sleep(0.02)

    return script


@pytest.mark.parametrize(
    ("head", "piece", "said"),
    [
        (b"", b"H", "does not answer in HTTP|too long"),
        (b"HTTP/1.1 200 OK", b"K", "too long"),
        (OK, b"X", "too long"),
        (OK, b"X: y\r\n", "too long|100 headers"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "too long"),
        (OK + b"Content-Length: 900\r\n\r\n", b"x", "too long"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", "too long"),
        (OK + b"\r\n", b"x", "too long"),
    ],
    ids=bytes_id,
)
def test_a_slow_drip_ends(head: bytes, piece: bytes, said: str) -> None:
    done = hurried(6)
    with speaking(drip(head, piece)) as url, pytest.raises(Unreachable, match=said) as caught:
        get(url)
    assert url in str(caught.value)
    done()


def test_a_drip_ends_a_stream_too() -> None:
    with speaking(drip(OK + b"Content-Length: 10000000\r\n\r\n", b"x")) as url:
        done = hurried(2)
        with pytest.raises(Unreachable, match="too long"), Client({}, HASTE).open(HttpRequest("GET", url)) as reply:
            list(reply.pieces())
        done()


@pytest.mark.parametrize(
    ("head", "piece", "said"),
    [
        (OK + b"X: ", b"y" * 60_000, "does not answer in HTTP"),
        (OK, b"X: " + b"y" * 60_000 + b"\r\n", "more than there can be|100 headers"),
        (OK, b"X: y\r\n" * 50, "more than 100 headers"),
        (OK + b"\r\n", b"x" * 60_000, "more than 1,000 bytes"),
        (OK + b"Content-Length: 10737418240\r\n\r\n", b"x" * 60_000, "10,737,418,240 bytes"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"ffffffff\r\n" + b"x" * 60_000, "more than 1,000 bytes"),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            b"x" * 60_000,
            "more than",
        ),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 9000, "more than there can be"),
    ],
    ids=bytes_id,
)
def test_what_has_no_end_is_not_taken(head: bytes, piece: bytes, said: str) -> None:
    def script(line: socket.socket) -> None:
        line.sendall(head)
        while True:
            line.sendall(piece)

    done = hurried()
    with speaking(script) as url, pytest.raises((Unreachable, StoreDamaged), match=said):
        get(url)
    done()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "without response|connection failed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer in HTTP"),
        (b"\x00\xff\x17" * 100, "does not answer in HTTP"),
        (OK + b"Content-Length: 10\r\n\r\nshort", "ended before it was whole"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nx", "ended before it was whole|does not answer in HTTP"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nx", "ended before it was whole"),
    ],
    ids=bytes_id,
)
def test_nonsense_is_said_to_be_nonsense(answer: bytes, said: str) -> None:
    with speaking(lambda line: line.sendall(answer)) as url, pytest.raises(Unreachable, match=said):
        get(url)


def test_a_part_that_does_not_say_which() -> None:
    answering, refused = serving(lambda it: it.say(206, b"x")), pytest.raises(StoreDamaged, match="does not say which")
    with answering as url, refused, Client({}).open(HttpRequest("GET", url)) as reply:
        assert reply.start


# ------------------------------------------------------------------------------------------- nobody there, TLS, proxies


def test_nobody_is_there() -> None:
    url, sleeps = f"http://127.0.0.1:{free_port()}", []  # type: Tuple[str, List[float]]
    with pytest.raises(Unreachable, match=r"nothing listens at 127\.0\.0\.1") as caught:
        get(url, Client({}, HASTE, patient(sleeps)))
    assert "check the host's name and the port" in str(caught.value)
    assert len(sleeps) == 2, "it may be starting"


def test_no_such_host() -> None:
    sleeps: List[float] = []
    with pytest.raises(Unreachable, match=r"no-such-host\.invalid"):
        get("http://no-such-host.invalid/", Client({}, HASTE, patient(sleeps)))


def test_a_certificate_is_asked_for(tmp_path: Path) -> None:
    both = certificate(tmp_path)
    with serving(lambda it: it.say(200, b"safe"), both) as url:
        assert get(url, Client({"DEPLOYMATRIX_CA_FILE": str(both)}, HASTE)).data == b"safe"
        with pytest.raises(Unreachable, match="certificate is not accepted") as caught:
            get(url)
        assert "DEPLOYMATRIX_CA_FILE=ca.pem" in str(caught.value)
        with pytest.raises(Unreachable, match="certificate is not accepted"):  # another name than its own
            get(url.replace("127.0.0.1", "localhost"), Client({"DEPLOYMATRIX_CA_FILE": str(both)}, HASTE))
    (tmp_path / "no.pem").write_text("not a certificate")
    for name, said in (("no.pem", "holds no certificate"), ("none.pem", "No such file")):
        with pytest.raises(UsageError, match=said):
            get("https://127.0.0.1:1/", Client({"DEPLOYMATRIX_CA_FILE": str(tmp_path / name)}, HASTE))


def test_https_where_there_is_only_http() -> None:
    with serving(lambda it: it.say(200)) as url, pytest.raises(Unreachable, match="TLS"):
        get(url.replace("http:", "https:"))


def test_through_a_proxy(tmp_path: Path) -> None:
    seen: List[Tuple[str, str, str]] = []

    def answer(it: Handler) -> None:
        seen.append((it.path, it.headers["Host"], it.headers["Proxy-Authorization"]))
        it.say(200, b"by proxy")

    with serving(answer) as url:
        client = Client({"http_proxy": url.replace("//", "//me:p%40ss@")}, HASTE)
        assert get("http://registry.example/v2/?x=1", client).data == b"by proxy"
    assert seen == [("http://registry.example/v2/?x=1", "registry.example", "Basic bWU6cEBzcw==")]
    refusing = speaking(lambda line: line.sendall(b"HTTP/1.1 407 No\r\n\r\n"))
    with refusing as url, pytest.raises(Unreachable, match="407"):
        get("https://registry.example/", Client({"HTTPS_PROXY": url}, HASTE, patient([])))
    with pytest.raises(Unreachable, match=r"nothing listens at 127.0.0.1:\d+ \(the proxy\)"):
        get("http://registry.example/", Client({"ALL_PROXY": f"127.0.0.1:{free_port()}"}, HASTE, patient([])))


def test_https_through_a_proxy(tmp_path: Path) -> None:
    """A tunnel to another name than its own, so that the certificate is that of the server, not of the proxy."""
    both, tunnels = certificate(tmp_path, "registry.example"), []  # type: Path, List[int]
    with serving(lambda it: it.say(200, b"x" * 300_000), both) as there:
        port = int(there.rpartition(":")[2])

        def tunnel(line: socket.socket) -> None:
            tunnels.append(port)
            with socket.create_connection(("127.0.0.1", port)) as onward:
                line.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=pour, args=(onward, line), daemon=True)
                back.start()
                pour(line, onward)

        def pour(source: socket.socket, to: socket.socket) -> None:
            for piece in iter(lambda: source.recv(65536), b""):
                to.sendall(piece)

        with speaking(tunnel) as url:
            client = Client({"https_proxy": url, "DEPLOYMATRIX_CA_FILE": str(both)}, HASTE)
            for _ in range(2):
                assert len(get(f"https://registry.example:{port}/", client, 300_000).data) == 300_000
    assert len(tunnels) == 1, "and the connection is kept"


@pytest.mark.parametrize(
    ("url", "exceptions", "by_proxy"),
    [
        ("http://a.example/", "", True),
        ("http://a.example/", "b.example,.other", True),
        ("http://a.example/", "example", False),
        ("http://a.example/", " .EXAMPLE ,x", False),
        ("http://a.example:81/", "a.example:82", True),
        ("http://a.example:81/", "a.example:81", False),
        ("http://bexample/", "example", True),
        ("http://a.example/", "*", False),
        ("http://10.0.0.1/", "10.0.0.1", False),
        ("http://10.1.2.3/", "10.0.0.0/8", False),
        ("http://10.1.2.3/", "x, 10.1.2.9/24 ", False),
        ("http://11.1.2.3/", "10.0.0.0/8,::/0,10.0.0.0/99", True),
        ("http://ten.example/", "0.0.0.0/0", True),
        ("http://[fd00::7]:81/", "fd00::/8", False),
        ("http://[fd00::7]/", "fd00:0:0::7", False),
        ("http://127.0.0.1:5000/", "", False),
        ("http://localhost/", "", False),
        ("http://[::1]/", "", False),
    ],
)
def test_who_is_asked_through_the_proxy(url: str, exceptions: str, by_proxy: bool) -> None:
    found = address.proxy_for(parse(url), {"HTTP_PROXY": "http://proxy:3128", "no_proxy": exceptions})
    assert (found is not None) == by_proxy


@pytest.mark.parametrize("named", ["socks5://proxy:1080", "http://", "http://proxy:x"])
def test_a_proxy_that_is_not_understood(named: str) -> None:
    with pytest.raises(UsageError, match="proxy for https is not understood"):
        address.proxy_for(parse("https://a.example/"), {"https_proxy": named})


@pytest.mark.parametrize("url", ["", "x", "http:/x", "http://h:x/", "http://a b/", "http://h/a\r\nX: y", "oci://h/x"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(UsageError):
        parse(url)


def test_no_message_holds_a_secret() -> None:
    url = f"http://me:s3cret@127.0.0.1:{free_port()}/x?token=s3cret"
    with pytest.raises(DeployError) as caught:
        get(url)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(DeployError) as caught:
        get("http://me:s3cret@host:port/x")
    assert "s3cret" not in str(caught.value)


def test_the_clock_is_the_one_that_is_given() -> None:
    """Asking again ends when `total` seconds have passed on it."""
    times = iter(range(0, 10_000, 40))
    clock = Clock(now=lambda: float(next(times)), sleep=lambda seconds: None)
    turns: List[str] = []

    def answer(it: Handler) -> None:
        turns.append(it.path)
        it.say(503)

    with serving(answer) as url:
        waits = Patience(tries=1000, total=2000, answer=1000, connect=1000, body=1000)
        with Client({}, waits, clock).open(HttpRequest("GET", url)) as reply:
            assert reply.status == 503
    assert 2 < len(turns) < 50
