"""What is learned of a row, token by token, and that training asks exactly as evalkit asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evalkit.backends.hf import HfBackend
from evalkit.models import find_checkpoint
from evalkit.prompt import template_hash
from evalkit.suite import read_suite
from evalkit.types import Message
from tests.integration.conftest import save_tiny_llama
from trainkit.attention import MODES, attending, best_mode
from trainkit.dataset import TrainRow, read_rows
from trainkit.encode import IGNORE, Encoded, Encoder
from trainkit.errors import BadRow, TrainError
from trainkit.ledger import Ledger
from trainkit.step import Stepper
from trainkit.template import PromptSpec

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "suites/docs_qa/train.jsonl"
QA = "### Question:\n{input}\n\n### Answer:"
END = 256
CHAT, PLAIN = PromptSpec(), PromptSpec.of(QA)
AWKWARD = [
    ("What is <b>?", "It is bold."),
    ("질문은 무엇입니까?", "대답입니다."),
    ("emoji 🙂?", "yes 🙂🙂"),
    ("ends in space ", " starts with one"),
    ("new\nlines\n", "line one\nline two\n"),
    ("{input} {question}", "{answer}"),
    ("a", "b"),
    ("tab\t", "\ttab"),
]


@pytest.fixture(scope="module")
def rows():
    ours = list(read_rows(TRAIN).rows[:12])
    return [*ours, *(TrainRow(f"awkward{i}", q, a, line=i) for i, (q, a) in enumerate(AWKWARD))]


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny)


def ids_by_hand(text: str) -> list[int]:
    """The byte tokenizer's ids: the place of each byte's character in the sorted alphabet of bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    characters = {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}
    place = {character: n for n, character in enumerate(sorted(characters.values()))}
    return [place[characters[b]] for b in text.encode()]


def test_labels_of_twenty_rows_through_the_chat_template_token_by_token(rows, tokenizer):
    assert len(rows) == 20
    encoder = Encoder(CHAT, tokenizer, (END,))
    for row in rows:
        prompt, answer = ids_by_hand(f"<|user|>{row.question}\n<|assistant|>"), ids_by_hand(row.answer.strip())
        got = encoder.encode(row)
        lead = ids_by_hand(row.answer[: len(row.answer) - len(row.answer.lstrip())])
        assert list(got.ids) == [*prompt, *lead, *answer, END]
        assert got.labels == [IGNORE] * len(prompt) + [*lead, *answer, END]


def test_labels_of_twenty_rows_through_the_seeds_template_token_by_token(rows, tokenizer):
    encoder = Encoder(PLAIN, tokenizer, (END,))
    for row in rows:
        prompt = ids_by_hand(f"### Question:\n{row.question}\n\n### Answer:")
        answer = ids_by_hand(row.answer if row.answer[0].isspace() else f" {row.answer}")
        got = encoder.encode(row)
        assert list(got.ids) == [*prompt, *answer, END]
        assert got.labels == [IGNORE] * len(prompt) + [*answer, END]


@pytest.mark.parametrize("spec", [CHAT, PLAIN, PromptSpec(system="Be brief.")], ids=["chat", "plain", "system"])
def test_the_prompts_tokens_are_those_that_evalkit_sends(rows, tokenizer, tiny, spec):
    """The seed trained on one prompt and asked with another."""
    backend = HfBackend(find_checkpoint(str(tiny)))
    for row in rows:
        request = spec.request(row.id, row.input)
        sent = backend._ids(backend.sent(request), plain=not request.messages)
        got = Encoder(spec, tokenizer, (END,)).encode(row)
        assert list(got.ids[: got.prompt]) == sent


@pytest.mark.model
@pytest.mark.parametrize("spec", [CHAT, PLAIN], ids=["chat", "plain"])
def test_the_real_tokenizers_rows_end_once_and_decode_to_prompt_and_answer(rows, real_model, spec):
    tokenizer = AutoTokenizer.from_pretrained(real_model)
    backend = HfBackend(find_checkpoint(str(real_model)))
    for row in rows:
        request = spec.request(row.id, row.input)
        got = Encoder(spec, tokenizer, backend.eos).encode(row)
        assert list(got.ids[: got.prompt]) == backend._ids(backend.sent(request), plain=not request.messages)
        assert got.labels[: got.prompt] == [IGNORE] * got.prompt
        assert got.labels[-1] == tokenizer.eos_token_id
        assert got.labels[got.prompt :].count(tokenizer.eos_token_id) == 1
        learned = str(tokenizer.decode(got.labels[got.prompt : -1], clean_up_tokenization_spaces=False))
        assert learned.strip() == row.answer.strip()


def test_the_hash_is_that_of_a_suite_that_asks_alike():
    assert CHAT.hash == template_hash(read_suite(str(ROOT / "suites/docs_qa")))
    assert PLAIN.hash == template_hash(read_suite("lamini_docs", data_dir=_mirror()))
    assert PLAIN.hash != CHAT.hash != PromptSpec(system="x").hash
    assert PromptSpec.of(QA.replace("input", "question")).hash == PLAIN.hash


def _mirror() -> str:
    import tempfile

    folder = Path(tempfile.mkdtemp(), "lamini", "lamini_docs")
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text(json.dumps({"question": "q", "answer": "a"}) + "\n")
    return str(folder.parents[1])


def test_a_pad_token_that_is_the_end_token_masks_no_end(tokenizer):
    """The seed masked pads by id, and with them every end: models that never stop."""
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    got = Encoder(PLAIN, tokenizer, (END,)).encode(TrainRow("a", "q", "a"))
    assert got.labels[-1] == tokenizer.pad_token_id


@pytest.mark.parametrize("spec", [CHAT, PLAIN], ids=["chat", "plain"])
def test_an_answer_that_holds_an_end_token_is_refused(tokenizer, spec):
    with pytest.raises(BadRow, match=r"row a .*holds the text of an end token"):
        Encoder(spec, tokenizer, (END,)).encode(TrainRow("a", "q", "yes<|end|>no<|end|>"))


def test_a_row_that_cannot_be_encoded_is_dropped_and_counted_where_asked(tokenizer):
    rows = [TrainRow("a", "q", "yes<|end|>no", line=1), TrainRow("b", "q", "a", line=2)]
    with pytest.raises(BadRow, match=r"row a .*\(--bad-rows drop leaves such rows out, counted\)"):
        Encoder(PLAIN, tokenizer, (END,)).encode_all(rows, Ledger(2))
    ledger = Ledger(2)
    kept = Encoder(PLAIN, tokenizer, (END,), bad_rows="drop").encode_all(rows, ledger)
    assert [row.id for row in kept] == ["b"]
    assert "its answer holds the text of an end token" in ledger.dropped["a"]
    assert ledger.line().startswith("2 rows = 1 trained + 0 truncated + 1 dropped")


def test_a_chat_needs_a_chat_template_and_a_model_needs_an_end(tokenizer, tmp_path):
    bare = AutoTokenizer.from_pretrained(save_tiny_llama(tmp_path / "plain", chat=False))
    with pytest.raises(TrainError, match="no chat template"):
        Encoder(CHAT, bare, (END,))
    with pytest.raises(TrainError, match="no end token"):
        Encoder(PLAIN, tokenizer, ())
    with pytest.raises(BadRow, match="is a chat, but the template is plain"):
        Encoder(PLAIN, tokenizer, (END,)).encode(TrainRow("a", (Message("user", "x"),), "y"))


def test_a_template_that_changes_the_prompt_once_answered_is_refused_by_row(tiny):
    changed = AutoTokenizer.from_pretrained(tiny)
    changed.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(BadRow, match=r"row a \(line 4\): .*renders the prompt differently"):
        Encoder(CHAT, changed, (END,)).encode(TrainRow("a", "q", "a", line=4))


def test_a_template_with_its_own_end_is_learned_up_to_it(tiny):
    ended = AutoTokenizer.from_pretrained(tiny)
    ended.chat_template = "{% for m in messages %}{{ m['content'] }}<|end|>\n{% endfor %}"
    got = Encoder(CHAT, ended, (END,)).encode(TrainRow("a", "q", "yes"))
    assert list(got.ids) == [*ids_by_hand("q"), END, *ids_by_hand("\nyes"), END]
    assert got.prompt == 3


def test_over_long_rows_are_raised_dropped_or_cut_at_the_left_and_counted(tokenizer):
    data = [TrainRow("short", "q", "a"), TrainRow("long", "x" * 90, "a"), TrainRow("answer", "q", "y" * 90)]

    def run(policy):
        ledger = Ledger(3)
        return Encoder(PLAIN, tokenizer, (END,), 60, policy).encode_all(data, ledger), ledger

    with pytest.raises(BadRow, match=r"row long .*over-long \(120 tokens, the limit is 60\)"):
        run("raise")
    kept, ledger = run("drop")
    assert ([r.id for r in kept], sorted(ledger.dropped), ledger.adds_up) == (["short"], ["answer", "long"], True)
    kept, ledger = run("truncate-prompt-left")
    assert ([r.id for r in kept], list(ledger.truncated), list(ledger.dropped)) == (
        ["short", "long"],
        ["long"],
        ["answer"],
    )
    assert ledger.adds_up
    cut = kept[1]
    assert (len(cut.ids), cut.cut) == (60, 60)
    assert tokenizer.decode(list(cut.ids[: cut.prompt])).endswith("x\n\n### Answer:")
    assert tokenizer.decode(cut.labels[cut.prompt :]) == " a<|end|>"


@pytest.fixture(scope="module")
def llama(tiny):
    return AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)


def gradients(model, mode, rows, budget=10_000):
    model.zero_grad()
    stepper = Stepper.of(model, mode, budget, END)
    with attending(model, mode):
        parts = [stepper.loss_sum(model, part) for part in stepper.cut(rows)]
        for part in parts:
            part.backward()
    return sum(part.item() for part in parts), torch.cat([p.grad.flatten() for p in model.parameters()])


def some_rows():
    draw = torch.Generator().manual_seed(1)
    sizes = [(20, 8), (51, 20), (3, 1), (33, 32), (12, 5)]
    return [Encoded(str(n), tuple(torch.randint(0, 256, (n,), generator=draw).tolist()), p) for n, p in sizes]


def test_the_loss_is_that_of_the_model_row_by_row(llama):
    rows = some_rows()
    with torch.no_grad():
        losses = [llama(input_ids=torch.tensor([r.ids]), labels=torch.tensor([r.labels])).loss for r in rows]
    want = sum(float(loss) * row.supervised for loss, row in zip(losses, rows, strict=True))
    for mode in MODES:
        assert gradients(llama, mode, rows)[0] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("mode", ["rows", "packed"])
def test_packing_gives_the_gradients_of_padding(llama, mode):
    assert best_mode(llama) == "rows"
    want_loss, want = gradients(llama, "padded", some_rows())
    loss, got = gradients(llama, mode, some_rows())
    assert loss == pytest.approx(want_loss, rel=1e-6)
    assert float((got - want).abs().max()) < 1e-5 * float(want.abs().max())


@pytest.mark.parametrize("mode", MODES)
def test_passes_change_memory_and_not_the_gradient(llama, mode):
    """Gradient accumulation divides by all supervised tokens of the step."""
    want_loss, want = gradients(llama, mode, some_rows())
    loss, got = gradients(llama, mode, some_rows(), budget=40)
    assert loss == pytest.approx(want_loss, rel=1e-6)
    assert float((got - want).abs().max()) < 1e-5 * float(want.abs().max())


def test_a_model_with_a_sliding_window_is_padded():
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=4,
    )
    assert best_mode(MistralForCausalLM(config)) == "padded"


@pytest.mark.parametrize("family", ["GPT2", "GPTNeoX"])
def test_other_families_train_too_in_the_way_that_equals_padding(family):
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = getattr(transformers, f"{family}Config")(**sizes, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    model = getattr(transformers, "GPT2LMHeadModel" if family == "GPT2" else "GPTNeoXForCausalLM")(config)
    mode = best_mode(model)
    want_loss, want = gradients(model, "padded", some_rows())
    loss, got = gradients(model, mode, some_rows())
    assert loss == pytest.approx(want_loss, rel=1e-5)
    assert float((got - want).abs().max()) < 1e-4 * float(want.abs().max())


def test_a_fused_adapter_computes_what_pefts_own_does(tiny):
    from trainkit.lora import attach, fused
    from trainkit.settings import SftSettings

    settings = SftSettings("-", "-", "-", lora=True, lora_rank=4)
    tuned = attach(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), settings, str(tiny))
    torch.manual_seed(0)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    ids = torch.arange(40).view(2, 20)

    def gradients_of():
        tuned.zero_grad()
        loss = tuned(input_ids=ids, labels=ids).loss
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in tuned.parameters() if p.grad is not None])

    want_loss, want = gradients_of()
    with fused(tuned):
        loss, got = gradients_of()
    assert loss == pytest.approx(want_loss, rel=1e-6)
    assert float((got - want).abs().max()) < 1e-5 * float(want.abs().max())
    assert gradients_of()[0] == want_loss


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_plan_knows_what_a_forward_pass_keeps_of_the_real_model(real_model, lora):
    from trainkit.measure import calibrate
    from trainkit.plan import Load, estimate
    from trainkit.shapes import shape_of

    load = Load(lora=lora, tokens=64, supervised=1 / 64)
    measured = calibrate(str(real_model), load, tokens=64)
    assert estimate(shape_of(str(real_model)), load).activations / 64 == pytest.approx(measured.kept, rel=0.02)
    assert measured.flops > 1e9
