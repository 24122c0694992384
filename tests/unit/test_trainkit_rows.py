"""Files of rows: read strictly, split by content, accounted for; near duplicates and other formats."""

from __future__ import annotations

import json
import random

import pytest

from evalkit.types import Message
from trainkit.batches import epoch_order, passes
from trainkit.dataset import TrainRow, content_key, read_rows, row_of, split_rows
from trainkit.errors import BadRow, TrainError
from trainkit.formats import WITH_INPUT, WITHOUT_INPUT, hydrated, pair_of, paragraphs, rows_of
from trainkit.ledger import Ledger
from trainkit.near import near_pairs, near_within, shingles
from trainkit.prepare import PrepareSettings, prepare, split

QA = {"id": "a", "question": "Why?", "answer": "So."}


def file_of(tmp_path, *lines, name="rows.jsonl"):
    path = tmp_path / name
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n"
    )
    return path


def test_rows_of_the_three_forms_are_read(tmp_path):
    path = file_of(
        tmp_path,
        QA,
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
        {"instruction": "Add", "input": "1 2", "output": "3"},
        {"instruction": "Sing", "input": "", "output": "La"},
    )
    a, chat, add, sing = read_rows(path).rows
    assert (a.id, a.question, a.answer) == ("a", "Why?", "So.")
    assert (chat.input, chat.answer, chat.question) == ((Message("user", "Hi"),), "Ho", "Hi")
    assert (add.question, add.answer) == ("Add\n\n1 2", "3")
    assert (sing.question, sing.answer) == ("Sing", "La")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"questoin": "Why?", "answer": "So."}, "line 1: no key 'question'; did you mean 'questoin'"),
        ({"question": "Why?"}, "line 1: no key 'answer'"),
        ({"question": "Why?", "answer": 3}, "line 1: answer is int, expected a text"),
        ({"question": "Why?", "answer": " \n"}, "line 1: answer is empty"),
        ({"question": "", "answer": "x"}, "line 1: question is empty"),
        ({"messages": []}, "line 1: messages: expected a list"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "the last turn is not an assistant's"),
        ({"messages": [{"role": "bot", "content": "a"}] * 2}, "role 'bot'"),
        ({"id": 1.5, **{k: v for k, v in QA.items() if k != "id"}}, "id = 1.5"),
        (b"{'a': 1}", "line 1: not a JSON object"),
        (b"[1]", "line 1: not a JSON object"),
        (b'{"question": NaN}', "not a JSON object"),
    ],
)
def test_a_broken_row_is_named_by_line_and_key(tmp_path, line, message):
    with pytest.raises(TrainError, match=message):
        read_rows(file_of(tmp_path, line, QA))


def test_with_drop_broken_rows_are_listed_and_the_others_read(tmp_path):
    reading = read_rows(file_of(tmp_path, QA, b"{", {"question": "x", "answer": ""}, b""), bad="drop")
    assert [row.id for row in reading.rows] == ["a"]
    assert sorted(reading.bad) == ["line 2", "line 3"]


def test_other_keys_can_be_named(tmp_path):
    (row,) = read_rows(file_of(tmp_path, {"q": "Why?", "a": "So."}), "q", "a").rows
    assert (row.question, row.answer) == ("Why?", "So.")


def test_an_id_that_stands_twice_names_both_lines_and_equal_rows_without_id_are_kept(tmp_path):
    with pytest.raises(TrainError, match="line 2: id 'a' stands in line 1 already"):
        read_rows(file_of(tmp_path, QA, QA))
    bare = {"question": "Why?", "answer": "So."}
    assert len({row.id for row in read_rows(file_of(tmp_path, bare, bare)).rows}) == 2


@pytest.mark.parametrize(
    ("raw", "message"),
    [(b"\x1f\x8bxx", "gzip"), (b"PK\x03\x04", "zip"), (b"\xff\xfea\x00", "UTF-16"), (b"\n\n", "no row")],
)
def test_files_that_are_not_json_lines_are_refused_by_name(tmp_path, raw, message):
    path = tmp_path / "x.jsonl"
    path.write_bytes(raw)
    with pytest.raises(TrainError, match=message):
        read_rows(path)
    with pytest.raises(TrainError, match="cannot be read"):
        read_rows(tmp_path / "none.jsonl")


def test_a_byte_order_mark_crlf_and_unicode_line_ends_do_no_harm(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"question": "a\u2028b", "answer": "c"}, ensure_ascii=False).encode() + b"\r\n"
    )
    assert read_rows(path).rows[0].question == "a\u2028b"


def rows(count):
    return [TrainRow(f"r{i}", f"Question number {i}?", f"Answer {i}") for i in range(count)]


def test_a_split_by_content_is_stable_when_rows_come_and_go():
    train, test = split_rows(rows(1000), 0.1)
    assert 70 <= len(test) <= 130
    assert len(train) + len(test) == 1000
    _, fewer = split_rows(rows(500), 0.1)
    assert {r.id for r in fewer} == {r.id for r in test} & {f"r{i}" for i in range(500)}


def test_equal_questions_fall_on_one_side_whatever_their_case():
    assert content_key(TrainRow("a", "What  is\nThis?", "x")) == content_key(TrainRow("b", "what is this?", "y"))


def test_the_seeds_split_of_1400_rows_is_1260_and_140():
    """Fault of the seed: duplicates may cross; the numbers themselves must come out."""
    train, test = split(rows(1400), 0.1, "seed", 123)
    assert (len(train), len(test)) == (1260, 140)
    assert split(rows(1400), 0.1, "seed", 123)[1] == test
    assert split(rows(1400), 0.1, "seed", 124)[1] != test


def test_near_duplicates_are_those_that_comparing_every_pair_finds():
    draw = random.Random(1)
    words = ["what", "is", "the", "run", "suite", "gate", "score", "of", "model", "tag", "how", "do", "I", "see"]
    texts = {f"t{i}": " ".join(draw.choice(words) for _ in range(8)) for i in range(61)}
    texts |= {f"u{i}": text + draw.choice(["", "?", " now"]) for i, text in enumerate(list(texts.values())[:20])}
    left = {k: v for i, (k, v) in enumerate(texts.items()) if i % 2}
    right = {k: v for i, (k, v) in enumerate(texts.items()) if not i % 2}

    def jaccard(a, b):
        x, y = shingles(a), shingles(b)
        return len(x & y) / len(x | y)

    want = {(a, b) for a in left for b in right if jaccard(left[a], right[b]) >= 0.8}
    assert {(a, b) for a, b, _ in near_pairs(left, right)} == want
    assert want
    names = list(texts)
    every = {(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if jaccard(texts[a], texts[b]) >= 0.8}
    assert {(a, b) for a, b, _ in near_within(texts)} == every


def test_alpacas_two_templates_are_those_of_the_seed():
    with_input = hydrated({"instruction": "Add {input}", "input": "1 {x}"}, 1)
    assert with_input.startswith(WITH_INPUT[:170])
    assert with_input.endswith("### Instruction:\nAdd {input}\n\n### Input:\n1 {x}\n\n### Response:")
    without = hydrated({"instruction": "Sing", "input": ""}, 1)
    assert without == WITHOUT_INPUT.replace("{instruction}", "Sing")
    assert without.startswith("Below is an instruction that describes a task. Write a response")
    with pytest.raises(BadRow, match="instruction"):
        hydrated({"instruction": 3}, 1)


def test_a_chat_gives_a_row_for_each_answer():
    turns = [
        {"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ]
    first, second = (
        r for r in rows_of([(1, {"id": "x", "messages": turns})], "auto", ("q", "a")) if isinstance(r, TrainRow)
    )
    assert (first.id, first.answer, len(first.input)) == ("x-1", "b", 1)
    assert (second.id, second.answer, len(second.input)) == ("x-2", "d", 3)


def test_a_reply_is_a_question_and_an_answer_or_nothing():
    assert pair_of("Question: Why?\nAnswer: So.\nQuestion: 2?") == ("Why?", "So.")
    assert pair_of("The text is about dogs.") is None


def test_paragraphs_join_short_blocks():
    assert paragraphs("# A\n\nOne.\n\n\nTwo.") == ["# A\n\nOne.\n\nTwo."]
    assert len(paragraphs("x" * 1000 + "\n\n" + "y" * 1000)) == 2


def test_prepare_writes_both_sides_and_reports_what_crosses(tmp_path):
    source = file_of(
        tmp_path, *[{"question": f"What is the answer to question {i}?", "answer": str(i)} for i in range(100)]
    )
    done = prepare(PrepareSettings(str(source), str(tmp_path / "out")))
    written = [read_rows(tmp_path / "out" / f"{name}.jsonl").rows for name in ("train", "test")]
    assert [len(part) for part in written] == [len(done.train), len(done.test)]
    assert len(done.train) + len(done.test) == 100
    assert done.crossing
    with pytest.raises(TrainError, match="not an empty folder"):
        prepare(PrepareSettings(str(source), str(tmp_path / "out")))


def test_prepare_reads_a_mirror_of_the_hub(tmp_path):
    place = tmp_path / "mirror" / "lamini" / "lamini_docs"
    place.mkdir(parents=True)
    file_of(place, *[{"question": f"q{i}", "answer": f"a{i}"} for i in range(20)], name="train.jsonl")
    settings = PrepareSettings(
        "lamini/lamini_docs", str(tmp_path / "out"), data_dir=str(tmp_path / "mirror"), limit=10, split_by="seed"
    )
    done = prepare(settings)
    assert (len(done.train), len(done.test)) == (9, 1)


def test_prepare_turns_text_into_rows_by_a_model_and_drops_what_keeps_no_form(tmp_path, script):
    (tmp_path / "notes.md").write_text("x" * 600 + "\n\n" + "y" * 600)
    model = script([{"id": "1", "answer": "Question: Why?\nAnswer: So."}, {"id": "2", "answer": "no idea"}])
    settings = PrepareSettings(
        str(tmp_path / "notes.md"), str(tmp_path / "out"), model=model, bad_rows="drop", test_share=0.0
    )
    done = prepare(settings)
    assert [(r.question, r.answer) for r in done.train] == [("Why?", "So.")]
    assert list(done.dropped) == ["paragraph 2"]
    with pytest.raises(TrainError, match="give --model"):
        prepare(PrepareSettings(str(tmp_path / "notes.md"), str(tmp_path / "out2")))


@pytest.mark.parametrize("source", ["nothing", "./nothing/here", "/none"])
def test_prepare_says_what_a_source_may_be(tmp_path, source):
    with pytest.raises(TrainError, match="expected a file, or a data set"):
        prepare(PrepareSettings(source, str(tmp_path / "out")))


def test_the_ledger_adds_up_or_says_so():
    ledger = Ledger(
        5,
        trained=2,
        truncated={"a": "prompt longer (3 tokens cut)"},
        dropped={"b": "over-long (9 tokens)", "c": "answer is empty"},
    )
    assert ledger.adds_up
    assert dict(ledger.reasons) == {
        "truncated: prompt longer": 1,
        "dropped: over-long": 1,
        "dropped: answer is empty": 1,
    }
    assert ledger.line().startswith("5 rows = 2 trained + 1 truncated + 2 dropped (")
    ledger.rows_in = 6
    assert not ledger.adds_up


def test_an_epoch_has_every_row_once_in_an_order_of_seed_and_epoch():
    lengths = [draw % 7 + 1 for draw in range(50)]
    order = epoch_order(lengths, 3, 0)
    assert sorted(order) == list(range(50))
    assert order == epoch_order(lengths, 3, 0)
    assert order != epoch_order(lengths, 3, 1)
    assert order != epoch_order(lengths, 4, 0)


def test_grouped_steps_have_rows_of_like_length_and_the_short_step_stays_last():
    lengths = list(range(100, 0, -1))
    order = epoch_order(lengths, 0, 0, group=8)
    assert sorted(order) == list(range(100))
    steps = [order[i : i + 8] for i in range(0, 100, 8)]
    assert [len(step) for step in steps] == [8] * 12 + [4]
    assert max(max(lengths[i] for i in s) - min(lengths[i] for i in s) for s in steps) < 20


@pytest.mark.parametrize("padded", [True, False])
def test_passes_stay_within_the_budget_and_lose_no_row(padded):
    lengths = [5, 90, 7, 30, 30, 2, 200, 11]
    parts = passes(lengths, 100, padded=padded)
    assert sorted(i for part in parts for i in part) == list(range(8))
    for part in parts:
        cost = len(part) * max(lengths[i] for i in part) if padded else sum(lengths[i] for i in part)
        assert cost <= 100 or len(part) == 1


def test_row_of_names_the_line():
    with pytest.raises(BadRow) as fault:
        row_of({"question": "a"}, 7)
    assert fault.value.row == "line 7"
