"""What answers depend on, as flat text fields: compared on resume, and before two runs are compared. Pure."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from evalkit.assess import Assessor
from evalkit.jsonl import dump
from evalkit.prompt import template_hash
from evalkit.types import Suite

PACKAGES = ("evalkit-llm", "torch", "transformers", "tokenizers", "lm-eval", "rapidfuzz", "symspellpy", "typos")
NO_JUDGE: Mapping[str, str] = {"judge": ""}
"""The judge's fields of a run without one."""


def identity_of(
    suite: Suite,
    assessor: Assessor,
    model: Mapping[str, str],
    plan: Sequence[Sequence[int]] = (),
    judge: Mapping[str, str] = NO_JUDGE,
) -> dict[str, str]:
    """Return every field that must be equal for a run to be resumed; no secret and no environment is among them.

    `judge` are the fields of the judge, as `Court.identity` gives them.
    """
    return {
        **suite_identity(suite, assessor),
        **judge,
        **{f"model.{key}": value for key, value in model.items()},
        "plan": plan_hash(plan),
        **versions(),
    }


def suite_identity(suite: Suite, assessor: Assessor) -> dict[str, str]:
    """Return the fields that two runs must share to be compared item by item."""
    return {
        "suite": suite.name,
        "suite_version": str(suite.version),
        "suite_digest": suite.digest,
        "data_digest": suite.data_digest,
        "items": str(len(suite.examples)),
        "split": suite.split,
        "primary": suite.primary,
        "margin": str(suite.margin),
        "cluster_key": suite.cluster_key,
        "trials": str(suite.trials),
        "generation": dump(asdict(suite.generation)),
        "template": template_hash(suite),
        "scorers": dump([repr(scorer) for scorer in assessor.scorers]),
        "taggers": dump([repr(tagger) for tagger in assessor.taggers]),
        "severity": dump(dict(assessor.severity)),
        "words": hashlib.sha256(dump([sorted(assessor.vocabulary), assessor.training]).encode()).hexdigest()[:16],
    }


def plan_hash(plan: Sequence[Sequence[int]]) -> str:
    """Return 16 hex digits of a batch plan."""
    return hashlib.sha256(dump([list(batch) for batch in plan]).encode()).hexdigest()[:16]


def versions() -> Mapping[str, str]:
    """Return the versions of what computes answers, scores and tags."""
    found = {"version.python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[f"version.{name}"] = version(name)
        except PackageNotFoundError:
            found[f"version.{name}"] = "none"
    return found
