"""Whatever is mistyped for `build worker` and `build fleet`: an exit code, a sentence, what to type next; no traceback, no
password."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Iterator, List

import pytest

pytest.importorskip("nats")
pytest.importorskip("nacl")

from builder import cli
from builder.errors import UsageError
from builder.execution.fleet.broker import Broker
from builder.platforms import machines
from builder.trust import minisign
from tests.fakes import LAPTOP, Project

NOBODY = "nats://127.0.0.1:9"  # nothing listens there
KEY = minisign.new_key()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPLOYMATRIX_BROKER", raising=False)
    monkeypatch.delenv("DEPLOYMATRIX_PASSWORD", raising=False)
    monkeypatch.setattr(machines, "here", lambda: LAPTOP)
    (tmp_path / "file").write_text("some text")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00" * 9)
    (tmp_path / "large").write_text("x" * 5000)
    (tmp_path / "k.key").write_text(minisign.secret_key_file(KEY, ""))
    (tmp_path / "pw.key").write_text(minisign.secret_key_file(KEY, "sesame"))
    (tmp_path / "k.pub").write_text(KEY.public.file)
    return tmp_path


def _said(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """The message, of a command that is to end with `code` soon."""
    started = time.monotonic()
    found = cli.main([*words])
    out, said = capsys.readouterr()
    assert found == code, said
    assert said.startswith("error: ") and "Traceback" not in said and out == ""
    assert "sesame" not in said
    assert time.monotonic() - started < 8, "nobody waits for long to see a mistake"
    return said


def _worker(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    given = ["--folder", "kept", "--broker", NOBODY, "--store", "exchange"]
    return _said(capsys, code, "worker", *given, *words)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "http://broker/",
        "amqps://broker/",
        "nats://",
        "nats://:4222",
        "tls://broker:99999",
        "tls://broker:port",
        "tls://broker:0",
        "tls://[::1/",
        "tls://a..b/",
        "tls://" + "x" * 300,
        "tls://bro ker/",
        "tls://broker\x1b[2J",
        "nats://127.0.0.1:9,nats://127.0.0.1:10",
        "tls://broker/sesame",
        "tls://broker?tls_verify=false",
        "tls://broker#sesame",
        "tls://user:1/sesame@broker/",
        "tls://user:1#sesame@broker/",
        "tls://user:1?sesame@broker/",
        "tls://user:sesame/1@broker/",
        "tls//user:sesame@broker/",
        "user:sesame@broker",
    ],
)
def test_what_is_no_address_of_a_broker(capsys: pytest.CaptureFixture[str], url: str) -> None:
    for words in (["worker", "--store", "exchange", "--broker", url], ["fleet", "--broker", url]):
        said = _said(capsys, 2, *words)
        assert "tls://USER:PASSWORD@HOST:4222" in said
    with pytest.raises(UsageError):
        Broker(url)


def test_no_broker_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["worker", "--store", "exchange"], ["worker", "--store", "exchange", "--broker", ""], ["fleet"]):
        assert "export DEPLOYMATRIX_BROKER=" in _said(capsys, 2, *words)


@pytest.mark.parametrize(
    "url",
    [
        NOBODY,
        "nats://user:sesame@127.0.0.1:9",
        "tls://user:sesame@127.0.0.1:9",
        "tls://user:sesame@nowhere.invalid",
        "  tls://user:sesame@127.0.0.1:9/ \n",
    ],
)
def test_a_broker_that_is_away(capsys: pytest.CaptureFixture[str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as the environment has it."""
    said = _worker(capsys, 11, "--broker", url)
    assert "the broker does not answer, or refuses: " in said and "is it there?" in said
    monkeypatch.setenv("DEPLOYMATRIX_BROKER", url)
    assert "is it there?" in _said(capsys, 11, "fleet")


@contextlib.contextmanager
def _saying(words: bytes) -> Iterator[int]:
    """The port of a server that says this to whoever connects, and ends."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = listening.accept()
                with connected, contextlib.suppress(OSError):
                    connected.sendall(words)
                    connected.shutdown(socket.SHUT_WR)
                    connected.settimeout(0.2)
                    connected.recv(1 << 16)

    threading.Thread(target=answer, daemon=True).start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


@pytest.mark.parametrize("scheme", ["nats", "tls"])
@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 64,
        b"-ERR unknown command\r\n" * 9,
        b"INFO " + b"x" * 99_999,
        b"INFO {}\r\n",
        b"INFO null\r\n",
        b"INFO []\r\n",
        b"INFO nonsense\r\n",
        b"+OK\r\n" * 9,
        b"",
    ],
    ids=["web", "zeros", "errors", "long", "empty info", "null", "list", "nonsense", "other", "silent"],
)
def test_a_server_that_is_no_broker(capsys: pytest.CaptureFixture[str], scheme: str, words: bytes) -> None:
    with _saying(words) as port:
        _worker(capsys, 11, "--broker", f"{scheme}://user:sesame@127.0.0.1:{port}")


@pytest.mark.parametrize("url", ["nats://user:sesame@broker.example", "nats://192.0.2.1:4222"])
def test_a_broker_without_tls_on_another_machine(capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert "build worker --key FILE --trust KEY" in _worker(capsys, 2, "--broker", url)
    assert "unprotected" in _worker(capsys, 2, "--broker", url, "--key", "k.key"), (
        "it would still take what anybody says"
    )
    assert "unprotected" in _worker(capsys, 2, "--broker", url, "--trust", "k.pub")


@pytest.mark.parametrize(
    ("store", "code", "what"),
    [
        ("", 2, "--store PLACE"),
        ("nonsense://x", 2, "built in: file, https"),
        ("oci://", 2, "not an http or https URL"),
        ("s3://", 2, "s3://BUCKET/PREFIX"),
        ("file", 2, "is neither a bundle nor a folder"),
        ("bundle.tar", 2, "there is no file bundle.tar"),
        ("/proc/nowhere", 9, "/proc/nowhere"),
        ("/dev/null/x", 9, "/dev/null/x"),
        ("http://127.0.0.1:9/x", 11, "nothing listens"),
        ("oci+http://127.0.0.1:9/x", 11, "nothing listens"),
    ],
)
def test_a_store_that_is_none_or_away(capsys: pytest.CaptureFixture[str], store: str, code: int, what: str) -> None:
    assert what in _worker(capsys, code, "--store", store)


@pytest.mark.parametrize(
    ("flag", "word", "what"),
    [
        *(("--key", word, "cannot be read") for word in ("nowhere", "bytes", ".", "")),
        ("--key", "large", "too large for a key"),
        ("--key", "file", "this is not a secret key"),
        ("--key", "k.pub", "build keys new"),
        ("--key", "pw.key", "DEPLOYMATRIX_PASSWORD"),
        *(("--trust", word, "cannot be read") for word in ("bytes", ".", "")),
        ("--trust", "nonsense", "it begins with RW"),
        ("--trust", "RWQ", "this is not a public key"),
        ("--trust", "file", "this is not a public key"),
        ("--trust", "k.key", "this is not a public key"),
        ("--trust", "x" * 5000, "this is not a public key"),
        *(("--name", word, "is no name of a worker") for word in ("", "a b", "../x", "x" * 65, "a@b", "w\u00f6rker", "a\n", ".")),
        *(("--machine", word, "is no name of a worker") for word in ("", "a b", "x" * 65)),
        *(("--memory", word, "is not a size") for word in ("8", "8GB", "1.5GiB", "", "nonsense", "9" * 5000 + "GiB")),
        *(("--free", word, "is not a size") for word in ("8", "-", "lots")),
        ("--nonsense", "x", "build worker --help"),
    ],
    ids=lambda value: value[:12],
)  # fmt: skip
def test_what_is_mistyped(capsys: pytest.CaptureFixture[str], flag: str, word: str, what: str) -> None:
    said = _worker(capsys, 2, flag, word)
    assert what in said and len(said) < 700


@pytest.mark.parametrize("folder", ["/proc/nowhere", "file", "/dev/null/x", "x" * 300])
def test_a_folder_that_cannot_be_written_to(capsys: pytest.CaptureFixture[str], folder: str) -> None:
    said = _worker(capsys, 9, "--folder", folder)
    assert "cannot be written to: " in said and "--folder DIR" in said


def test_a_password_of_a_key_that_is_wrong(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMATRIX_PASSWORD", "open")
    assert "the password is wrong" in _worker(capsys, 2, "--key", "pw.key")
    monkeypatch.setenv("DEPLOYMATRIX_PASSWORD", "sesame")
    assert "is it there?" in _worker(capsys, 11, "--key", "pw.key")


MATRIX: List[str] = [
    "{broker: 'nats://user:sesame@127.0.0.1:9', store: x}",
    "{broker: 'nats//user:sesame@127.0.0.1', store: x}",
    "{broker: 'tls://user:sesame@bro:ker/', store: x}",
    "{broker: 'amqps://broker/v', store: x}",
    "{broker: nonsense, store: x}",
    "{broker: 'tls://broker', store: ''}",
    "{broker: 'tls://broker', store: x, minutes: 0}",
    "{broker: 'tls://broker', store: x, minutes: 2000}",
    "{broker: 'tls://broker', store: x, patience: -1}",
    "{broker: 'tls://broker', store: x, tries: 0}",
    "{broker: 'tls://broker'}",
    "{broker: 'tls://broker', store: x, shell: ls}",
    "nonsense",
]


@pytest.mark.parametrize("fleet", MATRIX)
def test_a_matrix_that_says_nonsense_of_its_fleet(here: Path, capsys: pytest.CaptureFixture[str], fleet: str) -> None:
    project = Project(here / "project")
    project.matrix.write_text(project.matrix.read_text(encoding="utf-8") + f"fleet: {fleet}\n", encoding="utf-8")
    assert "matrix.yaml:" in _said(capsys, 2, "fleet", "-m", str(project.matrix))


def test_a_matrix_whose_broker_is_away_is_told_without_its_password(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(here / "project")
    text = project.matrix.read_text(encoding="utf-8")
    project.matrix.write_text(text + f"fleet: {{broker: '{NOBODY}', store: x}}\n", encoding="utf-8")
    assert NOBODY in _said(capsys, 11, "fleet", "-m", str(project.matrix))
    monkeypatch.setenv("DEPLOYMATRIX_BROKER", "tls://user:sesame@127.0.0.1:9")
    assert "tls://user@127.0.0.1:9" in _said(capsys, 11, "fleet", "-m", str(project.matrix))
