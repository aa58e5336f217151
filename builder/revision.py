"""The git commit that a project stands at, read from its `.git` folder. git itself is asked only whether files were changed.

https://git-scm.com/docs/gitrepository-layout
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Optional

from builder.provenance import Revision

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"refs/[A-Za-z0-9_./+@-]+")
_DEEPEST = 5  # refs that name refs
_LARGEST = 16 << 20
_SECONDS = 10


def of(folder: Path) -> Optional[Revision]:
    """The revision of the repository around `folder`; None where there is none, or no commit yet."""
    git = _git_folder(folder.absolute())
    head = _text(git / "HEAD") if git else ""
    if git is None or not head:
        return None
    ref = head[len("ref: ") :] if head.startswith("ref: ") else ""
    commit = _resolved(git, head)
    return Revision(commit, ref, _changed(folder)) if commit else None


def _git_folder(folder: Path) -> Optional[Path]:
    """`.git` in this folder or one above; in a worktree or a submodule it is a file that names the folder."""
    for place in (folder, *folder.parents):
        git = place / ".git"
        if git.is_dir():
            return git
        named = _text(git)
        if named.startswith("gitdir: "):
            return (place / named[len("gitdir: ") :]).absolute()
    return None


def _resolved(git: Path, head: str) -> str:
    shared = git / _text(git / "commondir") if (git / "commondir").is_file() else git
    for _ in range(_DEEPEST):
        if _COMMIT.fullmatch(head):
            return head
        ref = head[len("ref: ") :] if head.startswith("ref: ") else ""
        if not _REF.fullmatch(ref) or ".." in ref:
            return ""
        head = _text(git / ref) or _text(shared / ref) or _packed(shared, ref)
    return ""


def _packed(git: Path, ref: str) -> str:
    for line in _text(git / "packed-refs").splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return commit
    return ""


def _changed(folder: Path) -> Optional[bool]:
    asked = ["git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=no"]
    try:
        done = subprocess.run(asked, cwd=str(folder), capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return bool(done.stdout.strip()) if done.returncode == 0 else None


def _text(path: Path) -> str:
    """Empty for what is not there or does not read."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return ""
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
