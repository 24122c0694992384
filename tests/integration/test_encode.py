"""Encoding of pairs against lm-evaluation-harness itself, with several kinds of tokenizers."""

import pytest
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from evalkit.backends.encode import Encoded, PairEncoder

PAIRS = [
    ("Question: what?\nAnswer:", " yes"),
    ("trailing spaces  ", "go on"),
    ("tab\t\n", "go on"),
    ("", "no context"),
    ("", "<s>start"),
    ("<s>given start", " end"),
    ("ä€", "ö"),
]


def tokenizer(bos, adds_bos):
    """Return a byte tokenizer with merges, with or without a start token, which it may add by itself."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, "es", "go", "Ġy", "</s>", *(["<s>"] if bos else [])]
    fast = Tokenizer(
        models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[("e", "s"), ("g", "o"), ("Ġ", "y")])
    )
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.decoder = decoders.ByteLevel()
    if adds_bos:
        fast.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", names.index("<s>"))]
        )
    extra = {"bos_token": "<s>"} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="</s>", pad_token="</s>", **extra)


class Harness(HFLM):  # type: ignore[misc] # lm_eval has no types
    """lm-eval's model class without a model: only what encodes."""

    def __init__(self, tokenizer, add_bos):
        self.tokenizer, self.add_bos_token, self.custom_prefix_token_id = tokenizer, add_bos, None
        self.backend, self.enable_thinking = "causal", False

    def _loglikelihood_tokens(self, requests, **_):
        return [(tuple(context), tuple(continuation)) for _, context, continuation in requests]


@pytest.mark.parametrize("add_bos", [None, True, False])
@pytest.mark.parametrize(("bos", "adds_bos"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_are_encoded_as_the_harness_encodes_them(pair, bos, adds_bos, add_bos):
    ours = tokenizer(bos, adds_bos)
    request = type("Request", (), {"args": pair})()
    (want,) = Harness(ours, add_bos).loglikelihood([request], disable_tqdm=True)
    got = PairEncoder(ours, add_bos=add_bos).encode_pair(*pair)
    assert (got.context, got.continuation) == want


def test_a_context_is_cut_from_the_left_and_the_cut_is_counted():
    ours = tokenizer(False, False)
    whole = PairEncoder(ours).encode_pair("abcdefgh", "ij")
    got = PairEncoder(ours, limit=5).encode_pair("abcdefgh", "ij")
    assert got == Encoded(whole.context[4:], whole.continuation, 4)
    assert len(got.context) + len(got.continuation) - 1 == 5


def test_an_encoder_decoder_pair_is_encoded_in_two_parts():
    ours = tokenizer(False, False)
    got = PairEncoder(ours, separate=True).encode_pair("ag", "o")
    assert got == Encoded(tuple(ours.encode("ag")), tuple(ours.encode("o")))
