"""Choices by log-probability: through the hf backend, and through tasks of lm-evaluation-harness."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import torch
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from evalkit import harness
from evalkit.backends.hf import HfBackend
from evalkit.errors import SuiteError
from evalkit.flow import resume, start
from evalkit.models import find_checkpoint
from evalkit.record import read_run
from evalkit.settings import RunSettings
from evalkit.suite import read_suite
from evalkit.types import Request, Response

ROWS = [
    Request("a", kind="choose", prompt="The sky is", choices=(" blue", " red", " made of stone")),
    Request("b", kind="choose", prompt="The sky is", choices=(" blue", " wide")),
    Request("c", kind="choose", contexts=("It is hot", "It is cold", "It is hot"), choices=(" today",) * 3),
]


def plain_logprob(folder: Path, context: str, continuation: str) -> float:
    """Sum the log-probabilities of a continuation's tokens, in one unpadded pass."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    head, whole = tokenizer(context)["input_ids"], tokenizer(context + continuation)["input_ids"]
    with torch.inference_mode():
        logprobs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(logprobs[i - 1, whole[i]]) for i in range(len(head), len(whole)))


def answers(folder: Path, requests: list[Request], **options: int):
    """Plan and answer requests; return responses by their place in `requests`."""
    backend = HfBackend(find_checkpoint(str(folder)), **options)
    found: dict[int, Response] = {}
    for batch in backend.plan(requests):
        found.update(zip(batch, backend.respond([requests[i] for i in batch]), strict=True))
    return [found[i] for i in range(len(requests))], backend


def test_choices_get_the_log_probabilities_of_a_plain_pass(tiny):
    found, backend = answers(tiny, ROWS, batch_tokens=64)
    assert backend.scorer.fallback is None
    for request, response in zip(ROWS, found, strict=True):
        contexts = request.contexts or (request.prompt,) * len(request.choices)
        wanted = [plain_logprob(tiny, c, choice) for c, choice in zip(contexts, request.choices, strict=True)]
        assert response.choice_logprobs == pytest.approx(wanted, abs=1e-4)
    assert found[2].choice_logprobs[0] == found[2].choice_logprobs[2]


def test_equal_requests_get_equal_answers(tiny):
    found, _ = answers(tiny, ROWS, batch_tokens=64)
    assert found[0].choice_logprobs[0] == found[1].choice_logprobs[0]


def test_a_context_that_is_too_long_is_cut_at_the_left_and_counted(tiny):
    """Fault 31."""
    (response,), _ = answers(tiny, [Request("a", kind="choose", prompt="x" * 600, choices=(" yes",))], batch_tokens=64)
    assert response.truncated_tokens == 600 + 4 - 513
    assert response.choice_logprobs == pytest.approx([plain_logprob(tiny, "x" * (513 - 4), " yes")], abs=1e-3)


def test_a_rolling_text_scores_every_token_once(tiny):
    text = "abcdefgh" * 150
    (response,), backend = answers(tiny, [Request("a", kind="choose", choices=(text,), rolling=True)], batch_tokens=64)
    windows = backend.encoder.windows(text)
    assert sum(len(w.continuation) for w in windows) == 1200
    assert all(len(w.context) + len(w.continuation) <= 513 for w in windows)
    assert response.choice_logprobs[0] < 0


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of six multiple-choice questions of our own."""
    folder = tmp_path_factory.mktemp("suites") / "letters"
    folder.mkdir()
    (folder / "suite.toml").write_text(
        'name = "letters"\nchat = false\ntemplate = "{input}"\n'
        'scorers = ["acc", "acc_norm"]\ntaggers = ["none"]\nprimary = "acc"\n'
    )
    rows = [{"input": f"After {a} comes", "choices": ["b", "zebra", a], "target": "b"} for a in "acegik"]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_suite_with_choices_is_asked_by_log_probability(tiny, suite, tmp_path):
    (folder,) = start(RunSettings(str(tiny), (str(suite),), batch_tokens=16), out=tmp_path / "run")
    rows = read_run(folder).rows
    assert all(len(row.response.choice_logprobs) == 3 for row in rows)
    for row in rows:
        likeliest = max(range(3), key=row.response.choice_logprobs.__getitem__)
        (score,) = (s for s in row.scores if s.name == "acc")
        assert score.value == float(row.example.choices[likeliest] == "b")


def test_a_run_of_choices_resumes_to_the_same_bytes(tiny, suite, tmp_path):
    settings = RunSettings(str(tiny), (str(suite),), batch_tokens=16)
    (whole,) = start(settings, out=tmp_path / "whole")
    (cut,) = start(settings, out=tmp_path / "cut")
    lines = (cut / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len((cut / "telemetry.jsonl").read_bytes().splitlines()) > 1  # several batches
    (cut / "journal.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])
    (cut / "rows.jsonl").unlink()
    resume(cut)
    assert (cut / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()


def test_a_run_whose_tree_fails_is_scored_the_plain_way_and_keeps_why(tiny, suite, tmp_path, monkeypatch, caplog):
    settings = RunSettings(str(tiny), (str(suite),), batch_tokens=16)
    (whole,) = start(settings, out=tmp_path / "whole")

    def fail(*_):
        raise RuntimeError("no such mask")

    monkeypatch.setattr("evalkit.backends.tree._sight", fail)
    (plain,) = start(settings, out=tmp_path / "plain")
    why = "choices are scored the plain way (tree fails: RuntimeError: no such mask)"
    assert read_run(plain).manifest["warnings"] == [why]
    assert f"{tiny}: {why}" in caplog.messages
    assert "warnings" not in read_run(whole).manifest
    for a, b in zip(read_run(whole).rows, read_run(plain).rows, strict=True):
        assert a.response.choice_logprobs == pytest.approx(b.response.choice_logprobs, abs=1e-3)


def test_an_unknown_task_is_named_with_a_suggestion():
    with pytest.raises(SuiteError, match=r"lm-eval has no task 'hellaswg'; did you mean 'hellaswag'\?"):
        read_suite("lm_eval:hellaswg")


LM_EVAL = """
import json, sys
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
path, task, limit, shots, files, out = json.loads(sys.argv[1])
manager = TaskManager()
data = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
spec = manager._factory._load_full_config(manager._entry(task), data)
spec = {k: v for k, v in spec.items() if k not in ("tag", "group", "task_list")}
lm = HFLM(pretrained=path, batch_size=4, device="cpu", dtype="float32")
settings = {"num_fewshot": shots, "limit": limit, "bootstrap_iters": 0, "task_manager": manager}
found = evaluator.simple_evaluate(model=lm, tasks=[spec], **settings)
name = next(iter(found["samples"]))
rows = [[float(r[0][0]) for r in s["resps"]] for s in found["samples"][name]]
results = {k: v for k, v in found["results"][name].items() if isinstance(v, float)}
json.dump({"rows": rows, "results": results}, open(out, "w"))
"""


ARC, TRUTHFUL = "allenai/ai2_arc/ARC-Challenge", "truthfulqa/truthful_qa/multiple_choice"


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "shots", "files"),
    [
        ("arc_challenge", 2, {"train": f"{ARC}/train", "test": f"{ARC}/test"}),
        ("truthfulqa_mc2", None, {"validation": f"{TRUTHFUL}/validation"}),
    ],
)
def test_tasks_give_lm_evals_numbers(tiny, mirror, tmp_path, task, shots, files):
    paths = {split: str((mirror / f"{name}.jsonl").resolve()) for split, name in files.items()}
    asked = json.dumps([str(tiny), task, 6, shots, paths, str(tmp_path / "theirs.json")])
    subprocess.run([sys.executable, "-c", LM_EVAL, asked], check=True, capture_output=True)
    theirs = json.loads((tmp_path / "theirs.json").read_text())
    settings = RunSettings(str(tiny), (task,), limit=6, data_dir=str(mirror), fewshot=shots, batch_tokens=256)
    run = read_run(start(settings, out=tmp_path / "run")[0])
    for row, wanted in zip(run.rows, theirs["rows"], strict=True):
        assert row.response.choice_logprobs == pytest.approx(wanted, abs=1e-3)
    wanted = {key: value for key, value in theirs["results"].items() if "stderr" not in key}
    assert run.summary["lm_eval"][task] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.data
@pytest.mark.slow
def test_two_suites_in_one_command_share_a_plan_and_score_as_each_alone(tiny, mirror, tmp_path):
    names = ("truthfulqa_mc1", "truthfulqa_mc2")
    settings: dict[str, Any] = {"limit": 5, "data_dir": str(mirror), "batch_tokens": 256}
    both = start(RunSettings(str(tiny), names, **settings), out=tmp_path / "both")
    assert [folder.name for folder in both] == list(names)
    for name, folder in zip(names, both, strict=True):
        (alone,) = start(RunSettings(str(tiny), (name,), **settings), out=tmp_path / name)
        for row, other in zip(read_run(folder).rows, read_run(alone).rows, strict=True):
            assert row.response.choice_logprobs == pytest.approx(other.response.choice_logprobs, abs=1e-4)


@pytest.mark.data
def test_a_task_reads_as_from_the_whole_index_where_only_its_folder_is_read():
    whole = TaskManager()
    for family in harness.FAMILIES:
        part = harness._index(Path(lm_eval.tasks.__file__).parent / family)
        routed = {name: entry for name, entry in part.task_index.items() if harness._manager(name) is part}
        assert family in routed or any(name.startswith(f"{family}_") for name in routed)
        for name, entry in routed.items():
            known = whole.task_index[name]
            assert (entry.kind, entry.yaml_path, entry.tags) == (known.kind, known.yaml_path, known.tags)
    assert harness._manager("mmlu_stem") is harness._manager("mmlu_anatomy")
    assert len(harness._manager("mgsm_direct").task_index) == len(whole.task_index)


def test_data_that_is_nowhere_stops_before_a_model_is_looked_for(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SuiteError, match=r"found neither in a mirror \(.*<split>.jsonl\) nor on the hub"):
        start(RunSettings("no/such-model", ("lm_eval:piqa",), data_dir=str(mirror)), out=tmp_path / "run")
