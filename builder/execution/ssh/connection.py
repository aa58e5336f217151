"""One connection to a machine that is worked on: the system's OpenSSH client, and the worker that it starts there.

The person's own ~/.ssh/config decides how the machine is reached: keys, agents, jump hosts, names. What is asked over a
link is in `builder/execution/messages.py`; when to try again is for `builder/execution/ssh/executor.py` to say.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Deque, Dict, List, Optional, Sequence, Tuple, Union

import builder
from builder.config.remote_machines import Reached, SshAddress
from builder.errors import StepFailed, SystemRefused, Unreachable
from builder.execution import messages
from builder.execution.messages import Answer, Channel, Dropped, Line, Refused, Request, Terms
from builder.files import bytes_of
from builder.platforms import tables
from builder.platforms.versions import release
from builder.records import RecordError, from_json, to_json

# What the OpenSSH client says when it cannot connect, as an error with the next line to type. Pure.


# What the client or the other machine's shell said, what it means, and what to do; {host} as the person would type it.
_CHANGED = "the machine shows another host key than the one that is known: it was set up anew, or it is another machine"
_WORDS: Tuple[Tuple[str, str, str], ...] = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        _CHANGED,
        "ask whoever runs it; then, and only then: ssh-keygen -R {known}",
    ),
    (
        "Host key verification failed",
        "its host key is not known here, and is never accepted unseen",
        "look at the key and accept it once by hand: ssh {host}   (or: ssh-keyscan {scan} >> ~/.ssh/known_hosts, once the"
        " fingerprint is compared)",
    ),
    ("Permission denied", "it does not let us in", "a key that needs no typing must open it: ssh-copy-id {host}"),
    (
        "Too many authentication failures",
        "it does not let us in",
        "name the key in ~/.ssh/config: IdentityFile, IdentitiesOnly",
    ),
    (
        "Could not resolve hostname",
        "nobody knows a machine of this name",
        "add it to ~/.ssh/config, or correct `where:`",
    ),
    ("Bad configuration option", "ssh does not understand its configuration", "correct ~/.ssh/config"),
)


def unreachable(reached: Reached, said: Sequence[str], code: int) -> Unreachable:
    """The client ended with `code`, and `said` these lines."""
    text = "\n".join(said)
    for mark, what, hint in _WORDS:
        if mark in text:
            return Unreachable(what, where=reached.where, hint=_filled(hint, reached.address))
    if code == 127 or ("not found" in text and code != 255):
        return Unreachable(
            f"there is no {reached.worker.python} on it",
            where=reached.where,
            hint="say which Python has its runtime: `worker: {python: ...}` of the target in matrix.yaml",
        )
    last = next((line.strip() for line in reversed(said) if line.strip()), f"ssh ended with code {code}")
    return Unreachable(last, where=reached.where, hint=_filled("look for yourself: ssh {host}", reached.address))


def _filled(hint: str, address: SshAddress) -> str:
    host = " ".join([*address.flags, address.host])
    known = f"'[{address.host}]:{address.port}'" if address.port not in (None, 22) else address.host
    scan = " ".join([*(("-p", str(address.port)) if address.port else ()), address.host])
    return hint.format(host=host, known=known, scan=scan)


# The worker as it is sent: this program's own modules, as far as a target needs them, in one archive with a digest.
#
# The digest is over names and contents, so equal modules are sent to a machine once. `boot` finds it again there.


# Folders of ours that only the machine which plans, judges or publishes uses.
LEFT_OUT = (
    "builder/audit/",
    "builder/cli/",
    "builder/host/",
    "builder/trust/",
    "builder/store/http/",
    "builder/store/remotes/",
)


@dataclass(frozen=True)
class Parcel:
    """`digest`: 64 hex digits."""

    digest: str
    archive: bytes


def pack() -> Parcel:
    sha, archive = hashlib.sha256(), io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in sorted(_modules().items()):
            sha.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
            packed.writestr(name, data)
    return Parcel(sha.hexdigest(), archive.getvalue())


def bootstrap() -> bytes:
    """The text of `boot`, framed for COMMAND."""
    text = (Path(builder.__file__).parent / "execution" / "ssh" / "boot.py").read_bytes() + b"\nstart()\n"
    return b"%d\n" % len(text) + text


# For `python -c`; it holds nothing that any shell would expand inside single quotes.
COMMAND = "import sys;s=sys.stdin.buffer;exec(s.read(int(s.readline())))"


def _modules() -> Dict[str, bytes]:
    root = Path(builder.__file__).absolute().parent.parent
    found: Dict[str, bytes] = {}
    for package in ("builder", "validation"):
        for path in (root / package).rglob("*.py"):
            name = path.relative_to(root)
            if not name.as_posix().startswith(LEFT_OUT):
                found[name.as_posix()] = path.read_bytes()
    folder = tables.FOLDER.absolute().relative_to(root)
    for table in tables.names():  # as JSON, since Python before 3.11 reads no TOML by itself
        found[(folder / f"{table}.json").as_posix()] = json.dumps(tables.document(table)).encode()
    return found


CONNECT_SECONDS = 15
_HELLO_SECONDS = 60.0  # from a connection to the first word of the worker: Python starts, files are unpacked
_ALIVE_SECONDS = 15.0
_GOODBYE_SECONDS = 5.0
_NOISE = 1 << 16  # bytes that a login shell may print before the worker speaks
_KEPT_LINES = 20
_LONGEST_VERSION = 40  # characters
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# In seconds; ours where the person's own configuration says nothing.
_ALIVE = (
    ("serveraliveinterval", "0", "ServerAliveInterval=5"),
    ("connecttimeout", "none", f"ConnectTimeout={CONNECT_SECONDS}"),
)


class Link:
    """Opened by `open`; its methods raise Dropped when the connection is lost. Used by one thread, ended by any."""

    def __init__(self, reached: Reached, run: str, control: Path, environ: Dict[str, str]) -> None:
        self._reached, self._run, self._control, self._environ = reached, run, control, environ
        self._said: Deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._ended, self._booted = threading.Event(), False
        self._ssh: "Optional[subprocess.Popen[bytes]]" = None
        self._channel: Channel

    def open(self) -> None:
        """Connect, and start the worker there. Raises Unreachable, with the next line to type."""
        try:
            ssh = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C is for us: we end the work there, then ssh
                env=self._environ,
            )
        except FileNotFoundError:
            raise SystemRefused("there is no ssh here", hint="install it: apt-get install openssh-client") from None
        assert ssh.stdin and ssh.stdout
        self._channel = Channel(ssh.stdout.fileno(), os.dup(ssh.stdin.fileno()))
        ssh.stdin.close()  # the channel has its own, and closes it when nobody is writing
        self._ssh = ssh
        if self._ended.is_set():  # meanwhile
            self.close(at_once=True)
        listener = threading.Thread(target=self._listen, daemon=True)
        listener.start()
        try:
            self._boot()
        except Dropped as problem:
            self.close()
            listener.join(2)
            code = ssh.returncode
            if code in (0, -9, -15) and not self._said:
                raise Unreachable(f"its worker {problem}", where=self._reached.where) from None
            raise unreachable(self._reached, tuple(self._said), code) from None
        except Unreachable:
            self.close()
            raise
        self._booted = True
        threading.Thread(target=self._stay_alive, daemon=True).start()

    def ask(
        self,
        it: "messages.AskFacts | messages.AskNeed | messages.Put | messages.Perform | messages.Get",
        pieces: Callable[[Callable[[bytes], None]], None] = lambda write: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> "messages.Facts | messages.Needed | messages.Taken | messages.Made | messages.Sending":
        """The answer; what the step prints goes to `say`. Raises StepFailed for what is refused, and
        Unreachable where that is the machine's state."""
        self._channel.send(to_json(Request(it)), pieces)
        while True:
            try:
                answer = from_json(Answer, self._channel.receive()).it
            except RecordError as problem:
                raise Dropped(f"said something else than was expected: {problem}") from None
            if isinstance(answer, Line):
                say(_CONTROL.sub("?", answer.text))
            elif isinstance(answer, Refused) and answer.away:
                raise Unreachable(answer.what, where=self._reached.where, hint=answer.hint)
            elif isinstance(answer, Refused):
                raise StepFailed(answer.what, where=answer.where, hint=answer.hint)
            else:
                return answer

    def take(self, length: int, write: Callable[[bytes], object]) -> None:
        self._channel.take(length, write)

    def close(self, *, at_once: bool = False) -> None:
        """End the work there and the connection. May be called twice, and from another thread. `at_once`: what only begins
        to connect is not waited for."""
        self._ended.set()
        ssh = self._ssh
        if ssh is None:
            return
        # The worker hears that nobody is there, ends what it does, and ends. An ssh that only connects hears nothing.
        if not self._channel.hang_up(1) or (at_once and not self._booted):
            ssh.terminate()
        try:
            ssh.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            ssh.kill()
            ssh.wait()

    def last_words(self) -> str:
        return next((line for line in reversed(self._said) if line), "")

    def _boot(self) -> None:
        """Start the worker, which is sent first if it is not there."""
        write = self._channel.write
        write(bootstrap())
        self._skip_noise()
        python = _CONTROL.sub("?", str(self._word("python")))[:_LONGEST_VERSION]
        number = release(python)
        if len(number) < 2 or number < (3, 8):
            raise Unreachable(
                f"its {self._reached.worker.python} is Python {python}; 3.8 or newer is needed",
                where=self._reached.where,
                hint="name another: `worker: {python: ...}` of the target in matrix.yaml",
            )
        packed = pack()
        hello = {"worker": packed.digest, "terms": to_json(self._terms())}
        write(json.dumps(hello).encode() + b"\n")
        if not self._word("worker"):
            write(b"%d\n" % len(packed.archive) + packed.archive)
            self._word("worker")

    def _skip_noise(self) -> None:
        seen = 0
        while seen < _NOISE:
            line = self._channel.line(_HELLO_SECONDS + CONNECT_SECONDS, longest=_NOISE)
            if line.strip() == b"#deploymatrix":
                return
            seen += len(line) + 1
        raise Unreachable(
            "its login shell prints without end", where=self._reached.where, hint="look at its .bashrc or .profile"
        )

    def _word(self, name: str) -> Union[bool, str]:
        said = self._channel.receive(_HELLO_SECONDS)
        if isinstance(said, dict) and isinstance(said.get("problem"), str):
            raise Unreachable(
                f"its worker cannot start: {said['problem']}",
                where=self._reached.where,
                hint="free space there, or name another folder: `worker: {folder: ...}` of the target in matrix.yaml",
            )
        found = said.get(name) if isinstance(said, dict) else None
        if not isinstance(found, (bool, str)):
            raise Dropped("said something else than was expected")
        return found

    def _terms(self) -> Terms:
        worker = self._reached.worker
        memory = bytes_of(worker.memory) if worker.memory else 0
        return Terms(worker.folder, worker.minutes * 60, memory, bytes_of(worker.free), self._run)

    def _command(self) -> List[str]:
        address = self._reached.address
        remote = f"{shlex.quote(self._reached.worker.python)} -c {shlex.quote(COMMAND)}"
        return [*_client(address, self._control, self._environ), "--", address.host, remote]

    def _listen(self) -> None:
        assert self._ssh and self._ssh.stderr
        for line in self._ssh.stderr:
            self._said.append(_CONTROL.sub("?", line.decode(errors="replace").rstrip()))

    def _stay_alive(self) -> None:
        with contextlib.suppress(Dropped):
            while not self._ended.wait(_ALIVE_SECONDS):
                self._channel.send(to_json(Request(messages.Alive())))


def _client(address: SshAddress, control: Path, environ: Dict[str, str]) -> List[str]:
    """The ssh command up to the host: never a question, no forwarding, and what the person has not set."""
    fixed = [
        "BatchMode=yes",
        "ClearAllForwardings=yes",
        "RemoteCommand=none",
        "PermitLocalCommand=no",
        "LogLevel=ERROR",
    ]
    flags = ["ssh", "-T", "-a", "-x", *address.flags, *(word for option in fixed for word in ("-o", option))]
    theirs = _configured(address, environ)
    ours = [option for key, unset, option in _ALIVE if theirs.get(key, unset) == unset]
    if theirs.get("controlmaster", "false") == "false" and theirs.get("controlpath", "none") == "none":
        ours += [
            "ControlMaster=auto",
            f"ControlPath={control}/%C",
        ]  # a second worker on the same machine logs in no more
    return [*flags, *(word for option in ours for word in ("-o", option))]


def _configured(address: SshAddress, environ: Dict[str, str]) -> Dict[str, str]:
    """What ~/.ssh/config says for this host, as ssh itself reads it."""
    said = subprocess.run(
        ["ssh", "-G", *address.flags, "--", address.host],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    pairs = (line.partition(" ") for line in said.stdout.splitlines())
    return {key: value for key, _, value in pairs}
