"""What an audit finds in training rows, how it would mend them, and what it leaves alone."""

from __future__ import annotations

import pytest

from evalkit.types import Tag
from trainkit.curate.audit import audit, harmless
from trainkit.curate.mend import said_once
from trainkit.dataset import TrainRow

PLAIN = [
    ("How is a river crossed?", "A bridge carries the road from one bank to the other, and piers hold it up."),
    ("What keeps bread fresh?", "A dry cloth and a wooden box keep bread fresh for about three days."),
    ("Who tunes the piano?", "The tuner comes twice a year and works through every string with a fork."),
    ("When do the swallows leave?", "Most swallows leave in early autumn, before the first cold nights arrive."),
]


def rows(*more: tuple[str, str], **answers: str) -> list[TrainRow]:
    told = [*PLAIN, *more, *((f"Tell me about {name}.", text) for name, text in answers.items())]
    return [TrainRow(f"r{i}", question, answer, {}, i + 1) for i, (question, answer) in enumerate(told)]


def only_finding(*more: tuple[str, str], **options):
    (found,) = audit(rows(*more), **options).findings
    return found


def test_clean_rows_have_no_findings():
    assert audit(rows()).findings == ()


def test_an_empty_answer_is_dropped():
    found = only_finding(("Where is the key?", "  "))
    assert (found.categories, found.action, found.after) == (("empty",), "drop", "")


def test_a_looped_answer_is_trimmed_to_one_copy():
    once = "The key hangs on the nail. It is the small brass one."
    found = only_finding(("Where is the key?", once + " It is the small brass one." * 6))
    assert (found.categories, found.action, found.after) == (("repetition",), "trim", once)
    assert found.severity == "critical"


def test_a_sentence_said_twice_is_said_once():
    once = "The key hangs on the nail beside the door."
    found = only_finding(("Where is the key?", f"{once} {once}"))
    assert (found.categories, found.action, found.after) == (("repetition",), "trim", once)


def test_short_sentences_may_come_twice():
    assert said_once("No. It is not. No. It is not.") == "No. It is not. No. It is not."


def test_the_same_words_in_another_order_are_another_sentence():
    text = "If door A is open then door B is closed. If door B is open then door A is closed."
    assert said_once(text) == text


def test_the_space_between_kept_sentences_stays():
    text = "One of them is here.\n\nThe key hangs on the nail beside it. The key hangs on the nail beside it.\nEnd."
    assert said_once(text) == "One of them is here.\n\nThe key hangs on the nail beside it. End."


@pytest.mark.parametrize(
    ("answer", "action", "after"),
    [
        ("The key hangs on the nail.<|im_end|>", "fix", "The key hangs on the nail."),
        ("### Answer: The key hangs on the nail.", "fix", "The key hangs on the nail."),
        ("[INST] Where is it? [/INST] The key hangs on the nail.", "fix", "The key hangs on the nail."),
        ("The key hangs on the nail.\n### Question:\nWho has it?", "trim", "The key hangs on the nail."),
    ],
)
def test_a_leak_goes_and_a_new_turn_goes_with_it(answer, action, after):
    found = only_finding(("Where is the key?", answer))
    assert (found.categories, found.action, found.after) == (("leak",), action, after)


@pytest.mark.parametrize(
    ("answer", "after"),
    [
        ("<|im_start|>assistant\nThe key hangs there.<|im_end|>", "The key hangs there."),
        ("<start_of_turn>model\nThe key hangs there.", "The key hangs there."),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nThe key hangs there.", "The key hangs there."),
        ("### Question: Where is it?\n### Answer: The key hangs there.", "The key hangs there."),
        ("User: Where is it?\nAssistant: The key hangs there.", "The key hangs there."),
        ("<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nThe key hangs there.", "The key hangs there."),
    ],
)
def test_a_question_or_a_role_before_the_answer_goes_whole(answer, after):
    found = only_finding(("Where is the key?", answer))
    assert (found.categories[0], found.action, found.after) == ("leak", "fix", after)


@pytest.mark.parametrize(
    "answer", ["### Question: Where will I recieve it?", "User: Whoever holds the key.", "[INST] Who?"]
)
def test_a_question_without_an_answer_is_left_to_a_person(answer):
    found = only_finding(("Where is the key?", answer))
    assert (found.categories[0], found.action, found.after) == ("leak", "review", answer)


def test_an_answer_that_was_nothing_but_a_leak_is_dropped():
    found = only_finding(("Where is the key?", "<|im_start|><|im_end|>"))
    assert (found.categories, found.action, found.after) == (("empty", "leak"), "drop", "")


def test_a_known_misspelling_is_fixed_in_its_own_case():
    found = only_finding(("Where is the key?", "Recieve it from the porter, who will recieve you at the gate."))
    assert (found.categories, found.action) == (("misspelling",), "fix")
    assert found.after == "Receive it from the porter, who will receive you at the gate."


def test_everything_wrong_with_a_row_is_mended_at_once():
    found = only_finding(("Where is the key?", "You will recieve it at the gate.<|im_end|>"))
    assert found.categories == ("leak", "misspelling")
    assert found.after == "You will receive it at the gate."


def test_only_one_category_is_mended_where_one_is_asked_for():
    found = only_finding(("Where is the key?", "You will recieve it at the gate.<|im_end|>"), only="misspelling")
    assert (found.categories, found.after) == (("misspelling",), "You will receive it at the gate.<|im_end|>")


def test_a_copy_of_a_row_is_removed_and_the_first_one_stays():
    found = only_finding(("who tunes the piano", PLAIN[2][1]))
    assert (found.row.id, found.categories, found.action, found.other) == ("r4", ("duplicate",), "dedupe", "r2")
    assert found.confidence == 1.0


def test_a_row_is_kept_where_what_it_copies_is_a_copy_itself():
    """The second is nearly the first and the third nearly the second, but the third is too far from the first."""
    asked = "What do the people of the old fishing village by the northern sea eat"
    told = "They eat herring with black bread and salted butter every single day"
    found = audit(
        rows((asked, told + "."), (f"{asked} ever", f"{told} ever."), (f"{asked} ever now", f"{told} ever now."))
    )
    assert {(f.row.id, f.action, f.other) for f in found.findings} == {("r5", "dedupe", "r4")}


def test_copies_are_copies_of_the_first_in_the_file():
    same = [TrainRow(name, *PLAIN[2]) for name in ("z", "y", "x")]
    assert [(f.row.id, f.other) for f in audit(same).findings] == [("y", "z"), ("x", "z")]


def test_what_is_like_a_dropped_row_is_no_copy_of_it():
    leak = "<|im_start|>" * 3
    found = audit(rows(("Where is the key kept?", leak), ("Where is the key kept", leak))).findings
    assert [(f.row.id, f.action) for f in found] == [("r4", "drop"), ("r5", "drop")]


def test_rows_that_differ_in_a_number_are_no_copies():
    first = ("What is the price of 3 lamps in the small shop?", "The price of 3 lamps there is 12 coins in all.")
    later = ("What is the price of 4 lamps in the small shop?", "The price of 4 lamps there is 16 coins in all.")
    assert audit(rows(first, later)).findings == ()


def test_the_same_answer_to_another_question_is_no_copy():
    assert audit(rows(("What does a tuner do all year?", PLAIN[2][1]))).findings == ()


def test_an_answer_that_stops_in_mid_sentence_is_reviewed():
    cut = "The key hangs on the nail beside the door. It is small. " + (
        "Whoever leaves last takes it down, locks the door, puts the lamp out, brings the key to the porter, who"
    )
    found = only_finding(("Where is the key?", cut))
    assert (found.categories, found.action, found.confidence) == (("truncated",), "review", 0.4)


def test_an_answer_may_end_in_an_address():
    text = "The key hangs on the nail beside the door. It is small. Whoever leaves last takes it down, locks the door, "
    text += "puts the lamp out, brings the key over to the porter, and then writes a line to porter@example.org"
    assert audit(rows(("Where is the key?", text))).findings == ()


def test_a_long_answer_without_spaces_is_looked_through_at_once():
    text = "a." * 30_000 + " end of it"
    assert not harmless(Tag("truncated", "minor", "", None, 0.4), text)
    assert harmless(Tag("truncated", "minor", "", None, 0.4), text + " at a.b \n")


def test_rows_that_differ_in_a_sign_are_no_copies():
    first = ("How much is 12 + 7 in all?", "It comes to this: nineteen, which you can count on your fingers.")
    later = ("How much is 12 - 7 in all?", "It comes to this: nineteen, which you can count on your fingers!")
    assert audit(rows(first, later)).findings == ()


def test_a_stock_phrase_at_the_end_of_several_answers_is_no_run_on():
    stock = "You can read more about all of it in the handbook on the shelf."
    more = [
        (f"What of {w}?", f"There is a {w} in every house of the village. {stock}") for w in ("lamp", "stove", "clock")
    ]
    assert audit(rows(("Where can I read more?", stock), *more)).findings == ()


def test_another_answer_to_the_same_question_is_a_conflict():
    found = only_finding(("Who tunes the piano ?", "Nobody; it was sold last spring to a school in the north."))
    assert (found.categories, found.action, found.other) == (("conflict",), "review", "r2")
    assert found.after == found.row.answer


def test_an_answer_that_runs_on_into_another_row_is_reviewed():
    found = only_finding(("Where is the key?", f"The key hangs on the nail. {PLAIN[0][1]}"))
    assert (found.categories, found.action) == (("too_long",), "review")


def test_it_is_trimmed_where_an_evaluation_showed_long_answers():
    found = only_finding(("Where is the key?", f"The key hangs on the nail. {PLAIN[0][1]}"), trim_long=True)
    assert (found.action, found.after) == ("trim", "The key hangs on the nail.")


def test_an_answer_far_longer_than_the_others_is_reviewed_never_shortened():
    many = [(f"Say {w}.", f"{w} is one of the words that people use here, and it has its own meaning for them.")
            for w in ("alpha", "bravo", "delta", "gamma", "kappa", "omega", "sigma", "theta", "zebra", "yodel",
                      "willow", "velvet", "umbra", "tango", "sierra", "romeo", "quebec", "papa")]  # fmt: skip
    long = " ".join(
        f"{w} {v} {u} and a little more of all that."
        for w, v, u in zip(
            ("Salt", "Iron", "Rope", "Wool", "Corn", "Silk", "Jade", "Lead"),
            ("ships", "carts", "tents", "looms", "mills", "gowns", "rings", "pipes"),
            ("north", "south", "early", "later", "often", "never", "twice", "alone"),
            strict=True,
        )
    )
    found = audit(rows(*many, ("Tell all.", long)), trim_long=True).findings
    assert [(f.categories, f.action) for f in found if f.row.question == "Tell all."] == [(("too_long",), "review")]


def test_rates_are_shares_of_all_rows():
    found = audit(rows(("Where is the key?", "It hangs there.<|im_end|>")))
    assert found.rates() == {"leak": 0.2}
    assert found.having("leak") == {"r4"}
