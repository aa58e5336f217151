"""A ledger as JUnit XML for CI servers.

A suite is a precision, target and runtime; a case is one number of a cell.
"""

from __future__ import annotations

import re
from typing import Iterable
from xml.etree import ElementTree

from builder.audit import text
from builder.audit.history import Ledger, LineGroup, MetricLine

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(ledger: Ledger) -> str:
    root = ElementTree.Element("testsuites", {"name": _clean(f"{ledger.model} {text.headline(ledger)}")})
    for group in ledger.groups:
        cells = {
            c.cell
            for c in ledger.cells
            if (c.precision, c.target, c.runtime) == (group.precision, group.target, group.runtime)
        }
        lines = [line for line in ledger.lines if line.cell in cells]
        if lines:
            _suite(root, group, lines, ledger)
    _count(root, ledger.lines)
    ElementTree.indent(root, " ") if hasattr(ElementTree, "indent") else None  # from Python 3.9 on
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _suite(root: ElementTree.Element, group: LineGroup, lines: Iterable[MetricLine], ledger: Ledger) -> None:
    listed = tuple(lines)
    name = " ".join(word for word in (group.precision, group.target, group.runtime) if word)
    suite = ElementTree.SubElement(root, "testsuite", {"name": _clean(name)})
    _count(suite, listed)
    properties = ElementTree.SubElement(suite, "properties")
    against = f"v{ledger.against}" if ledger.against is not None else ""
    for key, value in (("candidate", f"v{ledger.candidate}"), ("against", against), ("limits", ledger.limits)):
        ElementTree.SubElement(properties, "property", {"name": key, "value": _clean(value)})
    for line in listed:
        _case(suite, line, ledger)


def _case(suite: ElementTree.Element, line: MetricLine, ledger: Ledger) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": _clean(line.cell), "name": _clean(line.metric), "time": "0"}
    )
    said = text.since(line, ledger)
    if line.state == "beyond":
        failure = ElementTree.SubElement(case, "failure", {"type": "drift", "message": _clean(said)})
        failure.text = _clean("\n".join((said, _values(line, ledger), *text.reasons(line, ledger))))
    elif line.state in ("unlike", "gone"):
        ElementTree.SubElement(case, "skipped", {"message": _clean(said)})
    if line.state != "beyond" and line.state != "same":
        told = ElementTree.SubElement(case, "system-out")
        told.text = _clean(
            "\n".join(word for word in (said, _values(line, ledger), *text.reasons(line, ledger)) if word)
        )


def _values(line: MetricLine, ledger: Ledger) -> str:
    return ", ".join(f"v{release.version} {text.point(line, line.at(release.version))}" for release in ledger.releases)


def _count(element: ElementTree.Element, lines: Iterable[MetricLine]) -> None:
    states = [line.state for line in lines]
    element.set("tests", str(len(states)))
    element.set("failures", str(states.count("beyond")))
    element.set("errors", "0")
    element.set("skipped", str(states.count("unlike") + states.count("gone")))


def _clean(words: str) -> str:
    """Text without control characters, which XML cannot escape."""
    return _NOT_XML.sub("?", words)
