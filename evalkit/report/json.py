"""A run's analysis as JSON, for programs. The layout is versioned by `schema`."""

from __future__ import annotations

import json
from dataclasses import asdict

from evalkit.analyze import analyze, lens_of
from evalkit.report.pick import View
from evalkit.types import Run

SCHEMA = 1


def render(run: Run, view: View | None = None) -> str:
    """Return the analysis as JSON; answers are named by their example's id."""
    found = analyze(run.rows, lens_of(run, (view or View()).costs))
    record = asdict(found) | {
        "schema": SCHEMA,
        "run": run.id,
        "suite": run.suite,
        "model": run.model,
        "unclassified": [row.example.id for row in found.unclassified],
    }
    return json.dumps(record, allow_nan=False, indent=1) + "\n"  # in ASCII, so that a terminal may show it
