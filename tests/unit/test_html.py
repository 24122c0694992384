from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.cli import call
from evalkit.errors import NotComparable
from evalkit.report import charts, html, items
from evalkit.report.board import board_of
from evalkit.report.pick import View
from evalkit.report.words import changed_spans
from evalkit.types import Example, Response, Row, Score, Tag

RIGHT, WRONG = "LoRA trains small matrices.", "LoRA freezes all matrices."
NUMBERS = st.floats(-1e6, 1e6)
quick = settings(deadline=None)


class Reader(HTMLParser):
    """Collects the texts of a page by their nearest tag, and every attribute."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.stack.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if tag in self.stack:
            while self.stack.pop() != tag:
                pass

    def handle_data(self, data):
        self.texts.append((self.stack[-1] if self.stack else "", data))

    @property
    def text(self) -> str:
        return " ".join(" ".join(data for tag, data in self.texts if tag not in ("script", "style")).split())


def embedded(page):
    chunks = re.findall(r'<script type="application/json" class="chunk">(.*?)</script>', page, re.DOTALL)
    return [item for chunk in chunks for item in json.loads(chunk)]


@pytest.fixture
def two_runs(make_run, make_row):
    """40 questions: 3 broken, 1 fixed; the broken ones repeat."""

    def rows(wrong, tags):
        return [
            make_row(f"q{i:02}", WRONG if i in wrong else RIGHT, float(i not in wrong), tags if i in wrong else ())
            for i in range(40)
        ]

    before = make_run(rows({0}, ()), id="base", model="org/base")
    after = make_run(rows({1, 2, 3}, [("repetition", "critical", 0.9)]), id="cand", model="org/cand")
    return before, after


def test_a_page_of_one_run_says_its_figures(two_runs):
    text = Reader(html.render(two_runs[1])).text
    assert "match * 92.5 80.1 – 97.4" in text
    assert "repetition 7.5 2.6 – 19.9" in text
    assert "Changes against the baseline" not in text


def test_a_page_of_two_runs_says_the_verdict_and_the_paired_change(two_runs):
    text = Reader(html.render_all([[two_runs[0]], [two_runs[1]]])).text
    assert "INCONCLUSIVE 1 of 1 gating metric" in text
    assert "3 broken , 1 fixed , 36 unchanged by match , of 40 items" in text
    assert "match * -5.0 [-17.9, +6.7]" in text
    assert "Learning curve" not in text


def test_a_page_of_three_runs_draws_a_curve_and_compares_each_with_the_first(two_runs):
    third = replace(two_runs[1], id="third", manifest={**two_runs[1].manifest, "settings": {"model": "org/third"}})
    page = html.render_all([[two_runs[0]], [two_runs[1]], [third]])
    assert len(re.findall("<circle", page)) == 3
    board = board_of([[two_runs[0]], [two_runs[1]], [third]])
    assert [change.column for change in board.parts[0].changes] == [1, 2]
    assert [name for name, _ in board.verdicts] == ["org/cand", "org/third"]


def test_several_suites_stand_on_one_page(two_runs):
    other = replace(
        two_runs[0],
        id="o",
        manifest={**two_runs[0].manifest, "identity": {"suite": "b", "primary": "match", "split": "dev"}},
    )
    page = html.render_all([[two_runs[0], other], [two_runs[1]]])
    assert {item["suite"] for item in embedded(page)} == {"little", "b"}
    assert embedded(page)[-1]["answers"][1] is None


def test_runs_of_one_model_are_told_apart_by_their_names(two_runs):
    same = replace(two_runs[1], manifest=two_runs[0].manifest)
    names = [checkpoint.name for checkpoint in board_of([[two_runs[0]], [same]]).checkpoints]
    assert names == ["org/base (base)", "org/base (cand)"]


def test_a_model_folder_is_called_by_its_name_alone(two_runs):
    placed = [
        replace(run, manifest={**run.manifest, "settings": {"model": f"/home/kim/{name}/last", "max_errors": 0}})
        for run, name in zip(two_runs, ("one", "two"), strict=True)
    ]
    checkpoints = board_of([[placed[0]], [two_runs[1]]]).checkpoints
    assert checkpoints[0].name == "last"
    assert [c.name for c in board_of([[run] for run in placed]).checkpoints] == ["last (base)", "last (cand)"]


def test_runs_of_equally_named_folders_are_told_apart_by_number(two_runs):
    runs = [replace(run, id="docs_qa", manifest={**two_runs[0].manifest, "made": run.id}) for run in two_runs]
    names = [checkpoint.name for checkpoint in board_of([[run] for run in runs]).checkpoints]
    assert names == ["org/base (docs_qa) #1", "org/base (docs_qa) #2"]


def test_folders_of_equally_named_runs_are_checkpoints(write_run, make_row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("base", "tuned"):
        (tmp_path / folder).mkdir()
        write_run(f"{folder}/docs_qa", [make_row("q0")])
    assert call(["report", "base", "tuned", "--format", "html", "-o", "r.html"]) == 0
    assert len(embedded((tmp_path / "r.html").read_text())[0]["answers"]) == 2


def test_a_run_given_twice_is_refused(two_runs):
    with pytest.raises(NotComparable, match="given twice"):
        html.render_all([[two_runs[0]], [two_runs[0]]])


def test_runs_asked_by_other_prompts_are_shown_and_not_judged(two_runs):
    identity = {**two_runs[1].manifest["identity"], "template": "t2"}
    other = replace(two_runs[1], manifest={**two_runs[1].manifest, "identity": identity})
    text = Reader(html.render_all([[two_runs[0]], [other]])).text
    assert "The runs differ in the prompt template" in text
    assert "gating metric" not in text
    assert "repetition +7.5" in text


def test_an_item_holds_both_answers_its_flip_and_the_words_that_differ(two_runs):
    item = embedded(html.render_all([[two_runs[0]], [two_runs[1]]]))[1]
    before, after = item["answers"]
    assert (item["id"], after["flip"], after["scores"]) == ("q01", "broken", {"match": 0.0})
    assert [before["text"][a:b] for a, b in before["changed"]] == ["trains small"]
    assert [after["text"][a:b] for a, b in after["changed"]] == ["freezes all"]
    assert after["tags"][0]["category"] == "repetition"


def test_a_page_loads_nothing_and_runs_nothing_but_its_own_script(two_runs):
    page = html.render_all([[two_runs[0]], [two_runs[1]]])
    reader = Reader(page)
    links = {value for _, name, value in reader.attributes if name in ("src", "href", "action", "data", "srcset")}
    assert {link[:1] for link in links} == {"#"}
    assert not [name for _, name, _ in reader.attributes if name.startswith("on") or name == "style"]
    policy = next(value for _, name, value in reader.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http:" not in page and "https:" not in page  # noqa: PT018


def test_a_page_is_the_same_twice(two_runs):
    assert html.render(two_runs[0]) == html.render(two_runs[0])


def test_many_items_are_packed(make_run, make_row):
    run = make_run([make_row(f"q{i}", f"{i} " + "word " * 400) for i in range(600)])
    page = html.render(run)
    assert embedded(page) == []
    assert len(page) < 400_000
    assert 'type="application/gzip;base64"' in page


def test_a_run_without_answers_has_a_page(make_run, make_row):
    page = html.render(make_run([make_row("q0", error="down", value=None)]))
    assert "0 answers, 0 without an error, 1 failed request" in Reader(page).text
    assert embedded(page)[0]["answers"][0]["error"] == "down"


def test_a_page_says_nothing_of_errors_where_none_were_looked_for(make_run, make_row):
    run = make_run([make_row("q0", value=0.0)])
    untagged = replace(run, manifest={**run.manifest, "identity": {**run.manifest["identity"], "taggers": "[]"}})
    text = Reader(html.render(untagged)).text
    assert "No tagger looked for errors." in text
    assert "without an error" not in text
    assert "no error was found" not in text


def test_choices_and_chats_are_kept(make_run):
    from evalkit.types import Message

    chat = Example("c", (Message("system", "Be brief."), Message("user", "Which?")), ("a",), ("a", "b"), {"k": [1]})
    row = Row(chat, Response(choice_logprobs=(-1.0, -2.5)), 0, (Score("match", 1.0),))
    item = embedded(html.render(make_run([row])))[0]
    assert item["turns"][0] == {"role": "system", "content": "Be brief."}
    assert (item["choices"], item["answers"][0]["logprobs"]) == (["a", "b"], [-1.0, -2.5])


def test_words_are_compared_in_changed_items_first_and_the_rest_is_counted():
    def item(flip):
        return {"answers": [{"text": "a b c"}, {"text": "a d c", "flip": flip}]}

    records = [item("unchanged"), item("broken")]
    assert items.mark_changes(records, budget=3) == 1
    assert "changed" not in records[0]["answers"][1]
    assert records[1]["answers"][1]["changed"] == [(2, 3)]


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        ("a " * 400 + "b", "a " * 400 + "c", 1),
        ("a" * 3200 + "b", "a" * 3200 + "c", 1),
        ("a " * 400 + "b", "a " * 400 + "  b", 0),
        ("b" + " a" * 400, "c" + " a" * 400, 0),
    ],
    ids=["after 400 words", "after 3,200 characters", "in space alone", "in the first word"],
)
def test_answers_that_differ_only_after_the_words_compared_are_counted(before, after, count):
    assert items.mark_changes([{"answers": [{"text": before}, {"text": after}]}]) == count


@quick
@given(st.text(), st.text())
def test_what_is_not_marked_as_changed_is_equal(before, after):
    def kept(text, spans):
        ends = [0, *(end for span in spans for end in span), len(text)]
        return "".join("".join(text[a:b] for a, b in zip(ends[::2], ends[1::2], strict=True)).split())

    left, right = changed_spans(before, after)
    assert kept(before, left) == kept(after, right)


@quick
@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_embedded_json_holds_no_sign_of_html_and_reads_back(value):
    text = items.html_safe(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


@quick
@given(st.lists(st.lists(st.floats(0, 1e5)), min_size=1, max_size=3))
def test_a_histogram_counts_every_value_once(series):
    edges = charts.length_edges([value for values in series for value in values])
    bins = charts.histogram(series, edges)
    assert [sum(b.counts[i] for b in bins) for i in range(len(series))] == [len(values) for values in series]
    assert len(bins) <= 2 * charts.BINS


@quick
@given(NUMBERS, NUMBERS, st.lists(NUMBERS, min_size=2))
def test_a_scale_keeps_the_order_and_stays_in_its_cell(low, high, values):
    places = [charts.Scale(low, high).at(value) for value in sorted(values)]
    assert all(0 <= place <= 100 for place in places)
    assert all(a <= b for a, b in pairwise(places))


@quick
@given(st.lists(NUMBERS))
def test_no_change_stands_in_the_middle_of_a_forest(ends):
    assert charts.around_zero(ends).at(0) == 50


@pytest.mark.parametrize(("size", "step"), [(0.3, 1), (1, 1), (1.1, 2), (3, 5), (7, 10), (20, 20), (21, 50), (99, 100)])
def test_steps_of_a_histogram_are_round(size, step):
    assert charts.nice_step(size) == step


def test_foreign_text_is_escaped_wherever_it_stands(make_run, make_row):
    bad = "<img src=x onerror=alert(1)>\u202e"
    row = Row(
        Example(bad, bad, (bad,), (), {bad: bad}), Response(bad), 0, (Score(bad, 0.0, bad, bad),),
        (Tag(bad, "major", bad, (0, 4)),), bad,
    )  # fmt: skip
    page = html.render(make_run([replace(row, trial=i) for i in range(12)], suite=bad, model=bad), View())
    assert not [attribute for tag, *attribute in Reader(page).attributes if tag == "img"]
    assert "\u202e" not in Reader(page).text


def test_the_command_writes_a_page_of_several_checkpoints(write_run, make_row, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        write_run(name, [make_row("q0"), make_row("q1")])
    assert call(["report", "a", "b", "c", "--format", "html", "-o", "r.html"]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert call(["report", "a", "b", "c"]) == 2
    assert "--format terminal shows at most two runs; for more give one of html, csv" in capsys.readouterr().err


def test_a_folder_of_runs_is_one_checkpoint(write_run, make_row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "monday").mkdir()
    write_run("monday/a", [make_row("q0")])
    write_run("monday/b", [make_row("q0")], suite="smoke")
    assert call(["report", "monday", "--format", "html", "-o", "r.html"]) == 0
    assert {item["suite"] for item in embedded((tmp_path / "r.html").read_text())} == {"docs_qa", "smoke"}
