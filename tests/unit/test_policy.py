from datetime import date
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import EvalkitError
from evalkit.policy import MetricPolicy, Policy, parse_policy, read_policy

FULL = """
version = 1
alpha = 0.01
adjust = "none"
on_inconclusive = "warn"
baseline = "main"
anchor = "v1"

[suites.mmlu]
cluster_key = "subject"
[suites.mmlu.metrics.acc]
margin = 2
[suites."*".metrics.fuzzy]
role = "watch"
margin = 4.5
[suites."*".metrics.primary]
margin = 1.5

[tags.repetition]
role = "gate"
margin = 0.5

[missing]
max_share = 0.02

[[waivers]]
suite = "mmlu"
metric = "acc"
max_drop = 4.0
until = 2026-12-31
reason = "tokenizer change"
owner = "ann"

[[waivers]]
items = ["q1", "q2"]
until = "2026-06-30"
reason = "wrong targets"
"""


def test_every_setting_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(FULL)
    policy = read_policy(path)
    assert (policy.rule.alpha, policy.rule.adjust, policy.rule.max_missing) == (0.01, "none", 0.02)
    assert (policy.on_inconclusive, policy.baseline, policy.anchor) == ("warn", "main", "v1")
    assert policy.metric("mmlu", "acc", "acc") == MetricPolicy("gate", "up", 2.0)
    assert policy.metric("qa", "fuzzy", "exact") == MetricPolicy("watch", "up", 4.5)
    assert policy.metric("qa", "exact", "exact") == MetricPolicy("gate", "up", 1.5)
    assert policy.tag("repetition") == MetricPolicy("gate", "down", 0.5)
    assert policy.tag("empty") == MetricPolicy("watch", "down", 1.0)
    assert (policy.cluster_key("mmlu", ""), policy.cluster_key("qa", "topic")) == ("subject", "topic")
    assert [str(w) for w in policy.waivers] == [
        "mmlu/acc until 2026-12-31: tokenizer change (ann)",
        "2 items of * until 2026-06-30: wrong targets",
    ]
    assert policy.waivers[1].until == date(2026, 6, 30)


def test_an_empty_policy_is_the_default() -> None:
    assert parse_policy({}) == Policy()
    assert Policy().metric("qa", "exact", "exact").role == "gate"
    assert Policy().metric("qa", "fuzzy", "exact").role == "watch"


GOOD = {"metric": "m", "max_drop": 1.0, "until": "2026-01-01", "reason": "r"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"alfa": 0.1}, r"unknown key 'alfa'; did you mean 'alpha'\?"),
        ({"suites": {"qa": {"metric": {}}}}, r"\[suites.qa\]: unknown key 'metric'; did you mean 'metrics'"),
        ({"suites": {"qa": {"metrics": {"m": {"margins": 1}}}}}, "did you mean 'margin'"),
        ({"suites": {"qa": {"metrics": {"m": {"role": "gates"}}}}}, "role 'gates'; did you mean 'gate'"),
        ({"suites": {"qa": {"metrics": {"m": {"margin": -1}}}}}, "expected points of 100, above 0"),
        ({"tags": {"x": {"direction": "sideways"}}}, "direction 'sideways'"),
        ({"missing": {"share": 0.1}}, "unknown key 'share'"),
        ({"version": 2}, "this evalkit reads version 1"),
        ({"version": True}, "expected a whole number, got True"),
        ({"alpha": "5 %"}, "expected a whole number or a number, got '5 %'"),
        ({"alpha": 0.9}, "alpha must lie between 0 and 0.5"),
        ({"adjust": "bonferroni"}, "adjust must be one of holm, none"),
        ({"on_inconclusive": "ignore"}, "expected one of fail, warn"),
        ({"suites": {"qa": 3}}, "expected a table, got 3"),
        ({"waivers": [{**GOOD, "until": "soon"}]}, "number 1"),
        ({"waivers": [{k: v for k, v in GOOD.items() if k != "until"}]}, "needs `until`"),
        ({"waivers": [{**GOOD, "reason": " "}]}, "a waiver needs a reason"),
        ({"waivers": [{**GOOD, "items": ["a"]}]}, "either a metric"),
        ({"waivers": [{**GOOD, "max_drop": 0}]}, "needs max_drop above 0"),
        ({"waivers": [GOOD, {**GOOD, "untill": "x"}]}, r"number 2: unknown key 'untill'"),
    ],
)
def test_what_cannot_be_meant_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(EvalkitError, match=message):
        parse_policy(table)


def test_a_file_that_is_no_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"missing.toml: cannot be read"):
        read_policy(tmp_path / "missing.toml")
    path = tmp_path / "gate.toml"
    path.write_text("alpha = ")
    with pytest.raises(EvalkitError, match=r"gate.toml: not TOML"):
        read_policy(path)
    path.write_text("alpa = 0.1")
    with pytest.raises(EvalkitError, match=r"gate.toml: the top level: unknown key 'alpa'"):
        read_policy(path)
