"""A verdict for GitHub Actions: the step summary and one annotation a gating metric."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.compare import Comparison
from evalkit.report.gate_markdown import parts
from evalkit.report.markdown import fitted
from evalkit.report.visible import visible
from evalkit.report.wording import sentence
from evalkit.verdict import Verdict

SUMMARY_BYTES = 1024 * 1024 - 1024
"""GitHub refuses a step summary of more than 1 MiB."""
PER_LEVEL = 10
"""GitHub shows ten annotations of a level a step."""
LEVEL = {"FAIL": "error", "ERROR": "error", "INCONCLUSIVE": "warning", "WAIVED": "warning", "PASS": "notice"}


def step_summary(verdict: Verdict, comparisons: Sequence[Comparison] = ()) -> str:
    """Return the Markdown for $GITHUB_STEP_SUMMARY, without what would make it too long."""
    return fitted(parts(verdict, comparisons), SUMMARY_BYTES)


def annotate(verdict: Verdict) -> str:
    """Return workflow commands, one a line: an annotation for each gating metric, at most ten of a level."""
    lines: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    for check in verdict.gating:
        title = _property(f"{check.verdict} {check.name}")
        lines[LEVEL[check.verdict]].append(f"::{LEVEL[check.verdict]} title={title}::{_data(sentence(check, verdict))}")
    for level, found in lines.items():
        if len(found) > PER_LEVEL:
            rest = len(found) - PER_LEVEL + 1
            found[PER_LEVEL - 1 :] = [f"::{level} title=evalkit gate::{rest} more of this level; see the step summary"]
    return "".join(f"{line}\n" for found in lines.values() for line in found)


def _data(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
