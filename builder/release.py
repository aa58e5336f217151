"""The version of this program, and how to install an extra of it."""

from __future__ import annotations

VERSION = "0.1.0"

# No package index has this program yet. Every machine gets the same wheel, and so the same steps.
WHEEL = f"deploymatrix-{VERSION}-py3-none-any.whl"
HOW_TO_MAKE_IT = "pip wheel --no-deps . in a checkout of deploymatrix"


def pip_install(extra: str, *more: str) -> str:
    """The command that installs `extra` and `more` packages, in a folder with the wheel."""
    packages = " ".join([f"'./{WHEEL}[{extra}]'", *more])
    return f"pip install {packages}  # the wheel: {HOW_TO_MAKE_IT}"
