"""Peak memory against lm-evaluation-harness and `model.generate`, each side alone in a process; writes a Markdown page.

    python -m tests.benchmarks.memory --data-dir MIRROR -o reports/benchmarks/memory.md

Both sides do the same job with the same weights; the rival at the batch size that was its fastest.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import click

from tests.benchmarks import generate
from tests.benchmarks.speed import MODEL, Case, ours, processor, requests_of, theirs, write_page

JOBS: dict[str, tuple[Case, int]] = {
    "arc_challenge, 0 shots, 64 rows": (Case("", ("arc_challenge",), 0, 64, 0), 8),
    "arc_challenge, 25 shots, 4 rows": (Case("", ("arc_challenge",), 25, 4, 0), 1),
    "hellaswag, 0 shots, 48 rows": (Case("", ("hellaswag",), 0, 48, 0), 8),
}
GENERATION = "docs_qa, 64 answers of at most 96 tokens"


def work(job: str, side: str, data_dir: str) -> None:
    """Do one job by one side in this process."""
    from evalkit.backends.hf import HfBackend
    from evalkit.catalogue import fetch
    from evalkit.models import find_checkpoint

    folder = str(fetch(MODEL))
    backend = HfBackend(find_checkpoint(folder))
    if job == GENERATION:
        (generate.ours if side == "evalkit" else generate.theirs)(backend, generate.requests_of(64, 96), 64)
        return
    case, size = JOBS[job]
    requests, instances = requests_of(case, data_dir, case.rows)
    if side == "evalkit":
        ours(backend, requests)
    else:
        from lm_eval.models.huggingface import HFLM

        theirs(HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=size), instances, size)


def peak(job: str, side: str, data_dir: str) -> float:
    """Return the peak resident memory in GB of a process that does a job, imports and weights included."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--data-dir", data_dir, "--job", job, "--side", side]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if done.returncode:
        raise click.ClickException(done.stderr[-2000:])
    return float(json.loads(done.stdout.splitlines()[-1])) / 1e6


PAGE = """\
# Memory

Written by `python -m tests.benchmarks.memory --data-dir DIR -o reports/benchmarks/memory.md` on {processor}: peak
resident memory of a process that does the job alone, libraries and weights included; {model}, float32.

{table}

The rival is lm-eval's `hf` model, and `model.generate` for answers, each at the batch size that was its fastest.
"""


@click.command()
@click.option("--data-dir", required=True)
@click.option("--job", hidden=True)
@click.option("--side", hidden=True)
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(data_dir: str, job: str | None, side: str, output: Path | None) -> None:
    """Measure all jobs and write the page."""
    if job:
        work(job, side, data_dir)
        click.echo(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        return
    from evalkit.report.markdown import grid

    rows = []
    for name in (*JOBS, GENERATION):
        mine, rival = (peak(name, s, data_dir) for s in ("evalkit", "rival"))
        rows.append((name, f"{rival:.2f}", f"{mine:.2f}", f"**{mine / rival:.2f}**"))
        click.echo(" ".join(rows[-1]), err=True)
    table = "\n".join(grid(("job", "rival, GB", "evalkit, GB", "ratio"), rows))
    text = PAGE.format(processor=processor(), model=MODEL, table=table)
    write_page(text, output)


if __name__ == "__main__":
    main()
