"""Checkpoints as one HTML file: no network, no server, every foreign text escaped. The figures are of `board`.

Scripts and styles of the page are inline and named by their hash in a content security policy that allows nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evalkit.analyze import Estimate, tagged
from evalkit.policy import Policy
from evalkit.report import charts, wording
from evalkit.report.advice import advice
from evalkit.report.board import Board, Part, board_of
from evalkit.report.charts import Bin, Scale
from evalkit.report.items import html_safe, items_of
from evalkit.report.pick import View, evidence, excerpt, remarks
from evalkit.report.visible import FLOOD_IN_SCRIPT, HIDDEN_IN_SCRIPT, one_line
from evalkit.types import SEVERITY_WEIGHTS, Row, Run
from evalkit.verdict import Check

SLICES = 40
"""Slices shown of one suite; the items can be filtered for any."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A histogram with its name."""

    title: str
    """What is counted."""
    bins: tuple[Bin, ...]
    """A row each."""

    @property
    def top(self) -> int:
        """Return the tallest bar's count, at least 1."""
        return max((n for b in self.bins for n in b.counts), default=1) or 1


def render(run: Run, view: View | None = None) -> str:
    """Return the page of one run."""
    return render_all([[run]], view)


def render_all(given: Sequence[Sequence[Run]], view: View | None = None, policy: Policy | None = None) -> str:
    """Return the page of several checkpoints, each given by its runs (a suite each); the first is the baseline.

    Raises:
        NotComparable: two runs of a suite were not asked the same questions and judged alike; prompts may differ.
    """
    view = view or View()
    board = board_of(given, view.costs, policy)
    items = items_of(board)
    style, script = _asset("page.css"), _asset("page.js")
    return _templates().get_template("page.html.j2").render(
        board=board,
        view=view,
        items=items,
        about=Markup(html_safe(_about(board))),
        title=_title(board),
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'",
        curve=charts.curve([[_estimate(part, i) for i in range(len(part.runs))] for part in board.parts]),
    )  # fmt: skip


def _title(board: Board) -> str:
    suites = ", ".join(part.suite for part in board.parts)
    return f"{suites}: {' → '.join(checkpoint.name for checkpoint in board.checkpoints)}"


def _about(board: Board) -> dict[str, Any]:
    """Return what the page's script knows beside the items."""
    return {
        "checkpoints": [checkpoint.name for checkpoint in board.checkpoints],
        "primary": {part.suite: part.primary for part in board.parts},
        "severity": dict(SEVERITY_WEIGHTS),
        "hidden": HIDDEN_IN_SCRIPT,
        "flood": FLOOD_IN_SCRIPT,
        "tagged": {part.suite: any(run is not None and tagged(run) for run in part.runs) for part in board.parts},
    }


def _estimate(part: Part, column: int) -> Estimate | None:
    metric = part.metric(column)
    return metric.estimate if metric else None


def distributions(part: Part) -> list[Chart]:
    """Return the histograms of answer lengths and of graded scores, a series per checkpoint."""
    rows = [[row for row in run.rows if row.response.error is None] if run else [] for run in part.runs]
    known = all(row.response.tokens is not None for column in rows for row in column)
    lengths = [[_length(row, known) for row in column if not row.response.choice_logprobs] for column in rows]
    found = []
    if any(lengths):
        edges = charts.length_edges([length for column in lengths for length in column])
        unit = "tokens" if known else "words"
        found.append(Chart(f"length of the answers, {unit}", charts.histogram(lengths, edges)))
    tenths = tuple(i / 10 for i in range(10))
    for name in dict.fromkeys(metric.name for analysis in part.found if analysis for metric in analysis.metrics):
        values = [[s.value for row in column if (s := row.score(name)) and s.value is not None] for column in rows]
        if any(value not in (0.0, 1.0) for column in values for value in column):
            found.append(Chart(name, charts.histogram(values, tenths, last="0.9 – 1")))
    return found


def _length(row: Row, known: bool) -> float:
    return float(row.response.tokens or 0) if known else float(len(row.response.text.split()))


def forest(checks: Sequence[Check]) -> Scale:
    """Return the common scale of the changes of several metrics, in points, no change in the middle."""
    return charts.around_zero(end for check in checks for end in check.ci95 or ())


def turned(check: Check) -> tuple[float, float, float]:
    """Return the change and the ends of its interval as the metric itself moved: more errors are positive."""
    assert check.ci95 is not None
    sign = 1.0 if check.direction == "up" else -1.0
    low, high = sorted(sign * end for end in check.ci95)
    return sign * (check.change or 0.0), low, high


@cache
def _asset(name: str) -> str:
    return files("evalkit.report").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


@cache
def _templates() -> Environment:
    """Return the templates with the filters that they use; whatever they print is escaped."""
    environment = Environment(
        loader=PackageLoader("evalkit.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Callable[..., Any]] = {
        "line": one_line,
        "share": lambda value: f"{100 * value:.1f}",
        "points": wording.points,
        "shown_change": wording.shown_change,
        "shown_interval": wording.shown_interval,
        "p_value": wording.p_value,
        "advice": advice,
        "turned": turned,
        "stands_out": wording.stands_out,
        "remarks": remarks,
        "tagged": tagged,
    }
    environment.filters.update(filters)
    environment.globals.update(
        count=wording.count, headline=wording.headline, sentence=wording.sentence, evidence=evidence,
        excerpt=excerpt, forest=forest, distributions=distributions, unit=charts.SHARE, most_slices=SLICES,
        box={"width": charts.WIDTH, "height": charts.HEIGHT, "left": charts.LEFT},
    )  # fmt: skip
    return environment
