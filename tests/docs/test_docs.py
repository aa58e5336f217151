"""The documentation does what it says: its blocks run, its tables are current, its links lead somewhere."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Callable, Dict, List, Set, get_args

import pytest

from builder import cli, errors
from builder.config.matrix import Matrix
from builder.config.yaml_reader import parse
from builder.records import fields_of
from builder.store.manifest import Status
from tests.docs import compat_tables, doc_pages, key_tables, target_lines
from tests.docs.doc_pages import DOCS, ROOT, Page

PAGES = doc_pages.pages()
RUN = "python3 -m venv .venv && .venv/bin/pip install torch==2.13.0 '.[build,rtx]' && .venv/bin/build matrix"
TEST = "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox"


def _marked(page: Page) -> object:
    return pytest.param(page, id=page.name, marks=[pytest.mark.e2e] if page.needs else [])


# ---------------------------------------------------------------------------------------------- pages that run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Page], Path]:
    """The folder of a page after all its blocks ran; each page runs once a session."""
    done: Dict[Path, Path] = {}

    def run(page: Page) -> Path:
        for name in page.needs:
            pytest.importorskip(name, reason=f"{page.name} runs where {name} is installed")
        for name in page.programs:
            if shutil.which(name) is None:
                pytest.skip(f"{page.name} runs where {name} is installed")
        if page.path not in done:
            folder = tmp_path_factory.mktemp("page")
            if page.starts_from is not None:
                shutil.copytree(str(run(doc_pages.page(page.starts_from))), str(folder / "copy"), symlinks=True)
                folder = folder / "copy"
            doc_pages.run(page, folder)
            done[page.path] = folder
        return done[page.path]

    return run


@pytest.mark.parametrize("page", [_marked(page) for page in PAGES if page.is_run])
def test_page_runs(page: Page, finished: Callable[[Page], Path]) -> None:
    finished(page)


# ---------------------------------------------------------------------------------------------- every page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_well_formed(page: Page) -> None:
    for block in page.blocks:
        assert block.language in doc_pages.LANGUAGES, f"{block.place}: name the language of the block"
        if block.language == "console":
            assert doc_pages.commands(block), f"{block.place}: no command"
        elif block.language == "yaml":
            _check_yaml(block)
        else:
            doc_pages.parse(block)


def _check_yaml(block: doc_pages.Block) -> None:
    """A fragment of matrix.yaml has its top-level keys; a file is checked by the commands that read it."""
    data = parse(block.text).data
    if block.file is None and block.not_run is None:
        assert isinstance(data, dict) and set(data) <= set(fields_of(Matrix)), f"{block.place}: not from matrix.yaml"


def test_blocks_that_are_not_run_say_why(record_property: Callable[[str, object], None]) -> None:
    shown = [block for page in PAGES for block in page.blocks if block.not_run is not None]
    for block in shown:
        assert len((block.not_run or "").split()) >= 3, f"{block.place}: `not run:` needs a reason"
        print(f"{block.place}: {block.not_run}")
    record_property("blocks not run", [f"{block.place}: {block.not_run}" for block in shown])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.path.parent / path).resolve() if path else page.path
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in _anchors(linked.read_text(encoding="utf-8")), f"{page.name} links to {target}"


def _anchors(text: str) -> Set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_on_the_map() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    missing = [
        path.relative_to(DOCS).as_posix()
        for path in sorted(DOCS.rglob("*.md"))
        if path.name != "index.md" and f"({path.relative_to(DOCS).as_posix()})" not in index
    ]
    assert not missing, f"docs/index.md does not link to {missing}"


def test_every_threat_names_a_test_that_there_is() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (DOCS / "security.md").read_text(encoding="utf-8"))
    assert len(named) > 5
    for file, test in named:
        assert f"def {test}" in (DOCS.parent / file).read_text(encoding="utf-8"), f"{file}::{test}"


# ---------------------------------------------------------------------------------------------- reference


def test_every_key_of_the_matrix_has_a_meaning() -> None:
    assert key_tables.unexplained() == ()
    assert key_tables.stale() == ()


def _is_current(page: str, begin: str, end: str, wanted: str) -> None:
    path = DOCS / "reference" / page
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    wanted = before + wanted + after
    if os.environ.get("UPDATE_DOCS") == "1":
        path.write_text(wanted, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == wanted, "run: UPDATE_DOCS=1 pytest tests/docs"


def test_the_key_tables_are_current() -> None:
    _is_current("matrix.md", key_tables.BEGIN, key_tables.END, key_tables.text())


def test_the_compatibility_tables_are_current() -> None:
    _is_current("compatibility.md", compat_tables.BEGIN, compat_tables.END, compat_tables.text())


def test_the_lines_for_targets_are_current() -> None:
    _is_current("../targets.md", target_lines.BEGIN, target_lines.END, target_lines.text())


def test_every_rule_is_in_the_compatibility_page() -> None:
    assert compat_tables.rule_names() | {"option-*"} == set(compat_tables.RULES)


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_flag_is_documented_and_every_documented_flag_exists(verb: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    import_module(f"builder.cli.commands.{verb}").arguments(parser)
    section = _section(f"build {verb}")
    inner = [one for action in parser._actions if isinstance(action.choices, dict) for one in action.choices.values()]
    flags: List[str] = [flag for one in (parser, *inner) for action in one._actions for flag in action.option_strings]
    flags = [flag for flag in flags if flag not in ("-h", "--help")]
    words = [action.metavar for action in parser._actions if not action.option_strings]
    for word in (*flags, *words):
        assert f"`{word}" in section or f", {word}" in section, f"docs/reference/cli.md, build {verb}: {word}"
    documented = re.findall(r"^\| `(--?[\w-]+)", section, re.MULTILINE)
    assert set(documented) <= set(flags), f"docs/reference/cli.md, build {verb}: a flag that does not exist"


def _section(heading: str) -> str:
    text = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    match = re.search(rf"^## `?{re.escape(heading)}`?.*?$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"docs/reference/cli.md has no section {heading}"
    return match.group(1)


def test_every_exit_code_is_documented() -> None:
    section = _section("Exit codes")
    codes = {cls.exit_code for cls in errors.DeployError.__subclasses__()} | {0, 1, cli.INTERRUPTED}
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert documented == codes


def test_every_verdict_is_documented() -> None:
    text = (DOCS / "reference" / "manifest.md").read_text(encoding="utf-8")
    for word in get_args(Status):
        assert f"| `{word}` |" in text


def test_the_readme_has_the_two_lines() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert f"    {RUN}" in lines
    assert f"    {TEST}" in lines


# ---------------------------------------------------------------------------------------------- the runner itself


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (("a 1.5 ms",), "a   20 ms\n", True),
        (("a 1.5 ms",), "b 20 ms\n", False),
        (("...", "end"), "x\ny\nend\n", True),
        (("start", "..."), "x\n", False),
        (("start", "..."), "start\n", True),
        (("cell ... passed",), "cell fp32 passed\n", True),
        (("fp32",), "fp16\n", False),
        (("v1-0123abcd",), "v2-99999999\n", True),
    ],
)
def test_output_is_compared_loosely(expected: "tuple[str, ...]", found: str, same: bool) -> None:
    assert doc_pages.matches(expected, found) is same


def test_a_wrong_page_is_caught(tmp_path: Path) -> None:
    for body, problem in (("$ false", "ended with 1"), ("$ echo a\nb", "the page shows")):
        page = Page(ROOT / "README.md", f"```console\n{body}\n```\n")
        with pytest.raises(AssertionError, match=problem):
            doc_pages.run(page, tmp_path)
