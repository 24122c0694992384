"""A review in progress: filters, what is said, sides that do not tell; and its card, without colour or markup."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from evalkit.errors import EvalkitError, NotComparable
from evalkit.labels import Label, digest_of, run_key
from evalkit.report.card import card, marked, progress, said
from evalkit.review import review_of
from evalkit.types import Tag

LEAK = ("leak", "major", 0.9)


@pytest.fixture
def run(make_run, make_row):
    rows = [
        make_row("q0", "good"),
        make_row("q1", "bad", 0.0, [LEAK]),
        make_row("q2", "", None, error="busy"),
        make_row("q3", "unscored", None),
        make_row("q4", "same", 0.0),
    ]
    return make_run(rows, id="own")


@pytest.fixture
def base(make_run, make_row):
    rows = [make_row(f"q{i}", f"base {i}") for i in range(4)]
    return make_run([*rows, make_row("q4", "same", 0.0)], id="base")


def ids(review):
    return [entry.row.example.id for entry in review.queue]


def judged(review, verdict):
    return review.said(review.label("now", verdict=verdict))


def shown(review, width=80):
    text = io.StringIO()
    console = Console(file=text, width=width, no_color=True, markup=False, highlight=False)
    console.print(card(review))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def test_failed_requests_have_no_answer_to_judge(run):
    assert ids(review_of(run, "kim")) == ["q0", "q1", "q3", "q4"]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (("all",), ["q0", "q1", "q3", "q4"]),
        (("failures",), ["q1", "q4"]),
        (("leak",), ["q1"]),
        (("broken",), ["q1", "q3"]),  # as `compare` counts: q3 had a score and lost it
        (("undecided",), ["q0", "q3", "q4"]),
        (("failures", "undecided"), ["q4"]),
    ],
    ids=str,
)
def test_filters_must_all_hold(run, base, only, expected):
    review = judged(review_of(run, "kim", against=base).moved(1), "wrong")
    assert ids(review.filtered(only)) == expected


def test_an_unknown_filter_is_refused_with_the_known_ones(run):
    with pytest.raises(EvalkitError, match=r"--only 'failure': no such filter; did you mean 'failures'\?"):
        review_of(run, "kim").filtered(("failure",))
    with pytest.raises(EvalkitError, match=r"--only broken needs .* give --against RUN2"):
        review_of(run, "kim").filtered(("broken",))


def test_a_filter_that_nothing_passes_is_refused(run):
    with pytest.raises(EvalkitError, match=r"no answer is left to review \(leak and broken\)"):
        replace(review_of(run, "kim", against=run_of(run)), broken=frozenset()).filtered(("leak", "broken"))


def run_of(run):
    return replace(run, id="again")


def test_a_run_of_failed_requests_alone_cannot_be_reviewed(make_run, make_row):
    with pytest.raises(EvalkitError, match="the run holds none"):
        review_of(make_run([make_row(error="busy")]), "kim")


def test_an_answer_stays_in_the_queue_when_it_is_decided(run):
    review = judged(review_of(run, "kim").filtered(("undecided",)), "correct")
    assert ids(review) == ["q0", "q1", "q3", "q4"]
    assert review.decided == 1


def test_moving_stops_at_both_ends(run):
    review = review_of(run, "kim")
    assert review.moved(-1).position == 0
    assert review.moved(9).position == 3


def test_a_label_keeps_category_and_note_when_the_verdict_comes(run):
    review = review_of(run, "kim")
    review = review.said(review.label("t1", category="leak"))
    review = review.said(review.label("t2", note="why"))
    assert review.decided == 0
    label = review.label("t3", verdict="wrong")
    digest = digest_of(run.rows[0])
    assert label == Label("q0", 0, "little", "kim", run_key(run), digest, "wrong", "leak", "why", "t3")


def test_undo_takes_back_ones_own_last_word_and_goes_there(run):
    review = judged(judged(review_of(run, "kim"), "correct").moved(1), "wrong").moved(2)
    review = judged(replace(review, labeller="lee"), "unsure")
    review = replace(review, labeller="kim")
    undo = review.undo("now")
    review = review.said(undo).at((undo.id, undo.trial))
    assert (undo.id, review.position, review.given, review.decided) == ("q1", 1, None, 1)
    assert review.said(review.undo("now")).undo("now") is None


def test_undo_drops_a_filter_that_hides_the_answer(run):
    review = judged(review_of(run, "kim"), "correct").filtered(("failures",)).at(("q0", 0))
    assert (review.only, review.entry.row.example.id) == ((), "q0")


def test_runs_of_other_questions_are_refused(run, base):
    manifest = {**base.manifest, "identity": {**base.manifest["identity"], "data_digest": "other"}}
    with pytest.raises(NotComparable, match="the examples"):
        review_of(run, "kim", against=replace(base, manifest=manifest))


def test_blind_shows_answers_that_differ_and_hides_what_tells(run, base):
    review = review_of(run, "kim", against=base, blind=True)
    assert ids(review) == ["q0", "q1", "q3"]
    text = shown(review.moved(1))
    assert "bad" in text
    assert "base 1" in text
    assert "leak" not in text
    assert "match" not in text
    assert not [word for word in ("own", "base ", "some/model") if word in text.replace("base 1", "")]


@pytest.mark.parametrize("only", ["failures", "leak", "broken"])
def test_blind_refuses_filters_that_tell(run, base, only):
    with pytest.raises(EvalkitError, match="must not tell whose answer is whose"):
        review_of(run, "kim", against=base, blind=True).filtered((only,))


def test_sides_are_drawn_by_the_seed(make_run, make_row):
    own, base = (make_run([make_row(f"q{i}", f"{name} {i}") for i in range(400)], id=name) for name in ("own", "base"))
    sides = [
        [review.moved(i).swapped for i in range(400)]
        for review in (review_of(own, "kim", against=base, blind=True, seed=seed) for seed in (1, 1, 2))
    ]
    assert sides[0] == sides[1] != sides[2]
    assert all(160 < sum(drawn) < 240 for drawn in sides)


def test_a_preference_says_which_run_stood_where(run, base):
    review = review_of(run, "kim", against=base, blind=True)
    for _ in review.queue:
        chosen = review.preference("now", "left")
        left = base if review.swapped else run
        assert chosen.left == chosen.better_run == run_key(left)
        answers = {row.example.id: digest_of(row) for row in left.rows}
        assert chosen.left_answer == answers[chosen.id]
        review = review.said(chosen)
        assert review.given == chosen
        review = review.moved(1)
    assert review.decided == 3


def test_labels_and_preferences_do_not_mix(run, base):
    review = judged(review_of(run, "kim"), "correct")
    blind = review_of(run, "kim", review.records, base, blind=True)
    assert (blind.given, blind.decided, blind.undo("now")) == (None, 0, None)


def test_evidence_is_marked_without_colour():
    tags = (Tag("a", "minor", "", (0, 3)), Tag("b", "minor", "", (2, 5)), Tag("c", "minor", "", None))
    assert marked("abcdefg", tags).plain == "«ab«c»1de»2fg"
    assert marked("abc", (Tag("a", "minor", "", (1, 99)),)).plain == "a«bc»1"
    assert marked("abc", (Tag("a", "minor", "", (2, 2)),)).plain == "abc"


def test_a_card_shows_question_references_answer_errors_and_scores(run):
    text = shown(review_of(run, "kim").moved(1))
    assert text == "\n".join([
        "Question  q1", "q1?", "", "Accepted answer", "ref", "", "Answer", "bad", "",
        "Errors found", "1 leak, major: because", "", "Scores", "match 0.00",
    ])  # fmt: skip


def test_a_card_hides_no_character_and_parses_no_markup(make_run, make_row):
    hostile = "\x1b]52;c;aGk=\x07 \x9b2J \u202eevil [/] [bold]x[/bold] :smile: \x1b[2J"
    tag = Tag("leak", "major", hostile, (2, 9))
    row = make_row(hostile, hostile, 0.0, [tag], question=hostile, target=(hostile,), meta={hostile: hostile})
    review = review_of(make_run([row], suite=hostile), hostile)
    review = review.said(review.label("now", category=hostile, note=hostile))
    for text in (shown(review, 400), progress(review), said(review)):
        assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "\\x1b]52;c;aGk=\\x07 \\x9b2J \\u202eevil [/] [bold]x[/bold] :smile:" in shown(review, 400)


def test_choices_are_shown_with_the_one_that_was_preferred(make_run, make_row):
    row = make_row()
    row = replace(
        row,
        example=replace(row.example, choices=("red", "blue")),
        response=replace(row.response, text="", choice_logprobs=(-2.0, -1.5)),
    )
    text = shown(review_of(make_run([row]), "kim"))
    assert "a) red\nb) blue" in text
    assert "  a) -2.00 nats\n> b) -1.50 nats" in text


def test_progress_and_what_was_said_are_a_line_each(run):
    review = judged(review_of(run, "kim"), "wrong")
    review = review.said(review.label("now", category="leak", note="so")).filtered(("failures",))
    assert progress(review) == "little · 1 of 2 (failures) · 1/4 labelled [#####...............]"
    assert said(review) == "kim: nothing said yet"
    assert said(review.at(("q0", 0))) == "kim: wrong · leak · note: so"
