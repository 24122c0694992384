"""Records as others keep them -> our training rows: question and answer, Alpaca, chats, plain text. Pure.

Alpaca's two templates are those of the Stanford Alpaca project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trainkit.dataset import ALPACA, TrainRow, row_of
from trainkit.errors import BadRow

FORMATS = ("auto", "qa", "alpaca", "chat")
WITH_INPUT = """Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
{instruction}

### Input:
{input}

### Response:"""
WITHOUT_INPUT = """Below is an instruction that describes a task. \
Write a response that appropriately completes the request.

### Instruction:
{instruction}

### Response:"""
ASK = """Write one question that the text below answers, and its answer, in this form:
Question: ...
Answer: ...

Text:
{text}"""
"""How a model is asked to turn text into a question and an answer."""
_PLACE = re.compile(r"\{(instruction|input)\}")
_PAIR = re.compile(
    r"Question:\s*(?P<question>.+?)\s*\n+\s*Answer:\s*(?P<answer>.+?)\s*(?:\n\s*Question:|\Z)", re.DOTALL
)


def rows_of(
    records: Iterable[tuple[int, Mapping[str, Any]]], form: str, keys: tuple[str, str], *, hydrate: bool = True
) -> Iterator[TrainRow | BadRow]:
    """Yield a row, or what is wrong with it, for each (line, record).

    A chat gives a row for each of its assistant's turns. With `hydrate`, Alpaca's rows get Alpaca's templates as their
    question, as the seed does; train those with `--template {input}`.
    """
    for line, record in records:
        try:
            kind = _kind(record) if form == "auto" else form
            if kind == "chat":
                yield from _turns(record, line)
            elif kind == "alpaca" and hydrate:
                yield row_of(
                    {**_rest(record), "question": hydrated(record, line), "answer": record.get("output")}, line
                )
            else:
                yield row_of(record, line, *(("", "") if kind == "alpaca" else keys))
        except BadRow as fault:
            yield fault


def hydrated(record: Mapping[str, Any], line: int) -> str:
    """Return Alpaca's prompt of a record: one template with an input, another without."""
    instruction, extra = record.get("instruction"), record.get("input") or ""
    if not isinstance(instruction, str) or not instruction.strip() or not isinstance(extra, str):
        raise BadRow(f"line {line}", "instruction (or input) is missing, empty or not a text")
    values = {"instruction": instruction, "input": extra}
    return _PLACE.sub(lambda place: values[place[1]], WITH_INPUT if extra.strip() else WITHOUT_INPUT)


def paragraphs(text: str, longest: int = 1500) -> list[str]:
    """Return the paragraphs of a text, short ones joined up to `longest` characters, headings with what follows."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        block = block.strip()
        if block and found and len(found[-1]) + len(block) < longest // 3:
            found[-1] += f"\n\n{block}"
        elif block:
            found.append(block[:longest])
    return found


def pair_of(answer: str) -> tuple[str, str] | None:
    """Return the question and answer in a model's reply, or None where it did not keep to the form."""
    match = _PAIR.search(answer)
    return (match["question"].strip(), match["answer"].strip()) if match else None


def _kind(record: Mapping[str, Any]) -> str:
    return "chat" if "messages" in record else "alpaca" if set(record) >= ALPACA else "qa"


def _rest(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("id", "meta") if key in record}


def _turns(record: Mapping[str, Any], line: int) -> Iterator[TrainRow]:
    messages = record.get("messages")
    turns = messages if isinstance(messages, list) else []
    answers = [i for i, turn in enumerate(turns) if isinstance(turn, Mapping) and turn.get("role") == "assistant" and i]
    name = record.get("id")
    for number, at in enumerate(answers or [len(turns)], 1):
        own = {"id": f"{name}-{number}"} if name and len(answers) > 1 else {}
        yield row_of({**_rest(record), **own, "messages": turns[: at + 1]}, line)
