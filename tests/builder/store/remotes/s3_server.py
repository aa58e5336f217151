"""moto's S3 server on a free port of this machine, behind a door that can misbehave as networks and services do. No test
is here.

Amazon's S3 looks at a condition and writes in one step. moto looks first and writes then, so the door lets one write in
at a time; otherwise tests of concurrent publishers would find moto's gap and not ours.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Callable, Iterable, Iterator, List, Optional

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer  # noqa: F401  (its import sets moto up)
from werkzeug.serving import WSGIRequestHandler, make_server

Respond = Callable[..., Any]
Meddle = Callable[["dict[str, Any]", Respond], Optional[Iterable[bytes]]]


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: "int | str" = "-", size: "int | str" = "-") -> None:
        """Nobody reads it."""


class Door:
    """`meddle` sees each request first: it may change it, or answer in the server's place. `seen` is `METHOD path?query`."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._writes = threading.Lock()
        self.meddle: Optional[Meddle] = None
        self.seen: List[str] = []
        self.url = ""

    def __call__(self, environ: "dict[str, Any]", respond: Respond) -> Iterable[bytes]:
        self.seen.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}")
        answered = self.meddle(environ, respond) if self.meddle else None
        if answered is not None:
            return answered
        with self._writes if environ["REQUEST_METHOD"] == "PUT" else contextlib.nullcontext():
            return self._app(environ, respond)  # type: ignore[no-any-return]


@contextlib.contextmanager
def serving() -> Iterator[Door]:
    door = Door()
    server = make_server("127.0.0.1", 0, door, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    door.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield door
    finally:
        server.shutdown()
        thread.join()
