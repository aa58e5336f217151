"""examples/serve: the server as a process, asked over HTTP, with wrong input too."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

import pytest

for needed in ("onnx", "onnxruntime"):
    pytest.importorskip(needed)
np: Any = pytest.importorskip("numpy")
cv2: Any = pytest.importorskip("cv2")
from builder.host import install
from builder.store.layout import Layout
from tests.fakes import REPOSITORY
from tests.real_artifacts import Made, answer, publish

MOST = 200_000
PIXELS = np.random.default_rng(3).integers(0, 255, (32, 40), np.uint8)


class Served:
    """The server's process. Its first line says where it listens."""

    def __init__(self, to: Path) -> None:
        command = [sys.executable, str(REPOSITORY / "examples/serve/serve.py"), str(to)]
        flags = ["--port", "0", "--every", "0.1", "--most", str(MOST), "--parallel", "2", "--threads", "1"]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def ask(self, method: str, path: str, body: Optional[bytes] = None) -> Tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            said = connection.getresponse()
            return said.status, json.loads(said.read() or b"null")
        finally:
            connection.close()

    def healthy(self, version: int) -> Any:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            code, found = self.ask("GET", "/health")
            if code == 200 and found["what"]["version"] == version:
                return found
            time.sleep(0.05)
        raise AssertionError(f"version {version} never answered: {found}")

    def raw(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as stream:
            stream.sendall(request)
            return stream.makefile("rb").readline()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "pulled"


@pytest.fixture
def served(to: Path) -> Iterator[Served]:
    it = Served(to)
    yield it
    it.process.kill()
    it.process.wait()


def place(store: Layout, to: Path, version: int, scale: float) -> None:
    made = publish(store, Made(scale=scale), version=version)
    install.place(made, made.entries, store, to)


def png(pixels: Any) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def test_it_answers_and_changes_versions_and_ends(store: Layout, to: Path, served: Served) -> None:
    code, found = served.ask("GET", "/health")
    assert code == 503 and found["answers"] is False
    assert served.ask("POST", "/infer", png(PIXELS))[0] == 503

    place(store, to, 1, 1.0)
    healthy = served.healthy(1)
    (artifact,) = healthy["what"]["artifacts"]
    assert (artifact["cell"], artifact["self_test"], artifact["loaded"]) == ("tiny-dense-fp32-ort", "passed", True)
    _is_the_answer(served, 1.0)
    for method, path, body, wanted, said in (
        ("POST", "/infer", b"not an image", 400, "not an image that OpenCV can decode"),
        ("POST", "/infer", b"", 400, "not an image"),
        ("POST", "/infer", b"x" * (MOST + 1), 413, f"more than {MOST} bytes"),
        ("POST", "/infer", png(np.zeros((400, 400), np.uint8)), 422, "no artifact here accepts 400x400"),
        ("GET", "/infer", None, 405, "use POST"),
        ("POST", "/health", b"x", 405, "use GET"),
        ("DELETE", "/health", None, 405, "use GET"),
        ("GET", "/etc/passwd", None, 404, "there is /health, /infer"),
    ):
        code, found = served.ask(method, path, body)
        assert (code, said in found["error"]) == (wanted, True), (method, path, found)
    for length in (b"", b"Content-Length: -1\r\n", b"Content-Length: \xb2\r\n"):
        assert b" 411 " in served.raw(b"POST /infer HTTP/1.0\r\n" + length + b"\r\n")

    place(store, to, 2, 2.0)
    served.healthy(2)
    _is_the_answer(served, 2.0)

    slow = socket.create_connection(("127.0.0.1", served.port), timeout=30)
    body = png(PIXELS)
    slow.sendall(b"POST /infer HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:20])
    time.sleep(0.3)
    served.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    slow.sendall(body[20:])
    assert b" 200 " in slow.makefile("rb").readline(), "a request under way is answered"
    slow.close()
    assert served.process.wait(30) == 0
    with pytest.raises(OSError):
        served.ask("GET", "/health")


def _is_the_answer(served: Served, scale: float) -> None:
    code, found = served.ask("POST", "/infer", png(PIXELS))
    assert code == 200
    image = PIXELS.astype(np.float32)[None, None] / np.float32(255)
    values = np.float32(found["out"]["values"]).reshape(found["out"]["shape"])
    np.testing.assert_allclose(values, answer(scale, image), rtol=1e-4, atol=1e-5)
