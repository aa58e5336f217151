"""The table of TensorRT options in docs/reference/tensorrt.md is drawn from the one that the planner uses."""

from __future__ import annotations

import os

from builder.compat import dialects
from tests.docs.doc_pages import DOCS

BEGIN, END = "<!-- options -->", "<!-- end of options -->"


def drawn() -> str:
    rows = []
    for name, option in dialects.OPTIONS.items():
        key, _, value = name.partition("=")
        spelled = f"`{key}: {value}`" if value else f"`{key}`"
        first = ".".join(map(str, option.first))
        versions = f"{first} and newer" if option.end is None else f"{first} to before {'.'.join(map(str, option.end))}"
        rows.append(f"| {spelled} | {versions} | {'yes' if option.rtx else 'no'} | {option.instead} |")
    head = ["| option | TensorRT | TensorRT-RTX | instead |", "|---|---|---|---|"]
    return "\n".join([BEGIN, *head, *rows, END])


def test_the_table_of_options_is_current() -> None:
    path = DOCS / "reference" / "tensorrt.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    current = before + drawn() + rest.split(END)[1]
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(current, encoding="utf-8")
    assert text == current or os.environ.get("UPDATE_DOCS"), "run: UPDATE_DOCS=1 pytest tests/docs"
