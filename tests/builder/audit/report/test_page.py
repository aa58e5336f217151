"""The page as text: well formed, closed to the network, escaped, small, the same every time, and readable colours."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import pytest

from builder.actions.measurements import MapDifference, WorstCase
from builder.audit.report import page
from builder.audit.report_actions import Picture, PictureFile
from builder.errors import UsageError
from builder.store.manifest import Manifest
from tests.builder.audit.report.conftest import HOSTILE, beside, hostile, measured, version
from tests.fakes import REPOSITORY

pytest.importorskip("jinja2")

VOID = {"meta", "wbr", "link", "img", "br", "input", "hr"}
TEMPLATES = Path(page.__file__).parent / "templates"


def html_of(manifest: Manifest) -> str:
    return page.fitted(lambda detail: page.report(manifest, detail, beside(manifest)))


class Reader(HTMLParser):
    """Checks that elements nest, and keeps what tests ask about."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: List[str] = []
        self.tags: List[Tuple[str, Dict[str, Optional[str]]]] = []
        self.words: Dict[str, List[str]] = {}

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.words.setdefault(self.open[-1], []).append(data)

    def all(self, name: str) -> List[str]:
        return [value or "" for _, attrs in self.tags for key, value in attrs.items() if key == name]


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


@pytest.mark.parametrize("manifest", [version(), hostile(), version(heads=("dense",))], ids=["all", "hostile", "one"])
def test_elements_nest_ids_are_unique_and_links_lead_somewhere(manifest: Manifest) -> None:
    reader = read(html_of(manifest))
    ids = reader.all("id")
    assert len(set(ids)) == len(ids)
    targets = {href[1:] for href in reader.all("href") if href.startswith("#")}
    assert targets <= set(ids), targets - set(ids)
    labels = {
        word for value in reader.all("aria-labelledby") + reader.all("aria-describedby") for word in value.split()
    }
    assert labels <= set(ids)


def test_it_also_reads_as_html5() -> None:
    html5lib = pytest.importorskip("html5lib", reason="a strict HTML parser for tests")
    parser = html5lib.HTMLParser(strict=True)
    parser.parse(html_of(version()))
    assert not parser.errors


@pytest.mark.parametrize("manifest", [version(), hostile()], ids=["all", "hostile"])
def test_nothing_points_outside_and_the_policy_forbids_it(manifest: Manifest) -> None:
    html = html_of(manifest)
    reader = read(html)
    for name in ("href", "src", "srcset", "xlink:href", "action", "poster"):
        assert all(value.startswith(("#", "data:")) for value in reader.all(name)), name
    style, script = "".join(reader.words["style"]), "".join(reader.words["script"])
    assert "url(" not in style and "@import" not in style
    policy = next(attrs["content"] for tag, attrs in reader.tags if attrs.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none';")
    for kind, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy and "http" not in policy


def test_names_are_text_never_markup() -> None:
    html = html_of(hostile())
    reader = read(html)
    assert "<script>alert" not in html and "onerror=alert" not in html.replace("onerror=alert(2)&gt;", "")
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("script") == 1 and tags.count("style") == 1 and "img" not in tags and tags.count("image") == 2
    assert any(HOSTILE in words for words in reader.words["dd"] + reader.words["p"]), "shown, letter by letter"
    assert "49" not in reader.words["h1"], "a template in a name was run"
    assert not [name for _, attrs in reader.tags for name in attrs if name.startswith("on") or name == "style"]


_WRITE = "import sys; from tests.builder.audit.report.test_page import *; sys.stdout.write(html_of(version()))"


def test_the_same_manifest_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """Sets and hashes differ between these, and so do the folder, the time zone and the language."""
    wanted = html_of(version())
    for seed, zone, language in (("1", "Asia/Tokyo", "C"), ("2", "America/Lima", "de_DE.UTF-8")):
        environ = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": language}
        environ.update(PYTHONPATH=str(REPOSITORY), PYTHONIOENCODING="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _WRITE], cwd=tmp_path, env=environ, capture_output=True, check=True
        )
        assert done.stdout.decode() == wanted


def test_every_mark_of_a_chart_is_a_row_of_its_table() -> None:
    speed = html_of(version()).split('<section id="speed"')[1].split("</section>")[0]
    charts = re.findall(r"<figure.*?</figure>", speed, re.DOTALL)
    assert len(charts) == 2 * 2 * 3, "heads, machines that were timed, metrics"
    for chart in charts:
        marks = re.findall(r'<a href="(#\S+)" class="mark .*?<title>\S+: (.*?)</title>', chart)
        rows = re.findall(r'<tr><th scope="row"><a href="(#\S+)">.*?</th>(.*?)</tr>', chart, re.DOTALL)
        told = []
        for anchor, row in rows:
            *numbers, front = (re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row))
            told.append((anchor, ", ".join([*numbers, *(["on the Pareto front"] if front == "yes" else [])])))
        assert told == marks and len(marks) == 3


def test_a_cell_says_why_and_what_to_do() -> None:
    html = html_of(version())
    assert "why it is waiting" in html and "go there" in html and "scores max_abs 0.02 &gt; 0.01" in html


@pytest.mark.parametrize("count", [12, 100, 600])
def test_a_large_matrix_still_fits_and_says_what_is_left_out(count: int) -> None:
    """With twelve pictures that are as large as they can be, and a thousand keypoints on each side of them."""
    entries = []
    for number in range(count):
        one = measured("dense", ("fp32", "fp16", "int8")[number % 3], f"target{number // 3}", failed=number % 50 == 0)
        tasks = tuple(dataclasses.replace(one.tasks[0], metric=f"metric{m}") for m in range(9))
        entries.append(dataclasses.replace(one, cell=f"{one.cell}-{number}", tasks=tasks))
    manifest = dataclasses.replace(version(), entries=tuple(entries))
    both = tuple((i % 480, i % 360, i % 480, i % 360) for i in range(1024))
    facts = WorstCase((480, 360), True, both, map=MapDifference("scores", 0.5, (32, 24)))
    pictures = []
    for entry in entries[:12]:
        names = ("photograph.jpg", "difference.jpg")
        files = tuple(PictureFile(name, f"{name} {entry.cell}", bytes(40_000)) for name in names)
        pictures.append(Picture(entry.cell, entry.parity[0].sample, facts, files))
    known = page.Beside(tuple(pictures))
    html = page.fitted(lambda detail: page.report(manifest, detail, known))
    assert len(html.encode()) < page.LIMIT == 2_000_000
    assert ("are left out" in html) == (count > 12)
    assert html.count('class="f cell"') == count
    assert html.count('class="case f"') == {12: 12, 100: 8, 600: 4}[count]


def test_what_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LIMIT", 1000)
    with pytest.raises(UsageError, match="larger than"):
        html_of(version())


# ---------------------------------------------------------------------------------------------- colours


def _palettes() -> Dict[str, Dict[str, str]]:
    text = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", text, re.DOTALL)[:2]
    return {
        name: dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for name, block in (("light", light), ("dark", dark))
    }


def contrast(a: str, b: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(scheme: str) -> None:
    colours = _palettes()[scheme]
    pairs = [("ink", "bg"), ("soft", "bg"), ("ink", "panel"), ("soft", "panel"), ("link", "bg")]
    pairs += [(verdict, f"{verdict}-bg") for verdict in page.VERDICTS] + [(verdict, "bg") for verdict in page.VERDICTS]
    pairs += [(f"p{n}", "bg") for n in range(6)]
    for front, back in pairs:
        assert contrast(colours[front], colours[back]) >= 4.5, f"{front} on {back}"
    assert contrast(colours["strong-line"], colours["bg"]) >= 3.0
    assert contrast(colours["focus"], colours["bg"]) >= 3.0


def test_the_contrast_formula_is_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


# Machado, Oliveira and Fernandes 2009, severity 1.0: what a person without L, M or S cones sees, in linear RGB.
_SEEN = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("vision", sorted(_SEEN))
def test_passed_and_failed_differ_with_any_colour_vision(scheme: str, vision: str) -> None:
    colours = _palettes()[scheme]

    def seen(name: str) -> List[float]:
        parts = [int(colours[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        rows = [sum(w * v for w, v in zip(row, linear)) for row in _SEEN[vision]]
        return [
            255 * (max(v, 0.0) * 12.92 if v <= 0.0031308 else 1.055 * min(v, 1.0) ** (1 / 2.4) - 0.055) for v in rows
        ]

    distance = sum((a - b) ** 2 for a, b in zip(seen("passed-bg"), seen("failed-bg"))) ** 0.5
    assert distance > 15, f"{distance:.0f} of 442"
