"""The edge to lm-evaluation-harness: its tasks as suites. It owns prompts, few-shots, filters and metrics; we answer.

A task's requests become ours, so that they are journalled, resumed and planned like any other; answers go back
through the task's filters and `process_results`, one document at a time. Its caches, which are pickles and not keyed
by model, are never used.
"""

from __future__ import annotations

import contextlib
import io
import logging
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Literal

import lm_eval.tasks
import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.tasks import TaskManager

from evalkit.data import mirror_of, mirrored
from evalkit.errors import SuiteError
from evalkit.registry import did_you_mean
from evalkit.types import Example, Request, Response, Row, Sampling, Score, Suite

SEED = 1234
"""lm-eval's own default for few-shot sampling and numpy; Python's generator starts at 0 there."""
RENAMED = {("truthfulqa_mc2", "acc"): "mc2"}
"""Scores that we call by another name than the task, since one run may hold several tasks."""
NO_SHARE = re.compile(r".*(_max|_diff|perplexity|bits_per_byte|likelihood)|s?bleu|chrf|ter|brier_score")
"""Metrics that are no share of 1; some of their values may look like one."""
FAMILIES = frozenset({"arc", "hellaswag", "mmlu", "truthfulqa"})
"""Folders of lm-eval's tasks whose groups and tags are whole in themselves (tested)."""
META = ("subject", "category", "type", "level", "activity_label", "source", "topic")
"""Columns of a document that go to meta."""


@dataclass
class LoadedTask:
    """One task with its documents and instances, ready to be asked and scored."""

    name: str
    task: Task
    group: str
    """Name of the nearest group that holds it; empty for a task on its own."""
    docs: list[Mapping[str, Any]]
    instances: dict[int, list[Instance]]
    """Document number -> its instances, in order."""

    def example_id(self, doc: int) -> str:
        """Return the id of a document's example."""
        return f"{self.name}-{doc}"


_LOADED: dict[tuple[str, int | None], dict[str, LoadedTask]] = {}
"""(task or group, shots) -> its tasks by name: what the scorer needs after the suite was read."""


def with_task(suite: Suite, data_dir: str | Path | None, limit: int | None) -> Suite:
    """Return the suite with the examples and requests of its lm-eval task or group, at most `limit` per task.

    Raises:
        SuiteError: unknown task, data that cannot be had, or a task that runs code or needs images.
    """
    assert suite.source is not None
    source = suite.source
    with _silence():
        loaded = _load(source.lm_eval, source.subset, source.fewshot, mirror_of(data_dir), limit)
    _LOADED[source.lm_eval, source.fewshot] = {t.name: t for t in loaded}
    asked = [(_example(t, doc), _requests(t, doc)) for t in loaded for doc in range(len(t.docs))]
    names = [score_name(t, metric, "none") for t in loaded for metric in _metrics(t.task)]
    return replace(
        suite,
        chat=False,
        examples=tuple(example for example, _ in asked),
        requests=tuple(request for _, request in asked),
        scorers=("lm_eval",),
        primary=suite.primary if suite.primary in names else next((n for n in names if _is_share(n)), names[0]),
    )


@dataclass(frozen=True)
class LmEval:
    """Score an answer by the task it belongs to: its filters, then its `process_results`."""

    parallel: ClassVar[bool] = False
    suite: Suite = field(repr=False)
    """The suite that the task was read for."""
    task: str = field(init=False)
    """Task or group."""
    kind: Literal["choose", "generate"] = field(init=False, repr=False)
    """What requests of the task ask for."""

    def __post_init__(self) -> None:
        """Find the loaded tasks of the suite."""
        source = self.suite.source
        assert source is not None
        object.__setattr__(self, "task", f"{source.lm_eval} (lm-eval, {source.fewshot} shots)")
        object.__setattr__(self, "kind", self.suite.requests[0].kind)

    def __call__(self, example: Example, response: Response) -> tuple[Score, ...]:
        """Return a score per metric and filter; what is no number in 0..1 is unscored and says its value."""
        loaded = self._tasks[str(example.meta["task"])]
        if response.error:
            names = [score_name(loaded, metric, "none") for metric in _metrics(loaded.task)]
            return tuple(Score(name, None, why="the request failed") for name in names)
        found = results(loaded, int(example.id.rpartition("-")[2]), response)
        return tuple(_score(score_name(loaded, m, f), value) for (m, f), value in found.items())

    @property
    def _tasks(self) -> Mapping[str, LoadedTask]:
        source = self.suite.source
        assert source is not None
        return _LOADED[source.lm_eval, source.fewshot]


def results(loaded: LoadedTask, doc: int, response: Response) -> dict[tuple[str, str], Any]:
    """Return (metric, filter) -> what the task makes of one answer."""
    instances = [replace(i, resps=[r] * i.repeats, filtered_resps={}) for i, r in _answers(loaded, doc, response)]
    with _silence():
        for ensemble in loaded.task._filters:
            ensemble.apply(instances)
        return {
            (metric, name): value
            for name in instances[0].filtered_resps
            for metric, value in loaded.task.process_results(
                loaded.docs[doc], [i.filtered_resps[name] for i in instances]
            ).items()
        }


def aggregate(suite: Suite, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return task -> {"metric,filter": value} as lm-eval itself would print it, by the task's own aggregation."""
    assert suite.source is not None
    found: dict[str, dict[tuple[str, str], list[Any]]] = {}
    tasks = _LOADED[suite.source.lm_eval, suite.source.fewshot]
    for row in rows:
        name = str(row.example.meta["task"])
        if not row.response.error:
            for key, value in results(tasks[name], int(row.example.id.rpartition("-")[2]), row.response).items():
                found.setdefault(name, {}).setdefault(key, []).append(value)
    return {
        name: {f"{m},{f}": float(_aggregation(tasks[name].task, m)(values)) for (m, f), values in metrics.items()}
        for name, metrics in found.items()
    }


def score_name(loaded: LoadedTask, metric: str, filter_name: str) -> str:
    """Return our name of a task's metric."""
    name = RENAMED.get((loaded.name, metric), metric)
    return name if filter_name == "none" else f"{name},{filter_name}"


def _manager(name: str) -> TaskManager:
    """Return an index that holds a task: of its own folder where that has it, since the whole one takes seconds."""
    folders = (path for path in Path(lm_eval.tasks.__file__).parent.iterdir() if path.is_dir())
    family = max((f for f in folders if f"{name}_".startswith(f"{f.name}_")), key=lambda f: len(f.name), default=None)
    if family:
        entry = _index(family).task_index.get(name)
        if entry and (family.name in FAMILIES or entry.kind.name in {"TASK", "PY_TASK"}):
            return _index(family)
    return _index(None)


@cache
def _index(folder: Path | None) -> TaskManager:
    """Return lm-eval's index of one folder of its tasks, or of all."""
    return TaskManager(include_path=str(folder), include_defaults=False) if folder else TaskManager()


def _load(
    name: str, subset: tuple[str, ...], shots: int | None, mirror: Path | None, limit: int | None
) -> list[LoadedTask]:
    manager = _manager(name)
    entry = manager._entry(name)
    if entry is None:
        raise SuiteError(f"lm-eval has no task {name!r}{did_you_mean(name, manager.all_tasks)}")
    random.seed(0)
    np.random.seed(SEED)
    members = list(dict.fromkeys(_members(name, manager)))
    if unknown := sorted(set(subset) - {task for task, _ in members}):
        raise SuiteError(
            f"source.subset: {name!r} has no task {unknown[0]!r}{did_you_mean(unknown[0], [t for t, _ in members])}"
        )
    chosen = [(task, group) for task, group in members if not subset or task in subset]
    return [_ready(_build(task, manager, mirror), task, group, shots, limit) for task, group in chosen]


def _members(name: str, manager: TaskManager, group: str = "") -> Iterator[tuple[str, str]]:
    """Yield (task, nearest group) of a task, tag or group, in lm-eval's order."""
    entry = manager.task_index.get(name)
    if entry is None:
        raise SuiteError(f"lm-eval's group {group!r} names {name!r}, which is no task of it; give its tasks one by one")
    if entry.kind.name == "TAG":
        for child in sorted(entry.tags):
            yield from _members(child, manager, group)
    elif entry.kind.name == "GROUP":
        for child in manager._factory._load_full_config(entry, None)["task"]:
            yield from _members(
                child if isinstance(child, str) else child.get("task", child.get("group", "?")), manager, name
            )
    else:
        yield name, group


def _build(name: str, manager: TaskManager, mirror: Path | None) -> Task:
    """Build one task, its data read from the mirror where that has it."""
    entry = manager.task_index[name]
    config = manager._factory._load_full_config(entry, None)
    if config.get("unsafe_code"):
        raise SuiteError(f"lm-eval's task {name!r} runs code that a model wrote; evalkit does not")
    hub, subset = str(config.get("dataset_path", "")), str(config.get("dataset_name") or "")
    overrides = _from_mirror(mirror, hub, subset, config) if mirror else {}
    try:
        task = manager._factory._build_task(entry, overrides or None)
    except Exception as fault:  # hub clients and data builders raise many kinds, all of them mean "no data"
        looked = f"{mirror / hub / subset}/<split>.jsonl" if mirror else "no --data-dir was given"
        reason = " ".join(str(fault).split())[:120]
        raise SuiteError(
            f"the data of lm-eval's task {name!r} ({hub} {subset}) was found neither in a mirror ({looked}) "
            f"nor on the hub ({reason})"
        ) from None
    if getattr(task, "MULTIMODAL", False):
        raise SuiteError(f"lm-eval's task {name!r} needs images or sound; evalkit evaluates text")
    return task


def _from_mirror(mirror: Path, hub: str, subset: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides that read a task's splits from files, or nothing where the mirror has none of them."""
    shots = (config.get("fewshot_config") or {}).get("split")
    wanted = {config.get(f"{kind}_split") for kind in ("training", "validation", "test", "fewshot")} | {shots}
    files = {split: file for split in sorted(filter(None, wanted)) if (file := mirrored(mirror, hub, subset, split))}
    if not files:
        return {}
    kind = {".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}[next(iter(files.values())).suffix]
    data = {split: str(file.resolve()) for split, file in files.items()}
    return {"dataset_path": kind, "dataset_name": None, "dataset_kwargs": {"data_files": data}}


def _ready(task: Task, name: str, group: str, shots: int | None, limit: int | None) -> LoadedTask:
    """Set the shots as lm-eval's evaluator does and build the requests of the first `limit` documents."""
    default = task.get_config("num_fewshot")
    if default is None or (shots is not None and default != 0):
        task.set_config(key="num_fewshot", value=shots or 0)
    task.set_fewshot_seed(seed=SEED)
    task.build_all_requests(limit=limit, rank=0, world_size=1)
    instances: dict[int, list[Instance]] = {}
    for instance in task.instances:
        instances.setdefault(instance.doc_id, []).append(instance)
    for found in instances.values():
        found.sort(key=lambda i: i.idx)
    docs = [doc for _, doc in task.doc_iterator(limit=limit)]
    return LoadedTask(name, task, group, docs, instances)


def _example(loaded: LoadedTask, number: int) -> Example:
    task, doc = loaded.task, loaded.docs[number]
    choices: Sequence[Any] = ()
    if isinstance(task, ConfigurableTask) and task.OUTPUT_TYPE == "multiple_choice":
        choices = task.doc_to_choice(doc)
    text, gold = task.doc_to_text(doc), task.doc_to_target(doc)
    golds = gold if isinstance(gold, list) else [gold]
    target = tuple(
        str(choices[g]) if choices and isinstance(g, int) and 0 <= g < len(choices) else str(g) for g in golds
    )
    meta = {key: doc[key] for key in META if isinstance(doc.get(key), str)}
    return Example(
        id=loaded.example_id(number),
        input=text if isinstance(text, str) else str(loaded.instances[number][0].args[0]),
        target=target,
        choices=tuple(str(choice) for choice in choices),
        meta={**meta, "task": loaded.name, **({"group": loaded.group} if loaded.group else {})},
    )


def _requests(loaded: LoadedTask, number: int) -> Request:
    """Return the one request that stands for all instances of a document."""
    instances, name = loaded.instances[number], loaded.example_id(number)
    first = instances[0]
    if first.request_type == "generate_until":
        return Request(name, prompt=first.args[0], sampling=_sampling(first.args[1]))
    if first.request_type == "loglikelihood_rolling":
        return Request(name, kind="choose", choices=tuple(i.args[0] for i in instances), rolling=True)
    contexts = tuple(i.args[0] for i in instances)
    same = len(set(contexts)) == 1
    return Request(
        name,
        kind="choose",
        prompt=contexts[0],
        choices=tuple(i.args[1] for i in instances),
        contexts=() if same else contexts,
    )


def _sampling(given: Mapping[str, Any]) -> Sampling:
    """Read lm-eval's generation arguments; its own default is 256 tokens, greedy."""
    stop = given.get("until") or ()
    return Sampling(
        max_new_tokens=int(given.get("max_gen_toks", given.get("max_new_tokens", 256))),
        temperature=float(given.get("temperature") or 0.0) if given.get("do_sample") else 0.0,
        top_p=float(given.get("top_p", 1.0)),
        stop=(stop,) if isinstance(stop, str) else tuple(s for s in stop if s),
    )


def _answers(loaded: LoadedTask, doc: int, response: Response) -> Iterator[tuple[Instance, Any]]:
    """Yield (instance, what a model of lm-eval's would have returned for it)."""
    for position, instance in enumerate(loaded.instances[doc]):
        if instance.request_type == "generate_until":
            yield instance, response.text
        elif instance.request_type == "loglikelihood_rolling":
            yield instance, response.choice_logprobs[position]
        else:
            yield instance, (response.choice_logprobs[position], response.choice_greedy[position])


def _is_share(name: str) -> bool:
    return any(word in name for word in ("acc", "exact_match", "em", "mc2", "f1"))


def _metrics(task: Task) -> list[str]:
    return list(task.aggregation())


def _aggregation(task: Task, metric: str) -> Any:
    return task.aggregation().get(metric, fmean)


def _score(name: str, value: Any) -> Score:
    share = isinstance(value, bool | int | float | np.number) and 0 <= float(value) <= 1
    if share and not NO_SHARE.fullmatch(name):
        return Score(name, float(value))
    return Score(name, None, why=f"{value if not isinstance(value, float) else round(value, 6)}: not a share")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep lm-eval's and datasets' progress bars and log lines off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
