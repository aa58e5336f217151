"""Versions with something of everything, and a real Chromium to look at their pages."""

from __future__ import annotations

import base64
import dataclasses
import shutil
from pathlib import Path
from typing import Any, Iterator, Tuple

import pytest

from builder.actions.measurements import LayerError, MapDifference, OutputParity, WorstCase
from builder.audit.drift_limits import Allowances
from builder.audit.history import Version
from builder.audit.ledger import ledger
from builder.audit.report.page import Beside
from builder.audit.report_actions import LayerTable, Picture, PictureFile
from builder.config.contract import Output
from builder.store.manifest import Artifact, Check, Entry, HeadContract, Manifest, TaskResult, Verdict
from tests import fakes

TARGETS = ("cpu_a", "cpu_b", "gpu")
PRECISIONS = ("fp32", "fp16", "int8")


def measured(head: str, precision: str, target: str, *, failed: bool = False) -> Entry:
    """A cell that was built, timed and scored; the lower the precision, the faster and the worse."""
    step = PRECISIONS.index(precision) if precision in PRECISIONS else 0
    error = (1e-6, 1e-3, 2e-2)[step]
    checks = (
        Check("tensor", "scores", "max_abs", error, 0.01 if failed else 0.1, True, "*", worst="a-32x32"),
        Check("tensor", "scores", "cosine", 1 - error, 0.8, False, "*", worst="b-16x16"),
        Check("task", "good", "value", 0.8 - step * 0.05, 0.6, False, "*"),
        Check("task", "good", "error", 0.0, 0.5, True, "*", bound="degradation", report_only=True),
    )
    bare = fakes.entry(f"tiny-{head}-{precision}-{target}", p50=8.0 / (1 + step), head=head)
    parity = tuple(
        OutputParity("scores", sample, None, error * part, error / 9, error / 2, 0.1, 0.05, 1 - error, 60.0 - 20 * step)
        for sample, part in (("a-32x32", 1.0), ("b-16x16", 0.5))
    )
    tasks = (
        TaskResult("good", "value", 0.8 - step * 0.05, 0.8, worst="b"),
        TaskResult("good", "error", 1.0 + step, 1.0, lower_is_better=True, worst="a"),
    )
    missed = [c for c in checks if not c.kept]
    verdict = Verdict("failed" if missed else "passed", "scores max_abs 0.02 > 0.01" if missed else "", (), checks)
    return dataclasses.replace(bare, parity=parity, tasks=tasks, verdict=verdict)


def version(number: int = 3, heads: Tuple[str, ...] = ("dense", "points")) -> Manifest:
    """Cells of every verdict: int8 on cpu_b failed, the GPU's are unverified, waiting and skipped."""
    entries = []
    for head in heads:
        for target in TARGETS[:2]:
            entries += [measured(head, p, target, failed=(p, target) == ("int8", "cpu_b")) for p in PRECISIONS]
        for precision, status in zip(PRECISIONS, ("unverified", "waiting", "skipped")):
            left = fakes.entry(
                f"tiny-{head}-{precision}-gpu", status=status, p50=None, head=head, artifact=status == "unverified"
            )
            entries.append(dataclasses.replace(left, verdict=dataclasses.replace(left.verdict, remedies=("go there",))))
    made = fakes.manifest(*entries, version=number)
    contracts = tuple(HeadContract(h, (Output("scores", ("batch", "8*h8", "8*w8")),)) for h in heads)
    return dataclasses.replace(made, model=dataclasses.replace(made.model, heads=contracts))


HOSTILE = """x"'><script>alert(1)</script><img src=http://example.com/a onerror=alert(2)>&lt;{{7*7}}</style>"""


def hostile() -> Manifest:
    """Every text that a person, a machine or a library may have written is an attack."""
    made = version(heads=("dense",))
    entries = tuple(_poisoned(entry) for entry in made.entries)
    model = dataclasses.replace(made.model, name=HOSTILE, source=HOSTILE, weights="seed " + HOSTILE)
    builder = dataclasses.replace(made.builder, machine=HOSTILE, python=HOSTILE, deploymatrix=HOSTILE)
    return dataclasses.replace(made, entries=entries, model=model, builder=builder, created=HOSTILE)


def _poisoned(entry: Entry) -> Entry:
    verdict = dataclasses.replace(
        entry.verdict,
        reason=HOSTILE,
        remedies=(HOSTILE,),
        checks=tuple(
            dataclasses.replace(c, subject=HOSTILE, metric=HOSTILE, worst=HOSTILE) for c in entry.verdict.checks
        ),
    )
    latency = dataclasses.replace(entry.latency, machine=HOSTILE) if entry.latency else None
    artifact: Any = entry.artifact
    if isinstance(artifact, Artifact):
        artifact = dataclasses.replace(artifact, remarks=(HOSTILE,))
    platform = dataclasses.replace(entry.platform, runtime=HOSTILE, version=HOSTILE) if entry.platform else None
    return dataclasses.replace(
        entry,
        cell=entry.cell + HOSTILE,
        head=HOSTILE,
        precision=entry.precision + HOSTILE,
        target=entry.target + HOSTILE,
        machine=HOSTILE,
        verdict=verdict,
        platform=platform,
        latency=latency,
        artifact=artifact,
        parity=tuple(dataclasses.replace(row, output=HOSTILE, sample=HOSTILE) for row in entry.parity),
        tasks=tuple(
            dataclasses.replace(r, task=HOSTILE, metric=r.metric + HOSTILE, worst=HOSTILE) for r in entry.tasks
        ),
        reproduce=HOSTILE,
    )


_GREY = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def drawn(manifest: Manifest) -> Tuple[Picture, ...]:
    """Of the first two cells of int8 and fp16 on cpu_b, one a picture and one a reason; their samples are the cells' own."""
    cells = {e.cell[:21]: e for e in manifest.entries if e.parity}
    files = tuple(PictureFile(name, name, base64.b64decode(_GREY)) for name in ("photograph.jpg", "difference.jpg"))
    found = MapDifference("scores", 0.5, (32, 24))
    facts = WorstCase((64, 48), True, ((9, 9, 9, 9),), ((20, 20),), ((30, 30),), found)
    first, second = cells["tiny-dense-int8-cpu_b"], cells["tiny-dense-fp16-cpu_b"]
    return (
        Picture(first.cell, first.parity[0].sample, facts, files),
        Picture(second.cell, second.parity[0].sample, why_not="no runtime here"),
    )


def layers(manifest: Manifest) -> Tuple[LayerTable, ...]:
    found = tuple(LayerError((f"conv{n}",), "Conv", 20.0 + 3 * n, "scores", 30.0, 0.5) for n in range(20))
    cells = [e.cell for e in manifest.entries if e.parity]
    return (LayerTable((cells[2],), found), LayerTable((cells[5],), why_not="it is not in the store"))


def beside(manifest: Manifest) -> Beside:
    """Something of everything that a page may have beside the manifest."""
    before = dataclasses.replace(manifest, version=manifest.version - 1)
    lines = ledger((Version(before), Version(manifest)), Allowances((), ()).of)
    return Beside(drawn(manifest), lines, layers(manifest))


CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium of this machine, driven through Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is driven by playwright, which is not here")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # Root, as in most containers, has no sandbox to offer.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """written(html) -> the file's address."""

    def write(html: str) -> str:
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        return path.as_uri()

    return write
