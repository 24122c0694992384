"""Names to objects: the one lazy door. Built-ins and third parties (entry points) stand in one table per group."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from evalkit.errors import PluginError

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "backends": {
        "hf": "evalkit.backends.hf:HfBackend",
        "openai": "evalkit.backends.openai:OpenAiBackend",
        "scripted": "evalkit.backends.scripted:ScriptedBackend",
        "replay": "evalkit.backends.replay:ReplayBackend",
    },
    "scorers": {
        "exact": "evalkit.scorers.exact:Exact",
        "fuzzy": "evalkit.scorers.fuzzy:Fuzzy",
        "match": "evalkit.scorers.match:Match",
        "judge": "evalkit.scorers.judge:Judge",
        "semantic": "evalkit.scorers.semantic:Semantic",
        "acc": "evalkit.scorers.choice:Acc",
        "acc_norm": "evalkit.scorers.choice:AccNorm",
        "lm_eval": "evalkit.harness:LmEval",
    },
    "taggers": {
        "empty": "evalkit.taggers.empty:Empty",
        "leak": "evalkit.taggers.leak:Leak",
        "repetition": "evalkit.taggers.repetition:Repetition",
        "truncated": "evalkit.taggers.truncated:Truncated",
        "language": "evalkit.taggers.language:Language",
        "refusal": "evalkit.taggers.refusal:Refusal",
        "format": "evalkit.taggers.format:Format",
        "unsupported": "evalkit.taggers.unsupported:Unsupported",
        "copied": "evalkit.taggers.copied:Copied",
        "missing_facts": "evalkit.taggers.missing_facts:MissingFacts",
        "low_overlap": "evalkit.taggers.low_overlap:LowOverlap",
        "off_topic": "evalkit.taggers.off_topic:OffTopic",
        "length": "evalkit.taggers.length:Length",
        "misspelling": "evalkit.taggers.misspelling:Misspelling",
    },
    "reports": {
        "terminal": "evalkit.report.terminal:render",
        "md": "evalkit.report.markdown:render",
        "json": "evalkit.report.json:render",
        "svg": "evalkit.report.terminal:render_svg",
        "html": "evalkit.report.html:render",
        "csv": "evalkit.report.export:csv",
        "jsonl": "evalkit.report.export:jsonl",
        "parquet": "evalkit.report.export:parquet",
    },
}


def load(path: str) -> Any:
    """Import `module:attribute` and return the attribute."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


@cache
def table(group: str) -> Mapping[str, str]:
    """Return name -> `module:attribute` of a group, entry points of other packages included."""
    found = {e.name: e.value for e in entry_points(group=f"evalkit.{group}")}
    return {**found, **BUILT_IN[group]}


def lookup(group: str, name: str) -> Any:
    """Return the object called `name`; raise PluginError with a suggestion where there is none."""
    names = table(group)
    if name not in names:
        raise PluginError(f"unknown {group.removesuffix('s')} {name!r}{did_you_mean(name, names)}")
    try:
        return load(names[name])
    except (ImportError, AttributeError) as fault:
        raise PluginError(f"{group.removesuffix('s')} {name!r} ({names[name]}) cannot be loaded: {fault}") from fault


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of what is known where nothing is near."""
    known = sorted(known)
    near = difflib.get_close_matches(given, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}" if known else ""
