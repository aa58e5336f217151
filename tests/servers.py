"""Small servers on loopback for tests: one that answers in HTTP as it is told, and one that is given the naked socket."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, Optional

import pytest

from builder.store.http.client import Clock, Patience

HASTE = Patience(tries=3, total=5.0, connect=2.0, answer=0.5, body=0.5)


class Handler(http.server.BaseHTTPRequestHandler):
    """What a test's function is called with. `say` answers whole."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def say(self, status: int, data: bytes = b"", **headers: str) -> None:
        """Headers by name, with _ for -."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


Answer = Callable[[Handler], None]


@contextlib.contextmanager
def serving(answer: Answer, certificate: Optional[Path] = None) -> Iterator[str]:
    """The URL of a server that lets `answer` answer every request. With `certificate`, a .pem of both parts, https."""

    class Told(Handler):
        def do(self) -> None:
            answer(self)

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hung up, as these tests want it to."""

    with Quiet(("127.0.0.1", 0), Told) as server:
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(str(certificate))
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def speaking(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that gives each connection to `script` once the head of a request was read, then closes it."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)

    def one(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            seen = b""
            while b"\r\n\r\n" not in seen:
                piece = line.recv(65536)
                if not piece:
                    return
                seen += piece
            script(line)

    def run() -> None:
        while not stop.is_set():
            with contextlib.suppress(socket.timeout):
                line, _ = listener.accept()
                line.settimeout(None)
                threading.Thread(target=one, args=(line,), daemon=True).start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()
        listener.close()


def certificate(folder: Path, name: str = "127.0.0.1") -> Path:
    """A self-signed certificate for an address or a name with its key, in one .pem file. Skips where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: apt install openssl)")
    both, key = folder / "server.pem", folder / "server.key"
    words = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}"
    kind = "IP" if name[0].isdigit() else "DNS"
    words = f"{words} -addext subjectAltName={kind}:{name}"
    subprocess.run([*words.split(), "-keyout", str(key), "-out", str(both)], check=True, capture_output=True)
    with both.open("a") as file:
        file.write(key.read_text())
    return both


def patient(sleeps: "list[float]") -> Clock:
    """A clock that goes, on which waiting takes no time and is written down."""
    return Clock(sleep=sleeps.append, chance=lambda: 1.0)


class Cutting:
    """A way to `host` through another port, which is cut after as many bytes from the client, since the last
    cut, as the next of `cuts` says; where `cuts` ends, it is cut no more. `sent` counts what came through."""

    def __init__(self, host: str, cuts: "list[int]") -> None:
        self.host, self.cuts, self.sent, self._since = host, cuts, 0, 0

    @contextlib.contextmanager
    def open(self) -> Iterator[str]:
        """HOST:PORT of the way."""
        listener = socket.create_server(("127.0.0.1", 0))

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    there = socket.create_connection((self.host.split(":")[0], int(self.host.split(":")[1])))
                    threading.Thread(target=self._forward, args=(line, there), daemon=True).start()
                    threading.Thread(target=self._back, args=(there, line), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.close()

    def _forward(self, line: socket.socket, there: socket.socket) -> None:
        with line, there, contextlib.suppress(OSError):
            for piece in iter(lambda: line.recv(16384), b""):
                there.sendall(piece)
                self._since += len(piece)
                self.sent += len(piece)
                if self.cuts and self._since > self.cuts[0]:
                    self._since = 0
                    self.cuts.pop(0)
                    time.sleep(0.3)  # for what came through to arrive, on a busy machine too
                    line.shutdown(socket.SHUT_RDWR)
                    there.shutdown(socket.SHUT_RDWR)
                    return
            there.shutdown(socket.SHUT_WR)

    @staticmethod
    def _back(there: socket.socket, line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for piece in iter(lambda: there.recv(65536), b""):
                line.sendall(piece)
