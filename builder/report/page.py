"""The page as HTML: templates filled with a `Report`, style and script inside, nothing that a network is needed for.

A policy in the page forbids every request, and every script and style but its own two, by their digests. Whatever a
person named is escaped by the templates' engine. The page is kept under `LIMIT` bytes by holding less.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Callable

from builder import release
from builder.errors import UsageError
from builder.report.view import DETAILS, Detail, Report

LIMIT = 2_000_000
_FOLDER = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The whole page. UsageError where jinja2 is not installed."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("the report needs jinja2", hint=release.pip_install("report")) from None
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(_FOLDER)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    style, script = (_inline(name) for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # Ours, and the same for every page: the only text that is not escaped.
    safe = engine.filters["safe"]
    return engine.get_template("page.html.j2").render(
        report=report, style=safe(style), script=safe(script), policy=policy
    )


def fitted(make: Callable[[Detail], Report]) -> str:
    """The page with as much as fits into `LIMIT` bytes. UsageError when even the least does not."""
    for detail in DETAILS:
        page = render(make(detail))
        if len(page.encode()) < LIMIT:
            return page
    raise UsageError(
        f"a page of this version would be larger than {LIMIT // 1_000_000} MB", hint="build fewer cells in one matrix"
    )


def _inline(name: str) -> str:
    text = (_FOLDER / name).read_text(encoding="utf-8")
    assert "</" not in text, f"{name} would end its element"
    return text


def _hash(text: str) -> str:
    """The source expression of Content Security Policy level 3 for an inline element with this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
