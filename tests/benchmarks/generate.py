"""Answers against `model.generate`, in one process, interleaved; writes a Markdown page.

    python -m tests.benchmarks.generate -o reports/benchmarks/generate.md

The rival gets the same prompts, left-padded, sorted by length, in batches; its best size is found in the first repeat.
Answers are compared with `model.generate` on one prompt at a time as well.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from evalkit.backends.hf import HfBackend
from evalkit.catalogue import fetch
from evalkit.models import find_checkpoint
from evalkit.prompt import requests_of as requests_of_suite
from evalkit.report.markdown import grid
from evalkit.suite import read_suite
from evalkit.types import Request
from tests.benchmarks.speed import MODEL, processor, timed, write_page

SIZES = (8, 16, 32, 64)
SUITES = ("docs_qa", "lamini_docs")


def requests_of(rows: int, tokens: int, suite: str = "docs_qa", data_dir: str | None = None) -> list[Request]:
    """Return the first requests of a suite with a budget of `tokens`."""
    asked = requests_of_suite(read_suite(suite, data_dir=data_dir, limit=rows))
    return [replace(r, sampling=replace(r.sampling, max_new_tokens=tokens)) for r in asked]


def ours(backend: HfBackend, requests: Sequence[Request], _: int = 0) -> list[str]:
    """Answer as `evalkit run` does."""
    found: dict[int, str] = {}
    for batch in backend.plan(requests):
        answered = backend.respond([requests[i] for i in batch])
        found.update((i, response.text) for i, response in zip(batch, answered, strict=True))
    return [found[i] for i in range(len(requests))]


def theirs(backend: HfBackend, requests: Sequence[Request], size: int) -> list[str]:
    """Answer by `model.generate` in left-padded batches of `size` rows sorted by length."""
    model: Any = backend.model
    tokenizer: Any = backend.tokenizer
    tokenizer.padding_side = "left"
    sent = [backend.sent(request) for request in requests]
    order = sorted(range(len(sent)), key=lambda i: len(sent[i]))
    found: dict[int, str] = {}
    for begin in range(0, len(order), size):
        part = order[begin : begin + size]
        plain = not requests[part[0]].messages
        inputs = tokenizer([sent[i] for i in part], return_tensors="pt", padding=True, add_special_tokens=plain)
        budget = requests[part[0]].sampling.max_new_tokens
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=budget, do_sample=False)[:, inputs["input_ids"].shape[1] :]
        found.update(zip(part, tokenizer.batch_decode(out, skip_special_tokens=True), strict=True))
    return [found[i] for i in range(len(sent))]


def equal(some: Sequence[str], others: Sequence[str]) -> int:
    """Return how many answers are the same but for space around them."""
    return sum(a.strip() == b.strip() for a, b in zip(some, others, strict=True))


PAGE = """\
# Answers

Written by `python -m tests.benchmarks.generate{asked} -o reports/benchmarks/generate.md` on {processor},
{threads} threads;
{model}, float32, greedy. Medians of {repeats} interleaved repeats in one process, the ratios pair by pair. docs_qa
asks by chat, with the system prompt as a shared beginning; lamini_docs asks by a short plain template.
"""
SECTION = """
## {suite}

{rows} answers of at most {tokens} tokens.

{table}

**{ratio:.2f} times faster** than `model.generate` at its best batch size ({size}). {same} of {rows} answers equal its
answers in batches, and {alone} of {checked} those of `model.generate` on one prompt at a time; the others part at a
tie within float noise.
"""


def section(backend: HfBackend, suite: str, requests: Sequence[Request], repeats: int) -> str:
    """Measure one suite and return its part of the page."""
    ours(backend, requests[:4])  # loads, checks, warms
    sizes = {size: timed(functools.partial(theirs, backend, requests, size))[0] for size in SIZES}
    size = min(sizes, key=sizes.__getitem__)
    pairs = []
    for _ in range(repeats):
        a, want = timed(lambda: theirs(backend, requests, size))
        b, got = timed(lambda: ours(backend, requests))
        pairs.append((a, b))
        click.echo(f"{suite}: model.generate {a:.1f} s, evalkit {b:.1f} s", err=True)
    tokens_of = sum(len(backend.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in got)
    few = requests[:16]
    alone = equal(ours(backend, few), [theirs(backend, [request], 1)[0] for request in few])
    sizes[size] = statistics.median(a for a, _ in pairs)
    lines = [(f"`model.generate`, {n} rows", f"{s:.1f}", f"{tokens_of / s:.0f}") for n, s in sizes.items()]
    mine = statistics.median(b for _, b in pairs)
    lines.append(("evalkit", f"{mine:.1f}", f"{tokens_of / mine:.0f}"))
    return SECTION.format(
        suite=suite, rows=len(requests), tokens=requests[0].sampling.max_new_tokens, size=size, checked=len(few),
        table="\n".join(grid(("side", "seconds", "tokens/s"), lines)),
        ratio=statistics.median(a / b for a, b in pairs), same=equal(got, want), alone=alone,
    )  # fmt: skip


@click.command()
@click.option("--rows", default=64)
@click.option("--tokens", default=96)
@click.option("--repeats", default=3)
@click.option("--suite", "suites", multiple=True, default=SUITES)
@click.option("--data-dir")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(
    rows: int, tokens: int, repeats: int, suites: Sequence[str], data_dir: str | None, output: Path | None
) -> None:
    """Measure and write the page."""
    backend = HfBackend(find_checkpoint(str(fetch(MODEL))))
    parts = [section(backend, suite, requests_of(rows, tokens, suite, data_dir), repeats) for suite in suites]
    asked = "".join(f" --suite {suite}" for suite in suites) if tuple(suites) != SUITES else ""
    page = PAGE.format(
        asked=asked, processor=processor(), threads=torch.get_num_threads(), model=MODEL, repeats=repeats
    )
    write_page(page + "".join(parts), output)


if __name__ == "__main__":
    main()
