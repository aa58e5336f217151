"""Serve what `build pull` placed over HTTP, with the standard library. An example to copy, not a product: no TLS, no users.

    python serve.py pulled --port 8080

    GET  /health   what answers, and whether it passed its self-test here; 503 while nothing answers
    POST /infer    the bytes of a PNG or JPEG -> keypoints (points, scores) or tensors, as JSON

A version that `build pull` places later takes over between two requests, once it has passed its self-test. SIGTERM lets
the requests that are under way finish.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, Optional

from builder.errors import DeployError, NothingFits, UsageError
from builder.host import deployment
from builder.models import preprocessing
from builder.records import to_json
from validation import keypoints

ALLOWED = {"/health": "GET", "/infer": "POST"}


class Server(ThreadingHTTPServer):
    """A thread per request; the artifact answers `parallel` of them at once and lets the others wait."""

    daemon_threads = False  # so that closing waits for them

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__((args.address, args.port), Handler)
        self.args, self.started, self.ending = args, time.monotonic(), threading.Event()
        self.deploy: Optional[deployment.Deployment] = None
        self.problem = "it is being opened"
        self.opener = threading.Thread(target=self._open)
        self.opener.start()

    def _open(self) -> None:
        """Until there is something to open: a host may start before its first `build pull`."""
        args = self.args
        while self.deploy is None and not self.ending.is_set():
            try:
                self.deploy = deployment.open(
                    args.pulled, head=args.head, threads=args.threads, parallel=args.parallel,
                    warm=True, follow=True, every=args.every,
                )  # fmt: skip
            except DeployError as problem:
                self.problem = str(problem)
                self.ending.wait(args.every)

    def end(self) -> None:
        self.ending.set()
        self.server_close()  # waits for the requests that are under way
        self.opener.join()
        if self.deploy is not None:
            self.deploy.close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 20  # seconds, for a client that sends nothing

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if ALLOWED.get(path) != self.command:
            known = path in ALLOWED
            said = f"use {ALLOWED[path]}" if known else f"there is {', '.join(ALLOWED)}"
            return self._say(405 if known else 404, {"error": said}, ALLOWED.get(path))
        return self._health() if path == "/health" else self._infer()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET

    def _health(self) -> None:
        deploy, uptime = self.server.deploy, round(time.monotonic() - self.server.started, 1)
        if deploy is None:
            return self._say(503, {"answers": False, "problem": self.server.problem, "uptime_s": uptime})
        return self._say(200, {"answers": True, "uptime_s": uptime, "what": to_json(deploy.describe())})

    def _infer(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return self._say(411, {"error": "say Content-Length"})
        if int(length) > self.server.args.most:
            return self._say(413, {"error": f"more than {self.server.args.most} bytes"})
        if self.server.deploy is None:
            return self._say(503, {"error": self.server.problem})
        try:
            image = preprocessing.decoded(self.rfile.read(int(length)), "the body")
            found = self.server.deploy(image)
        except NothingFits as problem:
            return self._say(422, {"error": str(problem)})
        except UsageError as problem:
            return self._say(400, {"error": str(problem)})
        return self._say(200, _as_json(found))

    def _say(self, code: int, body: Dict[str, Any], allow: Optional[str] = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if allow:
            self.send_header("Allow", allow)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _as_json(found: Any) -> Dict[str, Any]:
    if isinstance(found, keypoints.DetectedKeypoints):
        return {"cell": found.cell, "points": found.points.tolist(), "scores": found.scores.tolist()}
    return {name: {"shape": list(value.shape), "values": value.ravel().tolist()} for name, value in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve a pulled artifact over HTTP.")
    parser.add_argument("pulled", type=Path, help="the folder that `build pull` places into")
    parser.add_argument("--head", help="which head, where several were pulled")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--threads", type=int, default=0, help="of the runtime for one request (0: every core)")
    parser.add_argument("--parallel", type=int, default=1, help="requests that are answered at once")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between looks for another version")
    parser.add_argument("--most", type=int, default=16 * 1024 * 1024, help="bytes of an image")
    server = Server(parser.parse_args())
    # `shutdown` waits for the loop below, so it cannot be called from within it
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on http://{server.args.address}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
