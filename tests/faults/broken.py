"""Files from others, broken in every way: whatever is read, only errors of ours come out.

A good file is changed here and there: values, keys and bytes are replaced, so that what a parser checks first is mostly
right. `fuzz` looks for changes that reach new code; `test_fuzz` tries a few hundred.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import json
import random
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from evalkit.assess import Assessor
from evalkit.backends.endpoint import Refused, Reply, outcome_of, payload_of
from evalkit.codec import row_record
from evalkit.compare import compare_runs
from evalkit.errors import EvalkitError
from evalkit.evaluate import evaluate
from evalkit.folder import RunFolder
from evalkit.importer import import_logs
from evalkit.jsonl import dump, read_jsonl
from evalkit.labels import Label, add_record, digest_of, read_labels, run_key
from evalkit.models import find_checkpoint
from evalkit.policy import read_policy
from evalkit.record import read_rows, read_run
from evalkit.registry import lookup
from evalkit.report import comparison, gate_markdown, junit, shifts
from evalkit.report.pick import View
from evalkit.score import Rescoring, score_answers
from evalkit.shift import shifts_of
from evalkit.suite import read_suite
from evalkit.types import Example, Message, Request, Response, Row, Run, Score, Tag
from trainkit.config import read_settings
from trainkit.curate.edits import Edit, Plan
from trainkit.curate.version import read_lineage, read_plan
from trainkit.dataset import read_rows as read_training_rows
from trainkit.settings import SftSettings

WEIRD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**63, 10**30, 0.5, -1e308, "", " ", "x", "1", "nan", "\0", "x" * 3000, "한국어\u202e",
    [], {}, [[]], [None], {"a": {}}, [[1, 2], [3]], [{"role": "user"}], {"role": 1, "content": []}, "../x", ["a", "a"],
)  # fmt: skip
RAW = (
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"\xff",
    b"\0",
    b'"a":1,"a":2',
    b"[" * 200,
    b"9" * 5000,
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
)
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """A kind of file that others may give."""

    file: str
    """Its name in a folder."""
    good: str
    """A good one."""
    read: Read
    """Reads the folder."""


def mutant(good: str, rng: random.Random) -> bytes:
    """Return a good file with a few changes: a value, a key, a line, some bytes."""
    lines = good.encode().splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(lines))
        lines[place] = rng.choice((_value, _value, _value, _bytes, _line))(lines[place], rng)
    return b"".join(lines)


def _value(line: bytes, rng: random.Random) -> bytes:
    """Change something inside a line of JSON, or the value of a line of TOML."""
    try:
        value = json.loads(line)
    except ValueError:
        key, equals, _ = line.partition(b"=")
        return key + equals + json.dumps(rng.choice(WEIRD)).encode() + b"\n" if equals else _bytes(line, rng)
    return json.dumps(_changed(value, rng)).encode() + b"\n"


def _changed(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one change, the deeper the likelier."""
    value = copy.deepcopy(value)
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(WEIRD)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if rng.random() < 0.15:
        del value[key]
    elif rng.random() < 0.1 and isinstance(value, dict):
        value[str(rng.choice(WEIRD))] = value.pop(key)
    else:
        value[key] = _changed(value[key], rng)
    return value


def _bytes(line: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(line) + 1)
    stop = min(len(line), start + rng.choice((0, 0, 1, 5)))
    return line[:start] + rng.choice((*RAW, bytes([rng.randrange(256)]), b"")) + line[stop:]


def _line(line: bytes, rng: random.Random) -> bytes:
    return rng.choice((line + line, b"", b"\n" + line, line.rstrip(b"\n")))


# ------------------------------------------------------------------ good files

ROWS = [
    Row(
        Example("q0", "Why?", ("So.", "It is."), (), {"topic": "a", "n": 1}),
        Response("So so so so so so so.", sent="user: Why?", tokens=8, prompt_tokens=4, target_tokens=(2, 3)),
        0,
        (Score("match", 1.0, "So.", "equal"), Score("fuzzy", 0.5)),
        (Tag("repetition", "major", "so, 7 times", (0, 20), 0.9),),
        "repetition",
    ),
    Row(
        Example(
            "q1", (Message("system", "Be brief."), Message("user", "Who?")), ("I.",), ("I.", "You."), {"topic": "b"}
        ),
        Response("I.", choice_logprobs=(-1.0, -2.0), choice_greedy=(True, False)),
        0,
        (Score("match", None, why="?"),),
    ),
    Row(Example("q2", "How?"), Response(finish="error", error="busy"), 1, (Score("match", None),)),
]
IDENTITY = {"suite": "little", "primary": "match", "split": "dev"}
MANIFEST = {"identity": IDENTITY, "settings": {"model": "some/model", "max_errors": 0}}
TOML = """\
name = "little"
version = 1
split = "dev"
chat = true
template = "Q: {input}"
system = "Be brief."
scorers = ["match", "fuzzy"]
taggers = ["default"]
primary = "match"
margin = 1.5
cluster_key = "topic"
trials = 2
[generation]
max_new_tokens = 8
temperature = 1.0
top_p = 0.9
stop = ["x"]
seed = 1
[severity]
repetition = "critical"
[scorer.fuzzy]
cutoff = 0.6
[tagger.repetition]
major_share = 0.2
"""
POLICY = """\
baseline = "prod"
alpha = 0.05
adjust = "holm"
on_inconclusive = "fail"
[missing]
max_share = 0.02
[suites.little]
cluster_key = "topic"
[suites.little.metrics.primary]
margin = 1.0
role = "gate"
[tags.repetition]
role = "gate"
margin = 2.0
[[waivers]]
suite = "little"
metric = "match"
until = 2030-01-01
reason = "known"
owner = "me"
max_drop = 0.1
"""
EXAMPLES = [
    {"id": "q0", "input": "Why?", "target": ["So.", "It is."], "meta": {"topic": "a"}},
    {"id": "q1", "input": [{"role": "user", "content": "Who?"}], "target": "I.", "choices": ["I.", "You."]},
    {"input": "How?"},
]
ANSWERS = [
    {"id": "q0", "question": "Why?", "answer": "So so so.", "target": "So.", "meta": {"topic": "a"}, "tokens": 4},
    {"id": "q1", "question": "Who?", "answer": "", "target": ["I."], "finish": "length"},
    {"question": "How?", "answer": "By 1,234.5 of it.", "finish": "error", "error": "busy"},
]
SUMMARY = {
    "items": 3, "answers": 2, "errors": 1, "primary": "match", "notes": ["a note"],
    "rates": {"references": {"repetition": 0.1}, "training": {"repetition": 0.0}}, "metrics": [],
}  # fmt: skip
SAMPLES = [
    {
        "doc_id": number, "doc": {"question": "Why?", "choices": ["a", "b"], "subject": "law"}, "target": 1,
        "arguments": {"gen_args_0": {"arg_0": "Q: Why?", "arg_1": " a"}, "gen_args_1": {"arg_0": "Q", "arg_1": " b"}},
        "resps": [[["-1.0", "True"]], [["-2.0", "False"]]], "filtered_resps": [["-1.0", "True"], ["-2.0", "False"]],
        "filter": "none", "metrics": ["acc", "acc_norm"], "acc": 1.0, "acc_norm": 0.0,
    }
    for number in range(2)
]  # fmt: skip
REPLY = {
    "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop", "text": "Hello"}],
    "usage": {"completion_tokens": 2, "prompt_tokens": 7}, "model": "m", "system_fingerprint": "fp", "error": None,
}  # fmt: skip
TRAINING = [
    {"id": "r0", "question": "Why?", "answer": "So."},
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]},
    {"instruction": "Do.", "input": "it", "output": "Done."},
]
SFT = 'model = "m"\ndata = "d.jsonl"\nout = "o"\nepochs = 2\nlearning_rate = 1e-3\nlora = true\nbatch_size = 4\n'


def jsonl(records: list[Any]) -> str:
    """Return records as JSON lines."""
    return "".join(dump(record) + "\n" for record in records)


# ------------------------------------------------------------------ readers


def _suite(folder: Path) -> object:
    if not (folder / "examples.jsonl").exists():
        (folder / "examples.jsonl").write_text(jsonl(EXAMPLES))
    if not (folder / "suite.toml").exists():
        (folder / "suite.toml").write_text('taggers = ["none"]\n')
    return Assessor.of(read_suite(str(folder)))


def _answers(folder: Path) -> object:
    return score_answers(folder / "answers.jsonl", Rescoring(overrides=('taggers=["none"]',)), folder / "run")


def _rows(folder: Path) -> object:
    return _shown(Run("run", MANIFEST, tuple(read_rows(folder)), {"rates": {}, "notes": []}))


def _pair(folder: Path) -> object:
    """Compare a whole run with one of these rows, by items and by errors."""
    found = Run("cand", MANIFEST | {"made": "otherwise"}, tuple(read_rows(folder)), {"rates": {}, "notes": []})
    base = read_run(_labelled())
    pair = compare_runs(base, found)
    verdict = evaluate([pair])
    shown = [render(verdict, [pair]) for render in (comparison.render_gate, gate_markdown.render, junit.render)]
    return [*shown, shifts.render(shifts_of(base, found))]


def _logs(folder: Path) -> object:
    return import_logs(folder, folder / "run")


def _labels(folder: Path) -> object:
    """Read labels beside a whole run."""
    _beside(folder, "labels.jsonl")
    _seal(folder / "labels.jsonl", "label")
    return read_labels(folder)


def _journal(folder: Path) -> None:
    """Open a run with this journal."""
    _beside(folder, "journal.jsonl")
    _seal(folder / "journal.jsonl", "row")
    RunFolder.open(folder).close()


def _manifest(folder: Path) -> object:
    """Read a whole run by this manifest, under a checksum that fits it."""
    _beside(folder, "manifest.json")
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        manifest = json.loads((folder / "manifest.json").read_bytes())
        manifest["check"] = f"{zlib.crc32(dump({k: v for k, v in manifest.items() if k != 'check'}).encode()):08x}"
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return _shown(read_run(folder))


def _summary(folder: Path) -> object:
    """Show a whole run with this summary."""
    _beside(folder, "summary.json")
    return _shown(read_run(folder))


def _shown(run: Run) -> list[object]:
    return [lookup("reports", form)(run, View()) for form in ("terminal", "md", "json", "html", "csv", "jsonl")]


def _beside(folder: Path, own: str) -> None:
    """Put the other files of a whole run into a folder."""
    for file in _labelled().iterdir():
        if file.name != own:
            shutil.copy(file, folder / file.name)


def _seal(path: Path, kind: str) -> None:
    """Give the records of a journal their checksums anew, so that not all changes end there."""
    sealed = []
    for line in path.read_bytes().split(b"\n"):
        at = line.find(b'"r":')
        try:
            body = dump(json.loads(line[at + 4 : -1])).encode() if at > 0 else b""
        except (ValueError, RecursionError):
            body = b""
        sealed.append(b'{"v":1,"k":"%s","c":"%08x","r":%s}' % (kind.encode(), zlib.crc32(body), body) if body else line)
    path.write_bytes(b"\n".join(sealed))


@cache
def _labelled() -> Path:
    """Return a finished run of ROWS with labels, made once."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    folder = place / "run"
    with RunFolder.create(folder, MANIFEST) as made:
        made.finish(ROWS, dict)
    run = read_run(folder)
    for row in run.rows[:2]:
        add_record(folder, Label(row.example.id, row.trial, "little", "me", run_key(run), digest_of(row), "wrong"))
    return folder


def _reply(folder: Path) -> object:
    request = Request("q", messages=(Message("user", "Hi?"),))
    payload_of(request, "m")
    try:
        return outcome_of(
            Reply(200, {}, (folder / "reply.json").read_bytes()), replace(request), datetime(2026, 1, 1, tzinfo=UTC)
        )
    except Refused:
        return None


def _checkpoint(folder: Path) -> object:
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    body = dump(header).encode()
    for name, content in (
        ("config.json", b'{"model_type": "llama"}'),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", struct.pack("<Q", len(body)) + body + b"\0" * 4),
    ):
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
    found = find_checkpoint(str(folder))
    return found.digest(), found.trained_prompt()


def _sft(folder: Path) -> object:
    return SftSettings.of(read_settings(folder / "sft.toml"))


EDITS = [
    Edit("drop", "repetition", "r0", "0" * 16, "So so so.", reason="loops", explains=("q0",)),
    Edit("fix", "misspelling", "r1", "1" * 16, "beleive", "believe", confidence=0.9, severity="major"),
]
PLAN = Plan("train.jsonl", "0" * 64, 3, 0.1, tuple(EDITS), 0)
VERSION = {
    "number": 2, "file": "train.v2.jsonl", "sha256": "0" * 64, "parent": "train.jsonl", "parent_sha256": "1" * 64,
    "origin": "train.jsonl", "origin_sha256": "1" * 64, "plan": "p", "undone": ["a"], "made": "2026-01-01",
    "edits": [edit.record() for edit in EDITS],
}  # fmt: skip
TARGETS: Mapping[str, Target] = {
    "suite": Target("suite.toml", TOML, _suite),
    "examples": Target("examples.jsonl", jsonl(EXAMPLES), _suite),
    "answers": Target("answers.jsonl", jsonl(ANSWERS), _answers),
    "rows": Target("rows.jsonl", jsonl([row_record(row) for row in ROWS]), _rows),
    "pair": Target("rows.jsonl", jsonl([row_record(row) for row in ROWS]), _pair),
    "journal": Target(
        "journal.jsonl",
        '{"v":1,"k":"row","c":"0","r":{"id":"q0","trial":0,"response":{"error":null,"text":"a"}}}\n' * 3,
        _journal,
    ),
    "manifest": Target("manifest.json", dump(json.loads((_labelled() / "manifest.json").read_bytes())), _manifest),
    "summary": Target("summary.json", dump(SUMMARY), _summary),
    "policy": Target("gate.toml", POLICY, lambda folder: read_policy(folder / "gate.toml")),
    "log": Target("samples_arc_2026-01-01T00-00-00.000000.jsonl", jsonl(SAMPLES), _logs),
    "results": Target("results_2026-01-01T00-00-00.000000.json",
                      dump({"config": {"model_args": "a"}, "model_name": "m", "configs": {"arc": {"metadata": 1}}}),
                      lambda folder: _results(folder)),
    "labels": Target("labels.jsonl", (_labelled() / "labels.jsonl").read_text(), _labels),
    "reply": Target("reply.json", dump(REPLY), _reply),
    "config": Target("config.json", dump({"model_type": "llama", "architectures": ["A"]}), _checkpoint),
    "training": Target("train.jsonl", jsonl(TRAINING), lambda folder: read_training_rows(folder / "train.jsonl")),
    "plan": Target("plan.json", dump(PLAN.record()), lambda folder: read_plan(folder / "plan.json")),
    "lineage": Target("train.lineage.jsonl", jsonl([VERSION]),
                      lambda folder: read_lineage(folder / "train.jsonl")),
    "sft": Target("sft.toml", SFT, _sft),
    "jsonl": Target("any.jsonl", jsonl([{"a": 1, "b": [1, {"c": "d"}]}] * 3), lambda f: read_jsonl(f / "any.jsonl")),
}  # fmt: skip


def _results(folder: Path) -> object:
    (folder / TARGETS["log"].file).write_text(TARGETS["log"].good)
    return _logs(folder)


def tried(target: Target, content: bytes, folder: Path) -> str:
    """Read a file with this content; return the error of ours, if one came. Anything else comes out as it is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / target.file).write_bytes(content)
    try:
        target.read(folder)
    except EvalkitError as fault:
        return str(fault)
    return ""
