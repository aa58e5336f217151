"""Brokers with TLS and a password: reached by whoever has both right, refused with a reason otherwise, and no password shows."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Dict, Iterator, List, Optional
from urllib.parse import quote, urlsplit

import pytest

pytest.importorskip("nats")
pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import brokers
from tests.brokers import Secured
from tests.e2e.test_fleet import Lab, until
from tests.fakes import REPOSITORY

pytestmark = pytest.mark.e2e
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class Authority:
    """Makes certificates."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self._key, self._name = folder, ec.generate_private_key(ec.SECP256R1()), _named(folder.name)
        whole = x509.BasicConstraints(ca=True, path_length=None)
        made = self._begun(self._name, self._key.public_key(), NOW + DAY).add_extension(whole, critical=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def secured(self, name: str, until: datetime.datetime = NOW + DAY) -> Secured:
        """A certificate for a host by its name or address."""
        key = ec.generate_private_key(ec.SECP256R1())
        other: x509.GeneralName = x509.DNSName(name)
        with contextlib.suppress(ValueError):
            other = x509.IPAddress(ipaddress.ip_address(name))
        made = self._begun(_named(name), key.public_key(), until)
        made = made.add_extension(x509.SubjectAlternativeName([other]), critical=False)
        certificate, secret = (self._folder / f"{len(list(self._folder.iterdir()))}.{kind}" for kind in ("pem", "key"))
        certificate.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return Secured(certificate, secret, self.file)

    def _begun(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime.datetime
    ) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key)
        return made.serial_number(x509.random_serial_number()).not_valid_before(NOW - 9 * DAY).not_valid_after(until)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclasses.dataclass(frozen=True)
class Protected:
    """A broker, the authority that its certificate is of, and one that nobody knows."""

    server: brokers.Server
    secured: Secured
    authority: Authority
    stranger: Authority

    def url(self, port: Optional[int] = None, password: Optional[str] = None, host: str = "127.0.0.1") -> str:
        parts = urlsplit(self.server.url)
        secret = quote(self.secured.password if password is None else password, safe="")
        return f"{parts.scheme}://{parts.username or ''}:{secret}@{host}:{port or parts.port}{parts.path}"

    @property
    def plain(self) -> str:
        """The address as others may see it."""
        parts = urlsplit(self.server.url)
        return f"{parts.scheme}://{parts.username}@127.0.0.1:{parts.port}"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    folder = tmp_path_factory.mktemp("broker")
    authority, stranger = Authority(folder / "known"), Authority(folder / "unknown")
    secured = authority.secured("127.0.0.1")
    with brokers.nats(folder / "nats", secured=secured) as server:
        yield Protected(server, secured, authority, stranger)


@pytest.fixture
def lab(broker: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for module in ("onnx", "onnxruntime", "onnxsim", "polygraphy", "cv2"):
        pytest.importorskip(module)
    monkeypatch.setenv("SSL_CERT_FILE", str(broker.authority.file))
    monkeypatch.setenv("DEPLOYMATRIX_BROKER", broker.url())
    made = Lab(tmp_path / "lab", broker.plain)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.kill()


def test_a_cell_is_built_over_tls_and_nobody_sees_the_password(lab: Lab, broker: Protected) -> None:
    lab.edit("seconds: 0.05", "seconds: 2")
    worker = lab.worker("one")
    run = lab.begin("matrix", "--only", "*-far")
    until(lambda: worker.working or run.poll() is not None)
    lines = _command_lines()
    assert [line for line in lines if "builder.cli worker" in line] and [line for line in lines if "cli matrix" in line]
    roll = lab.build("fleet")
    out, said = run.communicate(timeout=90)
    assert "1 passed" in out, said
    assert f"serves {broker.plain}" in worker.log.read_text()
    lines += [out, said, roll.stdout, roll.stderr, worker.log.read_text(), lab.build("plan", "--format", "json").stdout]
    lines += [path.read_text(errors="replace") for path in lab.root.rglob("*") if path.is_file()]
    for secret in (broker.secured.password, quote(broker.secured.password, safe="")):
        assert not [line[:200] for line in lines if secret in line]


def _command_lines() -> List[str]:
    """As `ps` shows them to everybody, of all processes but brokers."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found += [] if "nats-server" in line else [line]
    return found


_INFO = {"server_id": "x", "version": "2.9.10", "auth_required": True, "headers": True, "max_payload": 1048576}


class Impostor:
    """Has a certificate of the test's own, and keeps what it is told by whoever believes it."""

    def __init__(self, secured: Secured, tls: bool = True) -> None:
        """Without `tls`, it asks for the login as servers without TLS do."""
        self.heard, self._tls = b"", tls
        self._ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ours.load_cert_chain(secured.certificate, secured.key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                with connected, contextlib.suppress(OSError):
                    connected.settimeout(5)
                    connected.sendall(b"INFO " + json.dumps({**_INFO, "tls_required": self._tls}).encode() + b"\r\n")
                    spoken = self._ours.wrap_socket(connected, server_side=True) if self._tls else connected
                    self.heard += spoken.recv(65536)


class Quiet:
    """`build worker` and `build fleet`, that are refused."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def refused(self, broker: Protected, url: str, authority: Optional[Path], hint: str = "is it there?") -> None:
        environ = {"DEPLOYMATRIX_BROKER": url, **({"SSL_CERT_FILE": str(authority)} if authority else {})}
        for words in (["worker", "--store", "exchange", "--folder", "kept"], ["fleet"]):
            done = self._build(words, environ)
            assert done.returncode == 11, done.stdout + done.stderr
            assert done.stderr.startswith("error: ") and "the broker does not answer, or refuses: " in done.stderr
            assert hint in done.stderr
            assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 3, done.stderr
            for secret in filter(None, (urlsplit(url).password, broker.secured.password)):
                assert secret not in done.stderr + done.stdout

    def _build(self, words: List[str], environ: Dict[str, str]) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "builder.cli", *words]
        inherited = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
        return subprocess.run(
            command,
            cwd=str(self._folder),
            env={**inherited, **environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def quiet(tmp_path: Path) -> Quiet:
    return Quiet(tmp_path)


@pytest.mark.parametrize("which", ["unknown", "expired", "of another host"])
def test_a_certificate_is_looked_at_before_anything_is_said(broker: Protected, quiet: Quiet, which: str) -> None:
    secured = {
        "unknown": lambda: broker.stranger.secured("127.0.0.1"),
        "expired": lambda: broker.authority.secured("127.0.0.1", NOW - DAY),
        "of another host": lambda: broker.authority.secured("broker.example"),
    }[which]()
    impostor = Impostor(secured)
    try:
        quiet.refused(broker, broker.url(impostor.port), broker.authority.file, "SSL_CERT_FILE")
    finally:
        impostor.end()
    assert impostor.heard == b""


def test_an_impostor_with_the_right_certificate_would_hear_something(broker: Protected, quiet: Quiet) -> None:
    """So that silence above says something."""
    impostor = Impostor(broker.authority.secured("127.0.0.1"))
    try:
        quiet.refused(broker, broker.url(impostor.port), broker.authority.file)
    finally:
        impostor.end()
    assert impostor.heard != b""


def test_an_authority_that_is_not_named_is_not_trusted(broker: Protected, quiet: Quiet, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    for file in (None, broker.stranger.file, tmp_path / "nowhere.pem", tmp_path / "no.pem"):
        quiet.refused(broker, broker.url(), file, "SSL_CERT_FILE")


@pytest.mark.parametrize("password", ["wrong", "", "p%40ss", "\u00fcber"])
def test_a_wrong_password_is_refused(broker: Protected, quiet: Quiet, password: str) -> None:
    quiet.refused(broker, broker.url(password=password), broker.authority.file)


def test_a_server_that_speaks_without_tls_hears_no_password(broker: Protected, quiet: Quiet) -> None:
    """NATS begins without TLS, and the server says whether it goes on with it."""
    impostor = Impostor(broker.secured, tls=False)
    try:
        quiet.refused(broker, broker.url(impostor.port), broker.authority.file)
    finally:
        impostor.end()
    assert impostor.heard == b""


def test_a_broker_that_goes_away_and_comes_back_shows_no_password(lab: Lab, broker: Protected) -> None:
    worker = lab.worker("one")
    broker.server.stop()
    until(lambda: worker.log.read_text().count("\n") > 1, 30)
    broker.server.start()
    assert lab.statuses("--only", "*-far") == {"far": "passed"}
    log = worker.log.read_text()
    assert "Traceback" not in log
    for secret in (broker.secured.password, quote(broker.secured.password, safe="")):
        assert secret not in log
