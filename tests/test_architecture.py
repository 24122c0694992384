"""The shape of the code: imports point one way, heavy ones stand at the edges, no foreign code runs, docs are whole."""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from evalkit.cli import COMMANDS, evalkit
from evalkit.registry import BUILT_IN, load
from evalkit.taggers import DEFAULT, PRECEDENCE

ROOT = Path(__file__).parents[1]
MODULES = sorted(p for kit in ("evalkit", "trainkit") for p in (ROOT / kit).rglob("*.py"))
EVALKIT = [path for path in MODULES if path.is_relative_to(ROOT / "evalkit")]

LAYERS = (
    "types errors",
    "registry",
    "jsonl lines codec toml",
    "stats tally variety verdict frames hub",
    "examples data prompt journal settings catalogue paired scorers taggers",
    "suite record models assess analyze evidence differences brief columns",
    "backends identity gate harness labels folder",
    "court",
    "engines jobs",
    "flow run policy compare",
    "score importer evaluate baseline merge noise",
    "plan shift review agreement",
    "report",
    "program screen",
    "cli",
    "commands",
    "__main__",
)
"""A module (or package) imports only what stands in an earlier line; inside a package order is free."""
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer.split()}
EXCEPTIONS = {
    ("types", "registry"): "Run.to_frame opens the lazy door when it is called",
}
HEAVY = {"torch", "transformers", "datasets", "lm_eval", "pandas", "peft", "ray", "textual"}
EDGES = {
    path
    for path, rules in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"][
        "per-file-ignores"
    ].items()
    if "TID253" in rules
}
FORBIDDEN = {"pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "code", "codeop"}
MOST_LINES, LONGEST_FUNCTION = 500, 60


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> Iterator[str]:
    """Yield the full name of every module that is imported, inside functions too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> str:
    """Return the name of a module or package under evalkit."""
    return path.relative_to(ROOT / "evalkit").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", [p for p in EVALKIT if p.name != "__init__.py" or p.parent.name != "evalkit"], ids=name_of
)
def test_imports_point_one_way(path):
    here = ours(path)
    assert here in LEVEL, f"give {here!r} a layer in LAYERS"
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] == "evalkit" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != here:
            assert LEVEL[parts[1]] < LEVEL[here] or (here, parts[1]) in EXCEPTIONS, f"{here} imports {parts[1]}"


@pytest.mark.parametrize("path", EVALKIT, ids=name_of)
def test_evalkit_knows_nothing_of_trainkit(path):
    assert not [module for module in imports_of(path) if module.split(".")[0] == "trainkit"]


@pytest.mark.parametrize("path", EVALKIT, ids=name_of)
def test_heavy_packages_are_imported_at_the_edges_alone(path):
    """A backend may also import one inside a function: it is an edge, and loads only with a model."""
    found = {module.split(".")[0] for module in imports_of(path)} & HEAVY
    assert not found or name_of(path) in EDGES or ours(path) == "backends"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_unpickles_or_evaluates(path):
    """The project's rule against foreign code: no pickle, no eval, no exec, no remote code."""
    assert not {module.split(".")[0] for module in imports_of(path)} & FORBIDDEN
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile", "__import__"), f"line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "shell", "allow_pickle"):
            assert isinstance(node.value, ast.Constant), f"line {node.value.lineno}: {node.arg} must be a literal"
            assert node.value.value is False, f"line {node.value.lineno}: {node.arg}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, f"{node.name} is too long"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_its_role_first(path):
    assert ast.get_docstring(tree_of(path))


def test_every_field_of_the_vocabulary_has_a_sentence():
    for node in tree_of(ROOT / "evalkit/types.py").body:
        if isinstance(node, ast.ClassDef):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    assert isinstance(after, ast.Expr), f"{node.name}.{ast.unparse(field.target)} has no sentence"


REGISTERED = [(group, name) for group, names in BUILT_IN.items() for name in names]


@pytest.mark.parametrize(("group", "name"), [pair for pair in REGISTERED if pair not in {("backends", "hf")}])
def test_every_registered_name_is_there(group, name):
    plugin = load(BUILT_IN[group][name])
    assert callable(plugin)
    if group in ("scorers", "taggers"):
        assert dataclasses.is_dataclass(plugin)
        assert plugin.__dataclass_params__.frozen  # type: ignore[union-attr]  # every dataclass has it


def test_the_default_taggers_are_registered_and_ranked():
    assert set(DEFAULT) <= set(BUILT_IN["taggers"])
    ranked = [category for group in PRECEDENCE for category in group]
    assert len(ranked) == len(set(ranked))


def docs(pattern: str) -> str:
    pages = sorted((ROOT / "docs").glob(pattern))
    if not pages:
        pytest.skip(f"docs/{pattern} is not written yet")
    return "\n".join(f"`{page.stem}`\n{page.read_text(encoding='utf-8')}" for page in pages)


@pytest.mark.parametrize(("group", "name"), REGISTERED, ids=[f"{group}-{name}" for group, name in REGISTERED])
def test_every_registered_name_is_documented(group, name):
    assert f"`{name}`" in docs("**/*.md")


def every_command() -> Iterator[tuple[str, ...]]:
    for name in COMMANDS:
        command = load(COMMANDS[name][0])
        yield (name,)
        if isinstance(command, click.Group):
            yield from ((name, sub) for sub in command.commands)


@pytest.mark.parametrize("names", list(every_command()), ids=" ".join)
def test_every_command_is_documented(names):
    """In docs/reference.md: a line with `evalkit GROUP`, and the command of a group in such a line."""
    lines = [line for line in docs("reference.md").splitlines() if f"evalkit {names[0]}" in line]
    assert any(re.search(rf"\b{name}\b", line) for line in lines for name in names[-1:])


@pytest.mark.parametrize("names", list(every_command()), ids=" ".join)
def test_every_command_and_option_has_help(names):
    command: click.Command = evalkit
    context = click.Context(evalkit)
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found
        command = found
    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, f"{names}: {option.name} has no help"
