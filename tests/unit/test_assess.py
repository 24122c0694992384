"""Scorers and taggers of a suite are built once, prepared with the whole run, and applied to every answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from evalkit import assess
from evalkit.assess import Assessor, expanded, read_training, read_words
from evalkit.errors import PluginError, SuiteError
from evalkit.identity import identity_of, plan_hash
from evalkit.taggers import DEFAULT
from evalkit.types import Corpus, Example, Response, Score, Severity, Suite, Tag

SUITE = Suite("s", (Example("a", "A?", ("right",)), Example("b", "B?")), scorers=("exact",), taggers=("none",))


@dataclass(frozen=True)
class Shouting:
    """Tag answers in capitals; remember the corpus it was prepared with."""

    severity: Severity = "minor"
    seen: Corpus = Corpus()  # noqa: RUF009 - it is frozen

    def prepare(self, corpus):
        return replace(self, seen=corpus)

    def __call__(self, row):
        if row.response.text.isupper():
            yield Tag("shouting", self.severity, f"one of {len(self.seen.answers)}", (0, len(row.response.text)))
            yield Tag("first", "info", "letter", (0, 1))


@dataclass(frozen=True)
class Pair:
    """Give two scores, and read log-probabilities."""

    kind = "choose"

    def __call__(self, example, response):
        return Score("acc", 1.0), Score("acc_norm", 0.0)


@dataclass(frozen=True)
class Among:
    """Score 1 where another answer of the run is equal; count how often it was prepared."""

    texts: tuple[str, ...] = field(default=(), repr=False)
    prepared: ClassVar[list[int]] = []

    def prepare(self, answers):
        self.prepared.append(len(answers))
        return replace(self, texts=tuple(f"{e.id}.{trial} {response.text}" for e, trial, response in answers))

    def __call__(self, example, response):
        return Score("among", float(sum(text.endswith(f" {response.text}") for text in self.texts) > 1))


def answers(*texts):
    return [(Example(f"q{i}", f"Q{i}?", ("REF", "other")), 0, Response(text=text)) for i, text in enumerate(texts)]


def assessor(**more):
    return Assessor(**{"scorers": (), "taggers": (Shouting(),), "severity": {}, **more})


def test_a_row_has_scores_tags_and_a_primary_category():
    (row,) = assessor(scorers=(Pair(),)).assess(answers("HELLO")).rows
    assert [score.name for score in row.scores] == ["acc", "acc_norm"]
    assert [(tag.category, tag.severity) for tag in row.tags] == [("first", "info"), ("shouting", "minor")]
    assert row.primary == "shouting"


def test_taggers_are_prepared_with_the_whole_run():
    ready = assessor(vocabulary=frozenset({"w"}), training=("t",), template="T {input}")._prepared(answers("A", "B"))
    seen = ready.taggers[0].seen
    assert list(seen.answers) == ["A", "B"]
    assert list(seen.references) == ["REF", "other", "REF", "other"]
    assert list(seen.prompts) == ["Q0?", "Q1?"]
    assert (seen.training, seen.vocabulary, seen.template) == (("t",), {"w"}, "T {input}")


def test_scorers_are_prepared_once_with_every_trial_of_the_run():
    example = Example("q", "Q?", ("REF",))
    run = [(example, 0, Response("A")), (example, 1, Response("A")), (Example("r", "R?"), 0, Response("B"))]
    Among.prepared.clear()
    built = assessor(scorers=(Among(),), training=("t",))
    assert [row.score("among").value for row in built.assess(run).rows] == [1.0, 1.0, 0.0]
    assert Among.prepared == [3]  # neither references nor training answers are scored
    ready = built.scorers[0].prepare(run)
    assert ready.texts == ("q.0 A", "q.1 A", "r.0 B")
    assert repr(ready) == repr(built.scorers[0])  # what a run's identity holds


def test_references_and_prompts_of_trials_count_once():
    example = Example("q", "Q?", ("REF",))
    ready = assessor()._prepared([(example, 0, Response("A")), (example, 1, Response("B"))])
    assert (list(ready.taggers[0].seen.references), list(ready.taggers[0].seen.prompts)) == (["REF"], ["Q?"])


def test_an_error_gets_no_tags():
    (row,) = assessor().assess([(Example("a", "?"), 0, Response("HELLO", finish="error", error="e"))]).rows
    assert (row.tags, row.primary) == ((), None)


def test_a_suite_overrides_the_severity_of_a_category():
    (row,) = assessor(severity={"shouting": "critical"}).assess(answers("HELLO")).rows
    assert [tag.severity for tag in row.tags] == ["info", "critical"]


def test_the_noise_floor_is_the_share_of_best_references_that_are_tagged():
    assert assessor().assess(answers("x", "y")).references == {"first": 1.0, "shouting": 1.0}
    assert assessor().assess([(Example("a", "?"), 0, Response("X"))]).references is None
    assert assessor(taggers=()).assess(answers("x")).references is None


def test_training_answers_have_rates_of_their_own():
    assert assessor(training=("LOUD", "calm")).assess(answers("x")).training == {"first": 0.5, "shouting": 0.5}
    assert assessor().assess(answers("x")).training is None


def test_many_answers_are_shared_out_over_the_cores_and_stay_in_order(monkeypatch):
    monkeypatch.setattr(assess, "MANY", 3)
    monkeypatch.setattr(assess, "CHUNK", 2)
    monkeypatch.setattr(assess, "AHEAD", 1)
    texts = ("A", "b", "C", "d", "E", "f", "G")
    together = list(assessor().assess(answers(*texts)).rows)
    monkeypatch.setattr(assess, "MANY", 100)
    assert together == list(assessor().assess(answers(*texts)).rows)


def test_default_stands_for_all_and_none_for_none():
    assert expanded(["default"]) == DEFAULT
    assert expanded(["none"]) == ()
    assert expanded(["misspelling", "default"]) == ("misspelling", *(name for name in DEFAULT if name != "misspelling"))


def test_the_kind_of_request_is_what_the_scorers_need():
    assert assessor().kind == "generate"
    assert assessor(scorers=(Pair(),)).kind == "choose"


def test_a_plug_in_gets_its_settings_and_unknown_ones_are_named(monkeypatch):
    monkeypatch.setattr(assess, "lookup", lambda group, name: Shouting)
    suite = replace(SUITE, scorers=(), taggers=("shouting",), settings={"tagger.shouting": {"severity": "major"}})
    assert Assessor.of(suite).taggers == (Shouting("major"),)
    with pytest.raises(SuiteError, match=r"unknown key tagger\.shouting\.severty; did you mean 'severity'\?"):
        Assessor.of(replace(suite, settings={"tagger.shouting": {"severty": "major"}}))


def test_a_plug_in_that_is_no_dataclass_is_refused(monkeypatch):
    monkeypatch.setattr(assess, "lookup", lambda group, name: len)
    with pytest.raises(PluginError, match=r"scorer 'exact' .* is not a dataclass"):
        Assessor.of(SUITE)


def test_words_are_read_one_a_line_in_lower_case(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffLoRA # adapters\n\n# nothing\nKV cache\r\n".encode())
    assert read_words(path) == {"lora", "kv", "cache"}
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SuiteError, match="cannot be read as UTF-8 text"):
        read_words(path)
    with pytest.raises(SuiteError, match="one word a line is expected"):
        read_words(tmp_path / "none")


def test_training_answers_are_read_from_three_forms(tmp_path, write_jsonl):
    chat = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    path = write_jsonl(tmp_path / "t.jsonl", [{"answer": "a"}, {"output": "b"}, {"messages": chat}])
    assert read_training(path) == ("a", "b", "d")


@pytest.mark.parametrize("row", [{}, {"answer": None}, {"messages": 3}, {"messages": ["x"]}, {"messages": "assistant"}])
def test_a_training_row_without_an_answer_is_named(tmp_path, write_jsonl, row):
    with pytest.raises(SuiteError, match="line 2: expected a training row with 'answer', 'output' or 'messages'"):
        read_training(write_jsonl(tmp_path / "t.jsonl", [{"answer": "a"}, row]))


def test_the_identity_names_all_that_answers_and_scores_depend_on():
    built = Assessor.of(SUITE)
    identity = identity_of(SUITE, built, {"digest": "d"}, [[0, 1]])
    assert identity["scorers"] == '["Exact(normalize=True)"]'
    assert identity["model.digest"] == "d"
    assert identity["plan"] == plan_hash([range(2)])
    assert {"suite_digest", "data_digest", "generation", "template", "version.python", "version.torch"} <= set(identity)
    assert all(isinstance(value, str) for value in identity.values())
    other = identity_of(SUITE, replace(built, vocabulary=frozenset({"w"})), {"digest": "d"}, [[0], [1]])
    assert {key for key in identity if identity[key] != other[key]} == {"words", "plan"}


TEN_MEGABYTES = {
    "one letter": "a" * 10_000_000,
    "one sentence": "It is what it is, as far as we know. " * 270_000,
    "misspelt words": "The modle recieves teh token and writes anser upon anser. " * 170_000,
    "digits": "12,3" * 2_500_000,
    "code": "```\nx = 1\n" * 1_000_000,
    "marks": "e" + "\u0301" * 5_000_000,
}


@pytest.fixture(scope="module")
def everything():
    """Every default scorer and tagger, warm: word lists are read once a run."""
    built = Assessor.of(replace(SUITE, scorers=("exact", "fuzzy", "match"), taggers=("default",)))
    built.assess(answers("A short answer."))
    return built


@pytest.mark.parametrize("text", TEN_MEGABYTES.values(), ids=TEN_MEGABYTES)
def test_an_answer_of_ten_megabytes_takes_less_than_two_seconds_30(everything, text):
    began = time.process_time()
    (row,) = everything.assess([(SUITE.examples[0], 0, Response(text, finish="length"))]).rows
    assert time.process_time() - began < 2
    assert row.primary in ("repetition", "truncated")


def test_a_question_and_a_reference_of_ten_megabytes_take_less_than_two_seconds_24(everything):
    long = TEN_MEGABYTES["one sentence"]
    began = time.process_time()
    (row,) = everything.assess([(Example("a", long, (long,)), 0, Response("Short."))]).rows
    assert time.process_time() - began < 2
    assert all(score.value is not None for score in row.scores)


@pytest.mark.parametrize("text", ["", " \n", "\u200b"], ids=ascii)
def test_an_empty_answer_is_valid_and_tagged_29(everything, text):
    (row,) = everything.assess([(SUITE.examples[0], 0, Response(text))]).rows
    assert row.primary == "empty"
    assert row.response.error is None
    assert [score.value for score in row.scores] == [0.0, 0.0, 0.0]
