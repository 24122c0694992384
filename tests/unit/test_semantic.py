"""The scorer `semantic` without its model: targets, curve, preparation; and what decides vectors in a folder."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.assess import Assessor
from evalkit.backends import sentence
from evalkit.backends.sentence import find_sentence_model
from evalkit.cli import call
from evalkit.errors import ModelError, SuiteError
from evalkit.identity import suite_identity
from evalkit.scorers import semantic
from evalkit.scorers.semantic import Semantic
from evalkit.types import Example, Response, Suite

CURVE = (-4.0, 8.0)


@dataclass(frozen=True)
class Model:
    """A model on disk that is none."""

    digest: str = "d1"


@dataclass
class Letters:
    """Embed a text by its first letter: a is (1, 0), b is (0.6, 0.8), all else (0, 1); its words are its parts."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, texts):
        self.asked.extend(texts)
        return [Text(text) for text in texts]


@dataclass(frozen=True)
class Text:
    text: str

    def cosine(self, other):
        known = {"a": (1.0, 0.0), "b": (0.6, 0.8)}
        (x, y), (u, v) = (known.get(text[0], (0.0, 1.0)) for text in (self.text, other.text))
        return x * u + y * v

    def nearest_part(self, other):
        parts = (self.text, *self.text.split())
        return max(((Text(part).cosine(other), part) for part in parts), key=lambda found: found[0])


@pytest.fixture
def letters(monkeypatch):
    found = Letters()
    doors = {
        "sentence:find_sentence_model": lambda folder: Model(folder or "d1"),
        "embed:Embedder": lambda model: found,
    }
    monkeypatch.setattr(semantic, "load", lambda path: doors[path.removeprefix("evalkit.backends.")])
    monkeypatch.setattr(semantic, "CURVES", {"d1": CURVE})
    return found


def judged(scorer, text, *targets, error=None):
    return scorer(Example("q", "Q?", targets), Response(text, error=error))


def test_the_value_is_the_curves_share_at_the_cosine(letters):
    score = judged(Semantic(), "an answer ", "b\n target")
    assert (score.answer, score.why) == (None, 'cosine 0.6000 with "b target"')
    assert score.value == 0.69  # 1 / (1 + exp(4 - 8 * 0.6)) = 1 / (1 + exp(-0.8)) = 0.6900


def test_the_nearest_target_counts_and_the_first_of_equals(letters):
    assert judged(Semantic(), "an answer", "c", "a", "also").why == 'cosine 1.0000 with "a"'
    assert judged(Semantic(), "an answer", "c", "b").why == 'cosine 0.6000 with "b"'


def test_a_part_that_is_nearer_than_the_whole_answer_counts_and_is_shown(letters):
    score = judged(Semantic(), "it is a", "a")
    assert (score.answer, score.why) == ("a", 'cosine 1.0000 with "a"; the whole answer 0.0000')


def test_an_empty_answer_is_wrong_and_one_without_a_target_or_with_an_error_is_unscored(letters):
    assert judged(Semantic(), " \n", "a").value == 0.0
    assert judged(Semantic(), "a").value is None
    assert judged(Semantic(), "a", "", " ").value is None
    assert judged(Semantic(), "", "a", error="timeout").value is None
    assert letters.asked == []


def test_a_model_without_a_curve_scores_by_the_cosine_and_says_so(letters):
    assert judged(Semantic("other"), "a", "b").value == 0.6
    assert judged(Semantic("other"), "a", "b").why == 'cosine 0.6000 with "b"; no curve is known for this model'


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_a_nearer_answer_never_scores_less(one, other):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "load", lambda path: lambda folder: Model(next(iter(semantic.CURVES))))
        low, high = (Semantic()._value(cosine) for cosine in sorted((one, other)))
    assert 0 <= low <= high <= 1


def test_a_prepared_scorer_says_the_same_and_embeds_each_text_once(letters, monkeypatch):
    monkeypatch.setattr(semantic, "WINDOW", 3)
    texts = ["a", "b", "a", "c", "", "b"]
    run = [(Example(f"q{i}", "?", ("bee", "sea")), 0, Response(text)) for i, text in enumerate(texts)]
    run += [(Example("lost", "?", ("bee",)), 0, Response("lost", error="e")), (Example("open", "?"), 0, Response("x"))]
    alone = [Semantic()(example, response) for example, _, response in run]
    letters.asked.clear()
    ready = Semantic().prepare(run)
    assert letters.asked == ["a", "bee", "sea", "b", "c", "bee", "sea", "b"]  # two windows of three answers
    assert [ready(example, response) for example, _, response in run] == alone
    assert len(letters.asked) == 8
    assert (ready, repr(ready)) == (Semantic(), repr(Semantic()))


def test_the_identity_holds_the_models_digest_and_not_its_place(letters):
    suite = Suite("s", (Example("a", "?"),), scorers=("semantic",), taggers=("none",))
    assert suite_identity(suite, Assessor.of(suite))["scorers"] == """["Semantic(digest='d1')"]"""
    other = replace(suite, settings={"scorer.semantic": {"model": "d2"}})
    assert suite_identity(other, Assessor.of(other))["scorers"] == """["Semantic(digest='d2')"]"""


def test_a_model_that_is_no_text_is_refused(letters):
    with pytest.raises(SuiteError, match=r"scorer semantic: model is 3, expected the folder of"):
        Semantic(model=3)  # type: ignore[arg-type] # what a suite may say


def test_a_missing_package_is_told_in_one_line_with_exit_code_2(tmp_path, write_jsonl, capsys, monkeypatch):
    monkeypatch.setattr(sentence, "find_spec", lambda name: None)
    answers = write_jsonl(tmp_path / "a.jsonl", [{"question": "?", "answer": "a", "target": "b"}])
    out = tmp_path / "run"
    assert call(["score", "--answers", str(answers), "--scorers", "semantic", "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "run: pip install 'evalkit-llm[semantic]'" in line
    assert not out.exists()


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A folder with the files of an encoder, as far as its check reads them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    return folder


def laid_out(folder, pooling, *more: str, limit=None):
    """Add the files of sentence-transformers."""
    kinds = ("Transformer", "Pooling", *more)
    modules = [
        {"idx": i, "type": f"sentence_transformers.models.{kind}", "path": f"{i}_{kind}" if i else ""}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
    return str(folder)


OLD = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}


def test_a_plain_encoder_is_averaged_up_to_its_own_limit(encoder):
    found = find_sentence_model(str(encoder))
    assert (found.checkpoint.folder, found.pooling, found.limit) == (encoder, "mean", None)


@pytest.mark.parametrize(
    ("pooling", "name"),
    [(OLD, "mean"), ({"pooling_mode_cls_token": True}, "cls"), ({"pooling_mode": "mean"}, "mean")],
)
def test_both_layouts_of_sentence_transformers_are_read(encoder, pooling, name):
    found = find_sentence_model(laid_out(encoder, pooling, "Normalize", limit=256))
    assert (found.pooling, found.limit) == (name, 256)


@pytest.mark.parametrize(
    ("pooling", "said"),
    [
        ({**OLD, "pooling_mode_max_tokens": True}, "pooling_mode_mean_tokens', 'pooling_mode_max_tokens"),
        ({"pooling_mode": "lasttoken"}, "pools by lasttoken; expected mean or cls"),
        ({"pooling_mode": ["mean", "cls"]}, "expected mean or cls"),
        ({}, "expected mean or cls"),
    ],
)
def test_another_pooling_is_refused(encoder, pooling, said):
    with pytest.raises(ModelError) as caught:
        find_sentence_model(laid_out(encoder, pooling))
    assert said in str(caught.value)


def test_other_modules_and_damaged_layouts_are_refused(encoder):
    with pytest.raises(ModelError, match="modules Transformer, Pooling, Dense; expected Transformer, Pooling and"):
        find_sentence_model(laid_out(encoder, OLD, "Dense"))
    for damaged in ("{", "[3]", "{}", '[{"type": 3}]'):
        (encoder / "modules.json").write_text(damaged)
        with pytest.raises(ModelError, match=r"modules\.json: not a list of modules|modules ; expected"):
            find_sentence_model(str(encoder))


def test_what_is_no_folder_of_a_model_is_refused(encoder, tmp_path):
    with pytest.raises(ModelError, match="is no folder; expected that of a sentence-embedding model"):
        find_sentence_model(str(tmp_path / "none"))
    (encoder / "model.safetensors").unlink()
    (encoder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="only pickled weights"):
        find_sentence_model(str(encoder))


def test_the_digest_changes_with_files_pooling_and_limit(encoder):
    plain = find_sentence_model(str(encoder)).digest
    averaged = find_sentence_model(laid_out(encoder, OLD)).digest
    first = find_sentence_model(laid_out(encoder, {"pooling_mode": "cls"})).digest
    shorter = find_sentence_model(laid_out(encoder, OLD, limit=128)).digest
    (encoder / "tokenizer.json").write_text('{"version": 2}')
    other = find_sentence_model(laid_out(encoder, OLD, limit=128)).digest
    assert plain == averaged
    assert len({plain, first, shorter, other}) == 4
    assert len(plain) == 16
