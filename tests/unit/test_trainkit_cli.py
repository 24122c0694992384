"""The command line from outside: light imports, help for every flag, one line for every fault; and imports one way."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from evalkit.registry import load
from trainkit.cli import COMMANDS, call
from trainkit.settings import SftSettings

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "datasets", "lm_eval", "pandas", "peft", "scipy", "sklearn", "matplotlib")
LAYERS = (
    "errors",
    "config ledger template dataset near plot batches shapes",
    "settings encode formats plan attention checkpoint hub frames manifest",
    "suites step weights",
    "intake lora",
    "trainer measure prepare",
    "fit forecast probe merge",
    "sft curate",
    "looped curved",
    "curve runner loop",
    "commands",
    "cli",
    "__main__",
)
"""A module imports only what stands in an earlier line, or beside it in its own package."""
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer.split()}
MODULES = sorted(p for p in (ROOT / "trainkit").rglob("*.py") if p.name != "__init__.py")


def imported(path: Path) -> set[str]:
    """Return the modules of trainkit that a module imports at its top or inside functions, by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trainkit"):
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("trainkit."):
            name = node.value.split(":")[0].split(".")[1]
            found |= {name} if ":" in node.value and name in LEVEL else set()
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_imports_point_one_way(path):
    here = path.relative_to(ROOT / "trainkit").parts[0].removesuffix(".py")
    assert here in LEVEL, f"give {here!r} a layer in LAYERS"
    known_only_as_types = {("manifest", "intake"), ("manifest", "probe"), ("manifest", "shapes")}
    for name in imported(path) - {here}:
        doors = here == "cli" and name == "commands"
        assert LEVEL[name] < LEVEL[here] or doors or (here, name) in known_only_as_types, f"{here} imports {name}"


SPAWNED = """
import sys
from trainkit.cli import call
code = call(sys.argv[1:])
print("LOADED", *sys.modules)
sys.exit(code)
"""


def spawn(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SPAWNED, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), ["plan"]], ids=" ".join
)
def test_help_and_plan_load_nothing_heavy(arguments):
    done = spawn(*arguments)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.partition("LOADED ")[2].split()
    assert not [name for name in HEAVY if name in loaded]


def test_help_takes_less_than_a_quarter_of_a_second():
    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(3):
        before = cpu()
        subprocess.run(
            [sys.executable, "-c", "from trainkit.cli import main; main()", "--help"], capture_output=True, check=True
        )
        times.append(cpu() - before)
    assert min(times) < 0.25


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_flag_has_help(name):
    command: click.Command = load(COMMANDS[name][0])
    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, f"{name}: {option.name} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_flag_is_documented(name):
    text = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("trainkit.md", "curate.md"))
    assert f"trainkit {name}" in text
    for option in load(COMMANDS[name][0]).params:
        if isinstance(option, click.Option):
            assert f"`{option.opts[0]}`" in text, f"{name}: {option.opts[0]} is not documented"


def test_flags_and_settings_are_one_table():
    flags = {option.name for option in load(COMMANDS["sft"][0]).params}
    assert flags - {"resume", "config"} == set(SftSettings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no command 'trian'; did you mean 'train"),
        (["sft"], "no model: give --model, or model = … in the config"),
        (["sft", "--resume", "x", "--lora"], "takes its settings from the training"),
        (["sft", "--resume", "nowhere"], "no training here"),
        (["sft", "--config", "none.toml"], "none.toml: cannot be read"),
        (["curve", "--suite", "s", "--amounts", "1,x"], "expected whole numbers with commas"),
        (["merge", "nowhere", "--out", "x"], "no model 'nowhere'"),
        (["plan", "--model", "nowhere"], "no model 'nowhere'"),
        (["prepare", "--out", "x"], "no source"),
    ],
)
def test_a_fault_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert call(arguments) == 2
    err = capsys.readouterr().err
    assert message.removesuffix("; did you mean 'train") in err
    assert "Traceback" not in err


def test_plan_prints_every_device_and_what_would_fit_instead(capsys):
    assert call(["plan", "--model", "1B", "--precision", "mixed"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "full, adamw, mixed, 1024 tokens a pass"
    for device in ("T4 16", "V100 16", "A100 80", "this machine"):
        assert device in out
    assert out.count("instead: ") >= 3


def test_prepare_prints_both_sides_and_last_where_they_are(tmp_path, capsys, write_jsonl):
    source = write_jsonl(
        tmp_path / "raw.jsonl", [{"instruction": f"Say {i}", "input": "", "output": str(i)} for i in range(20)]
    )
    assert call(["prepare", str(source), "--out", str(tmp_path / "out"), "--split-by", "seed"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "18 training rows, 2 test rows, 0 dropped"
    assert out[-1] == f"rows: {tmp_path / 'out'}"
