"""Worst cases on the page: photographs, keypoints, difference maps.

Pure. Keypoints of both are rings, only of the model crosses, only of the artifact pluses.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from builder.actions.measurements import MapDifference, Place, WorstCase
from builder.audit.report import cells
from builder.audit.report.cells import anchors
from builder.audit.report.charts import short
from builder.audit.report_actions import Picture, PictureFile
from builder.store.manifest import Manifest


@dataclass(frozen=True)
class Image:
    """A picture that the page holds once, under `id`, as a data address."""

    id: str
    address: str


@dataclass(frozen=True)
class Panel:
    """One of the pictures side by side: `image` below, paths over it."""

    title: str
    image: str
    rings: str = ""
    crosses: str = ""
    pluses: str = ""
    said: str = ""


@dataclass(frozen=True)
class Scale:
    """The scale of the difference map.

    Colours show square roots, so half of the colours is a quarter.
    """

    quarter: str
    largest: str
    x: int
    y: int


@dataclass(frozen=True)
class DrawnCase:
    cell: str
    anchor: str
    head: str
    precision: str
    target: str
    verdict: str
    sample: str
    gate: str
    keypoints: bool
    width: int
    height: int
    panels: Tuple[Panel, ...]
    difference: str
    scale: Optional[Scale]
    said: Tuple[str, ...]
    why_not: str


@dataclass(frozen=True)
class WorstCases:
    images: Tuple[Image, ...]
    cases: Tuple[DrawnCase, ...]


def worst_cases(manifest: Manifest, pictures: Sequence[Picture]) -> WorstCases:
    ids: Dict[str, Image] = {}
    of = anchors(manifest)
    cases = tuple(_case(manifest, of, picture, ids) for picture in pictures)
    return WorstCases(tuple(ids.values()), cases)


def _case(manifest: Manifest, of: Dict[str, str], picture: Picture, ids: Dict[str, Image]) -> DrawnCase:
    entry = manifest.entry(picture.cell)
    assert entry is not None
    facts = picture.facts
    tightest = next((m for m in cells.margins_of(entry) if m.check.worst == picture.sample), None)
    difference = _held(picture.file("difference.jpg"), ids)
    return DrawnCase(
        cell=entry.cell,
        anchor=of[entry.cell],
        head=entry.head,
        precision=entry.precision,
        target=entry.target,
        verdict=entry.verdict.status,
        sample=picture.sample,
        gate=f"{cells.margin_name(tightest.check)} uses {cells.margin_share(tightest)} of its gate here"
        if tightest
        else "",
        keypoints=bool(facts and facts.keypoints),
        width=facts.size[0] if facts else 0,
        height=facts.size[1] if facts else 0,
        panels=_panels(facts, picture, ids) if facts else (),
        difference=difference,
        scale=_scale(facts.map) if facts and facts.map and difference else None,
        said=_said(facts) if facts else (),
        why_not=picture.why_not,
    )


def _panels(facts: WorstCase, picture: Picture, ids: Dict[str, Image]) -> Tuple[Panel, ...]:
    photograph = _held(picture.file("photograph.jpg"), ids)
    if facts.keypoints:
        model, artifact = ([pair[:2] for pair in facts.both], [pair[2:] for pair in facts.both])
        found = [len(facts.both) + len(only) for only in (facts.lost, facts.new)]
        return (
            Panel("Model", photograph, _dots(model), _crosses(facts.lost), "", f"{found[0]} keypoints"),
            Panel("Artifact", photograph, _dots(artifact), "", _pluses(facts.new), f"{found[1]} keypoints"),
        )
    maps = [_held(picture.file(name), ids) for name in ("reference.png", "candidate.png")]
    if all(maps):
        return Panel("Photograph", photograph), Panel("Model", maps[0]), Panel("Artifact", maps[1])
    return (Panel("Photograph", photograph),)


def _held(file: Optional[PictureFile], ids: Dict[str, Image]) -> str:
    """The id of a picture; the same bytes are held once."""
    if file is None:
        return ""
    if file.digest not in ids:
        kind = "png" if file.name.endswith(".png") else "jpeg"
        address = f"data:image/{kind};base64,{base64.b64encode(file.data).decode()}"
        ids[file.digest] = Image(f"image-{len(ids) + 1}", address)
    return ids[file.digest].id


def _dots(places: Sequence[Place]) -> str:
    return "".join(f"M{x},{y}h0" for x, y in places)


def _crosses(places: Sequence[Place]) -> str:
    return "".join(f"M{x - 4},{y - 4}l8,8m-8,0l8-8" for x, y in places)


def _pluses(places: Sequence[Place]) -> str:
    return "".join(f"M{x - 5},{y}h10m-5-5v10" for x, y in places)


def _scale(found: MapDifference) -> Scale:
    return Scale(short(found.largest / 4), short(found.largest), *found.at)


def _said(facts: WorstCase) -> Tuple[str, ...]:
    lines: List[str] = []
    if facts.keypoints:
        lines.append(
            f"{len(facts.both)} keypoints are the same within 3 pixels, {len(facts.lost)} only the model found, "
            f"{len(facts.new)} only the artifact."
        )
    if facts.map is not None:
        lines.append(f"{facts.map.output} differs by at most {short(facts.map.largest)} (in the circle).")
        if facts.map.agreement is not None:
            lines.append("A colour is the class that wins at that place.")
            lines.append(f"The same class wins at {100 * facts.map.agreement:.2f} % of the places.")
    elif facts.keypoints:
        lines.append("This head gives points and no map, so there is no difference map.")
    return tuple(lines)
