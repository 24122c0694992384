"""A folder in suites/ (or a data set it names) -> Suite: found, read, validated, digested. Loads no model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from evalkit.codec import example_record
from evalkit.data import read_rows
from evalkit.errors import SuiteError
from evalkit.examples import example_of, examples_of
from evalkit.jsonl import dump, read_jsonl
from evalkit.registry import did_you_mean, load, table
from evalkit.toml import parse_toml, read_toml
from evalkit.types import SEVERITY_WEIGHTS, Example, Sampling, Source, Suite

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LM_EVAL = "lm_eval:"
ANSWERS = "answers"
"""Name of the suite that answers without one are scored by."""
_COLUMNS = ("id", "input", "target", "choices")
_READ_ELSEWHERE = {"examples", "fewshot", "generation", "source", "settings", "requests", "digest", "data_digest"}
_TABLES = ("generation", "source", "scorer", "tagger")


def suite_folders() -> dict[str, Path]:
    """Return name -> folder of every suite that a bare name finds: ./suites first, then what ships with evalkit."""
    package = Path(__file__).parent
    shipped = package / "suites" if (package / "suites").is_dir() else package.parent / "suites"
    found: dict[str, Path] = {}
    for parent in (Path("suites"), shipped):
        if parent.is_dir():
            for folder in sorted(parent.iterdir()):
                if (folder / "suite.toml").is_file():
                    found.setdefault(folder.name, folder)
    return found


def find_suite(given: str) -> Path:
    """Return the folder of a suite given by name or by path."""
    if (Path(given) / "suite.toml").is_file():
        return Path(given)
    if "/" in given or Path(given).is_dir():
        raise SuiteError(
            f"{given!r} is not a suite: a suite is a folder with suite.toml; `evalkit suites new` makes one"
        )
    known = suite_folders()
    if given not in known:
        raise SuiteError(f"unknown suite {given!r}{did_you_mean(given, known)}; `evalkit suites list` shows all")
    return known[given]


def describe(folder: Path) -> Suite:
    """Return a suite's settings without its examples: enough for a list."""
    settings = read_toml(folder / "suite.toml", SuiteError)
    return _suite_of({"name": folder.resolve().name, **settings}, where=str(folder / "suite.toml"))


def read_suite(
    given: str,
    *,
    overrides: Sequence[str] = (),
    data_dir: str | Path | None = None,
    fewshot: int | None = None,
    limit: int | None = None,
) -> Suite:
    """Read a suite by name, by folder or as `lm_eval:TASK`, with `key.sub=value` overrides applied.

    With `limit` only the first examples are kept: of each task, where a suite is a group of lm-eval tasks.

    Raises:
        SuiteError: it cannot be found or read, or something in it is not as expected.
    """
    if limit is not None and limit < 1:
        raise SuiteError(f"--limit {limit}: expected a positive number of examples")
    given = f"{LM_EVAL}{given}" if given.startswith("mmlu_") and given not in suite_folders() else given
    folder = None if given.startswith(LM_EVAL) else find_suite(given)
    settings = read_toml(folder / "suite.toml", SuiteError) if folder else _task_settings(given.removeprefix(LM_EVAL))
    if folder:
        settings.setdefault("name", folder.resolve().name)
    for item in overrides:
        _override(settings, item)
    suite = _suite_of(settings, where=str(folder / "suite.toml") if folder else given)
    if fewshot is not None:
        suite = _with_fewshot(suite, fewshot)
    suite = _with_examples(suite, folder, data_dir, limit)
    if limit is not None and not suite.requests:
        suite = replace(suite, examples=suite.examples[:limit])
    return digested(suite)


def suite_of_answers(examples: Sequence[Example], overrides: Sequence[str] = ()) -> Suite:
    """Return the suite `answers` for examples that come with their answers; nothing is asked."""
    settings: dict[str, Any] = {"name": ANSWERS, "split": "dev"}
    for item in overrides:
        _override(settings, item)
    return digested(replace(_suite_of(settings, where="answers"), examples=examples))


def digested(suite: Suite) -> Suite:
    """Return the suite with its digests, which hold everything that changes a question or how it is asked."""
    lines = hashlib.sha256()
    for place, example in enumerate(suite.examples):
        lines.update(("\n" if place else "").encode() + dump(example_record(example)).encode())
    data = lines.hexdigest()
    settings = {
        f.name: getattr(suite, f.name) for f in fields(suite) if f.name not in ("examples", "digest", "description")
    }
    settings |= {"generation": asdict(suite.generation), "source": suite.source and asdict(suite.source)}
    settings |= {"requests": [asdict(request) for request in suite.requests]}
    settings |= {"fewshot": [asdict(shot) for shot in suite.fewshot], "data_digest": data}
    return replace(suite, data_digest=data, digest=hashlib.sha256(dump(settings).encode()).hexdigest())


def _task_settings(task: str) -> dict[str, Any]:
    """Return the settings of a suite that is nothing but an lm-eval task."""
    return {"name": task, "source": {"lm_eval": task}, "taggers": ["none"], "description": f"lm-eval's task {task}"}


def _override(settings: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise SuiteError(f"--set {item!r}: expected key=value, for instance generation.max_new_tokens=64")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = text
    *path, last = key.split(".")
    for part in path:
        settings = settings.setdefault(part, {})
        if not isinstance(settings, dict):
            raise SuiteError(f"--set {item!r}: {part!r} is not a table")
    settings[last] = value


def _suite_of(settings: Mapping[str, Any], where: str) -> Suite:
    known = {f.name for f in fields(Suite)} - _READ_ELSEWHERE
    plain = {key: value for key, value in settings.items() if key not in _TABLES}
    for key in plain:
        if key not in known:
            raise SuiteError(f"{where}: unknown key {key!r}{did_you_mean(key, known | set(_TABLES))}")
    values = {key: _typed(key, value, where) for key, value in plain.items()}
    plugins = {
        f"{group}.{name}": dict(_table(of, f"{group}.{name}", where))
        for group in ("scorer", "tagger")
        for name, of in _table(settings.get(group, {}), group, where).items()
    }
    for name, given in plugins.items():
        try:
            dump(given)
        except (TypeError, ValueError):
            raise SuiteError(
                f"{where}: [{name}]: expected texts, finite numbers, true or false, and lists of them"
            ) from None
    suite = Suite(
        **values,
        examples=(),
        settings=plugins,
        generation=_record(Sampling, settings.get("generation", {}), "generation", where),
        source=_record(Source, settings["source"], "source", where) if "source" in settings else None,
    )
    return _checked(suite, where)


_EXPECTED = {
    "name": str, "version": int, "split": str, "description": str, "chat": bool, "template": str, "system": str,
    "scorers": list, "taggers": list, "primary": str, "cluster_key": str, "trials": int, "margin": float,
    "severity": dict, "max_new_tokens": int, "temperature": float, "top_p": float, "stop": list, "seed": int,
    "hub": str, "lm_eval": str, "config": str, "columns": dict, "fewshot": int, "subset": list,
}  # fmt: skip
_CALLED: Mapping[type, str] = {
    str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list of texts",
    dict: "a table",
}  # fmt: skip


def _typed(key: str, value: Any, where: str) -> Any:
    """Return `value` if it has the type that `key` wants; lists of texts become tuples, whole numbers floats."""
    want = _EXPECTED[key]
    if want is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    right = isinstance(value, want) and (want is bool or not isinstance(value, bool))
    if right and want is list:
        right = all(isinstance(item, str) for item in value)
    if not right:
        raise SuiteError(f"{where}: {key} = {value!r}: expected {_CALLED[want]}")
    return tuple(value) if want is list else value


def _table(value: Any, key: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SuiteError(f"{where}: {key} = {value!r}: expected a table, written [{key}]")
    return value


def _record(kind: type[Any], value: Any, key: str, where: str) -> Any:
    known = {f.name for f in fields(kind)}
    given = _table(value, key, where)
    for name in given:
        if name not in known:
            raise SuiteError(f"{where}: unknown key {key}.{name}{did_you_mean(name, known)}")
    return kind(**{name: _typed(name, item, where) for name, item in given.items()})


def _checked(suite: Suite, where: str) -> Suite:
    g, source = suite.generation, suite.source
    facts = [
        (NAME.fullmatch(suite.name), f"name = {suite.name!r}: expected letters, digits, '.', '_' or '-', at most 100"),
        (suite.split in ("dev", "held_out"), f"split = {suite.split!r}: expected 'dev' or 'held_out'"),
        (suite.chat or "{input}" in suite.template, "template: expected the place of the question, {input}, in it"),
        (suite.trials >= 1, f"trials = {suite.trials}: expected at least 1"),
        (suite.trials == 1 or g.temperature > 0, f"trials = {suite.trials} at temperature 0 repeat one answer"),
        (g.max_new_tokens >= 1, f"generation.max_new_tokens = {g.max_new_tokens}: expected at least 1"),
        (0 <= g.temperature <= 100, f"generation.temperature = {g.temperature}: expected 0 to 100"),
        (0 < g.top_p <= 1, f"generation.top_p = {g.top_p}: expected above 0, at most 1"),
        (all(g.stop), "generation.stop: an empty text stops every answer at once"),
        (suite.margin is None or 0 < suite.margin < 100, f"margin = {suite.margin}: expected points between 0 and 100"),
        (source is None or bool(source.hub) != bool(source.lm_eval), "source: expected one of hub and lm_eval"),
    ]  # fmt: skip
    for holds, message in facts:
        if not holds:
            raise SuiteError(f"{where}: {message}")
    for ours, theirs in source.columns.items() if source else ():
        if ours not in _COLUMNS or not isinstance(theirs, str):
            raise SuiteError(f"{where}: source.columns.{ours} = {theirs!r}{did_you_mean(ours, _COLUMNS)}")
    for category, severity in suite.severity.items():
        if not isinstance(severity, str) or severity not in SEVERITY_WEIGHTS:
            raise SuiteError(
                f"{where}: severity.{category} = {severity!r}{did_you_mean(str(severity), SEVERITY_WEIGHTS)}"
            )
    _check_plugins(suite, where)
    return suite


def _check_plugins(suite: Suite, where: str) -> None:
    for group, names, extra in (("scorers", suite.scorers, ()), ("taggers", suite.taggers, ("default", "none"))):
        known = {*table(group), *extra}
        used = [key.partition(".")[2] for key in suite.settings if key.startswith(group[:-1] + ".")]
        for name in (*names, *used):
            if name not in known:
                raise SuiteError(f"{where}: unknown {group[:-1]} {name!r}{did_you_mean(name, known)}")


def _with_fewshot(suite: Suite, shots: int) -> Suite:
    if shots < 0:
        raise SuiteError(f"--fewshot {shots}: expected 0 or more")
    if not suite.source or not suite.source.lm_eval:
        raise SuiteError(f"--fewshot {shots}: suite {suite.name!r} takes its shots from fewshot.jsonl in its folder")
    return replace(suite, source=replace(suite.source, fewshot=shots))


def _with_examples(suite: Suite, folder: Path | None, data_dir: str | Path | None, limit: int | None) -> Suite:
    if suite.source and suite.source.lm_eval:
        with_task: Suite = load("evalkit.harness:with_task")(suite, data_dir, limit)
        return with_task
    file = folder / "examples.jsonl" if folder else None
    if suite.source and file and file.is_file():
        raise SuiteError(f"{folder}: examples.jsonl and [source] are both there; keep the one that is meant")
    if suite.source:
        examples = _from_hub(suite.source, data_dir)
    elif file and file.is_file():
        examples = examples_of(read_jsonl(file, SuiteError), str(file))
    else:
        raise SuiteError(f"{folder}: expected examples.jsonl, or a [source] in suite.toml")
    if not examples:
        raise SuiteError(f"{file or suite.name}: no example in it; a suite needs at least one")
    shots = folder / "fewshot.jsonl" if folder else None
    fewshot = examples_of(read_jsonl(shots, SuiteError), str(shots)) if shots and shots.is_file() else ()
    chats = [example.id for example in (*examples, *fewshot) if not suite.chat and not isinstance(example.input, str)]
    if chats:
        raise SuiteError(
            f"{folder}: chat = false, but the input of {chats[0]!r} is a chat ({len(chats)} such); set chat = true"
        )
    return replace(suite, examples=examples, fewshot=fewshot)


def _from_hub(source: Source, data_dir: str | Path | None) -> tuple[Example, ...]:
    columns = {"input": "input", "target": "target", **source.columns}
    taken = set(columns.values())
    seen: dict[str, int] = {}
    examples = []
    for number, row in enumerate(read_rows(source.hub, source.config, source.split, data_dir), 1):
        record = {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}
        record["meta"] = {key: value for key, value in row.items() if key not in taken}
        example = example_of(record, f"{source.hub}, row {number}", blank=True)
        key = example.id
        while example.id in seen:  # the user cannot mend a hub's repeated rows, so they stay apart by number
            seen[key] += 1
            example = replace(example, id=f"{key}-{seen[key]}")
        seen[example.id] = 1
        examples.append(example)
    return tuple(examples)
