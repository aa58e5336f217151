"""The password of a secret key, and the key that it opens."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from builder.errors import UsageError
from builder.trust import minisign
from builder.trusting import trust


def secret_key(path: Path) -> minisign.SecretKey:
    """The secret key in a file; asks for its password if it has one. Raises UsageError."""
    text = trust.read_text(path)
    password = ask() if minisign.is_protected(text, str(path)) else ""
    return minisign.secret_key(text, password, str(path))


def ask(*, again: bool = False) -> str:
    """From DEPLOYMATRIX_PASSWORD, or the terminal. Raises UsageError where there is neither."""
    given = os.environ.get("DEPLOYMATRIX_PASSWORD")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "the key needs a password, and there is no terminal to ask on",
            hint="set DEPLOYMATRIX_PASSWORD, or make a key with --no-password",
        )
    import getpass

    password = getpass.getpass("Password: ")
    if again and getpass.getpass("Again: ") != password:
        raise UsageError("the two passwords differ; nothing was written")
    return password
