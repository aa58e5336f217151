"""The table of TensorRT options in docs/reference/tensorrt.md is drawn from the one that the planner uses."""

from __future__ import annotations

import os

from builder.platforms import tables
from tests.docs.doc_pages import DOCS

BEGIN, END = "<!-- options -->", "<!-- end of options -->"


def drawn() -> str:
    rows = []
    for option in tables.tensorrt_options().options:
        key, _, value = option.name.partition("=")
        spelled = f"`{key}: {value}`" if value else f"`{key}`"
        versions = f"{option.first} to before {option.end}" if option.end else f"{option.first} and newer"
        rtx, cited = "yes" if option.rtx else "no", f"{option.source} | {option.edition}"
        rows.append(f"| {spelled} | {versions} | {rtx} | {option.instead} | {cited} |")
    head = ["| option | TensorRT | TensorRT-RTX | instead | source | edition |", "|---|---|---|---|---|---|"]
    return "\n".join([BEGIN, *head, *rows, END])


def test_the_table_of_options_is_current() -> None:
    path = DOCS / "reference" / "tensorrt.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    current = before + drawn() + rest.split(END)[1]
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(current, encoding="utf-8")
    assert text == current or os.environ.get("UPDATE_DOCS"), "run: UPDATE_DOCS=1 pytest tests/docs"
