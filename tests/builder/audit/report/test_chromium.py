"""The page in a real Chromium: it is silent, asks for nothing, draws, sorts, filters, prints, and needs no mouse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from builder.audit.report import page
from tests.builder.audit.report.conftest import beside, hostile, version

pytest.importorskip("jinja2")
pytestmark = pytest.mark.e2e

Written = Callable[[str], str]


class Opened:
    """A page, what it logged, and what it asked for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.said: List[str] = []
        self.asked: List[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def visible(self, selector: str) -> List[str]:
        return [e.inner_text().strip() for e in self.page.query_selector_all(selector) if e.is_visible()]


@pytest.fixture
def opened(chromium: Any, written: Written) -> Iterator[Callable[..., Opened]]:
    made: List[Opened] = []

    def open_(manifest: Any = None, **options: Any) -> Opened:
        used = manifest or version()
        made.append(
            Opened(
                chromium,
                written(page.fitted(lambda d: page.report(used, d, beside(used)))),
                **options,
            )
        )
        return made[-1]

    yield open_
    for one in made:
        one.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("manifest", [version(), hostile()], ids=["all", "hostile"])
def test_it_says_nothing_and_asks_for_nothing(opened: Callable[..., Opened], manifest: Any, scheme: str) -> None:
    one = opened(manifest, color_scheme=scheme)
    one.page.select_option("select[data-key=verdict]", "failed")
    one.page.wait_for_timeout(100)
    assert one.said == []
    assert one.asked == [one.page.url]
    assert one.page.evaluate("window.alerted ?? 'none'") == "none"


def test_the_policy_stops_a_request(opened: Callable[..., Opened]) -> None:
    """The check above can fail: a picture from elsewhere is asked for nowhere, and the console says so."""
    one = opened()
    one.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    one.page.wait_for_timeout(200)
    assert any("Content Security Policy" in line for line in one.said)


def test_the_charts_are_drawn(opened: Callable[..., Opened]) -> None:
    one = opened()
    marks = one.page.query_selector_all("#speed details[open] svg.plot .mark use")
    assert len(marks) == 4 * 3
    boxes = [mark.bounding_box() for mark in marks]
    assert all(box and box["width"] > 4 and box["height"] > 4 for box in boxes)
    fronts = one.page.query_selector_all("#speed details[open] svg.plot .front")
    assert len(fronts) == 4
    assert all(one.page.evaluate("e => e.getTotalLength()", front) > 20 for front in fronts)
    courses = one.page.query_selector_all("#drift details[open] svg.plot .course")
    assert len(courses) == 4 * 3
    assert all(one.page.evaluate("e => e.getTotalLength()", course) > 100 for course in courses)
    fill = one.page.evaluate("e => getComputedStyle(e).fill", marks[0])
    assert fill not in ("none", "rgba(0, 0, 0, 0)")


def test_layers_are_ranked_by_bars(opened: Callable[..., Opened]) -> None:
    one = opened()
    bars = one.page.query_selector_all("#layers details[open] .share-bar rect")
    widths = [box["width"] for box in (bar.bounding_box() for bar in bars) if box]
    assert len(widths) == 15 and widths == sorted(widths, reverse=True) and widths[0] > 60 > widths[-1]
    assert "and 5 more layers" in one.page.inner_text("#layers")
    one.page.select_option("select[data-key=precision]", "fp32")
    assert one.visible("#layers details") == []


def test_worst_cases_are_side_by_side_and_their_pictures_load(opened: Callable[..., Opened]) -> None:
    one = opened()
    boxes = [panel.bounding_box() for panel in one.page.query_selector_all("#worst .panel > svg:not(.ramp)")]
    assert len(boxes) == 3 and len({round(box["y"]) for box in boxes}) == 1
    assert [round(b["x"]) for b in boxes] == sorted({round(b["x"]) for b in boxes})
    for kind in ("rings", "crosses", "pluses"):
        mark = one.page.locator(f"#worst .panels .{kind} path").first.bounding_box()
        assert mark is not None, kind
    assert "No picture: no runtime here" in one.page.inner_text("#worst")
    decoded = one.page.evaluate(
        "async () => Promise.all([...document.querySelectorAll('#worst image')].map(async i => {"
        " const p = new Image(); p.src = i.getAttribute('href'); await p.decode(); return p.naturalWidth }))"
    )
    assert decoded == [1, 1]


def test_squares_of_the_heat_map_have_sign_word_and_colour(opened: Callable[..., Opened]) -> None:
    one = opened()
    colours = {}
    for verdict in page.VERDICTS:
        square = one.page.query_selector(f"td.square.is-{verdict}")
        assert square is not None and verdict in square.inner_text()
        assert square.query_selector(f"use[href='#v-{verdict}']")
        colours[verdict] = one.page.evaluate("e => getComputedStyle(e).backgroundColor", square)
    assert len(set(colours.values())) == len(page.VERDICTS)


def test_sorting_reorders_and_says_so(opened: Callable[..., Opened]) -> None:
    one = opened()
    before = one.visible("tr.cell > th")
    heading = one.page.locator("#table th", has_text="p50")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    times = [float(t.split()[0]) for t in one.visible("tr.cell > td[data-label=p50]") if t]
    assert times == sorted(times) and len(set(times)) > 1
    assert one.visible("tr.cell > th") != before
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert [float(t.split()[0]) for t in one.visible("tr.cell > td[data-label=p50]") if t] == times[::-1]
    assert one.visible("tr.cell > td[data-label=p50]")[-1] == "", "what has no number stays last"
    one.page.locator("#table th", has_text="Cell").locator("button").click()
    assert one.page.locator("#table th[aria-sort]").count() == 1
    assert one.visible("tr.cell > th") == sorted(before)


def test_filters_hide_and_reset_shows(opened: Callable[..., Opened]) -> None:
    one = opened()
    assert len(one.visible("tr.cell")) == 18
    one.page.select_option("select[data-key=verdict]", "failed")
    assert one.visible("tr.cell > th") == ["tiny-dense-int8-cpu_b", "tiny-points-int8-cpu_b"]
    assert one.page.inner_text("#shown") == "2 of 18 cells"
    assert one.page.locator("td.square.dim").count() == 16
    one.page.select_option("select[data-key=head]", "dense")
    one.page.select_option("select[data-key=target]", "cpu_b")
    assert one.visible("tr.cell > th") == ["tiny-dense-int8-cpu_b"]
    assert len(one.visible("#speed details[open] figure.chart")) == 1
    one.page.select_option("select[data-key=precision]", "fp16")
    assert one.visible("tr.cell") == [] and one.page.locator("#none").is_visible()
    one.page.click("button[type=reset]")
    one.page.locator("#shown", has_text="18 of 18").wait_for()  # not wait_for_function: the policy forbids its eval
    assert len(one.visible("tr.cell")) == 18 and not one.page.locator("#none").is_visible()


def test_a_square_leads_to_its_cell_even_when_it_is_filtered_away(opened: Callable[..., Opened]) -> None:
    one = opened()
    one.page.select_option("select[data-key=verdict]", "passed")
    one.page.locator("td.square.is-failed a").first.click()
    row = one.page.locator("tr.cell", has_text="tiny-dense-int8-cpu_b")
    row.wait_for()  # the page hears of the click a moment later
    assert row.is_visible() and row.locator("table caption", has_text="Gates").is_visible()


def test_everything_works_from_the_keyboard(opened: Callable[..., Opened]) -> None:
    one = opened()
    seen: List[str] = []
    for _ in range(200):
        one.page.keyboard.press("Tab")
        where = one.page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.tagName, e.textContent.trim().slice(0, 20), s.outlineStyle + s.outlineWidth] }"
        )
        seen.append(where[0])
        shown = where[2] if where[0] != "a" else "solid3px"  # marks of a chart show focus by their stroke
        assert shown == "solid3px", f"focus is not seen on {where}"
        if where[0] == "BUTTON" and where[1].startswith("Gate used"):
            one.page.keyboard.press("Enter")
            break
    assert {"A", "SELECT", "BUTTON", "DIV", "SUMMARY", "a"} <= set(seen), set(seen)
    assert one.page.locator("#table th", has_text="Gate used").get_attribute("aria-sort") == "ascending"


def test_a_phone_scrolls_only_inside_tables(opened: Callable[..., Opened]) -> None:
    one = opened(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    one.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 360
    small = one.page.evaluate(
        "[...document.querySelectorAll('button, select')].filter(e => e.offsetHeight && e.offsetHeight < 24).length"
    )
    assert small == 0, "a finger needs 24 pixels (WCAG 2.2, target size)"


def test_the_dark_scheme_is_dark_and_print_is_light(opened: Callable[..., Opened], tmp_path: Path) -> None:
    one = opened(color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert sum(map(int, re.findall(r"\d+", one.page.evaluate(background))[:3])) < 120
    one.page.emulate_media(media="print")
    assert sum(map(int, re.findall(r"\d+", one.page.evaluate(background))[:3])) == 765
    assert not one.page.locator("#filters").is_visible()
    assert one.page.pdf(prefer_css_page_size=True)[:5] == b"%PDF-"


def test_without_scripts_everything_is_still_there(opened: Callable[..., Opened]) -> None:
    one = opened(java_script_enabled=False)
    assert one.page.locator("tr.cell").count() == 18
    assert not one.page.locator("#filters").is_visible()
    assert one.page.locator("td.square a").first.is_visible()
    assert one.page.locator("#table th button").count() == 0
