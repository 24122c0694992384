"""lm-evaluation-harness's result and sample files -> runs, so that what people have can be compared and gated.

Reads files alone: neither lm-eval nor the task's data is needed. Scores are taken as lm-eval gave them; answers are
tagged.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.assess import Assessor
from evalkit.errors import RunError
from evalkit.folder import RunFolder
from evalkit.identity import identity_of
from evalkit.jobs import conclude
from evalkit.jsonl import dump, parse_object
from evalkit.settings import RunSettings
from evalkit.suite import NAME, digested
from evalkit.types import Answer, Example, Response, Row, Score, Source, Suite

NAMED = 200
"""Characters of a model's name that are kept."""
SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d{2}-\d{2}T[\d.:-]+)\.jsonl(\.gz)?")
KEPT = {
    "doc_id",
    "doc",
    "target",
    "arguments",
    "resps",
    "filtered_resps",
    "filter",
    "metrics",
    "doc_hash",
    "prompt_hash",
    "target_hash",
}
"""Keys of a sample that are no metric."""
QUESTIONS = ("question", "query", "input", "ctx", "text", "problem", "prompt", "goal")
"""Columns of a document that may hold its question."""
CHOICES = ("mc1_targets", "choices", "endings", "options")
"""Columns that may hold its choices."""
META = ("subject", "category", "type", "level", "topic")
"""Columns that go to meta."""
TEMPLATE = ("doc_to_text", "description", "target_delimiter", "fewshot_delimiter", "num_fewshot")
"""What of a task's configuration makes its prompt; chat templates belong to models."""


@dataclass(frozen=True)
class Log:
    """The samples of one task, and what the results file says of them."""

    task: str
    """The task's name."""
    path: Path
    """The samples file."""
    config: Mapping[str, Any]
    """The task's configuration."""
    model: str
    """The model as lm-eval was given it."""
    details: Mapping[str, str]
    """What else identifies the model."""


def import_logs(path: str | Path, out: Path) -> list[Path]:
    """Write a run per task that `path` holds (a samples file, or a folder with results and samples); name the folders.

    Raises:
        RunError: there are no samples, or a line of them is not as lm-eval writes it.
    """
    logs = find_logs(Path(path))
    return [_import(log, out if len(logs) == 1 else out / log.task) for log in logs]


def find_logs(path: Path) -> list[Log]:
    """Find the newest samples file of each task, with the results file of the same time where there is one."""
    files = [path] if path.is_file() else sorted(path.rglob("samples_*.jsonl*")) if path.is_dir() else []
    newest: dict[str, tuple[str, Path]] = {}
    for file in files:
        if found := SAMPLES.fullmatch(file.name):
            newest[found["task"]] = max(newest.get(found["task"], ("", file)), (found["time"], file))
    if not newest:
        raise RunError(f"{path}: no samples_<task>_<time>.jsonl here; run lm-eval with --log_samples and --output_path")
    return [_log(task, file, time) for task, (time, file) in sorted(newest.items())]


def _log(task: str, file: Path, time: str) -> Log:
    found = _results(file.parent / f"results_{time}.json")
    config = _table(found.get("config"))
    name = str(found.get("model_name") or config.get("model_args", file.parent.name))
    details = {
        key: str(config[key]) for key in ("model_sha", "model_revision", "model_dtype", "model_args") if config.get(key)
    }
    return Log(task, file, _table(_table(found.get("configs")).get(task)), name[:NAMED], details)


def _results(path: Path) -> Mapping[str, Any]:
    try:
        return parse_object(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError) as fault:
        raise RunError(f"{path}: no results of lm-eval: {fault}") from None


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _import(log: Log, out: Path) -> Path:
    rows = _rows(log)
    suite = _suite(log, [row.example for row in rows], _primary(rows))
    assessor = Assessor.of(suite)
    answers: list[Answer] = [(row.example, 0, row.response) for row in rows]
    found = assessor.assess(answers)
    tagged = tuple(replace(new, scores=old.scores) for new, old in zip(found.rows, rows, strict=True))
    model = {
        "backend": "lm-eval",
        "model_digest": hashlib.sha256(dump(log.details).encode()).hexdigest(),
        **log.details,
    }
    identity = identity_of(suite, assessor, model) | {
        "scorers": dump([f"lm-eval {log.task} {log.config.get('metadata', '')}"])
    }
    identity["template"] = hashlib.sha256(dump([str(log.config.get(key)) for key in TEMPLATE]).encode()).hexdigest()[
        :16
    ]
    settings = RunSettings(log.model, (log.task,))
    with RunFolder.create(
        out, {"identity": identity, "settings": settings.record(), "imported": str(log.path)}
    ) as folder:
        conclude(folder, suite, replace(found, rows=tagged))
    return out


def _rows(log: Log) -> list[Row]:
    """Return a row per document."""
    samples, number = _samples(log.path), -1
    try:
        shares = _shares(samples.values())
        return [_row(log.task, number := document, lines, shares) for document, lines in samples.items()]
    except (ValueError, TypeError, LookupError, AttributeError) as fault:
        where = f"document {number}" if number >= 0 else "a document"
        raise RunError(
            f"{log.path}: {where} is not as lm-eval writes it ({type(fault).__name__}: {str(fault)[:100]})"
        ) from None


def _samples(path: Path) -> dict[int, list[Mapping[str, Any]]]:
    """Return document number -> its samples, one per filter."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):  # noqa: B007 - told where a line is none
                sample = parse_object(line.strip())
                found.setdefault(int(sample["doc_id"]), []).append(sample)
    except (OSError, EOFError, zlib.error) as fault:
        raise RunError(f"{path}: cannot be read: {fault}") from None
    except (ValueError, KeyError, TypeError) as fault:
        raise RunError(f"{path}: line {number} is no sample of lm-eval: {fault}") from None
    if not found:
        raise RunError(f"{path}: no sample in it")
    return dict(sorted(found.items()))


def _row(task: str, number: int, samples: Sequence[Mapping[str, Any]], shares: frozenset[str]) -> Row:
    """Build the row of one document; each filter's metrics become scores."""
    first, doc = samples[0], samples[0].get("doc", {})
    sent, response = _response(first)
    question = next((doc[key] for key in QUESTIONS if isinstance(doc.get(key), str)), sent)
    example = Example(
        id=f"{task}-{number}",
        input=question,
        target=_targets(first["target"], _choices(doc)),
        choices=_choices(doc) if response.choice_logprobs else (),
        meta={"task": task, **{key: doc[key] for key in META if isinstance(doc.get(key), str)}},
    )
    return Row(example, response, scores=tuple(score for sample in samples for score in _scores(sample, shares)))


def _response(sample: Mapping[str, Any]) -> tuple[str, Response]:
    """Return the context and what the model answered: choices with log-probabilities, or a text."""
    given = sample.get("arguments") or {}
    arguments = list(given.values()) if isinstance(given, Mapping) else given
    first = (
        list(arguments[0].values())
        if arguments and isinstance(arguments[0], Mapping)
        else arguments[0]
        if arguments
        else [""]
    )
    answers = sample["resps"]
    values = [answer[0] if isinstance(answer, list) and answer else answer for answer in answers]
    if values and all(isinstance(v, list | tuple) and len(v) == 2 for v in values):
        logprobs = tuple(float(v[0]) for v in values)
        if not all(map(math.isfinite, logprobs)):
            raise ValueError("a log-probability is no finite number")
        return str(first[0]), Response(
            sent=str(first[0]),
            choice_logprobs=logprobs,
            choice_greedy=tuple(str(v[1]) == "True" for v in values),
        )
    text = values[0] if values and isinstance(values[0], str) else ""
    return str(first[0]), Response(text=text, sent=str(first[0]))


def _scores(sample: Mapping[str, Any], shares: frozenset[str]) -> Iterable[Score]:
    """Yield a score per metric; one that is no share is unscored and says its value."""
    for metric, label in _metrics(sample):
        value = sample.get(metric)
        if label in shares:
            yield Score(label, None if value is None else float(value))
        else:
            yield Score(label, None, why=f"{round(value, 6) if isinstance(value, float) else dump(value)}: not a share")


def _metrics(sample: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield (key of the sample, our name) of each metric; older logs do not list them."""
    name = sample.get("filter", "none")
    for metric in sample.get("metrics") or [key for key in sample if key not in KEPT]:
        if not isinstance(metric, str):
            raise TypeError(f"metric {metric!r} is no text")
        yield metric, metric if name == "none" else f"{metric},{name}"


def _shares(documents: Iterable[Sequence[Mapping[str, Any]]]) -> frozenset[str]:
    """Return the metrics whose values all lie in 0..1; BLEU in points and perplexities are no scores of ours."""
    fits: dict[str, bool] = {}
    for sample in (sample for samples in documents for sample in samples):
        for metric, label in _metrics(sample):
            value = sample.get(metric)
            share = value is None or (isinstance(value, int | float) and 0 <= value <= 1)
            fits[label] = fits.get(label, True) and share
    return frozenset(label for label, share in fits.items() if share)


def _primary(rows: Sequence[Row]) -> str:
    """Return the metric that decides: one that every row has, the accuracy first."""
    names = [s.name for s in rows[0].scores if all((o := r.score(s.name)) and o.value is not None for r in rows)]
    wanted = ("acc_norm", "acc", "mc2", "exact_match", "bleu_acc")
    return next((n for want in wanted for n in names if n.partition(",")[0] == want), names[0] if names else "acc")


def _choices(doc: Mapping[str, Any]) -> tuple[str, ...]:
    for key in CHOICES:
        value = doc.get(key)
        value = (value.get("choices") or value.get("text")) if isinstance(value, Mapping) else value
        if isinstance(value, list) and value:
            return tuple(str(choice) for choice in value)
    return ()


def _targets(target: Any, choices: Sequence[str]) -> tuple[str, ...]:
    items = target if isinstance(target, list) else [target]
    return tuple(choices[int(t)] if choices and str(t).isdigit() and int(t) < len(choices) else str(t) for t in items)


def _suite(log: Log, examples: Sequence[Example], primary: str) -> Suite:
    name = log.task if NAME.fullmatch(log.task) else re.sub(r"[^A-Za-z0-9._-]", "_", log.task)[:100]
    choose = bool(examples[0].choices)
    return digested(
        Suite(
            name=name,
            examples=tuple(examples),
            chat=False,
            scorers=(),
            taggers=("none",) if choose else ("default",),
            primary=primary,
            source=Source(lm_eval=log.task),
        )
    )
