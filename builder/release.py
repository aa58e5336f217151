"""The version of this program, in the one place that packaging reads too, and how an extra of it is installed."""

from __future__ import annotations

VERSION = "0.1.0"

# No package index has this program yet. The same wheel everywhere, so that every machine performs the same versions of
# the steps.
WHEEL = f"deploymatrix-{VERSION}-py3-none-any.whl"
HOW_TO_MAKE_IT = "pip wheel --no-deps . in a checkout of deploymatrix"


def pip_install(extra: str, *more: str) -> str:
    """What to type in a folder that holds the wheel, to install `extra` of it and `more` packages."""
    packages = " ".join([f"'./{WHEEL}[{extra}]'", *more])
    return f"pip install {packages}  # the wheel: {HOW_TO_MAKE_IT}"
