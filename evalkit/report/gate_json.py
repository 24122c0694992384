"""A verdict as JSON. gate.schema.json beside this file is the contract; a change of meaning raises its version."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from evalkit.report.wording import headline, sentence
from evalkit.verdict import Verdict

SCHEMA = 1


def render(verdict: Verdict) -> str:
    """Return the verdict as one JSON object with sorted keys."""
    return json.dumps(record(verdict), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def record(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as plain values."""
    checks = [{**asdict(check), "sentence": sentence(check, verdict)} for check in verdict.checks]
    return {
        **asdict(verdict),
        "schema": SCHEMA,
        "exit_code": verdict.exit_code,
        "sentence": headline(verdict),
        "notes": list(verdict.notes),
        "checks": [{**check, "ci95": check["ci95"] and list(check["ci95"])} for check in checks],
    }


def schema() -> dict[str, Any]:
    """Return the JSON schema of what `render` writes."""
    text = files("evalkit.report").joinpath("gate.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
