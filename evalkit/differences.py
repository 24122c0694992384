"""How two runs were asked and judged differently: what forbids a comparison, and what may explain a change. Pure.

Reads the identity of runs, not their answers; prompts are quoted as they were sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from evalkit.errors import NotComparable
from evalkit.types import Run

MUST_AGREE: Mapping[str, str] = {
    "suite": "the suite",
    "data_digest": "the examples (another version of the suite, or another --limit)",
    "template": "the prompt template",
    "scorers": "the scorers",
    "taggers": "the taggers",
    "judge": "the judge",
    "judge_prompt": "the judge's prompt",
}
"""Field of the identity -> what it stands for; runs that differ in one of these are not compared."""
MAY_DIFFER = ("model.", "plan", "judge.", "suite_digest")
"""Beginnings of identity fields whose difference needs no remark."""
TAINTED = "tainted: "
"""Beginning of a run's warning that its answers are not one model's."""


def refuse_differences(baseline: Run, candidate: Run, tolerate: Collection[str]) -> tuple[str, ...]:
    """Return what differs and is tolerated, a line each.

    Raises:
        NotComparable: something differs that is not tolerated, or a run is not one model's.
    """
    for run in () if tolerate else (baseline, candidate):
        if tainted := [str(w) for w in run.manifest.get("warnings", ()) if str(w).startswith(TAINTED)]:
            raise NotComparable(f"run {run.id} is {tainted[0]}; run it anew")
    before, after = baseline.manifest["identity"], candidate.manifest["identity"]
    found = []
    for key, what in MUST_AGREE.items():
        if before.get(key, "") != after.get(key, ""):
            mend = "`evalkit score RUN` judges one anew" if key in ("scorers", "taggers") else "run one of them anew"
            values = f"{_short(before.get(key))} and {_short(after.get(key))}"
            if key not in tolerate:
                raise NotComparable(f"runs {baseline.id} and {candidate.id} differ in {what}: {values}; {mend}")
            sent = {_short(row.response.sent): None for run in (baseline, candidate) for row in run.rows[:1]}
            found.append(f"{what}: {' and '.join(sent) if key == 'template' and len(sent) > 1 else values}")
    return tuple(found)


def remarks_on(baseline: Run, candidate: Run) -> tuple[str, ...]:
    """Return what else differs and may explain a change, a line each."""
    before, after = baseline.manifest["identity"], candidate.manifest["identity"]
    keys = [k for k in sorted({*before, *after}) if not k.startswith(MAY_DIFFER) and before.get(k) != after.get(k)]
    return tuple(
        f"{key}: {_short(before.get(key))} and {_short(after.get(key))}" for key in keys if key not in MUST_AGREE
    )


def _short(value: object) -> str:
    text = "nothing" if value in (None, "") else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
