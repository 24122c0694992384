"""The promises of SECURITY.md: what a suite, a model, an answer, a run or an endpoint from others cannot do here."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pickle
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from evalkit.backends import chat
from evalkit.backends.hf import HfBackend
from evalkit.baseline import set_baseline
from evalkit.errors import ModelError, RunError, SuiteError
from evalkit.models import find_checkpoint
from evalkit.scorers.exact import Exact
from evalkit.scorers.match import Match
from evalkit.suite import read_suite
from evalkit.types import Example, Message, Request, Response
from tests.faults.processes import environment, here, ran
from tests.faults.test_catalogue import functions_of

ROOT = Path(__file__).parents[2]
MODULES = sorted([*(ROOT / "evalkit").rglob("*.py"), *(ROOT / "trainkit").rglob("*.py")])


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that is there as soon as foreign code ran."""
    return tmp_path / "canary"


class Touch:
    """Unpickled, it touches a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


# ------------------------------------------------------------------ code


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def test_models_are_loaded_without_their_code_wherever_they_are_loaded():
    """peft has no such argument: it loads weights into a model that is there."""
    found = [
        (path, call) for path in MODULES for call in calls(path) if ast.unparse(call.func).endswith(".from_pretrained")
    ]
    assert len(found) >= 7
    for path, call in found:
        named = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        told = named.get("trust_remote_code") == "False" or ast.unparse(call.func).startswith("Peft")
        assert told, f"{path}: line {call.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_reads_yaml_pickles_or_text_as_code(path):
    for call in calls(path):
        name = ast.unparse(call.func)
        assert name not in ("os.system", "os.popen", "sympy.sympify", "torch.load", "numpy.load", "np.load"), name
        assert not re.fullmatch(r"(yaml|pickle|dill|joblib|shelve|marshal)\..*", name), f"line {call.lineno}: {name}"


MODELING = "import pathlib\npathlib.Path({canary!r}).touch()\nclass Mine:\n    pass\n"


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_that_a_model_folder_brings_is_never_run(tiny, tmp_path, canary, where):
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "modeling_mine.py").write_text(MODELING.format(canary=str(canary)))
    names = {"AutoConfig": "modeling_mine.Mine", "AutoModelForCausalLM": "modeling_mine.Mine"}
    tokenizer = {"AutoTokenizer": ["modeling_mine.Mine", "modeling_mine.Mine"]}
    content = json.loads((folder / where).read_text())
    (folder / where).write_text(json.dumps({**content, "auto_map": names if where == "config.json" else tokenizer}))
    with contextlib.suppress(ModelError):
        backend = HfBackend(find_checkpoint(str(folder)))
        list(backend.respond([Request("q", prompt="a")]))
    assert not canary.exists()


def test_pickled_weights_are_never_opened(tiny, tmp_path, canary):
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touch(canary)))
    HfBackend(find_checkpoint(str(folder))).model  # noqa: B018 - loads; safetensors are there too
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="only pickled weights"):
        find_checkpoint(str(folder))
    assert not canary.exists()


WATCHING = """
import sys
def watch(event, given):
    if event == "pickle.find_class":
        open({canary!r}, "a").write(f"{{given}}\\n")
sys.addaudithook(watch)
"""


def test_a_run_of_a_task_of_lm_eval_unpickles_nothing(tmp_path, canary):
    """Its caches lie where lm-eval looks for them, full of what would run; and an audit hook sees every unpickling."""
    if not os.environ.get("EVALKIT_DATA_DIR"):
        pytest.skip("no benchmark data: set EVALKIT_DATA_DIR to a mirror of hub data sets")
    (tmp_path / "sitecustomize.py").write_text(WATCHING.format(canary=str(canary)))
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("requests-hellaswag-0shot-rank0-world_size1-tokenizer.pickle", "hellaswag.pickle", "hashes.json"):
        (cache / name).write_bytes(pickle.dumps(Touch(canary)))
    (cache / "evalkit").mkdir()
    (cache / "evalkit/hashes.json").write_bytes(pickle.dumps(Touch(canary)))
    env = environment(LM_HARNESS_CACHE_PATH=str(cache), XDG_CACHE_HOME=str(cache))
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"
    asked = ("run", "--model", "scripted:", "--suite", "hellaswag", "--limit", "3")
    done = ran(*asked, "--out", tmp_path / "run", env=env)
    assert (done.returncode, canary.exists()) == (0, False), done.stderr


def test_the_watch_would_see_an_unpickling(tmp_path, canary):
    (tmp_path / "sitecustomize.py").write_text(WATCHING.format(canary=str(canary)))
    code = "import pickle, pathlib; pickle.loads(pickle.dumps(pathlib.Path('x')))"
    ran("-c", code, program=(sys.executable,), env=environment(PYTHONPATH=str(tmp_path)))
    assert "Path" in canary.read_text()


# ------------------------------------------------------------------ templates

NESTED = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}"
ESCAPES = {
    "{{ messages.__class__.__mro__[1].__subclasses__() }}": "unsafe",
    "{{ ''.__class__.__base__ }}": "unsafe",
    "{{ messages.append({'role': 'system', 'content': 'x'}) }}": "unsafe",
    "{{ cycler.__init__.__globals__.os.popen('touch canary').read() }}": "unsafe",
    "{% for i in range(1000000) %}x{% endfor %}": "Range too big",
    "{{ 'x' * 50000000 }}": "it (writes 50,000,000 characters|takes longer)",
    "{{ 'x' * 10000000000000 }}": "MemoryError",
    "{% include '/etc/passwd' %}": "no loader",
    NESTED + "{% endfor %}" * 3: "it takes longer than 1 s",
}


@pytest.mark.parametrize(("template", "refusal"), ESCAPES.items(), ids=lambda text: text[:30])
def test_a_hostile_chat_template_is_one_line_in_bounded_time(tiny, monkeypatch, template, refusal):
    monkeypatch.setattr(chat, "SECONDS", 1.0)
    backend = HfBackend(find_checkpoint(str(tiny)))
    backend.tokenizer.chat_template = template
    began = time.monotonic()
    with pytest.raises(ModelError, match=f"its chat template refuses the prompt: .*{refusal}") as fault:
        backend.sent(Request("q", messages=(Message("user", "Hi?"),)))
    assert "\n" not in str(fault.value)
    assert time.monotonic() - began < 5


def test_an_honest_chat_is_rendered_as_transformers_renders_it(tiny):
    backend = HfBackend(find_checkpoint(str(tiny)))
    turns = [{"role": "user", "content": "Hi?" * 100_000}]
    assert chat.render(backend.tokenizer, turns, opened=True) == "<|user|>" + "Hi?" * 100_000 + "\n<|assistant|>"


# ------------------------------------------------------------------ names and values

PATHS = ["../x", "/etc/passwd", "a/../../b", "%2e%2e/x", "..", ".", "", "a" * 101, "a b", "x\0y", "-rf", "\u202ex"]


@pytest.mark.parametrize("name", PATHS)
def test_a_name_is_never_a_path_out_of_its_folder(name, tmp_path, write_run, make_row, suite_at):
    run = write_run("run", [make_row()])
    with pytest.raises(RunError, match="expected letters, digits, dots"):
        set_baseline(name, run, "why", tmp_path / "baselines")
    folder = suite_at()
    (folder / "suite.toml").write_text(f"name = {json.dumps(name)}\n")
    with pytest.raises(SuiteError):
        read_suite(str(folder))
    assert not (tmp_path / "baselines").exists()


NUMBERS = ["9**9**9", "1e999999999", "9" * 100_000, "0x" + "f" * 9999, "__import__('os')", "1/0", "-" * 9999 + "1"]


@pytest.mark.parametrize("answer", NUMBERS, ids=lambda answer: answer[:12])
def test_an_answer_is_never_computed(answer):
    began = time.monotonic()
    example = Example("q", "How many?", ("42",))
    assert [scorer(example, Response(answer)).value for scorer in (Exact(), Match())] == [0.0, 0.0]
    assert time.monotonic() - began < 2


ATTACKS = ["\x1b]52;c;ZXZpbA==\x07", "\x1b]8;;http://evil\x07", "\x1b[2J", "\x9b31m", "\u202e", "[/]", "[red]", "\r\n"]


@pytest.mark.parametrize("shows", ["report", "errors"])
def test_no_sequence_of_an_answer_reaches_the_terminal(tmp_path, write_jsonl, shows):
    bad = "".join(ATTACKS)
    answers = write_jsonl(tmp_path / "a.jsonl", [{"id": bad, "question": bad, "answer": bad * 30, "meta": {bad: bad}}])
    assert here("score", "--answers", answers, "--out", tmp_path / "run") == 0
    done = ran(shows, tmp_path / "run")
    assert done.returncode == 0
    assert not set(done.stdout + done.stderr) & set("\x1b\x07\x9b\u202e\r")


# ------------------------------------------------------------------ the page

PAGE = ROOT / "SECURITY.md"
ROW = re.compile(r"^\| (?P<risk>[^|]+) \| (?P<rule>[^|]+) \| (?P<proof>[^|]+) \|$", re.MULTILINE)


def test_every_promise_of_the_page_names_tests_that_are_there():
    rows = [match for match in ROW.finditer(PAGE.read_text(encoding="utf-8")) if "`tests/" in match["proof"]]
    assert len(rows) >= 12
    for row in rows:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row["proof"]):
            assert name in functions_of(file), f"{row['risk']}: {file}::{name}"


def test_the_page_makes_no_promise_without_a_proof():
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert all("`tests/" in line for line in table if not line.startswith(("| from", "| ---", "|---")))
