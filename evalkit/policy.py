"""The gate's policy: gate.toml as frozen values. Refuses what it does not know; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, get_args

from evalkit.errors import EvalkitError
from evalkit.gate import Rule
from evalkit.registry import did_you_mean
from evalkit.toml import read_toml
from evalkit.verdict import Direction, Role

VERSION = 1
ANY = "*"
"""Stands for any suite."""
PRIMARY = "primary"
"""Stands for a suite's primary metric, whatever its name."""
ON_INCONCLUSIVE = ("fail", "warn")


@dataclass(frozen=True, slots=True)
class MetricPolicy:
    """What is asked of one metric, or of the share of answers with one error."""

    role: Role = "gate"
    """`gate` or `watch`."""
    direction: Direction = "up"
    """`up`: more is better; `down`: less is."""
    margin: float | None = None
    """Points of 100 that may be lost; None: by kind of score and number of items."""


WATCHED = MetricPolicy("watch")
TAG_DEFAULT = MetricPolicy("watch", "down", 1.0)
"""A harmful error may grow by one point."""


@dataclass(frozen=True, slots=True)
class SuitePolicy:
    """What is asked of one suite."""

    metrics: Mapping[str, MetricPolicy] = field(default_factory=dict)
    """Metric -> policy."""
    cluster_key: str | None = None
    """Key of meta whose equal values make items dependent; None: what the suite says."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """A known loss that someone answers for until a day."""

    reason: str
    """Why it is accepted."""
    until: date
    """The last day on which it counts."""
    suite: str = ANY
    """The suite, or `*`."""
    metric: str = ""
    """The metric whose FAIL it covers; empty for a waiver of items."""
    max_drop: float = 0.0
    """Points of 100: it counts only while the lower bound stays above the negative of this."""
    items: tuple[str, ...] = ()
    """Ids of items that are left out of both runs."""
    owner: str = ""
    """Who answers for it."""

    def __post_init__(self) -> None:
        """Refuse a waiver that covers nothing, or two things."""
        if not self.reason.strip():
            raise EvalkitError("a waiver needs a reason")
        if bool(self.metric) == bool(self.items):
            raise EvalkitError("a waiver covers either a metric (with max_drop) or items")
        if self.metric and not 0 < self.max_drop <= 100:
            raise EvalkitError(f"a waiver of {self.metric} needs max_drop above 0 and at most 100, got {self.max_drop}")

    def __str__(self) -> str:
        """Return one line: what, until when, why, whose."""
        items = f"{len(self.items)} item{'s' * (len(self.items) != 1)} of {self.suite}"
        what = f"{self.suite}/{self.metric}" if self.metric else items
        return f"{what} until {self.until}: {self.reason}" + (f" ({self.owner})" if self.owner else "")

    def covers(self, suite: str) -> bool:
        """Say whether it is for this suite."""
        return self.suite in (ANY, suite)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a candidate must satisfy; the default gates every suite's primary metric at the default margins."""

    rule: Rule = field(default_factory=Rule)
    """alpha, adjust and the share of items that may be missing."""
    on_inconclusive: str = "fail"
    """`fail`: INCONCLUSIVE exits 3; `warn`: it exits 0."""
    baseline: str = ""
    """Name of the baseline; empty: given on the command line."""
    anchor: str = ""
    """Name of a pinned release that the candidate must also hold against; empty: none."""
    suites: Mapping[str, SuitePolicy] = field(default_factory=dict)
    """Suite, or `*` -> policy."""
    tags: Mapping[str, MetricPolicy] = field(default_factory=dict)
    """Error category -> policy, in every suite."""
    waivers: tuple[Waiver, ...] = ()
    """Losses that are accepted."""

    def __post_init__(self) -> None:
        """Refuse an unknown word."""
        if self.on_inconclusive not in ON_INCONCLUSIVE:
            raise EvalkitError(
                f"on_inconclusive {self.on_inconclusive!r}: expected one of {', '.join(ON_INCONCLUSIVE)}"
            )

    def metric(self, suite: str, name: str, primary: str) -> MetricPolicy:
        """Return what is asked of a metric: by the suite's own entry, then `*`, then gate for the primary alone."""
        names = (name, PRIMARY) if name == primary else (name,)
        for key in (suite, ANY):
            metrics = self.suites.get(key, SuitePolicy()).metrics
            for given in names:
                if given in metrics:
                    return metrics[given]
        return MetricPolicy() if name == primary else WATCHED

    def tag(self, category: str) -> MetricPolicy:
        """Return what is asked of the share of answers with an error."""
        return self.tags.get(category, TAG_DEFAULT)

    def cluster_key(self, suite: str, default: str) -> str:
        """Return the key of meta that makes items of a suite dependent."""
        given = (self.suites[key].cluster_key for key in (suite, ANY) if key in self.suites)
        return next((key for key in given if key is not None), default)


def read_policy(path: Path) -> Policy:
    """Read gate.toml.

    Raises:
        EvalkitError: the file cannot be read, or says something this module does not know.
    """
    table = read_toml(path)
    try:
        return parse_policy(table)
    except EvalkitError as fault:
        raise EvalkitError(f"{path}: {fault}") from None


def parse_policy(table: Mapping[str, Any]) -> Policy:
    """Return the policy that a table says; every unknown key is refused."""
    top = _Table(table, "the top level")
    version = top.take("version", int, VERSION)
    if version != VERSION:
        raise EvalkitError(f"version {version}: this evalkit reads version {VERSION}")
    missing = _Table(top.take("missing", dict, {}), "[missing]")
    policy = Policy(
        rule=Rule(top.number("alpha", 0.05), top.take("adjust", str, "holm"), missing.number("max_share", 0.01)),
        on_inconclusive=top.take("on_inconclusive", str, "fail"),
        baseline=top.take("baseline", str, ""),
        anchor=top.take("anchor", str, ""),
        suites={name: _suite(name, t) for name, t in top.take("suites", dict, {}).items()},
        tags={name: _metric(f"[tags.{name}]", t, TAG_DEFAULT) for name, t in top.take("tags", dict, {}).items()},
        waivers=tuple(_waiver(i, t) for i, t in enumerate(top.take("waivers", list, []), 1)),
    )
    missing.done()
    top.done()
    return policy


def _suite(name: str, given: Any) -> SuitePolicy:
    table = _Table(given, f"[suites.{name}]")
    metrics = table.take("metrics", dict, {})
    suite = SuitePolicy(
        {metric: _metric(f"[suites.{name}.metrics.{metric}]", t, MetricPolicy()) for metric, t in metrics.items()},
        table.take("cluster_key", str, None),
    )
    table.done()
    return suite


def _metric(where: str, given: Any, default: MetricPolicy) -> MetricPolicy:
    table = _Table(given, where)
    margin = table.number("margin", default.margin)
    if margin is not None and not 0 < margin <= 100:
        raise EvalkitError(f"{where} margin {margin}: expected points of 100, above 0")
    metric = MetricPolicy(
        table.choice("role", get_args(Role), default.role),
        table.choice("direction", get_args(Direction), default.direction),
        margin,
    )
    table.done()
    return metric


def _waiver(number: int, given: Any) -> Waiver:
    where = f"[[waivers]] number {number}"
    table = _Table(given, where)
    until = table.take("until", (date, str), None)
    if until is None:
        raise EvalkitError(f"{where}: needs `until`, the last day on which it counts")
    try:
        waiver = Waiver(
            reason=table.take("reason", str, ""),
            until=date.fromisoformat(until[:10])
            if isinstance(until, str)
            else date(until.year, until.month, until.day),
            suite=table.take("suite", str, ANY),
            metric=table.take("metric", str, ""),
            max_drop=table.number("max_drop", 0.0),
            items=tuple(table.take("items", list, [])),
            owner=table.take("owner", str, ""),
        )
    except (EvalkitError, ValueError) as fault:
        raise EvalkitError(f"{where}: {fault}") from None
    table.done()
    return waiver


class _Table:
    """A TOML table whose keys are taken one by one, so that what is left over is unknown."""

    def __init__(self, given: Any, where: str) -> None:
        if not isinstance(given, Mapping):
            raise EvalkitError(f"{where}: expected a table, got {given!r}")
        self._given, self._where, self._known = given, where, set[str]()

    def take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        self._known.add(key)
        value = self._given.get(key, default)
        if key in self._given and (not isinstance(value, kind) or isinstance(value, bool)):
            names = " or ".join(_NAMES.get(k, k.__name__) for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise EvalkitError(f"{self._where} {key}: expected {names}, got {value!r}")
        return value

    def number(self, key: str, default: Any) -> Any:
        value = self.take(key, (int, float), default)
        return float(value) if value is not None else None

    def choice(self, key: str, allowed: Sequence[str], default: Any) -> Any:
        value = self.take(key, str, default)
        if value not in allowed:
            raise EvalkitError(f"{self._where} {key} {value!r}{did_you_mean(value, allowed)}")
        return value

    def done(self) -> None:
        for key in self._given:
            if key not in self._known:
                raise EvalkitError(f"{self._where}: unknown key {key!r}{did_you_mean(key, self._known)}")


_NAMES: Mapping[Callable[..., Any], str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    list: "a list",
    date: "a date",
}
