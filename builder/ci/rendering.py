"""A pipeline as the file that a CI service reads. Jinja2 is imported only here and by the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from builder import release
from builder.ci.pipeline import RETURNED, STORE, Pipeline
from builder.errors import UsageError

Service = Literal["github", "gitlab"]
USUAL = {"github": ".github/workflows/deploymatrix.yml", "gitlab": ".gitlab-ci.yml"}
_FOLDER = Path(__file__).parent / "templates"


def rendered(pipeline: Pipeline, service: Service) -> str:
    """The file's text. Raises UsageError where jinja2 is not installed."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("this needs jinja2", hint=release.pip_install("report")) from None
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(_FOLDER)),
        autoescape=False,  # it is YAML; every word that is not ours goes through `quoted`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    engine.filters["quoted"] = _quoted
    engine.filters["plain"] = _plain
    engine.filters["listed"] = _listed
    return engine.get_template(f"{service}.yml.j2").render(pipeline=pipeline, store=STORE, returned=RETURNED)


def _quoted(text: str) -> str:
    """A YAML scalar: JSON's strings are YAML's."""
    return json.dumps(_plain(text), ensure_ascii=False)


def _plain(line: str) -> str:
    """One line of text, which the service does not take for an expression of its own."""
    if "${{" in line or len(line.splitlines()) > 1:
        raise UsageError(f"{line!r} would be read as an expression by the CI service")
    return line


def _listed(labels: "tuple[str, ...]") -> str:
    return "[" + ", ".join(map(_quoted, labels)) + "]"
