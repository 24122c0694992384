"""What to do about a category: one line each, for the reports."""

from __future__ import annotations

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "empty": "see whether training targets are empty or the chat template differs from the one trained on",
    "leak": "train and evaluate with one template, and check that special tokens are not part of targets",
    "repetition": "check that every training target ends in EOS, and look for looped rows in the training data",
    "truncated": "raise generation.max_new_tokens; if answers then never end, look at EOS in the training targets",
    "language": "look for rows of the other language in the training data, or say the language in the system message",
    "refusal": "look for refusals in the training targets; add answers for such questions",
    "format": "add training rows with the wanted form, or show it in few-shot examples",
    "too_long": "compare with the length of training targets; shorten them only if they are longer than the references",
    "too_short": "look for short or cut training targets; ask for the wanted length in the prompt",
    "misspelling": "correct the training targets that hold the same misspelling",
    "unsupported": "check these by hand: nothing in the question, the reference or the training data supports them",
    "copied": "the answer belongs to another training row: look for near-same prompts with different answers",
    "missing_facts": "add or correct training rows that hold these facts",
    "low_overlap": "read these answers: they share few words with the reference",
    "off_topic": "read these answers: they seem to be about something else than the question",
}


def advice(category: str) -> str:
    """Return what to do about a category, or an empty text for one that we know nothing of."""
    return ADVICE.get(category, "")
