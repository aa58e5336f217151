"""The broker that carries orders and messages: RabbitMQ or Redis, spoken to through Celery and Kombu with settings that hold.

    jobs        durable quorum queues, one for each kind of machine; acknowledged late, one at a time for each worker
    mailboxes   of runs and workers; gone a minute after nobody reads them

What is sent means nothing here. https://docs.celeryq.dev/en/stable/userguide/configuration.html has each setting.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple
from urllib.parse import SplitResult, urlsplit

from celery import Celery
from kombu import Connection, Exchange, Queue, compression
from kombu.exceptions import OperationalError

from builder.config.remote_machines import SCHEMES, WITH_TLS
from builder.errors import DeployError, Unreachable, UsageError, first_line

VARIABLE = "DEPLOYMATRIX_BROKER"
TASK = "deploymatrix.perform"
ROLL = "deploymatrix"  # what a worker is asked about itself
_JOBS = Exchange("deploymatrix", "direct", durable=True)
_MAIL = Exchange("deploymatrix.mail", "direct", durable=True)
_UNREAD = 60.0  # seconds after which a mailbox that nobody reads is removed
_LONGEST = 24 * 3600  # seconds: beyond every action, so that no broker takes a job back from who is at it
_HEARTBEAT = 10  # seconds; after twice as long without a word the broker takes a worker for dead
_CONNECT = 10.0
_LONGEST_URL = 255  # what AMQP takes for the name of a virtual host, and more than an address needs
_ADDRESS = "amqps://USER:PASSWORD@HOST/VHOST, or rediss://:PASSWORD@HOST/0"


class Broker:
    def __init__(self, url: str) -> None:
        """Raises UsageError for what is no address of a broker. Opens no connection."""
        parts = _split(url.strip())
        self._url, self.name = url.strip(), _without_password(parts)
        self.quorum = parts.scheme.startswith("amqp")
        self.private = parts.scheme in WITH_TLS or parts.hostname in ("localhost", "127.0.0.1", "::1")
        self._tls = _tls(parts)

    def app(self, served: Sequence[str] = ()) -> Celery:
        """`served`: the queues that a worker takes jobs from."""
        _unpack_nothing()
        app = Celery("deploymatrix", set_as_current=False)
        app.conf.update(
            broker_url=self._url,
            broker_use_ssl=self._tls,
            broker_heartbeat=_HEARTBEAT if self.quorum else 0,
            broker_connection_timeout=_CONNECT,
            broker_connection_retry_on_startup=True,
            broker_connection_max_retries=None,
            broker_transport_options=self._options(),
            task_serializer="json",
            accept_content=["json"],
            task_ignore_result=True,
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            task_queues=[self.jobs(name) for name in served],
            task_default_queue=served[0] if served else "deploymatrix.none",
            worker_prefetch_multiplier=1,
            worker_consumer="builder.execution.fleet.taking:Taker",
            worker_cancel_long_running_tasks_on_connection_loss=False,
            worker_hijack_root_logger=False,
            worker_redirect_stdouts=False,
        )
        return app

    def jobs(self, name: str) -> Queue:
        arguments = {"x-queue-type": "quorum", "x-consumer-timeout": _LONGEST * 1000} if self.quorum else {}
        return Queue(name, _JOBS, routing_key=name, durable=True, queue_arguments=arguments)

    def mailbox(self, name: str) -> Queue:
        return Queue(name, _MAIL, routing_key=name, durable=False, expires=_UNREAD)

    def post(self) -> "Tuple[Exchange, Dict[str, Any]]":
        """Where letters to mailboxes are sent, and how: a letter that nobody fetches is not kept on a disk."""
        how = {"delivery_mode": 1, "serializer": "json", "expiration": _UNREAD, "confirm_timeout": _CONNECT}
        return _MAIL, how

    def connection(self) -> Connection:
        """To be used by whoever knows when to try again: it gives up soon."""
        _unpack_nothing()
        impatient = {"max_retries": 0} if self.quorum else {"max_retries": 0, "socket_timeout": _CONNECT}
        return Connection(
            self._url,
            ssl=self._tls or False,
            heartbeat=_HEARTBEAT if self.quorum else 0,
            connect_timeout=_CONNECT,
            transport_options={**self._options(), **impatient},
        )

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """What goes wrong with the connection inside is Unreachable."""
        hint = f"is it there? Its whole address, with the password: export {VARIABLE}=..."
        try:
            yield
        except DeployError:
            raise
        except (OperationalError, OSError, *_errors(self._url)) as problem:
            said = first_line(problem)
            if "certificate" in said.lower():
                hint = "its address has the name that is in its certificate; who has signed that: export SSL_CERT_FILE=FILE"
            raise Unreachable(f"the broker does not answer, or refuses: {said}", where=self.name, hint=hint) from None
        except Exception as problem:  # its library, where a line is cut at a bad moment; the next try may fare better
            said = f"{type(problem).__name__}: {first_line(problem)}"
            raise Unreachable(f"speaking with the broker failed: {said}", where=self.name, hint=hint) from problem

    def _options(self) -> Dict[str, Any]:
        if self.quorum:
            return {"confirm_publish": True}
        # Redis gives a job back when it is not acknowledged in time, whoever is at it; leases are better judges of that.
        return {
            "visibility_timeout": _LONGEST,
            "socket_keepalive": True,
            "socket_connect_timeout": _CONNECT,
            "socket_timeout": 3 * _CONNECT,  # longer than it waits for a message at a time
            "health_check_interval": _HEARTBEAT,
        }


def found(named: Optional[str], environ: Mapping[str, str]) -> Broker:
    """The one that the environment names, with its password, or else that of matrix or command line."""
    url = environ.get(VARIABLE) or named
    if not url:
        raise UsageError("no broker is named", hint=f"--broker amqps://HOST/VHOST, or export {VARIABLE}=...")
    return Broker(url)


def depth(connection: Connection, queue: str) -> Optional[int]:
    """How many messages lie in a queue that nobody has. None where there is no such queue; to Redis, an empty one is none."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return None
    finally:
        connection.maybe_close_channel(channel)


def _unpack_nothing() -> None:
    """Nobody here packs what is sent; a few bytes from a stranger could become all of the memory."""

    def refuse(data: bytes) -> bytes:
        raise UsageError("packed messages are not taken")  # Kombu takes it for what its decoder says

    for kind in compression.encoders():
        compression.register(refuse, refuse, kind)


def _split(url: str) -> SplitResult:
    """Nothing of a wrong address is shown: it may have a password anywhere."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna")
    except ValueError:
        known = False
    if not known or not url.isprintable() or " " in url or len(url) > _LONGEST_URL:
        raise UsageError("this is no address of a broker", hint=_ADDRESS)
    if parts.query or parts.fragment or "@" in parts.path:  # options could turn off what is checked of a certificate
        raise UsageError(
            "the address of a broker has no options, and in a password / ? # and @ are written %2F %3F %23 and %40",
            hint=_ADDRESS,
        )
    if not parts.scheme.startswith("amqp") and not re.fullmatch(r"/?[0-9]{0,4}", parts.path):
        raise UsageError("the address of Redis ends with the number of a database", hint=_ADDRESS)
    return parts


def _without_password(parts: SplitResult) -> str:
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{user}{parts.hostname}{port}{parts.path}"


def _tls(parts: SplitResult) -> Optional[Dict[str, Any]]:
    """The system's certificates, or those that SSL_CERT_FILE names; the host's name is checked."""
    if parts.scheme not in WITH_TLS:
        return None
    bundle = ssl.get_default_verify_paths().cafile
    if parts.scheme == "amqps":
        return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": bundle, "server_hostname": parts.hostname}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": bundle, "ssl_check_hostname": True}


def _errors(url: str) -> Tuple[type, ...]:
    transport = Connection(url).transport
    return (*transport.connection_errors, *transport.channel_errors)
