"""The decoder against `model.generate`, one prompt at a time, on tiny random models of each family."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evalkit.backends.decode import Decoder
from evalkit.backends.lean import LeanStep
from evalkit.backends.slots import Row, SlotBatch
from evalkit.types import Sampling

tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("tiny.py"))))


def text_of(tokens):
    return "".join(f"<{token}>" for token in tokens)


def generate(model, prompt, budget, eos=tiny.EOS):
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=budget,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=2,
    )[0, len(prompt) :].tolist()
    return tuple(out[: out.index(eos)] if eos in out else out)


def answers(decoder, prompts, samplings):
    found = {c.index: c for c in decoder.decode(prompts, samplings, text_of)}
    assert sorted(found) == list(range(len(prompts)))
    return [found[i] for i in range(len(prompts))]


@pytest.fixture(scope="module")
def llama():
    return tiny.causal(tiny.CONFIGS["llama"]())


@pytest.mark.parametrize("family", sorted(tiny.CONFIGS))
def test_greedy_answers_equal_generate_in_every_family(family):
    model = tiny.causal(tiny.CONFIGS[family]())
    decoder = Decoder(model, [tiny.EOS], slots=3, prefill_tokens=32)
    prompts = tiny.prompts(8)
    budgets = [4 + 3 * i for i in range(8)]
    assert decoder.fallback is None
    got = answers(decoder, prompts, [Sampling(max_new_tokens=n) for n in budgets])
    assert [c.token_ids for c in got] == [generate(model, p, n) for p, n in zip(prompts, budgets, strict=True)]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_lean_step_gives_the_models_own_logits_for_any_number_of_rows(family):
    model = tiny.causal(tiny.CONFIGS[family]())
    for count in (1, 3, 16, 17):
        engine = Decoder(model, [tiny.EOS]).engine
        assert engine.lean
        found = []
        for each in (engine, replace(engine, lean=None)):
            rows = [Row(i, prompt, Sampling(), 4) for i, prompt in enumerate(tiny.prompts(count))]
            batch = SlotBatch(each, rows, count)
            batch.start()
            batch.admit(rows)
            for row in rows:
                row.tokens.append(7 + row.index)
            found.append(batch.step())
        assert found[0].shape == (count, tiny.WORDS)
        torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def test_a_lean_step_that_differs_from_the_model_is_not_used(llama, monkeypatch):
    monkeypatch.setattr(LeanStep, "__call__", lambda *args: torch.zeros(len(args[1]), tiny.WORDS))
    decoder = Decoder(llama, [tiny.EOS])
    assert (decoder.fallback, decoder.engine.lean) == (None, None)
    prompt = tiny.prompts(1)[0]
    (got,) = answers(decoder, [prompt], [Sampling(max_new_tokens=6)])
    assert got.token_ids == generate(llama, prompt, 6)


@pytest.mark.parametrize("change", ["bfloat16", "activation", "layer", "family"])
def test_models_without_a_lean_step_are_told(change):
    config = tiny.CONFIGS["gemma" if change == "family" else "llama"]()
    if change == "activation":
        config.hidden_act = "gelu"
    model = tiny.causal(config)
    if change == "bfloat16":
        model = model.to(torch.bfloat16)
    if change == "layer":
        model.model.layers[1].mlp.up_proj = torch.nn.Sequential(model.model.layers[1].mlp.up_proj)
    assert LeanStep.of(model) is None


@pytest.mark.parametrize("name", [*sorted(tiny.SLIDING), "t5"])
def test_models_without_slots_fall_back_to_generate_and_say_why(name):
    model = tiny.t5() if name == "t5" else tiny.causal(tiny.SLIDING[name]())
    decoder = Decoder(model, [tiny.EOS])
    assert decoder.fallback
    prompts = tiny.prompts(2)
    got = answers(decoder, prompts, [Sampling(max_new_tokens=5)] * 2)
    assert all(c.error is None and len(c.token_ids) <= 5 for c in got)
    if name != "t5":
        assert [c.token_ids for c in got] == [generate(model, p, 5) for p in prompts]


def test_prompts_without_a_common_prefix_are_decoded(llama):
    prompts = [[5, 6, 7], [8], [9, 5, 6, 7, 8, 9, 10]]
    got = answers(Decoder(llama, [tiny.EOS]), prompts, [Sampling(max_new_tokens=6)] * 3)
    assert [c.token_ids for c in got] == [generate(llama, p, 6) for p in prompts]


def test_the_end_token_ends_an_answer_and_is_not_part_of_it(llama):
    prompt = tiny.prompts(1)[0]
    free = generate(llama, prompt, 9, eos=96)
    end = next(t for i, t in enumerate(free) if i >= 1 and t not in free[:i])
    (got,) = answers(Decoder(llama, [end]), [prompt], [Sampling(max_new_tokens=9)])
    assert (got.token_ids, got.finish) == (free[: free.index(end)], "stop")


def test_the_budget_ends_an_answer_with_length(llama):
    (got,) = answers(Decoder(llama, []), tiny.prompts(1), [Sampling(max_new_tokens=3)])
    assert (len(got.token_ids), got.finish) == (3, "length")


def test_a_stop_text_across_tokens_is_cut_to_the_character(llama):
    prompt = tiny.prompts(1)[0]
    free = answers(Decoder(llama, []), [prompt], [Sampling(max_new_tokens=9)])[0].token_ids
    stop = f"{free[3]}><{free[4]}"
    (got,) = answers(Decoder(llama, []), [prompt], [Sampling(max_new_tokens=9, stop=("no such", stop))])
    whole = text_of(free)
    assert (got.text, got.finish) == (whole[: whole.index(stop)], "stop")
    assert text_of(got.token_ids).startswith(got.text)
    assert len(got.token_ids) <= 4


def test_rows_that_end_leave_at_once_and_waiting_rows_take_their_place(llama):
    seen = []
    prompts = tiny.prompts(12, longest=4)
    budgets = [2 if i % 2 else 20 for i in range(12)]
    decoder = Decoder(llama, [], slots=4)
    samplings = [Sampling(max_new_tokens=n) for n in budgets]
    order = [
        c.index for c in decoder.decode(prompts, samplings, text_of, lambda done, tokens: seen.append((done, tokens)))
    ]
    assert order == [c.index for c in decoder.decode(prompts, samplings, text_of)]
    assert seen[-1] == (12, sum(budgets))
    passes = len(seen)
    assert passes < 20 * 6 / 4 + 2 * 6 + 12


def test_a_prompt_longer_than_the_context_is_an_error_and_an_answer_stops_at_the_limit(llama):
    prompts = [list(range(3, 53)), [5] * 61, [5] * 60]
    got = answers(Decoder(llama, [], limit=60), prompts, [Sampling(max_new_tokens=30)] * 3)
    assert (len(got[0].token_ids), got[0].finish) == (10, "length")
    assert [c.error for c in got] == [None, "prompt_too_long", "prompt_too_long"]
    assert got[1].finish == "error"


def test_an_empty_prompt_is_an_error(llama):
    got = answers(Decoder(llama, []), [[], [5]], [Sampling(max_new_tokens=2)] * 2)
    assert [c.error for c in got] == ["empty_prompt", None]


def test_nan_logits_end_their_row_only():
    model = tiny.causal(tiny.CONFIGS["llama"]())
    clean = tiny.prompts(6)
    want = [generate(model, p, 6) for p in clean]
    model.get_input_embeddings().weight.data[96] = float("nan")
    prompts = [[t if t != 96 else 95 for t in p] for p in clean]
    prompts[2] = [*prompts[2], 96]
    got = answers(Decoder(model, [tiny.EOS], slots=2), prompts, [Sampling(max_new_tokens=6)] * 6)
    assert [c.error for c in got] == [None, None, "nan_logits", None, None, None]
    assert [got[i].token_ids for i in (0, 1, 3, 4, 5) if prompts[i] == clean[i]] == [
        want[i] for i in (0, 1, 3, 4, 5) if prompts[i] == clean[i]
    ]


def test_a_drawn_answer_depends_on_its_seed_and_not_on_its_neighbours(llama):
    prompts = tiny.prompts(6)
    samplings = [Sampling(max_new_tokens=8, temperature=1.0, top_p=0.9, seed=i) for i in range(6)]
    together = answers(Decoder(llama, [], slots=4), prompts, samplings)
    alone = [answers(Decoder(llama, []), [p], [s])[0] for p, s in zip(prompts, samplings, strict=True)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    other = Sampling(max_new_tokens=8, temperature=1.0, seed=99)
    assert answers(Decoder(llama, []), prompts[:1], [other])[0].token_ids != alone[0].token_ids


def test_the_repetition_penalty_of_the_generation_config_is_honoured():
    model = tiny.causal(tiny.CONFIGS["qwen2"]())
    model.generation_config.repetition_penalty = 1.3
    prompts = tiny.prompts(3)
    got = answers(Decoder(model, [tiny.EOS]), prompts, [Sampling(max_new_tokens=12)] * 3)
    assert [c.token_ids for c in got] == [generate(model, p, 12) for p in prompts]


def test_a_generation_config_that_asks_for_more_falls_back_to_generate():
    model = tiny.causal(tiny.CONFIGS["llama"]())
    model.generation_config.no_repeat_ngram_size = 2
    decoder = Decoder(model, [tiny.EOS])
    prompts = tiny.prompts(2)
    assert decoder.fallback == "generation config asks for no_repeat_ngram_size=2"
    got = answers(decoder, prompts, [Sampling(max_new_tokens=8)] * 2)
    assert [c.token_ids for c in got] == [generate(model, p, 8) for p in prompts]


def test_little_memory_for_keys_cuts_slots_and_changes_no_answer(llama):
    prompts = [*tiny.prompts(5), [7] * 60]
    samplings = [Sampling(max_new_tokens=6)] * 6
    wide = answers(Decoder(llama, []), prompts, samplings)
    small = Decoder(llama, [], kv_bytes=40_000)
    assert answers(small, prompts, samplings) == wide


def test_a_model_that_fails_the_self_check_falls_back(llama, monkeypatch):
    monkeypatch.setattr("evalkit.backends.kv.SlotLayer.update", lambda self, k, v, *a, **kw: (k, v))
    assert "slots" in (Decoder(llama, []).fallback or "")
