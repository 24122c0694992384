"""A verdict as JUnit XML, which every CI server shows: a suite is a testsuite, a gating metric a testcase."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from evalkit.compare import Comparison
from evalkit.report.visible import one_line, visible
from evalkit.report.wording import headline, sentence
from evalkit.verdict import Check, Verdict

ELEMENT = {"FAIL": "failure", "ERROR": "error", "INCONCLUSIVE": "skipped", "WAIVED": "skipped"}
BROKEN_SHOWN = 10


def render(verdict: Verdict, comparisons: Sequence[Comparison] = ()) -> str:
    """Return the XML document; a failure names the items that broke."""
    whole = {name: n for name, n in _counts(verdict.gating).items() if name != "skipped"}  # the schema has none here
    root = ET.Element("testsuites", {"name": _text(headline(verdict)), **whole})
    for suite in dict.fromkeys(c.suite for c in verdict.gating):
        checks = [c for c in verdict.gating if c.suite == suite]
        element = ET.SubElement(root, "testsuite", {"name": _text(suite), **_counts(checks)})
        for check in checks:
            case = ET.SubElement(element, "testcase", classname=_text(suite), name=_text(check.name.split("/", 1)[1]))
            _outcome(case, check, verdict, comparisons)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _outcome(case: ET.Element, check: Check, verdict: Verdict, comparisons: Sequence[Comparison]) -> None:
    line = _text(sentence(check, verdict))
    if check.verdict in ELEMENT:
        element = ET.SubElement(case, ELEMENT[check.verdict], message=line)
        if check.verdict == "FAIL":
            element.text = "\n".join(_broken(check, comparisons))
    else:
        ET.SubElement(case, "system-out").text = line


def _broken(check: Check, comparisons: Sequence[Comparison]) -> list[str]:
    """Return a line per broken item: its id, its new errors and both answers."""
    found = next((c for c in comparisons if c.suite == check.suite and check.metric in c.metrics), None)
    lines = []
    for item in found.changed(-1, check.metric)[:BROKEN_SHOWN] if found else ():
        before, after = (
            one_line(rows[0].response.text, 160) if rows else "-" for rows in (item.baseline, item.candidate)
        )
        tags = f" [{', '.join(map(one_line, item.new_tags))}]" if item.new_tags else ""
        lines.append(_text(f"{one_line(item.example.id, 60)}{tags}: {before} -> {after}"))
    return lines


def _counts(checks: Sequence[Check]) -> dict[str, str]:
    kinds = [ELEMENT.get(c.verdict, "") for c in checks]
    counts = {
        "tests": len(checks),
        "failures": kinds.count("failure"),
        "errors": kinds.count("error"),
        "skipped": kinds.count("skipped"),
    }
    return {name: str(n) for name, n in counts.items()}


def _text(text: str) -> str:
    """Return visible text without the two characters that XML 1.0 forbids although they hide nothing."""
    return visible(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
