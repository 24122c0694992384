"""Faults 19, 26 and off-line data: a folder becomes a suite, or one line says what is wrong with it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from evalkit import data
from evalkit.errors import PluginError, SuiteError
from evalkit.suite import describe, digested, find_suite, read_suite, suite_folders, suite_of_answers
from evalkit.types import Example, Message


def suite_with(suite_at, settings: str, **overrides):
    return read_suite(str(suite_at(settings=settings)), **overrides)


def test_a_suite_is_read_with_its_settings(suite_at):
    suite = suite_with(
        suite_at,
        """
        version = 2
        split = "dev"
        chat = false
        template = "Q: {input} A:"
        scorers = ["fuzzy"]
        taggers = ["none"]
        primary = "fuzzy"
        margin = 2
        [generation]
        max_new_tokens = 7
        stop = ["\\n"]
        [scorer.fuzzy]
        cutoff = 0.5
        [severity]
        repetition = "critical"
        """,
    )
    assert (suite.name, suite.version, suite.split, suite.chat) == ("little", 2, "dev", False)
    assert (suite.generation.max_new_tokens, suite.generation.stop, suite.margin) == (7, ("\n",), 2.0)
    assert (suite.settings, suite.severity) == ({"scorer.fuzzy": {"cutoff": 0.5}}, {"repetition": "critical"})
    assert [example.id for example in suite.examples] == [f"q{i}" for i in range(10)]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("name = 'a b'", "name = 'a b': expected letters, digits"),
        ("name = '../x'", "name = '../x': expected letters"),
        ("name = '%2e%2e'", "name = '%2e%2e': expected letters"),
        ("name = ''", "name = '': expected letters"),
        ("split = 'test'", "split = 'test': expected 'dev' or 'held_out'"),
        ("splt = 'dev'", "unknown key 'splt'; did you mean 'split'?"),
        ("examples = []", "unknown key 'examples'"),
        ("chat = 'no'", "chat = 'no': expected true or false"),
        ("chat = 1", "chat = 1: expected true or false"),
        ("version = true", "version = True: expected a whole number"),
        ("version = 1.5", "version = 1.5: expected a whole number"),
        ("margin = '0,5'", "margin = '0,5': expected a number"),
        ("margin = nan", "margin = nan: expected points between 0 and 100"),
        ("margin = 0", "margin = 0.0: expected points between 0 and 100"),
        ("scorers = 'exact'", "scorers = 'exact': expected a list of texts"),
        ("scorers = [1]", "scorers = [1]: expected a list of texts"),
        ("scorers = ['exat']", "unknown scorer 'exat'; did you mean 'exact'?"),
        ("taggers = ['repetiton']", "unknown tagger 'repetiton'; did you mean 'repetition'?"),
        ("[scorer.fuzy]\ncutoff = 1", "unknown scorer 'fuzy'; did you mean 'fuzzy'?"),
        ("scorer = 1", "scorer = 1: expected a table, written [scorer]"),
        ("[scorer]\nfuzzy = 1", "scorer.fuzzy = 1: expected a table"),
        ("[scorer.fuzzy]\ncutoff = nan", "[scorer.fuzzy]: expected texts, finite numbers"),
        ("[scorer.fuzzy]\ncutoff = 2026-01-01", "[scorer.fuzzy]: expected texts, finite numbers"),
        ("[severity]\nempty = 'worst'", "severity.empty = 'worst'; known are critical, info, major, minor"),
        ("[severity]\nempty = 'majr'", "severity.empty = 'majr'; did you mean 'major'?"),
        ("chat = false\ntemplate = 'Q:'", "template: expected the place of the question, {input}"),
        ("trials = 0", "trials = 0: expected at least 1"),
        ("trials = 2", "trials = 2 at temperature 0 repeat one answer"),
        ("[generation]\nmax_new_token = 1", "unknown key generation.max_new_token; did you mean 'max_new_tokens'?"),
        ("[generation]\nmax_new_tokens = 0", "generation.max_new_tokens = 0: expected at least 1"),
        ("[generation]\ntemperature = -1", "generation.temperature = -1.0: expected 0 to 100"),
        ("[generation]\ntemperature = nan", "generation.temperature = nan: expected 0 to 100"),
        ("[generation]\ntop_p = 0", "generation.top_p = 0.0: expected above 0"),
        ("[generation]\nstop = ['']", "generation.stop: an empty text"),
        ("generation = 5", "generation = 5: expected a table"),
        ("[source]\nhub = 'a/b'\nlm_eval = 'c'", "source: expected one of hub and lm_eval"),
        ("[source]", "source: expected one of hub and lm_eval"),
        ("[source]\nhub = 'a/b'\n[source.columns]\ninptu = 'q'", "source.columns.inptu = 'q'; did you mean 'input'?"),
        ("[source]\nhub = 'a/b'\n[source.columns]\ninput = 1", "source.columns.input = 1"),
        ("[source]\nhub = 'a/b'", "examples.jsonl and [source] are both there"),
        ("split = ", "not TOML: Invalid value"),
        ("a = 1\na = 2", "not TOML: "),
    ],
    ids=lambda value: f"26: {value!r}",
)
def test_a_wrong_setting_is_named(suite_at, settings, fault):
    with pytest.raises(SuiteError) as caught:
        suite_with(suite_at, settings)
    assert fault in str(caught.value)
    assert "little" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_setting_of_a_scorer_is_checked_when_it_is_built_26(suite_at):
    from evalkit.assess import Assessor

    suite = suite_with(suite_at, "taggers = ['none']\n[scorer.fuzzy]\ncutof = 0.5")
    with pytest.raises(SuiteError, match=r"unknown key scorer\.fuzzy\.cutof; did you mean 'cutoff'\?"):
        Assessor.of(suite)
    suite = suite_with(suite_at, "taggers = ['none']\n[scorer.fuzzy]\ncutoff = '0,5'")
    with pytest.raises(SuiteError, match="cutoff is '0,5', expected a number from 0 to 1"):
        Assessor.of(suite)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"", "no example in it", id="19: empty"),
        pytest.param(b"\n \n", "no example in it", id="19: blank lines"),
        pytest.param(b"x", "line 1, column 1", id="17: not JSON"),
        pytest.param(b'{"input":1}', "line 1: input is a number", id="20: wrong type"),
    ],
)
def test_examples_that_cannot_be_used_stop_the_suite(suite_at, content, fault):
    folder = suite_at()
    (folder / "examples.jsonl").write_bytes(content)
    with pytest.raises(SuiteError, match=fault):
        read_suite(str(folder))


def test_a_folder_without_examples_or_source_is_refused(suite_at):
    folder = suite_at()
    (folder / "examples.jsonl").unlink()
    with pytest.raises(SuiteError, match=r"expected examples\.jsonl, or a \[source\] in suite\.toml"):
        read_suite(str(folder))


def test_toml_in_another_encoding_is_refused_and_a_bom_accepted_21(suite_at):
    folder = suite_at()
    toml = (folder / "suite.toml").read_text()
    (folder / "suite.toml").write_bytes(toml.encode("utf-8-sig"))
    assert read_suite(str(folder)).name == "little"
    (folder / "suite.toml").write_bytes(toml.encode("utf-16"))
    with pytest.raises(SuiteError, match="expected UTF-8 text"):
        read_suite(str(folder))


def test_a_name_finds_a_suite_here_first_and_then_a_shipped_one(suite_at, tmp_path, monkeypatch):
    folder = suite_at("smoke")
    assert find_suite("smoke") != folder
    monkeypatch.chdir(tmp_path)
    assert find_suite("smoke") == Path("suites/smoke")
    assert set(suite_folders()) >= {"smoke", "docs_qa", "docs_qa_dev", "lamini_docs"}
    with pytest.raises(
        SuiteError, match=r"unknown suite 'smok'; did you mean 'smoke'\?; `evalkit suites list` shows all"
    ):
        find_suite("smok")
    with pytest.raises(SuiteError, match="'suites/none' is not a suite"):
        find_suite("suites/none")
    with pytest.raises(SuiteError, match="is not a suite"):
        find_suite("a\0b/c")


@pytest.mark.parametrize(
    ("item", "field", "value"),
    [
        ("version=3", "version", 3),
        ("primary=fuzzy", "primary", "fuzzy"),
        ('primary="fuzzy"', "primary", "fuzzy"),
        ('scorers=["fuzzy"]', "scorers", ("fuzzy",)),
        ("system=a = b", "system", "a = b"),
        ("severity.empty=info", "severity", {"empty": "info"}),
        ("scorer.fuzzy.cutoff=0.5", "settings", {"scorer.fuzzy": {"cutoff": 0.5}}),
    ],
)
def test_an_override_changes_a_setting_and_the_digest(suite_at, item, field, value):
    folder = str(suite_at())
    plain, changed = read_suite(folder), read_suite(folder, overrides=[item])
    assert getattr(changed, field) == value
    assert changed.digest != plain.digest
    assert changed.data_digest == plain.data_digest


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ("version", "--set 'version': expected key=value"),
        ("=1", "--set '=1': expected key=value"),
        ("version.x=1", "--set 'version.x=1': 'version' is not a table"),
        ("verson=1", "unknown key 'verson'; did you mean 'version'?"),
        ("generation.max_new_tokens=many", "max_new_tokens = 'many': expected a whole number"),
    ],
)
def test_a_wrong_override_is_named(suite_at, item, fault):
    folder = suite_at(settings="version = 1")
    with pytest.raises(SuiteError) as caught:
        read_suite(str(folder), overrides=[item])
    assert fault in str(caught.value)


def test_a_limit_keeps_the_first_examples(suite_at):
    folder = str(suite_at())
    assert [e.id for e in read_suite(folder, limit=3).examples] == ["q0", "q1", "q2"]
    assert len(read_suite(folder, limit=99).examples) == 10
    assert read_suite(folder, limit=3).digest != read_suite(folder).digest
    with pytest.raises(SuiteError, match="--limit 0: expected a positive number"):
        read_suite(folder, limit=0)


def test_fewshot_is_for_tasks_of_lm_eval(suite_at):
    with pytest.raises(SuiteError, match=r"takes its shots from fewshot.jsonl"):
        read_suite(str(suite_at()), fewshot=2)
    with pytest.raises(SuiteError, match="--fewshot -1: expected 0 or more"):
        read_suite(str(suite_at()), fewshot=-1)


def test_the_digest_holds_everything_but_the_description(suite_at):
    suite = read_suite(str(suite_at()))
    changed = [
        replace(suite, version=9),
        replace(suite, system="s"),
        replace(suite, trials=2),
        replace(suite, margin=1.0),
        replace(suite, fewshot=(Example("s", "?", ("!",)),)),
        replace(suite, settings={"scorer.exact": {"normalize": False}}),
        replace(suite, examples=(*suite.examples[:-1], Example("q9", "Question 9?", ("b9",)))),
        replace(suite, examples=suite.examples[::-1]),
    ]
    digests = {digested(s).digest for s in changed} | {suite.digest}
    assert len(digests) == len(changed) + 1
    assert digested(replace(suite, description="new words")).digest == suite.digest


def test_describe_reads_no_examples(suite_at):
    folder = suite_at(settings="description = 'Small'")
    (folder / "examples.jsonl").unlink()
    assert describe(folder).description == "Small"


def test_a_chat_needs_a_suite_that_asks_by_chat(suite_at):
    settings = "taggers = ['none']\nchat = false"
    folder = suite_at(settings=settings)
    (folder / "examples.jsonl").write_text('{"id": "c", "input": [{"role": "user", "content": "u"}]}')
    with pytest.raises(SuiteError, match="chat = false, but the input of 'c' is a chat"):
        read_suite(str(folder))
    assert read_suite(str(folder), overrides=["chat=true"]).examples[0].input == (Message("user", "u"),)


HUB = "[source]\nhub = 'owner/set'\nsplit = 'test'\ncolumns = { input = 'q', target = 'a' }\n"


def hub_suite(tmp_path: Path, write_jsonl, rows, settings: str = HUB) -> str:
    folder = tmp_path / "hubbed"
    folder.mkdir()
    (folder / "suite.toml").write_text(settings)
    write_jsonl(tmp_path / "mirror/owner/set/test.jsonl", rows)
    return str(folder)


def test_a_hub_suite_is_read_from_a_mirror(tmp_path, write_jsonl, monkeypatch):
    folder = hub_suite(tmp_path, write_jsonl, [{"q": "Why?", "a": "So.", "topic": "t", "n": 1}])
    (example,) = read_suite(folder, data_dir=tmp_path / "mirror").examples
    assert (example.input, example.target, example.meta) == ("Why?", ("So.",), {"topic": "t", "n": 1})
    monkeypatch.setenv("EVALKIT_DATA_DIR", str(tmp_path / "mirror"))
    assert read_suite(folder).examples == (example,)


def test_rows_of_a_hub_that_repeat_stay_apart(tmp_path, write_jsonl):
    settings = HUB.replace("input = 'q'", "id = 'i', input = 'q'")
    rows = [{"i": i, "q": "Why?", "a": "So."} for i in ("x", "x", "x-2", "x")]
    suite = read_suite(hub_suite(tmp_path, write_jsonl, rows, settings), data_dir=tmp_path / "mirror")
    assert [example.id for example in suite.examples] == ["x", "x-2", "x-2-2", "x-3"]


def test_a_data_set_that_is_nowhere_says_where_it_was_looked_for(tmp_path, monkeypatch):
    def offline(path: str):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(data, "load", offline)
    with pytest.raises(
        SuiteError, match=r"data set 'a/b' \(test\) was found neither .*\(no route to host\); give --data-dir DIR"
    ):
        data.read_rows("a/b", "", "test", tmp_path)
    with pytest.raises(SuiteError, match="is not a folder; give --data-dir"):
        data.read_rows("a/b", "", "test", tmp_path / "none")


@pytest.mark.parametrize(
    "part", [("../x", "", "test"), ("/etc", "", "x"), ("a/b", "../..", "x"), ("a/b", "", "../../x")]
)
def test_a_data_set_is_never_a_path_out_of_the_mirror(tmp_path, part):
    with pytest.raises(SuiteError, match="expected a name like owner/name, not a path"):
        data.read_rows(part[0], part[1], part[2], tmp_path)


def test_rows_of_a_data_set_become_plain_values(tmp_path, monkeypatch):
    class Array:
        def tolist(self):
            return ["x", "y"]

    rows = [{"n": math.nan, "day": date(2026, 1, 2), "list": Array(), "text": "t"}]
    monkeypatch.setattr(data, "load", lambda path: lambda *names: rows)
    assert data.read_rows("a/b", "", "test") == [{"n": None, "day": "2026-01-02", "list": ["x", "y"], "text": "t"}]


def test_a_csv_mirror_is_read_and_a_broken_one_named(tmp_path):
    file = tmp_path / "a/b/test.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes('\ufeffq,a\nWhy?,"So,\nyes"\n'.encode())
    assert data.read_rows("a/b", "", "test", tmp_path) == [{"q": "Why?", "a": "So,\nyes"}]
    file.write_bytes(b"q,a\n\xff,1\n")
    with pytest.raises(SuiteError, match=r"test\.csv: cannot be read"):
        data.read_rows("a/b", "", "test", tmp_path)
    file.write_bytes(b"q\n" + b"x" * 200_000)
    with pytest.raises(SuiteError, match=r"test\.csv: cannot be read: field larger"):
        data.read_rows("a/b", "", "test", tmp_path)


def test_answers_without_a_suite_get_one_that_may_be_overridden():
    suite = suite_of_answers((Example("a", "?"),), ["scorers=['exact']"])
    assert (suite.name, suite.split, suite.scorers) == ("answers", "dev", ("exact",))
    with pytest.raises(SuiteError, match="unknown scorer"):
        suite_of_answers((), ["scorers=['none']"])


def test_a_plug_in_that_cannot_be_loaded_is_named(monkeypatch):
    from evalkit import registry

    monkeypatch.setattr(registry, "table", lambda group: {"gone": "evalkit.none:Gone", "lost": "evalkit.types:Lost"})
    with pytest.raises(PluginError, match=r"scorer 'gone' \(evalkit.none:Gone\) cannot be loaded: No module named"):
        registry.lookup("scorers", "gone")
    with pytest.raises(PluginError, match=r"scorer 'lost' .* cannot be loaded"):
        registry.lookup("scorers", "lost")
    with pytest.raises(PluginError, match=r"unknown scorer 'los'; did you mean 'lost'\?"):
        registry.lookup("scorers", "los")
