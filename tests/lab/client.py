"""The near side of the lab: an `ssh` with keys and a configuration of its own, which knows every host by name.

Nothing of the person's own is read or written. It starts nothing; `tests/lab/network.py` and `plain.py` make the hosts.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Sequence


class Client:
    """`environ`: what a person's shell would have. `through`: what ssh itself is started with, to be in the lab's network.
    `options`: lines of its configuration for all hosts."""

    def __init__(self, folder: Path, through: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True)
        self.folder, self._options = folder, tuple(options)
        self._hosts: List[str] = []
        self.key = make_key(folder / "key")
        ssh = folder / "bin" / "ssh"
        ssh.parent.mkdir()
        before = shlex.join([*through, shutil.which("ssh") or "ssh", "-F", str(folder / "config")])
        ssh.write_text(f'#!/bin/sh\nexec {before} "$@"\n')
        ssh.chmod(0o755)
        self.environ: Dict[str, str] = {**os.environ, "PATH": f"{ssh.parent}{os.pathsep}{os.environ['PATH']}"}
        self.environ.pop("SSH_AUTH_SOCK", None)
        (folder / "known_hosts").touch()
        self._write()

    def learn(self, name: str, address: str, port: int, key: Path) -> None:
        """That a host of this name is there, and its host key."""
        self._hosts.append(f"Host {name}\n  HostName {address}\n  Port {port}\n")
        public = " ".join(key.read_text().split()[:2])
        with (self.folder / "known_hosts").open("a") as known:
            known.write(f"{address if port == 22 else f'[{address}]:{port}'} {public}\n")
        self._write()

    def _write(self) -> None:
        common = [
            f"User {pwd.getpwuid(os.getuid()).pw_name}",
            f"IdentityFile {self.folder}/key",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {self.folder}/known_hosts",
            "GlobalKnownHostsFile /dev/null",
            *self._options,
        ]
        text = "".join([*self._hosts, "Host *\n", *(f"  {line}\n" for line in common)])
        (self.folder / "config").write_text(text)


def make_key(path: Path) -> Path:
    """A new key; returns its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, capture_output=True)
    return path.with_name(f"{path.name}.pub")


def configure_sshd(folder: Path, client: Path, *lines: str) -> Path:
    """The configuration of an sshd with a host key of its own in `folder`, that lets the key `client` in."""
    make_key(folder / "host")
    shutil.copy(client, folder / "authorized_keys")
    fixed = [
        f"HostKey {folder}/host",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "PrintMotd no",
        "MaxStartups 50",
    ]
    (folder / "sshd_config").write_text("\n".join([*fixed, *lines, ""]))
    return folder / "sshd_config"
