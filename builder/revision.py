"""The git commit of a project, from one call of git."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Optional

from builder.provenance import Revision

_STATUS = ("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--untracked-files=no")
_SECONDS = 10


def of(folder: Path) -> Optional[Revision]:
    """The revision of the repository around `folder`; None without one, without a commit, or where git does not say."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *_STATUS],
            cwd=str(folder),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    headers = dict(line[len("# branch.") :].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit, branch = headers.get("oid", "(initial)"), headers.get("head", "(detached)")
    if commit == "(initial)":
        return None
    ref = "" if branch == "(detached)" else f"refs/heads/{branch}"
    return Revision(commit, ref, any(not line.startswith("#") for line in lines))
