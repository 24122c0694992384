"""The tree scorer against one plain forward pass per pair, on tiny random models of each family."""

import random
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evalkit.backends import tree
from evalkit.backends.forest import plan_pairs
from evalkit.backends.plain import PlainScorer
from evalkit.backends.rows import Pair
from evalkit.backends.tree import TreeScorer, measure_budget

tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("tiny.py"))))


def some_pairs(seed=0, stem=30):
    """Return questions on two stems, each with choices of one to five tokens, one choice asked twice."""
    rng = random.Random(seed)

    def draw(n):
        return [rng.randrange(3, tiny.WORDS) for _ in range(n)]

    stems = [draw(stem), draw(stem), []]
    pairs = []
    for question in range(12):
        context = [*stems[question % 3], *draw(2 + question)]
        pairs += [(context, draw(1 + choice)) for choice in range(4)]
    return [*pairs, pairs[5]]


def one_by_one(model, pairs):
    """Return (logprob, greedy) of each pair from one forward pass over it alone, the way one would write it down."""
    found = []
    for context, continuation in pairs:
        with torch.inference_mode():
            logits = model(torch.tensor([[*context, *continuation][:-1]])).logits[0].float().log_softmax(-1)
        own = logits[len(context) - 1 :]
        target = torch.tensor(continuation)
        picked = own.gather(1, target[:, None]).sum()
        found.append((float(picked), bool((own.argmax(-1) == target).all())))
    return found


def scored(scorer, plan, count):
    found = [None] * count
    for batch in plan.batches:
        for index, score in zip(batch.indices, scorer.score(batch), strict=True):
            found[index] = score
    return found


def check(model, pairs, budget=64, fallback=False):
    scorer = TreeScorer(model, budget)
    got = scored(scorer, plan_pairs(pairs, budget), len(pairs))
    assert bool(scorer.fallback) == fallback, scorer.fallback
    want = one_by_one(model, pairs)
    assert [s.logprob for s in got] == pytest.approx([w for w, _ in want], abs=1e-3)
    assert [s.greedy for s in got] == [greedy for _, greedy in want]
    assert [s.tokens for s in got] == [len(continuation) for _, continuation in pairs]
    return scorer


@pytest.fixture(scope="module")
def llama():
    return tiny.causal(tiny.CONFIGS["llama"]())


@pytest.fixture
def short_trunks(monkeypatch):
    """Make trunks worth their while at the lengths of these tests."""
    monkeypatch.setattr("evalkit.backends.forest.SHORTEST_TRUNK", 8)
    monkeypatch.setattr("evalkit.backends.forest.NARROWEST", 24)
    monkeypatch.setattr("evalkit.backends.tree.TRUNK_CHUNK", 16)


@pytest.mark.parametrize("family", sorted(tiny.CONFIGS))
def test_scores_equal_one_forward_pass_per_pair_in_every_family(family, short_trunks):
    pairs = some_pairs()
    assert any(batch.trunk for batch in plan_pairs(pairs, 64).batches)
    check(tiny.causal(tiny.CONFIGS[family]()), pairs)


@pytest.mark.parametrize("name", sorted(tiny.SLIDING))
def test_sliding_window_models_take_the_plain_path_and_say_why(name):
    scorer = check(tiny.causal(tiny.SLIDING[name]()), some_pairs(), fallback=True)
    assert "sliding" in scorer.fallback


def test_encoder_decoder_models_are_scored_the_plain_way():
    model, pairs = tiny.t5(), [p for p in some_pairs() if p[0]]
    scorer = TreeScorer(model, 64)
    got = scored(scorer, plan_pairs(pairs, 64), len(pairs))
    assert scorer.fallback == "encoder-decoder"
    for (context, continuation), score in zip(pairs, got, strict=True):
        with torch.inference_mode():
            out = model(torch.tensor([context]), labels=torch.tensor([continuation])).logits[0].log_softmax(-1)
        want = float(out.gather(1, torch.tensor(continuation)[:, None]).sum())
        assert score.logprob == pytest.approx(want, abs=1e-3)


def test_a_batch_gives_the_same_bytes_in_a_scorer_that_starts_with_it(llama, short_trunks):
    pairs = some_pairs()
    plan = plan_pairs(pairs, 64)
    going = TreeScorer(llama, 64)
    assert len(plan.batches) > 3
    for batch in plan.batches:
        assert going.score(batch) == TreeScorer(llama, 64).score(batch)


def test_nested_trunks_and_paths_longer_than_the_budget_are_scored(llama, short_trunks):
    root = list(range(3, 33))
    pairs = [([*root, *([s] * 20), q, s], [q, s]) for s in (40, 41) for q in range(50, 60)]
    pairs += [([7], list(range(3, 93))), (list(range(5, 95)), [4, 5])]
    plan = plan_pairs(pairs, 32)
    assert max(len(batch.trunk) for batch in plan.batches) == 2
    check(llama, pairs, budget=32)


def test_equal_pairs_are_computed_once(llama):
    pair = ([5, 6, 7], [8, 9])
    plan = plan_pairs([pair] * 5, 64)
    first, *others = scored(TreeScorer(llama, 64), plan, 5)
    assert others == [first] * 4


def test_a_model_that_does_not_honour_the_mask_falls_back_and_says_so(llama, monkeypatch):
    monkeypatch.setattr(tree, "_sight", lambda lines, width: torch.ones(len(lines), width, width).tril().bool())
    pairs = some_pairs()
    scorer = check(llama, pairs, fallback=True)
    assert scorer.fallback.startswith("tree differs from the plain forward pass by")


def test_a_model_that_fails_on_the_tree_falls_back_and_says_so(llama, monkeypatch):
    def fail(lines, width):
        raise RuntimeError("no such mask")

    monkeypatch.setattr(tree, "_sight", fail)
    assert check(llama, some_pairs(), fallback=True).fallback == "tree fails: RuntimeError: no such mask"


def test_the_plain_scorer_equals_one_forward_pass_per_pair(llama):
    pairs = some_pairs()
    got = PlainScorer(llama, 64).score([Pair(tuple(c), tuple(d)) for c, d in pairs])
    assert [s.logprob for s in got] == pytest.approx([w for w, _ in one_by_one(llama, pairs)], abs=1e-3)


def test_nan_stays_with_the_pairs_whose_own_path_gives_it(short_trunks):
    model = tiny.causal(tiny.CONFIGS["llama"]())
    root = list(range(3, 33))
    bad = [([*root, 96, q], [4]) for q in range(40, 60)]
    good = [([*root, 95, q], [4]) for q in range(40, 60)]
    model.get_input_embeddings().weight.data[96] = float("nan")
    pairs = [*bad, *good]
    scorer = TreeScorer(model, 64)
    scorer.checked = True
    got = scored(scorer, plan_pairs(pairs, 64), len(pairs))
    want = one_by_one(model, good)
    assert all(s.logprob != s.logprob for s in got[:20])
    assert [s.logprob for s in got[20:]] == pytest.approx([w for w, _ in want], abs=1e-3)


def test_the_measured_budget_is_one_of_the_candidates():
    config = tiny.CONFIGS["llama"]()
    config.num_hidden_layers = 4
    config.max_position_embeddings = 4096
    assert measure_budget(tiny.causal(config)) in tree.BUDGETS
