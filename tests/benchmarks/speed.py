"""Speed against lm-evaluation-harness and `model.generate`, in one process, interleaved; writes a Markdown page.

    python -m tests.benchmarks.speed --data-dir MIRROR -o reports/benchmarks/speed.md

Both sides get the same loaded weights, the same requests and the same threads. The rival runs at its best batch size,
found first. Times are medians of interleaved repeats; ratios are taken pair by pair.
"""

from __future__ import annotations

import functools
import itertools
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from evalkit import harness
from evalkit.backends.hf import HfBackend
from evalkit.backends.rows import lay_out
from evalkit.catalogue import fetch
from evalkit.identity import versions
from evalkit.models import find_checkpoint
from evalkit.report.markdown import grid
from evalkit.suite import read_suite
from evalkit.types import Request, Response

MODEL = "smollm2-135m-instruct"
SIZES = (1, 8, 16, 32)
"""Batch sizes among which the rival's best is looked for."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    suites: tuple[str, ...]
    shots: int | None
    rows: int
    goal: float
    """Times faster that were asked for."""
    sizes: tuple[int, ...] = SIZES
    """The rival's batch sizes that are tried: at 25 shots larger ones only pad more."""
    apart: bool = False
    """The rival answers suite by suite: asked in one call it computes requests that are the same once."""


CASES = (
    Case("arc_challenge, 0 shots", ("arc_challenge",), 0, 150, 2.8),
    Case("arc_challenge, 25 shots", ("arc_challenge",), 25, 12, 4.3, (1, 4, 8)),
    Case("hellaswag, 0 shots", ("hellaswag",), 0, 100, 2.2),
    Case("mmlu (5 subjects), 5 shots", tuple(f"mmlu_{s}" for s in (
        "marketing", "philosophy", "college_chemistry", "business_ethics", "public_relations")), 5, 12, 5.3, (1, 4, 8)),
    Case("truthfulqa_mc1", ("truthfulqa_mc1",), None, 40, 16.0),
    Case("truthfulqa_mc2", ("truthfulqa_mc2",), None, 40, 16.0),
    Case("truthfulqa mc1 and mc2 in one run, lm-eval in two", ("truthfulqa_mc1", "truthfulqa_mc2"), None, 40, 24.0,
         apart=True),
    Case("truthfulqa mc1 and mc2 in one run, lm-eval too", ("truthfulqa_mc1", "truthfulqa_mc2"), None, 40, 24.0),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What was measured of one case."""

    case: Case
    size: int
    theirs: float
    ours: float
    ratio: float
    difference: float
    choices: int
    computed: float
    """Computed tokens / all requests' tokens."""
    share: float
    """Of the matmul peak."""


def matmul_peak(size: int = 1536, seconds: float = 1.0) -> float:
    """Return the machine's own float32 matmul speed in FLOP/s, at its best."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def requests_of(case: Case, data_dir: str, rows: int) -> tuple[list[Request], list[Instance]]:
    """Return the same work for both sides: our requests, and lm-eval's instances of the same documents."""
    requests: list[Request] = []
    instances: list[Instance] = []
    for name in case.suites:
        suite = read_suite(name, data_dir=data_dir, fewshot=case.shots, limit=rows)
        requests += suite.requests
        assert suite.source is not None
        for loaded in harness._LOADED[suite.source.lm_eval, suite.source.fewshot].values():
            instances += [i for doc in range(len(loaded.docs)) for i in loaded.instances[doc]]
    return requests, instances


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return (seconds, result)."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def ours(backend: HfBackend, requests: Sequence[Request]) -> list[Response]:
    """Plan and answer, as `evalkit run` does."""
    backend._planned.clear()
    found: dict[int, Response] = {}
    for batch in backend.plan(requests):
        found.update(zip(batch, backend.respond([requests[i] for i in batch]), strict=True))
    return [found[i] for i in range(len(requests))]


def theirs(rival: HFLM, instances: Sequence[Instance], size: int, *, apart: bool = False) -> list[float]:
    """Answer with lm-eval's own model class at one batch size, in one call or task by task."""
    rival.batch_size_per_gpu = size
    calls = [list(part) for _, part in itertools.groupby(instances, lambda i: i.task_name)] if apart else [instances]
    return [float(logprob) for call in calls for logprob, _ in rival.loglikelihood(list(call), disable_tqdm=True)]


def work_done(backend: HfBackend, requests: Sequence[Request]) -> tuple[int, int, int]:
    """Return (tokens computed, padding included; positions that the LM head read; tokens of all requests)."""
    computed = reads = 0
    for batch, _ in backend._planned.values():
        start = sum(map(len, batch.trunk))
        for block in batch.blocks:
            lines = [lay_out([batch.pairs[place] for place in line], start) for line in block]
            computed += len(lines) * max(len(line.tokens) for line in lines)
            reads += len({(n, c) for n, line in enumerate(lines) for columns in line.reads for c in columns})
    trunks = {batch.trunk[: n + 1] for batch, _ in backend._planned.values() for n in range(len(batch.trunk))}
    computed += sum(len(trunk[-1]) for trunk in trunks)
    pairs = [pair for request in requests for choice in backend._windows(request) for pair in choice]
    return computed, reads, sum(len(pair.context) + len(pair.continuation) - 1 for pair in pairs)


def flop(backend: HfBackend, computed: int, reads: int) -> float:
    """Return multiplications and additions of the linear layers; attention is left out."""
    head = backend.model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in backend.model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return 2.0 * float(linear * computed + head.weight.numel() * reads)


def measure(case: Case, backend: HfBackend, rival: HFLM, data_dir: str, repeats: int) -> Found:
    """Find the rival's best batch size on a part of the rows, then time both in turn."""
    part, few = requests_of(case, data_dir, max(2, case.rows // 4))
    size = min(case.sizes, key=lambda s: timed(lambda: theirs(rival, few, s, apart=case.apart))[0])
    ours(backend, part)  # warm
    requests, instances = requests_of(case, data_dir, case.rows)
    pairs = []
    for _ in range(repeats):
        a, want = timed(lambda: theirs(rival, instances, size, apart=case.apart))
        b, got = timed(lambda: ours(backend, requests))
        pairs.append((a, b))
    flat = [p for response in got for p in response.choice_logprobs]
    computed, reads, whole = work_done(backend, requests)
    seconds = statistics.median(b for _, b in pairs)
    return Found(
        case=case,
        size=size,
        theirs=statistics.median(a for a, _ in pairs),
        ours=seconds,
        ratio=statistics.median(a / b for a, b in pairs),
        difference=max(abs(x - y) for x, y in zip(flat, want, strict=True)),
        choices=differing(got, want),
        computed=computed / whole,
        share=flop(backend, computed, reads) / seconds / matmul_peak(),
    )


def differing(got: Sequence[Response], want: Sequence[float]) -> int:
    """Return how many questions have another likeliest choice."""
    rest, count = iter(want), 0
    for response in got:
        own = [next(rest) for _ in response.choice_logprobs]
        mine = response.choice_logprobs
        count += max(range(len(own)), key=own.__getitem__) != max(range(len(mine)), key=mine.__getitem__)
    return count


def growth(backend: HfBackend, data_dir: str) -> list[tuple[str, float, float]]:
    """Return (what, seconds, microseconds a computed token) as rows and shared prefixes grow."""
    found = []
    for rows, shots in ((200, 0), (400, 0), (800, 0), (24, 2), (24, 5), (24, 10)):
        requests, _ = requests_of(Case("", ("arc_challenge",), shots, rows, 0), data_dir, rows)
        seconds, _ = timed(functools.partial(ours, backend, requests))
        computed, _, _ = work_done(backend, requests)
        found.append((f"{rows} rows, {shots} shots, {computed:,} tokens", seconds, 1e6 * seconds / computed))
    return found


PAGE = """\
# Speed

Written by `python -m tests.benchmarks.speed --data-dir DIR -o reports/benchmarks/speed.md` on {processor}, {threads}
threads, Python {python}, torch {torch}, transformers {transformers}, lm-eval {lm_eval}; {model}, float32. Both sides
work in one process, in turn, with the same weights; figures are medians of {repeats} interleaved repeats. lm-eval's
`hf` model runs at the best of the batch sizes tried. Peak memory of the process, rival included: {memory:.1f} GB.

{table}

Computed: tokens that went through the model, padding included / tokens of all requests. Peak: multiplications of the
linear layers that were done (LM head on needed positions only, attention not counted) per second, against the fastest
float32 product of two 1536 x 1536 matrices in the same process. What limits the rest: attention, norms and activations,
about 15 % of the time, and at 25 shots attention over the long prefix. lm-eval computes requests that are the same once
where both TruthfulQA tasks are given to one call, not where they are two.

## Growth

ARC-Challenge: more rows, then longer shared prefixes.

{growth}
"""
HEAD = ("task", "rows", "batch", "lm-eval s", "evalkit s", "times faster", "wanted", "largest difference, nats")


def line(f: Found) -> tuple[str, ...]:
    """Return the table's row of one case."""
    return (
        f.case.name,
        str(f.case.rows * max(1, sum(s.startswith("mmlu") for s in f.case.suites))),
        str(f.size),
        f"{f.theirs:.1f}",
        f"{f.ours:.1f}",
        f"**{f.ratio:.2f}**",
        str(f.case.goal),
        f"{f.difference:.1e}",
        str(f.choices),
        f"{100 * f.computed:.0f} %",
        f"{100 * f.share:.0f} %",
    )


def table(found: Sequence[Found]) -> list[str]:
    """Return the lines of the Markdown table."""
    return list(grid((*HEAD, "other choice", "computed", "peak"), [line(f) for f in found]))


def page(found: Sequence[Found], grown: Sequence[tuple[str, float, float]], repeats: int) -> str:
    """Return the Markdown page."""
    known = versions()
    return PAGE.format(
        processor=processor(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=known["version.torch"],
        transformers=known["version.transformers"],
        lm_eval=known["version.lm-eval"],
        model=MODEL,
        repeats=repeats,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        table="\n".join(table(found)),
        growth="\n".join(
            grid(
                ("work", "seconds", "microseconds a computed token"), [(w, f"{s:.1f}", f"{e:.0f}") for w, s, e in grown]
            )
        ),
    )


def mended(text: str, found: Sequence[Found]) -> str:
    """Return a page with the rows of some cases measured anew; a case that it lacks comes last in the table."""
    lines = text.splitlines(keepends=True)
    for fresh, row in zip(found, table(found)[2:], strict=True):
        old = [n for n, known in enumerate(lines) if known.startswith(f"| {fresh.case.name} |")]
        last = max(n for n, known in enumerate(lines) if known.endswith("% |\n"))
        lines[old[0] if old else last + 1 : old[0] + 1 if old else last + 1] = [row + "\n"]
    return "".join(lines)


def processor() -> str:
    """Return the processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_page(text: str, output: Path | None) -> None:
    """Write a page, or print it where no file is given."""
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


@click.command()
@click.option("--data-dir", required=True)
@click.option("--repeats", default=3)
@click.option("--only", default="", help="Cases whose name holds this; in a page that is there only their rows change.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(data_dir: str, repeats: int, only: str, output: Path | None) -> None:
    """Measure all cases and write the page."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    folder = str(fetch(MODEL))
    rival = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=16)
    backend = HfBackend(find_checkpoint(folder))
    backend.__dict__["model"] = rival.model.eval()
    found = []
    for case in CASES:
        if only in case.name:
            found.append(measure(case, backend, rival, data_dir, repeats))
            click.echo(str(found[-1]), err=True)
    if only and output and output.is_file():
        text = mended(output.read_text(encoding="utf-8"), found)
    else:
        text = page(found, growth(backend, data_dir) if not only else [], repeats)
    write_page(text, output)


if __name__ == "__main__":
    main()
